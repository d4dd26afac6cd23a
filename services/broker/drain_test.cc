// How a broker comes to a quiet end: over real sessions on links in memory.
#include <chrono>
#include <string>
#include <thread>

#include "absl/types/optional.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "protocol/refusal.h"
#include "services/broker/testing/broker_fixture.h"
#include "services/common/metrics.h"

namespace blindcart::broker {
namespace {

using ::testing::HasSubstr;

class DrainTest : public BrokerFixture {
 protected:
  std::string Metrics() {
    MetricPage page;
    broker_->AddMetrics(page);
    return page.Text();
  }
  // Without a refusal, after which nobody would come back.
  template <typename Party>
  static void ExpectSentAway(Party& party) {
    const absl::optional<absl::Status> closed = party.WaitClosed();
    ASSERT_TRUE(closed.has_value());
    EXPECT_FALSE(protocol::IsRefusal(*closed)) << *closed;
  }
  // Until it is done; gives up after a while.
  bool DrainWholly() {
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(kTestWaitMs);
    while (!broker_->Drain()) {
      if (std::chrono::steady_clock::now() > end) return false;
    }
    return true;
  }
};

TEST_F(DrainTest, IdleLinksEndAndNoneIsTaken) {
  auto alice = LoggedIn(kAlice);
  auto books = Connected(books_);
  EXPECT_THAT(Metrics(), HasSubstr("blindcart_broker_links{kind=\"customer\"} 1\n"));
  EXPECT_THAT(Metrics(), HasSubstr("blindcart_broker_links{kind=\"merchant\"} 1\n"));
  ASSERT_TRUE(DrainWholly());
  ExpectSentAway(*alice);
  ExpectSentAway(*books);
  EXPECT_TRUE(Customer(bob_)->Login(kBob, kPassword).refused);
  EXPECT_FALSE(Merchant(music_)->Connect());
  EXPECT_THAT(Metrics(), HasSubstr("blindcart_broker_links{kind=\"customer\"} 0\n"));
  EXPECT_TRUE(broker_->Drain());
}

TEST_F(DrainTest, AHandshakeThatIsNotFinishedIsNotWaitedFor) {
  TestCustomer::Options silent;
  silent.silent_after_hello = true;
  auto alice = Customer(alice_);
  alice->Login(kAlice, kPassword, silent);
  ASSERT_TRUE(DrainWholly());
  EXPECT_TRUE(alice->WaitClosed().has_value());
}

TEST_F(DrainTest, WhatAMerchantStillOwesIsWaitedForAndNothingNewBegins) {
  auto alice = LoggedIn(kAlice);
  auto books = Connected(books_);
  const std::string sid = Id("session");
  const std::string handle = OpenSession(*alice, *books, books_, sid);
  v1::CustomerMessage request;
  request.mutable_shop_frame()->set_sid(sid);
  request.mutable_shop_frame()->set_frame("request");
  alice->Send(request);
  ASSERT_TRUE(books->Push().has_value());

  EXPECT_FALSE(broker_->Drain());
  // The merchant's part of the work goes on, its orders included.
  const v1::OrderTerms terms = Terms(books_, sid);
  EXPECT_EQ(books->Offer(handle, terms).outcome(), v1::OFFER_OUTCOME_ACCEPTED);
  EXPECT_FALSE(broker_->Drain());
  // What a customer asks for now is not done.
  alice->Send(PayMessage(terms, Id("pay"), 1'010));
  EXPECT_FALSE(broker_->Drain());
  v1::MerchantToBroker reply;
  reply.mutable_session_frame()->set_handle(handle);
  reply.mutable_session_frame()->set_frame("reply");
  books->Send(reply);
  ASSERT_TRUE(DrainWholly());
  bool answered = false;
  while (const auto push = alice->Push()) {
    answered = answered || (push->has_shop_frame() && push->shop_frame().frame() == "reply");
  }
  EXPECT_TRUE(answered);
  ExpectSentAway(*alice);
  EXPECT_EQ(AccountOf(kAliceAccount).balance_minor, kOpeningBalanceMinor);
  ExpectBooksRight();
}

TEST_F(DrainTest, APaymentThatIsUnderWayIsAnswered) {
  auto alice = LoggedIn(kAlice);
  auto books = Connected(books_);
  const std::string sid = Id("session");
  const std::string handle = OpenSession(*alice, *books, books_, sid);
  const v1::OrderTerms terms = Terms(books_, sid);
  const v1::OfferOrderResult offer = books->Offer(handle, terms);
  ASSERT_EQ(offer.outcome(), v1::OFFER_OUTCOME_ACCEPTED);
  // Its answer is waited for on another thread, while this one drains as soon as it has been taken.
  absl::optional<v1::BrokerToCustomer> answer;
  std::thread paying(
      [&] { answer = alice->Call(PayMessage(terms, Id("pay"), offer.total_minor())); });
  const auto taken = [this] {
    return Metrics().find("blindcart_calls_total{link=\"customer\",method=\"pay\"} 1\n") !=
           std::string::npos;
  };
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(kTestWaitMs);
  while (!taken() && std::chrono::steady_clock::now() < end) {
  }
  EXPECT_TRUE(DrainWholly());
  paying.join();
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(answer->pay().outcome(), v1::PAY_OUTCOME_SUCCESSFUL);
  ExpectSentAway(*alice);
  ExpectBooksRight();
}

}  // namespace
}  // namespace blindcart::broker
