#include "services/broker/mail.h"

#include <atomic>
#include <future>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "protocol/mail_content.h"
#include "protocol/mail_session.h"
#include "protocol/x3dh.h"
#include "services/broker/testing/broker_fixture.h"
#include "services/broker/testing/sealed_letter.h"
#include "services/storage/testing/gated_store.h"

namespace blindcart::broker {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class MailTest : public BrokerFixture {
 protected:
  static v1::PublishKeysCall Keys(const crypto::Identity& owner, const std::string& name = "") {
    v1::PublishKeysCall call;
    call.set_identity_key(Id("ik" + name, 32));
    call.set_identity_key_signature(protocol::SignIdentityKey(owner, call.identity_key()));
    *call.mutable_signed_pre_key() = protocol::SignPreKey(owner, 1, Id("spk" + name, 32));
    return call;
  }
  static void AddPreKeys(v1::PublishKeysCall* call, uint32_t from, uint32_t to) {
    for (uint32_t id = from; id <= to; ++id) {
      v1::OneTimePreKey& key = *call->add_one_time_pre_keys();
      key.set_id(id);
      key.set_key(Id(absl::StrCat("opk", id), 32));
    }
  }
  static absl::optional<v1::MailResult> Ask(TestCustomer& customer, v1::MailCall call) {
    v1::CustomerMessage message;
    *message.mutable_mail() = std::move(call);
    const absl::optional<v1::BrokerToCustomer> reply = customer.Call(std::move(message));
    if (!reply.has_value()) return absl::nullopt;
    EXPECT_TRUE(reply->has_mail());
    return reply->mail();
  }
  // -1: refused.
  static int Publish(TestCustomer& customer, const v1::PublishKeysCall& keys) {
    v1::MailCall call;
    *call.mutable_publish_keys() = keys;
    const auto result = Ask(customer, call);
    return result.has_value() ? static_cast<int>(result->publish_keys().one_time_pre_keys_left())
                              : -1;
  }
  static v1::FetchKeysResult FetchKeys(TestCustomer& customer, const std::string& username,
                                       bool identity_only = false) {
    v1::MailCall call;
    call.mutable_fetch_keys()->set_username(username);
    call.mutable_fetch_keys()->set_identity_only(identity_only);
    const auto result = Ask(customer, call);
    EXPECT_TRUE(result.has_value());
    return result.has_value() ? result->fetch_keys() : v1::FetchKeysResult();
  }
  static v1::MailCall Letter(const std::string& to, const std::string& id,
                             const std::string& sealed) {
    v1::MailCall call;
    call.mutable_send()->set_message_id(Id(id));
    call.mutable_send()->set_recipient(to);
    call.mutable_send()->set_sealed(sealed);
    return call;
  }
  // That begins a session under this identity.
  static std::string Initial(const crypto::Identity& identity) {
    v1::MailEnvelope envelope = EnvelopeAround("first");
    v1::X3dhInitial& initial = *envelope.mutable_initial();
    initial.set_identity(identity.public_identity().Serialize());
    initial.set_identity_key(Id("ik", 32));
    initial.set_identity_key_signature(protocol::SignIdentityKey(identity, Id("ik", 32)));
    initial.set_ephemeral_key(Id("ek", 32));
    initial.set_signed_pre_key_id(1);
    return envelope.SerializeAsString();
  }
  static v1::SendMailOutcome Send(TestCustomer& customer, const std::string& to,
                                  const std::string& id, const std::string& text) {
    const auto result = Ask(customer, Letter(to, id, SealedLetter(text)));
    return result.has_value() ? result->send().outcome() : v1::SEND_MAIL_OUTCOME_UNSPECIFIED;
  }
  static v1::FetchMailResult Fetch(TestCustomer& customer, uint64_t after = 0) {
    v1::MailCall call;
    call.mutable_fetch()->set_after_number(after);
    const auto result = Ask(customer, call);
    EXPECT_TRUE(result.has_value());
    return result.has_value() ? result->fetch() : v1::FetchMailResult();
  }
  static std::vector<std::string> Waiting(TestCustomer& customer) {
    std::vector<std::string> texts;
    const v1::FetchMailResult page = Fetch(customer);
    for (const v1::MailItem& item : page.items()) texts.push_back(TextOfLetter(item.sealed()));
    return texts;
  }
  static void Acknowledge(TestCustomer& customer, const std::vector<uint64_t>& numbers) {
    v1::MailCall call;
    for (uint64_t number : numbers) call.mutable_acknowledge()->add_mail_numbers(number);
    if (numbers.empty()) call.mutable_acknowledge();
    EXPECT_TRUE(Ask(customer, call).has_value());
  }
  // Whether the broker refuses the call and ends the session.
  bool Refuses(const v1::MailCall& call) {
    auto alice = LoggedIn(kAlice);
    if (Ask(*alice, call).has_value()) return false;
    const auto closed = alice->WaitClosed();
    return closed.has_value() && protocol::IsRefusal(*closed);
  }
  // A broker with these limits from now on.
  void Limit(int32_t messages, int64_t bytes, int64_t lifetime_ms) {
    config_.mutable_limits()->set_max_mailbox_messages(messages);
    config_.mutable_limits()->set_max_mailbox_bytes(bytes);
    config_.mutable_limits()->set_mail_lifetime_ms(lifetime_ms);
    Restart();
  }
};

TEST_F(MailTest, PublishedKeysAreFoundWithTheirOwnersIdentity) {
  auto alice = LoggedIn(kAlice);
  auto bob = LoggedIn(kBob);
  EXPECT_FALSE(FetchKeys(*bob, kAlice).found()) << "nothing published";
  EXPECT_FALSE(FetchKeys(*bob, "nobody").found());
  v1::PublishKeysCall keys = Keys(alice_);
  AddPreKeys(&keys, 1, 2);
  EXPECT_EQ(Publish(*alice, keys), 2);
  const v1::FetchKeysResult found = FetchKeys(*bob, kAlice, /*identity_only=*/true);
  EXPECT_TRUE(found.found());
  EXPECT_FALSE(found.has_one_time_pre_key());
  EXPECT_EQ(found.public_identity(), alice_.public_identity().Serialize());
  EXPECT_TRUE(protocol::CheckBundle(found).ok());
  EXPECT_EQ(found.identity_key(), Id("ik", 32));
  EXPECT_EQ(found.signed_pre_key().key(), Id("spk", 32));
  EXPECT_EQ(Publish(*alice, v1::PublishKeysCall()), 2) << "only asks how many are left";
}

TEST_F(MailTest, EachPreKeyServesOnceAndNobodyTakesThemAll) {
  auto alice = LoggedIn(kAlice);
  auto bob = LoggedIn(kBob);
  v1::PublishKeysCall keys = Keys(alice_);
  AddPreKeys(&keys, 1, 2);
  ASSERT_EQ(Publish(*alice, keys), 2);
  EXPECT_EQ(FetchKeys(*bob, kAlice).one_time_pre_key().id(), 1u);
  for (int i = 0; i < 3; ++i) {
    const v1::FetchKeysResult again = FetchKeys(*bob, kAlice);
    EXPECT_TRUE(again.found());
    EXPECT_FALSE(again.has_one_time_pre_key()) << "so soon";
  }
  EXPECT_FALSE(FetchKeys(*alice, kAlice).has_one_time_pre_key()) << "one's own are no use";
  const auto next_day = [&] {
    clock_.Advance(PreKeyThrottle::kIntervalMs);
    broker_->Sweep();
    alice = LoggedIn(kAlice);
    bob = LoggedIn(kBob);
  };
  next_day();
  EXPECT_EQ(FetchKeys(*bob, kAlice).one_time_pre_key().id(), 2u);
  next_day();
  const v1::FetchKeysResult none = FetchKeys(*bob, kAlice);
  EXPECT_TRUE(none.found());
  EXPECT_FALSE(none.has_one_time_pre_key());
  EXPECT_EQ(Publish(*alice, keys), 0) << "a repeated call brought used pre-keys back";
  keys = v1::PublishKeysCall();
  AddPreKeys(&keys, 3, 3);
  EXPECT_EQ(Publish(*alice, keys), 1);
}

TEST_F(MailTest, PreKeysAreBoundedAndGoWithTheirIdentityKey) {
  auto alice = LoggedIn(kAlice);
  v1::PublishKeysCall only_pre_keys;
  AddPreKeys(&only_pre_keys, 1, 5);
  EXPECT_EQ(Publish(*alice, only_pre_keys), 0) << "pre-keys of no identity key";
  v1::PublishKeysCall keys = Keys(alice_);
  AddPreKeys(&keys, 1, 60);
  EXPECT_EQ(Publish(*alice, keys), 60);
  v1::PublishKeysCall more;
  AddPreKeys(&more, 61, 160);
  EXPECT_EQ(Publish(*alice, more), Mail::kMaxPreKeys);
  v1::PublishKeysCall rotated;
  *rotated.mutable_signed_pre_key() = protocol::SignPreKey(alice_, 2, Id("next", 32));
  EXPECT_EQ(Publish(*alice, rotated), Mail::kMaxPreKeys);
  auto bob = LoggedIn(kBob);
  EXPECT_EQ(FetchKeys(*bob, kAlice, true).signed_pre_key().key(), Id("next", 32));
  EXPECT_EQ(Publish(*alice, Keys(alice_, "new")), 0) << "a new agent has none of the old secrets";
}

TEST_F(MailTest, KeysThatTheOwnerDidNotSignAreRefused) {
  const auto publish = [](const v1::PublishKeysCall& keys) {
    v1::MailCall call;
    *call.mutable_publish_keys() = keys;
    return call;
  };
  EXPECT_TRUE(Refuses(publish(Keys(bob_)))) << "signed by another customer";
  v1::PublishKeysCall keys = Keys(alice_);
  keys.mutable_identity_key()->front() ^= 1;
  EXPECT_TRUE(Refuses(publish(keys)));
  keys = Keys(alice_);
  keys.mutable_signed_pre_key()->set_id(2);
  EXPECT_TRUE(Refuses(publish(keys)));
  keys = Keys(alice_);
  keys.mutable_signed_pre_key()->mutable_signature()->back() ^= 1;
  EXPECT_TRUE(Refuses(publish(keys)));
  keys = Keys(alice_);
  keys.clear_signed_pre_key();
  EXPECT_TRUE(Refuses(publish(keys))) << "an identity key beside another's pre-key";
  keys = Keys(alice_);
  keys.clear_identity_key();
  EXPECT_TRUE(Refuses(publish(keys)));
  keys = Keys(alice_);
  AddPreKeys(&keys, 0, 0);
  EXPECT_TRUE(Refuses(publish(keys))) << "id 0";
  keys = Keys(alice_);
  AddPreKeys(&keys, 1, 1);
  keys.mutable_one_time_pre_keys(0)->mutable_key()->pop_back();
  EXPECT_TRUE(Refuses(publish(keys)));
  keys = Keys(alice_);
  AddPreKeys(&keys, 1, Mail::kMaxPreKeys + 1);
  EXPECT_TRUE(Refuses(publish(keys)));
  auto bob = LoggedIn(kBob);
  EXPECT_FALSE(FetchKeys(*bob, kAlice).found()) << "something of that was kept";
}

TEST_F(MailTest, MailWaitsAcrossARestartUntilItIsAcknowledged) {
  {
    auto alice = LoggedIn(kAlice);
    EXPECT_EQ(Send(*alice, kBob, "1", "one"), v1::SEND_MAIL_OUTCOME_STORED);
    EXPECT_EQ(Send(*alice, kBob, "2", "two"), v1::SEND_MAIL_OUTCOME_STORED);
    EXPECT_EQ(Send(*alice, "nobody", "3", "three"), v1::SEND_MAIL_OUTCOME_NO_RECIPIENT);
    EXPECT_THAT(Waiting(*alice), IsEmpty());
  }
  Restart();
  auto bob = LoggedIn(kBob);
  const v1::FetchMailResult page = Fetch(*bob);
  ASSERT_EQ(page.items_size(), 2);
  EXPECT_FALSE(page.more());
  EXPECT_EQ(page.items(0).mail_number(), 1u);
  EXPECT_EQ(page.items(0).sender(), kAlice);
  EXPECT_EQ(page.items(0).message_id(), Id("1"));
  EXPECT_EQ(page.items(0).stored_at_ms(), clock_.NowUnixMs());
  EXPECT_EQ(page.items(0).sealed(), SealedLetter("one"));
  EXPECT_THAT(Waiting(*bob), ElementsAre("one", "two"));
  EXPECT_EQ(Fetch(*bob, 1).items_size(), 1);
  Acknowledge(*bob, {1});
  Acknowledge(*bob, {1, 77});
  Acknowledge(*bob, {});
  EXPECT_THAT(Waiting(*bob), ElementsAre("two"));
  auto alice = LoggedIn(kAlice);
  Acknowledge(*alice, {2});
  EXPECT_THAT(Waiting(*bob), ElementsAre("two")) << "another customer's acknowledgement";
}

TEST_F(MailTest, AMessageIdIsStoredOnceAlsoAfterItWasRead) {
  auto alice = LoggedIn(kAlice);
  auto bob = LoggedIn(kBob);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(Send(*alice, kBob, "1", "one"), v1::SEND_MAIL_OUTCOME_STORED);
  }
  EXPECT_THAT(Waiting(*bob), ElementsAre("one"));
  Acknowledge(*bob, {1});
  EXPECT_EQ(Send(*alice, kBob, "1", "one"), v1::SEND_MAIL_OUTCOME_STORED);
  EXPECT_THAT(Waiting(*bob), IsEmpty());
}

TEST_F(MailTest, NewMailIsPushedToEachLinkOfItsRecipientAndOnce) {
  auto alice = LoggedIn(kAlice);
  auto first = LoggedIn(kBob);
  auto second = LoggedIn(kBob);
  ASSERT_EQ(Send(*alice, kBob, "1", "one"), v1::SEND_MAIL_OUTCOME_STORED);
  ASSERT_EQ(Send(*alice, kBob, "1", "one"), v1::SEND_MAIL_OUTCOME_STORED);
  ASSERT_EQ(Send(*alice, kBob, "2", "two"), v1::SEND_MAIL_OUTCOME_STORED);
  for (TestCustomer* bob : {first.get(), second.get()}) {
    for (const char* expected : {"one", "two"}) {
      const auto push = bob->Push();
      ASSERT_TRUE(push.has_value());
      EXPECT_EQ(TextOfLetter(push->mail().push().sealed()), expected);
      EXPECT_EQ(push->mail().push().sender(), kAlice);
    }
  }
  second->Disconnect();
  ASSERT_EQ(Send(*alice, kBob, "3", "three"), v1::SEND_MAIL_OUTCOME_STORED);
  const auto push = first->Push();
  ASSERT_TRUE(push.has_value());
  EXPECT_EQ(push->mail().push().mail_number(), 3u);
}

TEST_F(MailTest, AFullMailboxTakesNoMoreUntilThereIsRoom) {
  Limit(2, 1'000'000, 60'000);
  auto alice = LoggedIn(kAlice);
  auto bob = LoggedIn(kBob);
  EXPECT_EQ(Send(*alice, kBob, "1", "one"), v1::SEND_MAIL_OUTCOME_STORED);
  EXPECT_EQ(Send(*alice, kBob, "2", "two"), v1::SEND_MAIL_OUTCOME_STORED);
  EXPECT_EQ(Send(*alice, kBob, "3", "three"), v1::SEND_MAIL_OUTCOME_QUOTA);
  EXPECT_EQ(Send(*alice, kBob, "2", "two"), v1::SEND_MAIL_OUTCOME_STORED) << "it was";
  EXPECT_EQ(Send(*bob, kAlice, "1", "one"), v1::SEND_MAIL_OUTCOME_STORED) << "alice's is not full";
  Acknowledge(*bob, {1});
  EXPECT_EQ(Send(*alice, kBob, "3", "three"), v1::SEND_MAIL_OUTCOME_STORED);
  EXPECT_THAT(Waiting(*bob), ElementsAre("two", "three"));
}

TEST_F(MailTest, AFailedCommitSaysNothingOfTheMailbox) {
  Limit(1, 1'000'000, 60'000);
  storage::testing::GatedStore gate(*store_);
  broker_ = *BrokerCore::Create(config_, identity_, gate, clock_, crypto::SystemRandom(), kTestCost,
                                signers_);
  auto alice = LoggedIn(kAlice);
  EXPECT_EQ(Send(*alice, kBob, "1", "one"), v1::SEND_MAIL_OUTCOME_STORED);
  for (const absl::Status& failure :
       {absl::UnavailableError("no database"), absl::ResourceExhaustedError("disk full")}) {
    gate.LoseAnswers(failure);
    EXPECT_EQ(Send(*alice, kBob, "2", "two"), v1::SEND_MAIL_OUTCOME_BUSY);
  }
  gate.Open();
  EXPECT_EQ(Send(*alice, kBob, "2", "two"), v1::SEND_MAIL_OUTCOME_QUOTA);
  alice.reset();
  broker_.reset();
}

TEST_F(MailTest, WhoHasSentADaysAllowanceHasToWait) {
  config_.mutable_limits()->set_max_sent_messages_per_day(3);
  Restart();
  auto alice = LoggedIn(kAlice);
  auto bob = LoggedIn(kBob);
  EXPECT_EQ(Send(*alice, kBob, "1", "one"), v1::SEND_MAIL_OUTCOME_STORED);
  EXPECT_EQ(Send(*alice, "nobody", "2", "two"), v1::SEND_MAIL_OUTCOME_NO_RECIPIENT);
  EXPECT_EQ(Send(*alice, kBob, "3", "three"), v1::SEND_MAIL_OUTCOME_STORED);
  EXPECT_EQ(Send(*alice, kBob, "4", "four"), v1::SEND_MAIL_OUTCOME_ALLOWANCE);
  EXPECT_EQ(Send(*bob, kAlice, "1", "one"), v1::SEND_MAIL_OUTCOME_STORED) << "bob's own";
  EXPECT_THAT(Waiting(*bob), ElementsAre("one", "three"));
  broker_->Sweep();
  EXPECT_EQ(Send(*alice, kBob, "4", "four"), v1::SEND_MAIL_OUTCOME_ALLOWANCE);
  clock_.Advance(8 * 3'600'000 + 1'000);
  auto again = LoggedIn(kAlice);
  EXPECT_EQ(Send(*again, kBob, "4", "four"), v1::SEND_MAIL_OUTCOME_STORED);
  EXPECT_EQ(Send(*again, kBob, "5", "five"), v1::SEND_MAIL_OUTCOME_ALLOWANCE);
}

TEST_F(MailTest, AMailboxHoldsSoManyBytes) {
  const std::string large(protocol::kMaxMessagePlaintextBytes - 1, 'x');
  Limit(1'000, 3 * static_cast<int64_t>(SealedLetter(large).size()), 60'000);
  auto alice = LoggedIn(kAlice);
  auto bob = LoggedIn(kBob);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(Send(*alice, kBob, absl::StrCat(i), large), v1::SEND_MAIL_OUTCOME_STORED);
  }
  EXPECT_EQ(Send(*alice, kBob, "more", "x"), v1::SEND_MAIL_OUTCOME_QUOTA);
  // Pages: what does not fit one frame comes with the next.
  const v1::FetchMailResult page = Fetch(*bob);
  EXPECT_TRUE(page.more());
  ASSERT_EQ(page.items_size(), 2);
  const v1::FetchMailResult rest = Fetch(*bob, page.items(1).mail_number());
  EXPECT_EQ(rest.items_size(), 1);
  EXPECT_FALSE(rest.more());
}

TEST_F(MailTest, ManySmallMessagesComeInPages) {
  auto alice = LoggedIn(kAlice);
  auto bob = LoggedIn(kBob);
  const int count = Mail::kMaxItemsPerPage + 3;
  for (int i = 0; i < count; ++i) {
    ASSERT_EQ(Send(*alice, kBob, absl::StrCat(i), "x"), v1::SEND_MAIL_OUTCOME_STORED);
  }
  const v1::FetchMailResult page = Fetch(*bob);
  EXPECT_EQ(page.items_size(), Mail::kMaxItemsPerPage);
  EXPECT_TRUE(page.more());
  const v1::FetchMailResult rest = Fetch(*bob, Mail::kMaxItemsPerPage);
  EXPECT_EQ(rest.items_size(), 3);
  EXPECT_FALSE(rest.more());
}

TEST_F(MailTest, ExpiredMailIsNotHandedOutAndMakesRoom) {
  Limit(1, 1'000'000, 60'000);
  auto alice = LoggedIn(kAlice);
  auto bob = LoggedIn(kBob);
  ASSERT_EQ(Send(*alice, kBob, "1", "one"), v1::SEND_MAIL_OUTCOME_STORED);
  clock_.Advance(59'999);
  EXPECT_THAT(Waiting(*bob), ElementsAre("one"));
  clock_.Advance(1);
  EXPECT_THAT(Waiting(*bob), IsEmpty());
  broker_->Sweep();
  // Commits are one after the other: this one comes behind the sweep's.
  EXPECT_EQ(Send(*alice, kBob, "2", "two"), v1::SEND_MAIL_OUTCOME_STORED);
  EXPECT_THAT(Waiting(*bob), ElementsAre("two"));
}

TEST_F(MailTest, CallsThatNoAgentMakesAreRefused) {
  EXPECT_TRUE(Refuses(v1::MailCall()));
  EXPECT_TRUE(Refuses(Letter(kBob, "1", "")));
  EXPECT_TRUE(Refuses(Letter(kBob, "1", std::string(protocol::kMaxSealedBytes + 1, 'x'))));
  EXPECT_TRUE(Refuses(Letter("", "1", SealedLetter("x"))));
  EXPECT_TRUE(Refuses(Letter("NOT A NAME", "1", SealedLetter("x"))));
  v1::MailCall call = Letter(kBob, "1", SealedLetter("x"));
  call.mutable_send()->mutable_message_id()->pop_back();
  EXPECT_TRUE(Refuses(call));
  call.mutable_fetch_keys()->set_username("../bob");
  EXPECT_TRUE(Refuses(call));
  call.mutable_fetch()->set_after_number(~uint64_t{0});
  EXPECT_TRUE(Refuses(call));
  call.mutable_acknowledge()->add_mail_numbers(~uint64_t{0});
  EXPECT_TRUE(Refuses(call));
  call.mutable_acknowledge()->Clear();
  for (int i = 0; i <= Mail::kMaxNumbersAcknowledged; ++i) {
    call.mutable_acknowledge()->add_mail_numbers(1);
  }
  EXPECT_TRUE(Refuses(call));
}

TEST_F(MailTest, WhatIsNoEnvelopeOrBeginsASessionInAnothersNameIsRefused) {
  EXPECT_TRUE(Refuses(Letter(kBob, "1", "x")));
  EXPECT_TRUE(Refuses(Letter(kBob, "1", SealedLetter("x") + "more")));
  EXPECT_TRUE(Refuses(Letter(kBob, "1", Initial(bob_)))) << "the recipient's own identity";
  EXPECT_TRUE(Refuses(Letter(kBob, "1", Initial(crypto::TestIdentity(5)))));
  auto alice = LoggedIn(kAlice);
  auto bob = LoggedIn(kBob);
  EXPECT_EQ(Fetch(*bob).items_size(), 0);
  const auto result = Ask(*alice, Letter(kBob, "1", Initial(alice_)));
  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(result->send().outcome(), v1::SEND_MAIL_OUTCOME_STORED);
  EXPECT_EQ(Fetch(*bob).items_size(), 1);
}

TEST_F(MailTest, NobodyFillsTheOneWritersQueue) {
  // While somebody else writes, a customer has so many calls under way and no more.
  std::promise<void> go;
  std::promise<void> held;
  std::thread writer([&] {
    EXPECT_TRUE(store_
                    ->Write([&](storage::Transaction&) {
                      held.set_value();
                      go.get_future().wait();
                      return absl::OkStatus();
                    })
                    .ok());
  });
  held.get_future().wait();
  v1::MailCall call;
  call.mutable_acknowledge()->add_mail_numbers(1);
  std::promise<void> all_answered;
  std::atomic<int> open{Mail::kMaxUnderWay + 1};
  const auto count = [&](absl::StatusOr<v1::MailResult> result) {
    EXPECT_TRUE(result.ok());
    if (--open == 0) all_answered.set_value();
  };
  for (int i = 0; i < Mail::kMaxUnderWay; ++i) {
    EXPECT_TRUE(broker_->mail().Handle(1, call, count).ok());
  }
  EXPECT_TRUE(absl::IsResourceExhausted(broker_->mail().Handle(1, call, count)));
  EXPECT_TRUE(broker_->mail().Handle(2, call, count).ok());
  go.set_value();
  all_answered.get_future().wait();
  writer.join();
}

TEST_F(MailTest, TwoWhoAskAtOnceNeverGetTheSamePreKey) {
  auto alice = LoggedIn(kAlice);
  v1::PublishKeysCall keys = Keys(alice_);
  AddPreKeys(&keys, 1, 50);
  ASSERT_EQ(Publish(*alice, keys), 50);
  // Past the throttle, which knows askers apart: straight at the use case, as many customers.
  std::mutex mutex;
  std::multiset<uint32_t> taken;
  std::vector<std::thread> askers;
  std::atomic<int> open{64};
  for (int i = 0; i < 64; ++i) {
    askers.emplace_back([&, i] {
      v1::MailCall call;
      call.mutable_fetch_keys()->set_username(kAlice);
      EXPECT_TRUE(broker_->mail()
                      .Handle(1'000 + i, call,
                              [&](absl::StatusOr<v1::MailResult> result) {
                                if (result.ok() && result->fetch_keys().has_one_time_pre_key()) {
                                  std::lock_guard<std::mutex> lock(mutex);
                                  taken.insert(result->fetch_keys().one_time_pre_key().id());
                                }
                                --open;
                              })
                      .ok());
    });
  }
  for (std::thread& asker : askers) asker.join();
  EXPECT_EQ(Publish(*alice, v1::PublishKeysCall()), 0);
  EXPECT_EQ(open, 0);
  EXPECT_EQ(taken.size(), 50u);
  EXPECT_EQ(std::set<uint32_t>(taken.begin(), taken.end()).size(), 50u);
}

}  // namespace
}  // namespace blindcart::broker
