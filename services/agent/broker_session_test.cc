#include "services/agent/broker_session.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "protocol/channel.h"
#include "services/agent/testing/test_world.h"

namespace blindcart::agent {
namespace {

using testing::TestWorld;

v1::CustomerMessage BalanceCall() {
  v1::CustomerMessage message;
  message.mutable_balance();
  return message;
}

absl::StatusOr<v1::BrokerToCustomer> Balance(TestWorld& world,
                                             OnBreak on_break = OnBreak::kRepeat) {
  return world.agent().broker().Call(BalanceCall(), v1::BrokerToCustomer::kBalance, on_break);
}

TEST(BrokerSessionTest, LogsInAndCalls) {
  TestWorld world;
  ASSERT_TRUE(world.Login().ok());
  const BrokerSession::State state = world.agent().broker().state();
  EXPECT_TRUE(state.logged_in);
  EXPECT_TRUE(state.connected);
  EXPECT_EQ(state.username, "alice");
  const auto answer = Balance(world);
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->balance().balance_minor(), 100'000);
}

class CountingListener : public BrokerListener {
 public:
  void OnConnected() override { ++connected; }
  void OnPush(const v1::BrokerToCustomer& message) override {
    last_number = message.mail().push().mail_number();
  }
  std::atomic<int> connected{0};
  std::atomic<uint64_t> last_number{0};
};

TEST(BrokerSessionTest, ListenersHearOfEachLoginAndOfPushesWhileTheyLive) {
  TestWorld world;
  const auto listener = std::make_shared<CountingListener>();
  auto gone = std::make_shared<CountingListener>();
  world.agent().broker().AddListener(listener);
  world.agent().broker().AddListener(gone);
  gone.reset();
  ASSERT_FALSE(world.Login("wrong").ok());
  EXPECT_EQ(listener->connected, 0);
  ASSERT_TRUE(world.Login().ok());
  EXPECT_EQ(listener->connected, 1);
  world.broker.BreakLinks();
  ASSERT_TRUE(Balance(world).ok());
  EXPECT_EQ(listener->connected, 2);
  v1::BrokerToCustomer push;
  push.mutable_mail()->mutable_push()->set_mail_number(7);
  world.broker.Push(push);
  EXPECT_TRUE(TestWorld::Await([&] { return listener->last_number == 7; }));
}

TEST(BrokerSessionTest, NothingWorksBeforeLogin) {
  TestWorld world;
  EXPECT_TRUE(absl::IsUnauthenticated(Balance(world).status()));
  EXPECT_FALSE(world.agent().broker().state().logged_in);
}

TEST(BrokerSessionTest, WrongPasswordAndUnknownUserReadAlike) {
  TestWorld world;
  const absl::Status wrong_password = world.Login("wrong");
  EXPECT_TRUE(absl::IsUnauthenticated(wrong_password));
  const absl::Status unknown_user =
      world.agent().broker().Login("mallory", crypto::SecretBytes::CopyOf("correct horse"));
  EXPECT_TRUE(absl::IsUnauthenticated(unknown_user));
  EXPECT_EQ(wrong_password, unknown_user);
  EXPECT_FALSE(world.agent().broker().state().logged_in);
  EXPECT_EQ(world.broker.logins, 0);
}

TEST(BrokerSessionTest, SaysWhenToTryAgain) {
  TestWorld world;
  world.broker.retry_after_ms = 4'200;
  const absl::Status status = world.Login("wrong");
  EXPECT_TRUE(absl::IsUnauthenticated(status));
  EXPECT_NE(status.message().find("try again in 5 s"), absl::string_view::npos) << status;
}

TEST(BrokerSessionTest, ImpossibleNamesAreNotSent) {
  TestWorld world;
  for (const char* name : {"", "Alice", "../x", "-a", "a b"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(
        world.agent().broker().Login(name, crypto::SecretBytes::CopyOf("x"))))
        << name;
  }
  EXPECT_TRUE(
      absl::IsInvalidArgument(world.agent().broker().Login("alice", crypto::SecretBytes())));
}

TEST(BrokerSessionTest, AnUnreachableBrokerIsUnavailable) {
  TestWorld world;
  world.broker.reachable = false;
  EXPECT_TRUE(absl::IsUnavailable(world.Login()));
  EXPECT_FALSE(world.agent().broker().state().logged_in);
}

TEST(BrokerSessionTest, AfterARefusalTheNextBrokerIsTried) {
  TestWorld world(/*broker_addresses=*/3);
  ASSERT_FALSE(world.Login("wrong").ok());
  ASSERT_TRUE(world.Login().ok());
  ASSERT_EQ(world.dialled.size(), 2u);
  EXPECT_EQ(world.dialled[1], (world.dialled[0] + 1) % 3);
}

TEST(BrokerSessionTest, AnotherBrokerOfTheMarketTakesOverAtOnce) {
  TestWorld world(/*broker_addresses=*/3);
  ASSERT_TRUE(world.Login().ok());
  ASSERT_EQ(world.dialled.size(), 1u);
  const size_t first = world.dialled[0];
  EXPECT_EQ(world.agent().broker_address(), absl::StrCat("unix:/broker-", first, ".sock"));
  // The broker there dies, and another one as well: the third one is found without a failed call.
  world.down = {first, (first + 1) % 3};
  world.broker.BreakLinks();
  ASSERT_TRUE(Balance(world).ok());
  const size_t last = (first + 2) % 3;
  EXPECT_EQ(world.dialled.back(), last);
  EXPECT_LE(world.dialled.size(), 3u);
  EXPECT_EQ(world.agent().broker().state().address, last);
  EXPECT_EQ(world.broker.logins, 2);
  // It stays there though the others come back.
  world.down.clear();
  ASSERT_TRUE(Balance(world).ok());
  EXPECT_EQ(world.broker.logins, 2);

  world.down = {0, 1, 2};
  world.broker.BreakLinks();
  const size_t before = world.dialled.size();
  EXPECT_TRUE(absl::IsUnavailable(Balance(world).status()));
  EXPECT_EQ(std::set<size_t>(world.dialled.begin() + before, world.dialled.end()).size(), 3u)
      << "each is asked before the market is called unreachable";
  EXPECT_TRUE(world.agent().broker().state().logged_in);
}

TEST(BrokerSessionTest, ARejectedLoginIsNotCarriedToTheOtherBrokers) {
  TestWorld world(/*broker_addresses=*/3);
  EXPECT_TRUE(absl::IsUnauthenticated(world.Login("wrong")));
  EXPECT_EQ(world.dialled.size(), 1u);
}

TEST(BrokerSessionTest, CustomersBeginAtAnyBroker) {
  std::set<size_t> begun;
  TestWorld world(/*broker_addresses=*/3);
  for (int i = 0; i < 50; ++i) {
    if (i > 0) world.RestartAgent();
    ASSERT_TRUE(world.Login().ok());
    begun.insert(world.dialled.back());
  }
  EXPECT_EQ(begun.size(), 3u);
}

TEST(BrokerSessionTest, TheNextCallOpensANewSession) {
  TestWorld world;
  ASSERT_TRUE(world.Login().ok());
  world.broker.BreakLinks();
  ASSERT_TRUE(TestWorld::Await([&] { return !world.agent().broker().state().connected; }));
  EXPECT_TRUE(world.agent().broker().state().logged_in);
  EXPECT_TRUE(Balance(world).ok());
  EXPECT_EQ(world.broker.logins, 2);
  EXPECT_TRUE(world.agent().broker().state().connected);
}

TEST(BrokerSessionTest, ACallWhoseLinkBrokeIsRepeatedOnce) {
  TestWorld world;
  ASSERT_TRUE(world.Login().ok());
  world.broker.break_before = {v1::CustomerMessage::kBalance};
  EXPECT_TRUE(Balance(world).ok());
  world.broker.break_after = {v1::CustomerMessage::kBalance};
  EXPECT_TRUE(Balance(world).ok());
  EXPECT_EQ(world.broker.logins, 3);
}

TEST(BrokerSessionTest, ACallBrokenTwiceIsUnavailable) {
  TestWorld world;
  ASSERT_TRUE(world.Login().ok());
  world.broker.break_before = {v1::CustomerMessage::kBalance};
  world.broker.break_after = {v1::CustomerMessage::kBalance};
  EXPECT_TRUE(absl::IsUnavailable(Balance(world).status()));
}

TEST(BrokerSessionTest, ACallThatMustNotBeRepeatedIsNot) {
  TestWorld world;
  ASSERT_TRUE(world.Login().ok());
  world.broker.break_after = {v1::CustomerMessage::kBalance};
  EXPECT_TRUE(absl::IsUnavailable(Balance(world, OnBreak::kGiveUp).status()));
  EXPECT_EQ(world.broker.logins, 1);
}

TEST(BrokerSessionTest, AnAnswerOfAnotherKindIsDataLoss) {
  TestWorld world;
  ASSERT_TRUE(world.Login().ok());
  world.broker.alter = [](const v1::CustomerMessage&, v1::BrokerToCustomer* answer) {
    answer->mutable_pay();
  };
  EXPECT_TRUE(absl::IsDataLoss(Balance(world).status()));
}

TEST(BrokerSessionTest, ABrokerThatDoesNotAnswerIsUnavailable) {
  TestWorld world;
  world.options.broker.call_timeout_ms = 30;
  world.RestartAgent();
  ASSERT_TRUE(world.Login().ok());
  world.broker.alter = [](const v1::CustomerMessage& call, v1::BrokerToCustomer* answer) {
    answer->set_call_id(call.call_id() + 1000);
  };
  EXPECT_TRUE(absl::IsUnavailable(Balance(world).status()));
  EXPECT_EQ(world.broker.logins, 1);
}

TEST(BrokerSessionTest, ReopensByItselfWithGrowingDelays) {
  TestWorld world;
  // So that the reconnect is the one task that waits for less than an hour.
  world.options.broker.sweep_interval_ms = 3'600'000;
  world.RestartAgent();
  world.scheduler.Advance(10'000);
  ASSERT_TRUE(world.Login().ok());
  world.broker.reachable = false;
  world.broker.BreakLinks();
  ASSERT_TRUE(TestWorld::Await([&] { return world.scheduler.Delays().size() == 2; }));
  int64_t bound_ms = world.options.broker.min_backoff_ms;
  for (int i = 0; i < 10; ++i) {
    ASSERT_EQ(world.scheduler.Delays().size(), 2u);
    const int64_t delay_ms = world.scheduler.Delays().front();
    EXPECT_LE(delay_ms, bound_ms) << i;
    EXPECT_GE(delay_ms, bound_ms / 2) << i;
    world.scheduler.Advance(delay_ms);
    // The break itself counts as no failure yet, so the first bound comes twice.
    if (i > 0) bound_ms = std::min(bound_ms * 2, world.options.broker.max_backoff_ms);
  }
  EXPECT_EQ(bound_ms, world.options.broker.max_backoff_ms);
  EXPECT_EQ(world.broker.logins, 1);
  world.broker.reachable = true;
  world.scheduler.Advance(world.options.broker.max_backoff_ms);
  EXPECT_TRUE(world.agent().broker().state().connected);
  EXPECT_EQ(world.broker.logins, 2);
}

TEST(BrokerSessionTest, GivesUpAfterManyRejections) {
  TestWorld world;
  ASSERT_TRUE(world.Login().ok());
  world.broker.password = "changed";
  world.broker.BreakLinks();
  ASSERT_TRUE(TestWorld::Await([&] { return !world.agent().broker().state().connected; }));
  for (int i = 1; i < world.options.broker.max_rejections; ++i) {
    EXPECT_TRUE(absl::IsUnauthenticated(Balance(world).status()));
    EXPECT_TRUE(world.agent().broker().state().logged_in);
  }
  EXPECT_TRUE(absl::IsUnauthenticated(Balance(world).status()));
  EXPECT_FALSE(world.agent().broker().state().logged_in);
  EXPECT_TRUE(world.agent().broker().state().username.empty());
}

TEST(BrokerSessionTest, BusyBrokersDoNotLogTheCustomerOut) {
  TestWorld world(/*broker_addresses=*/3);
  ASSERT_TRUE(world.Login().ok());
  world.broker.busy = true;
  world.broker.BreakLinks();
  ASSERT_TRUE(TestWorld::Await([&] { return !world.agent().broker().state().connected; }));
  const size_t before = world.dialled.size();
  EXPECT_TRUE(absl::IsUnavailable(Balance(world).status()));
  EXPECT_EQ(std::set<size_t>(world.dialled.begin() + before, world.dialled.end()).size(), 3u)
      << "another one may have time";
  for (int i = 0; i < 2 * world.options.broker.max_rejections; ++i) {
    EXPECT_TRUE(absl::IsUnavailable(Balance(world).status()));
  }
  EXPECT_TRUE(world.agent().broker().state().logged_in);
  world.broker.busy = false;
  EXPECT_TRUE(Balance(world).ok());
}

TEST(BrokerSessionTest, WaitsAsLongAsTheBrokerAsked) {
  TestWorld world;
  ASSERT_TRUE(world.Login().ok());
  const std::string right = world.broker.password;
  world.broker.password = "changed";
  world.broker.retry_after_ms = 60'000;
  world.broker.BreakLinks();
  ASSERT_TRUE(TestWorld::Await([&] { return !world.agent().broker().state().connected; }));
  EXPECT_TRUE(absl::IsUnauthenticated(Balance(world).status()));
  world.broker.password = right;
  EXPECT_TRUE(absl::IsUnauthenticated(Balance(world).status()));
  EXPECT_EQ(world.broker.logins, 1);
  world.clock.Advance(60'000);
  EXPECT_TRUE(Balance(world).ok());
  EXPECT_EQ(world.broker.logins, 2);
}

TEST(BrokerSessionTest, LogoutEndsTheSessionForGood) {
  TestWorld world;
  ASSERT_TRUE(world.Login().ok());
  world.agent().broker().Logout();
  EXPECT_FALSE(world.agent().broker().state().logged_in);
  EXPECT_TRUE(absl::IsUnauthenticated(Balance(world).status()));
  world.scheduler.Advance(world.options.broker.max_backoff_ms * 2);
  EXPECT_EQ(world.broker.logins, 1);
}

TEST(BrokerSessionTest, AnotherLoginTakesTheFirstOnesPlace) {
  TestWorld world;
  ASSERT_TRUE(world.Login().ok());
  EXPECT_FALSE(world.Login("wrong").ok());
  EXPECT_FALSE(world.agent().broker().state().logged_in);
  ASSERT_TRUE(world.Login().ok());
  EXPECT_TRUE(Balance(world).ok());
}

TEST(BrokerSessionTest, AnIdleSessionEndsAndTheNextCallOpensAnother) {
  TestWorld world;
  ASSERT_TRUE(world.Login().ok());
  world.clock.Advance(protocol::kIdleLimitMs + 1);
  world.scheduler.Advance(world.options.broker.sweep_interval_ms);
  ASSERT_TRUE(TestWorld::Await([&] { return !world.agent().broker().state().connected; }));
  EXPECT_TRUE(Balance(world).ok());
  EXPECT_EQ(world.broker.logins, 2);
}

TEST(BrokerSessionTest, NothingWorksAfterTheShutdown) {
  TestWorld world;
  ASSERT_TRUE(world.Login().ok());
  world.agent().Shutdown();
  EXPECT_FALSE(Balance(world).ok());
  EXPECT_FALSE(world.Login().ok());
}

}  // namespace
}  // namespace blindcart::agent
