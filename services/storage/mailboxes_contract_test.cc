#include "services/storage/mailboxes_contract_test.h"

#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"

namespace blindcart::storage {

void MailboxesContractTest::SetUp() {
  StoreContractTest::SetUp();
  alice_ = world_.customer;
  ASSERT_TRUE(Write([&](Transaction& t) {
                absl::StatusOr<int64_t> account =
                    t.accounts().Insert(testing::SampleAccount(AccountKind::kCustomer, "C-2"));
                if (!account.ok()) return account.status();
                absl::StatusOr<int64_t> id =
                    t.customers().Insert(testing::SampleCustomer("bob", *account));
                if (id.ok()) bob_ = *id;
                return id.status();
              }).ok());
}

namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::SampleBytes;
using ::testing::UnorderedElementsAre;

TEST_P(MailboxesContractTest, KeysAreReplacedWhole) {
  EXPECT_TRUE(
      absl::IsNotFound(Read<MailKeys>([&](Mailboxes& m) { return m.GetKeys(alice_); }).status()));
  ASSERT_TRUE(SetKeys(Keys(alice_, 10)).ok());
  ASSERT_TRUE(SetKeys(Keys(bob_, 20)).ok());
  ASSERT_TRUE(SetKeys(Keys(alice_, 30)).ok());
  for (const auto& [customer, seed] : {std::pair(alice_, 30), std::pair(bob_, 20)}) {
    const MailKeys expected = Keys(customer, seed);
    const MailKeys read =
        *Read<MailKeys>([&, id = customer](Mailboxes& m) { return m.GetKeys(id); });
    EXPECT_EQ(read.customer_id, customer);
    EXPECT_EQ(read.identity_key, expected.identity_key);
    EXPECT_EQ(read.identity_key_signature, expected.identity_key_signature);
    EXPECT_EQ(read.signed_pre_key_id, expected.signed_pre_key_id);
    EXPECT_EQ(read.signed_pre_key, expected.signed_pre_key);
    EXPECT_EQ(read.signed_pre_key_signature, expected.signed_pre_key_signature);
  }
  MailKeys bad = Keys(alice_, 40);
  bad.identity_key.pop_back();
  EXPECT_TRUE(absl::IsInvalidArgument(SetKeys(bad)));
  EXPECT_TRUE(absl::IsInvalidArgument(SetKeys(Keys(999, 40)))) << "keys of nobody";
  bad = Keys(alice_, 40);
  bad.signed_pre_key_id = int64_t{1} << 32;
  EXPECT_TRUE(absl::IsInvalidArgument(SetKeys(bad)));
}

TEST_P(MailboxesContractTest, EachPreKeyIsTakenOnceAndNeverComesBack) {
  EXPECT_TRUE(absl::IsNotFound(AddPreKey(alice_, 1))) << "no keys yet";
  ASSERT_TRUE(SetKeys(Keys(alice_, 10)).ok());
  ASSERT_TRUE(SetKeys(Keys(bob_, 20)).ok());
  for (int64_t id : {3, 5, 9}) ASSERT_TRUE(AddPreKey(alice_, id).ok());
  ASSERT_TRUE(AddPreKey(bob_, 4).ok());
  EXPECT_TRUE(absl::IsAlreadyExists(AddPreKey(alice_, 9)));
  EXPECT_TRUE(absl::IsAlreadyExists(AddPreKey(alice_, 4))) << "ids ascend";
  EXPECT_EQ(CountPreKeys(alice_), 3);
  EXPECT_EQ(TakePreKey(alice_), 3);
  EXPECT_EQ(TakePreKey(alice_), 5);
  EXPECT_EQ(TakePreKey(alice_), 9);
  EXPECT_EQ(TakePreKey(alice_), 0);
  EXPECT_EQ(CountPreKeys(alice_), 0);
  EXPECT_EQ(CountPreKeys(bob_), 1);
  for (int64_t id : {3, 9}) EXPECT_TRUE(absl::IsAlreadyExists(AddPreKey(alice_, id)));
  EXPECT_EQ(TakePreKey(alice_), 0) << "one that was taken came back";
}

TEST_P(MailboxesContractTest, PreKeysGoWithTheirIdentityKeyAndStayWithTheSignedOne) {
  MailKeys keys = Keys(alice_, 10);
  ASSERT_TRUE(SetKeys(keys).ok());
  ASSERT_TRUE(AddPreKey(alice_, 7).ok());
  keys.signed_pre_key_id = 99;
  keys.signed_pre_key = SampleBytes(99, kMailKeyBytes);
  ASSERT_TRUE(SetKeys(keys).ok());
  EXPECT_EQ(CountPreKeys(alice_), 1) << "a rotated signed pre-key took the others with it";
  EXPECT_TRUE(absl::IsAlreadyExists(AddPreKey(alice_, 7)));
  ASSERT_TRUE(SetKeys(Keys(alice_, 50)).ok());
  EXPECT_EQ(CountPreKeys(alice_), 0) << "whose secrets nobody has any more";
  EXPECT_TRUE(AddPreKey(alice_, 1).ok()) << "a new agent counts from one";
}

TEST_P(MailboxesContractTest, TheLastNumberTellsOfNewMailAlsoWhenItIsRemoved) {
  const auto last = [&](const std::vector<int64_t>& ids) {
    std::vector<std::pair<int64_t, int64_t>> numbers;
    const std::vector<LastMailNumber> rows =
        *Read<std::vector<LastMailNumber>>([&](Mailboxes& m) { return m.LastNumbers(ids); });
    for (const LastMailNumber& row : rows) numbers.emplace_back(row.customer_id, row.mail_number);
    return numbers;
  };
  EXPECT_THAT(last({}), IsEmpty());
  EXPECT_THAT(last({alice_, bob_}), IsEmpty());
  EXPECT_EQ(*Append(MakeMail(alice_, bob_, 1, "one")), 1);
  EXPECT_EQ(*Append(MakeMail(alice_, bob_, 2, "two")), 2);
  EXPECT_EQ(*Append(MakeMail(bob_, alice_, 1, "to alice")), 1);
  ASSERT_TRUE(Write([&](Transaction& t) { return t.mailboxes().Remove(bob_, 2); }).ok());
  EXPECT_THAT(last({alice_, bob_, 999}),
              UnorderedElementsAre(std::pair(alice_, int64_t{1}), std::pair(bob_, int64_t{2})));
  EXPECT_THAT(last({alice_}), ElementsAre(std::pair(alice_, int64_t{1})));
}

TEST_P(MailboxesContractTest, MailIsNumberedPerMailboxAndKeptUntilRemoved) {
  EXPECT_THAT(List(bob_), IsEmpty());
  EXPECT_EQ(Use(bob_), std::pair(int64_t{0}, int64_t{0}));
  EXPECT_EQ(*Append(MakeMail(alice_, bob_, 1, "one")), 1);
  EXPECT_EQ(*Append(MakeMail(bob_, alice_, 1, "to alice")), 1)
      << "whose numbers tell nothing of bob's";
  EXPECT_EQ(*Append(MakeMail(alice_, bob_, 2, "three3")), 2);
  EXPECT_EQ(Use(bob_), std::pair(int64_t{2}, int64_t{9}));
  EXPECT_THAT(List(bob_), ElementsAre("one", "three3"));
  EXPECT_THAT(List(bob_, 1), ElementsAre("three3"));
  EXPECT_THAT(List(bob_, 0, 1), ElementsAre("one"));
  EXPECT_TRUE(absl::IsInvalidArgument(
      Read<std::vector<Mail>>([&](Mailboxes& m) { return m.List(bob_, 0, 0); }).status()));

  const std::vector<Mail> rows =
      *Read<std::vector<Mail>>([&](Mailboxes& m) { return m.List(bob_, 0, 1); });
  EXPECT_EQ(rows[0].recipient_id, bob_);
  EXPECT_EQ(rows[0].sender_id, alice_);
  EXPECT_EQ(rows[0].mail_number, 1);
  EXPECT_EQ(rows[0].message_id, SampleBytes(1, kMessageIdBytes));
  EXPECT_EQ(rows[0].stored_at_ms, 1'000);
  EXPECT_EQ(rows[0].expires_at_ms, 5'000);

  const auto remove = [&](int64_t recipient, int64_t number) {
    return Write([&](Transaction& t) { return t.mailboxes().Remove(recipient, number); });
  };
  EXPECT_TRUE(remove(bob_, 2).ok());
  EXPECT_TRUE(remove(bob_, 2).ok()) << "acknowledgements repeat";
  EXPECT_TRUE(remove(bob_, 77).ok());
  EXPECT_TRUE(remove(999, 1).ok());
  EXPECT_EQ(Use(bob_), std::pair(int64_t{1}, int64_t{3}));
  EXPECT_EQ(Use(alice_), std::pair(int64_t{1}, int64_t{8}));
  EXPECT_EQ(*Append(MakeMail(alice_, bob_, 3, "x")), 3) << "a number was given twice";
}

TEST_P(MailboxesContractTest, AMessageIdIsAppendedOnceUntilItExpires) {
  ASSERT_TRUE(Append(MakeMail(alice_, bob_, 1, "one")).ok());
  EXPECT_TRUE(absl::IsAlreadyExists(Append(MakeMail(alice_, bob_, 1, "one")).status()));
  ASSERT_TRUE(Write([&](Transaction& t) { return t.mailboxes().Remove(bob_, 1); }).ok());
  EXPECT_TRUE(absl::IsAlreadyExists(Append(MakeMail(alice_, bob_, 1, "one")).status()))
      << "a late retry stored it again though it was read";
  EXPECT_TRUE(Append(MakeMail(bob_, bob_, 1, "another sender's")).ok());
  EXPECT_EQ(RemoveExpired(4'999), 0);
  EXPECT_EQ(RemoveExpired(5'000), 3) << "one mail and two ids";
  EXPECT_TRUE(Append(MakeMail(alice_, bob_, 1, "one")).ok());
}

TEST_P(MailboxesContractTest, ExpiryEmptiesMailboxesWithinItsLimit) {
  for (int64_t i = 0; i < 5; ++i) {
    Mail mail = MakeMail(alice_, bob_, i, "four");
    mail.expires_at_ms = 100 + i;
    ASSERT_TRUE(Append(mail).ok());
  }
  EXPECT_EQ(RemoveExpired(99), 0);
  EXPECT_EQ(RemoveExpired(200, 2), 4);
  EXPECT_EQ(Use(bob_), std::pair(int64_t{3}, int64_t{12}));
  EXPECT_EQ(RemoveExpired(103, 100), 4);
  EXPECT_EQ(Use(bob_), std::pair(int64_t{1}, int64_t{4}));
}

TEST_P(MailboxesContractTest, MailOfWrongSizeOrToNobodyIsRefused) {
  EXPECT_TRUE(absl::IsInvalidArgument(Append(MakeMail(alice_, bob_, 1, "")).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(
      Append(MakeMail(alice_, bob_, 1, std::string(kMaxPayloadBytes + 1, 'x'))).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Append(MakeMail(alice_, 999, 1, "x")).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Append(MakeMail(999, bob_, 1, "x")).status()));
  Mail mail = MakeMail(alice_, bob_, 1, "x");
  mail.message_id.push_back('x');
  EXPECT_TRUE(absl::IsInvalidArgument(Append(mail).status()));
  EXPECT_EQ(Use(bob_), std::pair(int64_t{0}, int64_t{0}));
  EXPECT_TRUE(Append(MakeMail(alice_, bob_, 1, std::string(kMaxPayloadBytes, 'x'))).ok());
}

}  // namespace
}  // namespace blindcart::storage
