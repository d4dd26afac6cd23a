#include "services/broker/customer_session.h"

#include "gtest/gtest.h"
#include "services/broker/testing/broker_fixture.h"
#include "services/storage/testing/gated_store.h"

namespace blindcart::broker {
namespace {

using protocol::RefusalReason;

class CustomerSessionTest : public BrokerFixture {
 protected:
  static v1::CustomerMessage BalanceCall(uint64_t call_id) {
    v1::CustomerMessage message;
    message.set_call_id(call_id);
    message.mutable_balance();
    return message;
  }
};

TEST_F(CustomerSessionTest, TheRightKeyAndPasswordLogIn) {
  auto alice = Customer(alice_);
  const LoginOutcome outcome = alice->Login(kAlice, kPassword);
  EXPECT_TRUE(outcome.success);
  const auto balance = alice->Call(BalanceCall(0));
  ASSERT_TRUE(balance.has_value());
  EXPECT_EQ(balance->balance().balance_minor(), kOpeningBalanceMinor);
  EXPECT_EQ(balance->balance().account_number(), kAliceAccount);
  EXPECT_EQ(balance->balance().currency(), "EUR");
}

TEST_F(CustomerSessionTest, AWrongPasswordFailsWithinTheSeal) {
  auto alice = Customer(alice_);
  const LoginOutcome outcome = alice->Login(kAlice, "wrong");
  EXPECT_FALSE(outcome.refused);
  EXPECT_FALSE(outcome.success);
  EXPECT_TRUE(alice->WaitClosed().has_value());
  EXPECT_EQ(broker_->counters().Get(RefusalReason::kPassword), 1u);
}

TEST_F(CustomerSessionTest, ABusyBrokerTurnsNoPasswordDownWhetherRightOrWrong) {
  // A right password that follows a wrong one is written down too.
  ASSERT_FALSE(Customer(alice_)->Login(kAlice, "wrong").success);
  storage::testing::GatedStore failing(*store_);
  broker_ = *BrokerCore::Create(config_, identity_, failing, clock_, crypto::SystemRandom(),
                                kTestCost, signers_);
  failing.Open(absl::UnavailableError("no database"));
  for (const char* password : {kPassword, "wrong"}) {
    auto alice = Customer(alice_);
    EXPECT_TRUE(alice->Login(kAlice, password).refused) << "nothing is said about the password";
    const auto closed = alice->WaitClosed();
    ASSERT_TRUE(closed.has_value());
    EXPECT_FALSE(protocol::IsRefusal(*closed)) << "which an agent takes for a no";
  }
  EXPECT_EQ(broker_->counters().Get(RefusalReason::kPassword), 0u);
  failing.Open();
  EXPECT_TRUE(LoggedIn(kAlice)->Call(BalanceCall(0)).has_value());
  broker_.reset();
}

TEST_F(CustomerSessionTest, UnknownUserAndWrongKeyAreAnsweredAndRefusedAlike) {
  auto known = Customer(alice_);
  ASSERT_TRUE(known->Login(kAlice, kPassword).success);
  auto unknown = Customer(alice_);
  EXPECT_TRUE(unknown->Login("nobody", kPassword).refused);
  auto wrong_key = Customer(bob_);
  EXPECT_TRUE(wrong_key->Login(kAlice, kPassword).refused);
  EXPECT_EQ(unknown->challenge().ByteSizeLong(), known->challenge().ByteSizeLong());
  EXPECT_EQ(wrong_key->challenge().ByteSizeLong(), known->challenge().ByteSizeLong());
  for (TestCustomer* refused : {unknown.get(), wrong_key.get()}) {
    const auto closed = refused->WaitClosed();
    ASSERT_TRUE(closed.has_value());
    EXPECT_TRUE(protocol::IsRefusal(*closed));
  }
}

TEST_F(CustomerSessionTest, ARecordedHelloLogsNobodyIn) {
  auto alice = Customer(alice_);
  ASSERT_TRUE(alice->Login(kAlice, kPassword).success);
  TestCustomer::Options options;
  options.replayed_hello = alice->hello();
  auto eve = Customer(bob_);
  EXPECT_TRUE(eve->Login(kAlice, kPassword, options).refused);
  // Not even for its owner: each run has keys of its own.
  auto again = Customer(alice_);
  EXPECT_TRUE(again->Login(kAlice, kPassword, options).refused);
}

TEST_F(CustomerSessionTest, AnythingButThePasswordAsFirstMessageIsRefused) {
  TestCustomer::Options options;
  options.first_message = BalanceCall(1);
  auto alice = Customer(alice_);
  EXPECT_TRUE(alice->Login(kAlice, kPassword, options).refused);
  options.first_message = v1::CustomerMessage();
  options.first_message->set_call_id(1);
  options.first_message->mutable_login()->set_password_hash("short");
  EXPECT_TRUE(alice->Login(kAlice, kPassword, options).refused);
}

TEST_F(CustomerSessionTest, ACallBeforeTheLoginsResultIsRefused) {
  TestCustomer::Options options;
  options.early_message = BalanceCall(2);
  auto alice = Customer(alice_);
  // The message arrives while the password is being checked, or, when the check is quicker, after
  // the login; in neither case is it answered before the login's result.
  const LoginOutcome outcome = alice->Login(kAlice, kPassword, options);
  if (outcome.refused) {
    EXPECT_GE(broker_->counters().Get(RefusalReason::kOutOfOrder), 1u);
  } else {
    EXPECT_TRUE(outcome.success);
  }
}

TEST_F(CustomerSessionTest, ASecondLoginMessageEndsTheSession) {
  auto alice = LoggedIn(kAlice);
  v1::CustomerMessage again;
  again.mutable_login()->set_password_hash(Id("hash", 32));
  EXPECT_FALSE(alice->Call(again).has_value());
  EXPECT_TRUE(protocol::IsRefusal(*alice->WaitClosed()));
}

TEST_F(CustomerSessionTest, GarbageAndCallsWithoutAnIdEndTheSession) {
  auto alice = LoggedIn(kAlice);
  alice->Send(BalanceCall(0));
  EXPECT_TRUE(protocol::IsRefusal(*alice->WaitClosed()));
  auto bob = LoggedIn(kBob);
  EXPECT_FALSE(bob->Call(v1::CustomerMessage()).has_value());
  EXPECT_TRUE(protocol::IsRefusal(*bob->WaitClosed()));
}

TEST_F(CustomerSessionTest, TwoLoginsOfOneCustomerStandSideBySide) {
  auto first = LoggedIn(kAlice);
  auto second = LoggedIn(kAlice);
  EXPECT_TRUE(first->Call(BalanceCall(0)).has_value());
  EXPECT_TRUE(second->Call(BalanceCall(0)).has_value());
}

TEST_F(CustomerSessionTest, TheOldestLinkMakesWayForOneTooMany) {
  std::vector<std::unique_ptr<TestCustomer>> links;
  for (int i = 0; i < config_.limits().max_links_per_customer() + 1; ++i) {
    links.push_back(LoggedIn(kAlice));
  }
  EXPECT_TRUE(links.front()->WaitClosed().has_value());
  EXPECT_TRUE(links.back()->Call(BalanceCall(0)).has_value());
}

TEST_F(CustomerSessionTest, WrongPasswordsDelayDurablyAndTheOwnerAlwaysGetsIn) {
  auto alice = Customer(alice_);
  int64_t retry_after_ms = 0;
  for (int i = 0; i < 5; ++i) {
    const LoginOutcome outcome = alice->Login(kAlice, "wrong");
    ASSERT_FALSE(outcome.refused);
    ASSERT_FALSE(outcome.success);
    retry_after_ms = outcome.retry_after_ms;
    if (i < 4) clock_.Advance(retry_after_ms);
  }
  EXPECT_EQ(retry_after_ms, 4'000);
  alice.reset();
  Restart();
  alice = Customer(alice_);
  const LoginOutcome early = alice->Login(kAlice, kPassword);
  EXPECT_FALSE(early.success);
  EXPECT_EQ(early.retry_after_ms, 4'000);
  auto bob = LoggedIn(kBob);  // Nobody else is slowed down.
  clock_.Advance(4'000);
  EXPECT_TRUE(alice->Login(kAlice, kPassword).success);
  EXPECT_FALSE(alice->Login(kAlice, "wrong").success);
  EXPECT_TRUE(alice->Login(kAlice, kPassword).success);  // The count began anew.
}

TEST_F(CustomerSessionTest, ASourceThatKeepsFailingIsSlowedDown) {
  auto eve = Customer(bob_, "ipv4:192.0.2.1");
  for (int i = 0; i < SourceThrottle::kFreeFailures; ++i) {
    ASSERT_TRUE(eve->Login(kAlice, kPassword).refused);
    eve->Disconnect();
  }
  auto alice_there = Customer(alice_, "ipv4:192.0.2.1");
  EXPECT_TRUE(alice_there->Login(kAlice, kPassword).refused);
  EXPECT_GE(broker_->counters().Get(RefusalReason::kRateLimited), 1u);
  auto alice_here = Customer(alice_, "ipv4:192.0.2.2");
  EXPECT_TRUE(alice_here->Login(kAlice, kPassword).success);
  clock_.Advance(SourceThrottle::kLongestSourceDelayMs);
  EXPECT_TRUE(alice_there->Login(kAlice, kPassword).success);
}

TEST_F(CustomerSessionTest, ALinkThatDoesNotFinishItsHandshakeIsCut) {
  TestCustomer::Options options;
  options.silent_after_hello = true;
  auto alice = Customer(alice_);
  alice->Login(kAlice, kPassword, options);
  auto bob = LoggedIn(kBob);
  clock_.Advance(config_.limits().handshake_timeout_ms());
  broker_->Sweep();
  const auto closed = alice->WaitClosed();
  ASSERT_TRUE(closed.has_value());
  EXPECT_TRUE(protocol::IsRefusal(*closed));
  EXPECT_TRUE(bob->Call(BalanceCall(0)).has_value());
}

TEST_F(CustomerSessionTest, AnIdleSessionIsClosedByTheSweep) {
  auto alice = LoggedIn(kAlice);
  clock_.Advance(protocol::kIdleLimitMs + 1);
  broker_->Sweep();
  EXPECT_TRUE(alice->WaitClosed().has_value());
}

TEST_F(CustomerSessionTest, LinksBeyondTheLimitAreTurnedAway) {
  config_.mutable_limits()->set_max_customer_links(1);
  Restart();
  auto alice = LoggedIn(kAlice);
  auto bob = Customer(bob_);
  EXPECT_TRUE(bob->Login(kBob, kPassword).refused);
  alice->Disconnect();
  EXPECT_TRUE(bob->Login(kBob, kPassword).success);
}

TEST_F(CustomerSessionTest, ListsAndFindsShops) {
  auto alice = LoggedIn(kAlice);
  auto books = Connected(books_);
  v1::CustomerMessage list;
  list.mutable_list_shops();
  auto reply = alice->Call(list);
  ASSERT_TRUE(reply.has_value());
  ASSERT_EQ(reply->list_shops().shops_size(), 2);
  EXPECT_FALSE(reply->list_shops().more());
  EXPECT_EQ(reply->list_shops().shops(0).name(), "books");
  EXPECT_TRUE(reply->list_shops().shops(0).online());
  EXPECT_EQ(reply->list_shops().shops(1).name(), "music");
  EXPECT_FALSE(reply->list_shops().shops(1).online());
  EXPECT_EQ(reply->list_shops().shops(0).identity(), books_.public_identity().Serialize());
  list.mutable_list_shops()->set_after_name("books");
  reply = alice->Call(list);
  ASSERT_EQ(reply->list_shops().shops_size(), 1);

  v1::CustomerMessage get;
  get.mutable_get_shop()->set_name("music");
  EXPECT_EQ(alice->Call(get)->get_shop().shop().name(), "music");
  get.mutable_get_shop()->set_fingerprint(books_.public_identity().fingerprint());
  EXPECT_EQ(alice->Call(get)->get_shop().shop().name(), "books");
  get.mutable_get_shop()->set_name("none");
  EXPECT_FALSE(alice->Call(get)->get_shop().has_shop());
}

TEST_F(CustomerSessionTest, OpensShopsAndDeliveriesThroughTheRelay) {
  auto alice = LoggedIn(kAlice);
  auto bob = LoggedIn(kBob);
  v1::CustomerMessage open;
  open.mutable_open_shop()->set_merchant_fingerprint(Id("nobody", 32));
  open.mutable_open_shop()->set_sid(Id("sid"));
  open.mutable_open_shop()->set_hello("hello");
  EXPECT_EQ(alice->Call(open)->open_shop().state(), v1::SHOP_STATE_UNKNOWN);
  open.mutable_open_shop()->set_merchant_fingerprint(books_.public_identity().fingerprint());
  EXPECT_EQ(alice->Call(open)->open_shop().state(), v1::SHOP_STATE_OFFLINE);

  auto books = Connected(books_);
  const std::string handle = OpenSession(*alice, *books, books_, Id("sid"));
  v1::CustomerMessage frame;
  frame.mutable_shop_frame()->set_sid(Id("sid"));
  frame.mutable_shop_frame()->set_frame("sealed request");
  alice->Send(frame);
  const auto arrived = books->Push();
  ASSERT_TRUE(arrived.has_value());
  EXPECT_EQ(arrived->session_frame().frame(), "sealed request");
  EXPECT_EQ(arrived->session_frame().handle(), handle);
  v1::MerchantToBroker answer;
  answer.mutable_session_frame()->set_handle(handle);
  answer.mutable_session_frame()->set_frame("sealed reply");
  books->Send(answer);
  EXPECT_EQ(alice->Push()->shop_frame().frame(), "sealed reply");

  v1::CustomerMessage delivery;
  delivery.mutable_open_delivery()->set_sid(Id("sid"));
  delivery.mutable_open_delivery()->set_delivery_id(Id("delivery"));
  EXPECT_FALSE(bob->Call(delivery)->open_delivery().ok());  // Not bob's session.
  EXPECT_TRUE(alice->Call(delivery)->open_delivery().ok());
  EXPECT_NE(broker_->goods().Find(Id("delivery")), nullptr);

  alice->Disconnect();
  const auto closed = books->Push();
  ASSERT_TRUE(closed.has_value());
  EXPECT_EQ(closed->session_closed().handle(), handle);
}

}  // namespace
}  // namespace blindcart::broker
