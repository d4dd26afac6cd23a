#include "services/broker/enrolment.h"

#include "gtest/gtest.h"
#include "services/broker/testing/broker_fixture.h"

namespace blindcart::broker {
namespace {

class EnrolmentTest : public BrokerFixture {
 protected:
  Enroller enroller() {
    return {*store_, "EUR", clock_.NowUnixMs(), crypto::SystemRandom(), kTestCost};
  }
  // A customer who could be enrolled.
  NewCustomer Carol() {
    NewCustomer carol;
    carol.username = "carol";
    carol.identity_pem = crypto::TestIdentity(5).public_identity().ToPem();
    carol.account_number = "1003";
    carol.password = crypto::SecretBytes::CopyOf("long enough");
    carol.pin = crypto::SecretBytes::CopyOf("4321");
    carol.opening_balance_minor = 123;
    return carol;
  }
};

TEST_F(EnrolmentTest, EnrolsACustomerWithMoneyFromTheExternalAccount) {
  const auto fingerprint = EnrolCustomer(enroller(), Carol());
  ASSERT_TRUE(fingerprint.ok()) << fingerprint.status();
  EXPECT_EQ(*fingerprint, crypto::TestIdentity(5).public_identity().fingerprint());
  EXPECT_EQ(AccountOf("1003").balance_minor, 123);
  EXPECT_EQ(AccountOf("EXTERNAL").balance_minor, -2 * kOpeningBalanceMinor - 123);
  ExpectBooksRight();
}

TEST_F(EnrolmentTest, RefusesWhatIsTakenAndLeavesNothingBehind) {
  const std::string fresh = crypto::TestIdentity(6).public_identity().ToPem();
  NewCustomer carol = Carol();
  carol.username = "alice";
  EXPECT_TRUE(absl::IsAlreadyExists(EnrolCustomer(enroller(), carol).status()));
  carol = Carol();
  carol.identity_pem = alice_.public_identity().ToPem();
  EXPECT_TRUE(absl::IsAlreadyExists(EnrolCustomer(enroller(), carol).status()));
  carol = Carol();
  carol.account_number = "1001";
  EXPECT_TRUE(absl::IsAlreadyExists(EnrolCustomer(enroller(), carol).status()));
  EXPECT_TRUE(EnrolCustomer(enroller(), Carol()).ok());
  EXPECT_TRUE(absl::IsAlreadyExists(EnrolMerchant(enroller(), {"books", fresh, "2009"}).status()));
  EXPECT_TRUE(absl::IsAlreadyExists(
      EnrolMerchant(enroller(), {"fresh", books_.public_identity().ToPem(), "2009"}).status()));
  EXPECT_TRUE(absl::IsAlreadyExists(EnrolMerchant(enroller(), {"fresh", fresh, "2001"}).status()));
  EXPECT_TRUE(EnrolMerchant(enroller(), {"fresh", fresh, "2009"}).ok());
}

// Somebody was handed the wrong file: the name must not be lost to it.
TEST_F(EnrolmentTest, AKeyIsOnePartysOnly) {
  NewCustomer carol = Carol();
  carol.identity_pem = books_.public_identity().ToPem();
  EXPECT_TRUE(absl::IsAlreadyExists(EnrolCustomer(enroller(), carol).status()));
  EXPECT_TRUE(absl::IsAlreadyExists(
      EnrolMerchant(enroller(), {"fresh", bob_.public_identity().ToPem(), "2009"}).status()));
  EXPECT_TRUE(EnrolCustomer(enroller(), Carol()).ok());
}

TEST_F(EnrolmentTest, RefusesWhatIsOutOfBounds) {
  const std::function<void(NewCustomer*)> kSpoilers[] = {
      [](NewCustomer* c) { c->username = "Carol"; },
      [](NewCustomer* c) { c->username = ""; },
      [](NewCustomer* c) { c->identity_pem = "nonsense"; },
      [](NewCustomer* c) { c->account_number = "10 03"; },
      [](NewCustomer* c) { c->password = crypto::SecretBytes::CopyOf("short"); },
      [](NewCustomer* c) { c->pin = crypto::SecretBytes::CopyOf("1"); },
      [](NewCustomer* c) { c->opening_balance_minor = -1; },
  };
  for (const auto& spoil : kSpoilers) {
    NewCustomer carol = Carol();
    spoil(&carol);
    EXPECT_TRUE(absl::IsInvalidArgument(EnrolCustomer(enroller(), carol).status()));
  }
  EXPECT_TRUE(absl::IsInvalidArgument(
      EnrolMerchant(enroller(), {"Bad Name", bob_.public_identity().ToPem(), "2009"}).status()));
}

TEST_F(EnrolmentTest, NeitherPasswordNorPinNorTheirHashesAreStored) {
  ASSERT_TRUE(EnrolCustomer(enroller(), Carol()).ok());
  ASSERT_TRUE(store_
                  ->Read([&](storage::Transaction& transaction) {
                    const auto carol = transaction.customers().FindByUsername("carol");
                    EXPECT_TRUE(carol.ok());
                    const std::string hash(crypto::PasswordHash("carol", "long enough").view());
                    EXPECT_EQ(carol->password_record.find(hash), std::string::npos);
                    EXPECT_EQ(carol->password_record.find("long enough"), std::string::npos);
                    EXPECT_EQ(carol->password_record.rfind("$argon2id$", 0), 0u);
                    return absl::OkStatus();
                  })
                  .ok());
}

}  // namespace
}  // namespace blindcart::broker
