#include "services/broker/notary.h"

#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/time/time.h"
#include "crypto/certificate_authority.h"
#include "crypto/hash.h"
#include "crypto/time_stamp.h"
#include "gtest/gtest.h"
#include "services/broker/testing/broker_fixture.h"
#include "services/common/testing/inline_executor.h"

namespace blindcart::broker {
namespace {

constexpr int64_t kMinuteMs = 60'000;
constexpr absl::Duration kDay = absl::Hours(24);

// One authority and one key for all tests: the key takes seconds to make.
struct TestNotary {
  TestNotary()
      : authority(*crypto::CertificateAuthority::Create("A broker", Period(3650))),
        key(crypto::TimeStampKey::Generate()),
        responder(Responder(3650)) {}

  static crypto::ValidityPeriod Period(int days) {
    const absl::Time now = absl::FromUnixMillis(protocol::FakeClock().NowUnixMs());
    return {now - kDay, now + days * kDay};
  }
  crypto::TimeStampResponder Responder(int days) const {
    return *crypto::TimeStampResponder::Create(
        key, authority
                 .IssueTimeStamping("Notary", *crypto::RsaPublicKey::FromSpkiDer(key.SpkiDer()),
                                    Period(days))
                 ->ToPem());
  }

  const crypto::CertificateAuthority authority;
  const crypto::TimeStampKey key;
  const crypto::TimeStampResponder responder;
};

const TestNotary& TheNotary() {
  static const auto* const notary = new TestNotary;
  return *notary;
}

const std::string& Document() {
  static const auto* const hash = new std::string(crypto::Sha256("a will"));
  return *hash;
}

v1::CustomerMessage StampMessage(const std::string& nonce = "nonce") {
  v1::CustomerMessage message;
  message.mutable_notary()->set_time_stamp_request(
      *crypto::MakeTimeStampRequest(Document(), Id(nonce)));
  return message;
}

class NotaryTest : public BrokerFixture {
 protected:
  NotaryTest() {
    signers_.time_stamps = &TheNotary().responder;
    Restart();
    alice_link_ = LoggedIn(kAlice);
  }
  ~NotaryTest() override { alice_link_.reset(); }

  void RestartAll() {
    alice_link_.reset();
    Restart();
    alice_link_ = LoggedIn(kAlice);
  }
  v1::NotaryResult Stamp(TestCustomer& customer) {
    const auto reply = customer.Call(StampMessage());
    EXPECT_TRUE(reply.has_value() && reply->has_notary());
    return reply.has_value() ? reply->notary() : v1::NotaryResult();
  }
  v1::NotaryResult Stamp() { return Stamp(*alice_link_); }
  absl::StatusOr<crypto::TimeStamp> Verify(const v1::NotaryResult& result) {
    return crypto::VerifyTimeStamp(
        result.time_stamp_response(),
        {Document(), Id("nonce"), TheNotary().authority.certificate().ToPem(), clock_.NowUnixMs()});
  }
  int64_t SerialOf(const v1::NotaryResult& result) {
    int64_t serial = 0;
    const auto stamp = crypto::ReadTimeStamp(result.time_stamp_response());
    EXPECT_TRUE(stamp.ok() && absl::SimpleHexAtoi(stamp->serial_hex, &serial)) << stamp.status();
    return serial;
  }

  std::unique_ptr<TestCustomer> alice_link_;
};

TEST_F(NotaryTest, StampsAHash) {
  const v1::NotaryResult result = Stamp();
  ASSERT_EQ(result.outcome(), v1::NOTARY_OUTCOME_STAMPED);
  const auto stamp = Verify(result);
  ASSERT_TRUE(stamp.ok()) << stamp.status();
  EXPECT_EQ(stamp->time_ms, clock_.NowUnixMs());
}

TEST_F(NotaryTest, KeepsSerialAndHashOfTheTokenAndNothingElse) {
  const v1::NotaryResult result = Stamp();
  const int64_t serial = SerialOf(result);
  ASSERT_TRUE(store_
                  ->Read([&](storage::Transaction& transaction) {
                    const auto token = transaction.tokens().Get(serial);
                    EXPECT_TRUE(token.ok()) << token.status();
                    // The token stands at the response's end, behind the status.
                    EXPECT_EQ(token->hash, crypto::Sha256(result.time_stamp_response().substr(9)));
                    return absl::OkStatus();
                  })
                  .ok());
}

TEST_F(NotaryTest, SerialsAscendAlsoAfterARestart) {
  std::vector<int64_t> serials;
  for (int i = 0; i < 3; ++i) {
    for (int j = 0; j < 3; ++j) serials.push_back(SerialOf(Stamp()));
    RestartAll();
  }
  for (size_t i = 1; i < serials.size(); ++i) EXPECT_GT(serials[i], serials[i - 1]);
}

TEST_F(NotaryTest, SerialsDifferWhenManyAskAtOnce) {
  std::vector<std::unique_ptr<TestCustomer>> links;
  for (int i = 0; i < 3; ++i) links.push_back(LoggedIn(kAlice));
  std::mutex mutex;
  std::set<int64_t> serials;
  std::vector<std::thread> threads;
  for (auto& link : links) {
    threads.emplace_back([&] {
      for (int i = 0; i < 10; ++i) {
        const int64_t serial = SerialOf(Stamp(*link));
        std::lock_guard<std::mutex> lock(mutex);
        serials.insert(serial);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(serials.size(), 30u);
}

TEST_F(NotaryTest, StampsNothingWhileTheClockIsBehindTheLastToken) {
  ASSERT_EQ(Stamp().outcome(), v1::NOTARY_OUTCOME_STAMPED);
  clock_.ShiftUnix(-1);
  EXPECT_EQ(Stamp().outcome(), v1::NOTARY_OUTCOME_CLOCK);
  EXPECT_TRUE(Stamp().time_stamp_response().empty());
  // Also for a broker that has just started.
  RestartAll();
  EXPECT_EQ(Stamp().outcome(), v1::NOTARY_OUTCOME_CLOCK);
  // Until the clock has caught up.
  clock_.Advance(1);
  EXPECT_EQ(Stamp().outcome(), v1::NOTARY_OUTCOME_STAMPED);
}

TEST_F(NotaryTest, NoticesAClockSetBackBetweenTokens) {
  ASSERT_EQ(Stamp().outcome(), v1::NOTARY_OUTCOME_STAMPED);
  clock_.Advance(5 * kMinuteMs);
  broker_->Sweep();
  clock_.ShiftUnix(-kMinuteMs);  // Still after the last token.
  EXPECT_EQ(Stamp().outcome(), v1::NOTARY_OUTCOME_CLOCK);
  broker_->Sweep();
  EXPECT_EQ(Stamp().outcome(), v1::NOTARY_OUTCOME_CLOCK);
  clock_.Advance(kMinuteMs);
  EXPECT_EQ(Stamp().outcome(), v1::NOTARY_OUTCOME_STAMPED);
}

TEST_F(NotaryTest, OneCustomerHasABoundedShare) {
  const auto bob = LoggedIn(kBob);
  int stamped = 0;
  v1::NotaryResult last;
  for (int i = 0; i < 65; ++i) {
    last = Stamp();
    stamped += last.outcome() == v1::NOTARY_OUTCOME_STAMPED ? 1 : 0;
  }
  EXPECT_EQ(stamped, 64);
  ASSERT_EQ(last.outcome(), v1::NOTARY_OUTCOME_TRY_LATER);
  EXPECT_EQ(last.retry_after_ms(), 500);
  EXPECT_EQ(Stamp(*bob).outcome(), v1::NOTARY_OUTCOME_STAMPED);
  clock_.Advance(last.retry_after_ms());
  broker_->Sweep();
  EXPECT_EQ(Stamp().outcome(), v1::NOTARY_OUTCOME_STAMPED);
  EXPECT_EQ(Stamp().outcome(), v1::NOTARY_OUTCOME_TRY_LATER);
}

TEST_F(NotaryTest, EndsTheSessionOfWhoSendsNoRequest) {
  v1::CustomerMessage message = StampMessage();
  message.mutable_notary()->set_time_stamp_request("no request");
  EXPECT_FALSE(alice_link_->Call(message).has_value());
  EXPECT_TRUE(alice_link_->WaitClosed().has_value());
}

TEST_F(NotaryTest, ABrokerWithoutANotarySaysSo) {
  signers_.time_stamps = nullptr;
  RestartAll();
  EXPECT_EQ(Stamp().outcome(), v1::NOTARY_OUTCOME_CLOSED);
}

TEST_F(NotaryTest, StampsNothingUnderAnEndedCertificate) {
  const crypto::TimeStampResponder short_lived = TheNotary().Responder(1);
  signers_.time_stamps = &short_lived;
  RestartAll();
  EXPECT_EQ(Stamp().outcome(), v1::NOTARY_OUTCOME_STAMPED);
  alice_link_.reset();
  clock_.Advance(absl::ToInt64Milliseconds(2 * kDay));
  alice_link_ = LoggedIn(kAlice);
  EXPECT_EQ(Stamp().outcome(), v1::NOTARY_OUTCOME_CLOSED);
  alice_link_.reset();
  broker_.reset();
}

TEST_F(NotaryTest, SaysThatItIsBusyWhenTooMuchWaits) {
  const auto commits = *storage::CommitQueue::Create(*store_, storage::CommitQueue::Options());
  testing::InlineExecutor full;
  full.SetFull(true);
  Notary notary(Notary::Options(), Notary::History(), &TheNotary().responder, *commits, full,
                clock_);
  v1::NotaryResult result;
  ASSERT_TRUE(notary
                  .Stamp(1, StampMessage().notary(),
                         [&](v1::NotaryResult answer) { result = std::move(answer); })
                  .ok());
  EXPECT_EQ(result.outcome(), v1::NOTARY_OUTCOME_BUSY);
}

TEST_F(NotaryTest, BrokersOverOneStoreNeverGiveASerialTwice) {
  const auto other = *BrokerCore::Create(config_, identity_, *store_, clock_,
                                         crypto::SystemRandom(), kTestCost, signers_);
  TestCustomer bob(*other, bob_, identity_.public_identity(), clock_);
  ASSERT_TRUE(bob.Login(kBob, kPassword).success);
  // The clock stands still, so both begin with the same serial.
  std::set<int64_t> serials;
  for (int i = 0; i < 5; ++i) {
    for (TestCustomer* customer : {alice_link_.get(), &bob}) {
      const v1::NotaryResult result = Stamp(*customer);
      ASSERT_EQ(result.outcome(), v1::NOTARY_OUTCOME_STAMPED);
      EXPECT_TRUE(serials.insert(SerialOf(result)).second);
    }
  }
  bob.Disconnect();
}

TEST_F(NotaryTest, ABrokerWhoseClockIsBehindTheOthersDoesNotStamp) {
  protocol::FakeClock slow;
  const auto other = *BrokerCore::Create(config_, identity_, *store_, slow, crypto::SystemRandom(),
                                         kTestCost, signers_);
  TestCustomer bob(*other, bob_, identity_.public_identity(), slow);
  ASSERT_TRUE(bob.Login(kBob, kPassword).success);
  clock_.Advance(Notary::kMaxClockDifferenceMs);
  ASSERT_EQ(Stamp().outcome(), v1::NOTARY_OUTCOME_STAMPED);
  EXPECT_EQ(Stamp(bob).outcome(), v1::NOTARY_OUTCOME_STAMPED) << "as near as clocks are set";
  clock_.Advance(1);
  ASSERT_EQ(Stamp().outcome(), v1::NOTARY_OUTCOME_STAMPED);
  EXPECT_EQ(Stamp(bob).outcome(), v1::NOTARY_OUTCOME_CLOCK);
  slow.Advance(1);
  EXPECT_EQ(Stamp(bob).outcome(), v1::NOTARY_OUTCOME_STAMPED);
  bob.Disconnect();
}

}  // namespace
}  // namespace blindcart::broker
