#include "services/merchant/checkout.h"

#include <atomic>
#include <future>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "crypto/hash.h"
#include "gtest/gtest.h"
#include "protocol/order.h"
#include "services/merchant/testing/test_shop.h"

namespace blindcart::merchant {
namespace {

using testing::kChargeMinor;
using testing::kOrderLifetimeMs;
using testing::TestShop;

v1::OfferOrderResult Answer(v1::OfferOutcome outcome) {
  v1::OfferOrderResult answer;
  answer.set_outcome(outcome);
  return answer;
}

// What the agent will check, with its own code.
absl::Status AgentAccepts(TestShop& shop, const v1::CheckoutRequest& request,
                          const std::string& sid, const v1::CheckoutResult& result,
                          int64_t price_minor, const std::string& content) {
  v1::Product wanted;
  wanted.set_product_id(request.product_id());
  wanted.set_version(1);
  wanted.set_title(result.title());
  wanted.set_price_minor(price_minor);
  wanted.set_currency("EUR");
  wanted.set_format("bin");
  wanted.set_size_bytes(content.size());
  wanted.set_content_hash(crypto::Sha256(content));
  return protocol::CheckCheckout(shop.merchant.public_identity(), wanted, sid, request.order_key(),
                                 result);
}

TEST(CheckoutTest, MakesAnOrderThatTheAgentAccepts) {
  TestShop shop;
  const v1::CheckoutRequest request = shop.NewRequest(shop.AddProduct("content", 1250));
  const std::string sid = shop.random.Bytes(16);
  const v1::CheckoutResult result = shop.Run(request, sid);
  ASSERT_EQ(result.outcome(), v1::CHECKOUT_OUTCOME_ORDERED);
  const absl::Status accepted = AgentAccepts(shop, request, sid, result, 1250, "content");
  EXPECT_TRUE(accepted.ok()) << accepted;
  EXPECT_EQ(result.charge_minor(), kChargeMinor);
  EXPECT_EQ(result.total_minor(), 1250 + kChargeMinor);
  EXPECT_EQ(result.terms().expires_at_ms(), shop.clock.NowUnixMs() + kOrderLifetimeMs);
  ASSERT_EQ(shop.fake_broker->offers().size(), 1u);
  EXPECT_EQ(shop.fake_broker->offers()[0].terms().SerializeAsString(),
            result.terms().SerializeAsString());
}

TEST(CheckoutTest, TheOrderIsDurableBeforeTheBrokerHearsAndConfirmedBeforeTheCustomerDoes) {
  TestShop shop;
  const v1::CheckoutRequest request = shop.NewRequest(shop.AddProduct("content"));
  shop.fake_broker->Hold();
  std::promise<v1::CheckoutResult> result;
  std::future<v1::CheckoutResult> answered = result.get_future();
  shop.checkout->Run(shop.NewCall(request),
                     [&result](v1::CheckoutResult made) { result.set_value(made); });
  shop.DrainWrites();
  ASSERT_EQ(shop.fake_broker->offers().size(), 1u);
  const std::string order_id = shop.fake_broker->offers()[0].terms().order_id();
  EXPECT_EQ(shop.GetOrder(order_id).status, v1::ORDER_STATUS_CREATED);
  EXPECT_FALSE(shop.GetOrder(order_id).total_minor.has_value());
  shop.fake_broker->Release();
  EXPECT_EQ(answered.get().outcome(), v1::CHECKOUT_OUTCOME_ORDERED);
  EXPECT_EQ(*shop.GetOrder(order_id).total_minor, 1250 + kChargeMinor);
}

TEST(CheckoutTest, TheSameRequestInTheSameSessionGetsTheSameOrder) {
  TestShop shop;
  const v1::CheckoutRequest request = shop.NewRequest(shop.AddProduct("content", 1250, 1));
  const std::string sid = shop.random.Bytes(16);
  const v1::CheckoutResult first = shop.Run(request, sid);
  const v1::CheckoutResult again = shop.Run(request, sid, first.terms().order_id());
  EXPECT_EQ(first.SerializeAsString(), again.SerializeAsString());
  EXPECT_EQ(shop.OrderCount(), 1);
  EXPECT_EQ(shop.fake_broker->offers().size(), 1u);
}

TEST(CheckoutTest, TheSameRequestInAnotherSessionGetsANewOrderWithTermsForThatSession) {
  TestShop shop;
  const v1::CheckoutRequest request = shop.NewRequest(shop.AddProduct("content", 1250, 2));
  const v1::CheckoutResult first = shop.Run(request);
  const std::string sid = shop.random.Bytes(16);
  const v1::CheckoutResult second = shop.Run(request, sid);
  ASSERT_EQ(second.outcome(), v1::CHECKOUT_OUTCOME_ORDERED);
  EXPECT_NE(first.terms().order_id(), second.terms().order_id());
  EXPECT_TRUE(AgentAccepts(shop, request, sid, second, 1250, "content").ok());
  EXPECT_TRUE(shop.GetOrder(first.terms().order_id()).superseded);
  // The first was confirmed, so somebody could still pay it: it keeps its unit.
  EXPECT_EQ(shop.Stock(request.product_id()), 0);
}

TEST(CheckoutTest, ARetryAfterALostOfferTakesItsUnitOver) {
  TestShop shop;
  const v1::CheckoutRequest request = shop.NewRequest(shop.AddProduct("content", 1250, 1));
  shop.fake_broker->AnswerWith(absl::nullopt);
  EXPECT_EQ(shop.Run(request).outcome(), v1::CHECKOUT_OUTCOME_BUSY);
  EXPECT_EQ(shop.Stock(request.product_id()), 0);
  v1::OfferOrderResult accepted = Answer(v1::OFFER_OUTCOME_ACCEPTED);
  accepted.set_charge_minor(5);
  accepted.set_total_minor(1255);
  shop.fake_broker->AnswerWith(accepted);
  EXPECT_EQ(shop.Run(request).outcome(), v1::CHECKOUT_OUTCOME_ORDERED);
  EXPECT_EQ(shop.Stock(request.product_id()), 0);
}

TEST(CheckoutTest, ALateConfirmationOfASupersededOrderIsNotPassedOn) {
  TestShop shop;
  const v1::CheckoutRequest request = shop.NewRequest(shop.AddProduct("content", 1250, 1));
  shop.fake_broker->Hold();
  std::promise<v1::CheckoutResult> result;
  shop.checkout->Run(shop.NewCall(request),
                     [&result](v1::CheckoutResult made) { result.set_value(made); });
  shop.DrainWrites();
  std::promise<v1::CheckoutResult> second_result;
  shop.checkout->Run(shop.NewCall(request),
                     [&second_result](v1::CheckoutResult made) { second_result.set_value(made); });
  shop.DrainWrites();
  shop.fake_broker->Release();
  EXPECT_EQ(result.get_future().get().outcome(), v1::CHECKOUT_OUTCOME_BUSY);
  EXPECT_EQ(second_result.get_future().get().outcome(), v1::CHECKOUT_OUTCOME_ORDERED);
}

TEST(CheckoutTest, AUsedOrderKeyIsRefused) {
  TestShop shop;
  const std::string product_id = shop.AddProduct("content", 1250, 5);
  const v1::CheckoutRequest first = shop.NewRequest(product_id);
  ASSERT_EQ(shop.Run(first).outcome(), v1::CHECKOUT_OUTCOME_ORDERED);
  v1::CheckoutRequest other_request = shop.NewRequest(product_id);
  other_request.set_order_key(first.order_key());
  EXPECT_EQ(shop.Run(other_request).outcome(), v1::CHECKOUT_OUTCOME_ORDER_KEY_USED);
  // The same request id for something else is no repetition.
  v1::CheckoutRequest other_key = shop.NewRequest(product_id);
  other_key.set_request_id(first.request_id());
  EXPECT_EQ(shop.Run(other_key).outcome(), v1::CHECKOUT_OUTCOME_ORDER_KEY_USED);
  v1::CheckoutRequest other_product = first;
  other_product.set_product_id(shop.AddProduct("other"));
  EXPECT_EQ(shop.Run(other_product).outcome(), v1::CHECKOUT_OUTCOME_ORDER_KEY_USED);
  EXPECT_EQ(shop.OrderCount(), 1);
  EXPECT_EQ(shop.Stock(product_id), 4);
}

TEST(CheckoutTest, ARequestWhoseOrderWasPaidIsOver) {
  TestShop shop;
  const v1::CheckoutRequest request = shop.NewRequest(shop.AddProduct("content"));
  const v1::CheckoutResult first = shop.Run(request);
  shop.Pay(first.terms().order_id());
  EXPECT_EQ(shop.Run(request).outcome(), v1::CHECKOUT_OUTCOME_ORDER_KEY_USED);
}

TEST(CheckoutTest, UnknownRemovedAndSoldOutProducts) {
  TestShop shop;
  EXPECT_EQ(shop.Run(shop.NewRequest(shop.random.Bytes(16))).outcome(),
            v1::CHECKOUT_OUTCOME_NO_SUCH_PRODUCT);
  const std::string product_id = shop.AddProduct("content", 1250, 0);
  EXPECT_EQ(shop.Run(shop.NewRequest(product_id)).outcome(), v1::CHECKOUT_OUTCOME_SOLD_OUT);
  EXPECT_EQ(shop.OrderCount(), 0);
  EXPECT_TRUE(shop.fake_broker->offers().empty());
}

TEST(CheckoutTest, AnOrderThatTheBrokerRefusesEndsAndGivesItsUnitBack) {
  TestShop shop;
  const std::string product_id = shop.AddProduct("content", 1250, 1);
  for (const v1::OfferOutcome outcome :
       {v1::OFFER_OUTCOME_INVALID, v1::OFFER_OUTCOME_CURRENCY, v1::OFFER_OUTCOME_ALREADY_EXISTS}) {
    shop.fake_broker->AnswerWith(Answer(outcome));
    EXPECT_EQ(shop.Run(shop.NewRequest(product_id)).outcome(),
              v1::CHECKOUT_OUTCOME_BROKER_DECLINED);
    EXPECT_EQ(shop.GetOrder(shop.fake_broker->offers().back().terms().order_id()).status,
              v1::ORDER_STATUS_DECLINED);
    EXPECT_EQ(shop.Stock(product_id), 1);
  }
}

TEST(CheckoutTest, ATotalThatDoesNotAddUpIsRefused) {
  TestShop shop;
  const std::string product_id = shop.AddProduct("content", 1250);
  v1::OfferOrderResult answer = Answer(v1::OFFER_OUTCOME_ACCEPTED);
  for (const auto& [charge_minor, total_minor] : std::vector<std::pair<int64_t, int64_t>>{
           {10, 1259}, {-10, 1240}, {INT64_MAX, INT64_MAX}, {INT64_MIN, 1250}}) {
    answer.set_charge_minor(charge_minor);
    answer.set_total_minor(total_minor);
    shop.fake_broker->AnswerWith(answer);
    EXPECT_EQ(shop.Run(shop.NewRequest(product_id)).outcome(), v1::CHECKOUT_OUTCOME_BROKER_DECLINED)
        << charge_minor;
  }
}

TEST(CheckoutTest, ABusyBrokerLeavesARequestThatMayBeRetried) {
  TestShop shop;
  const v1::CheckoutRequest request = shop.NewRequest(shop.AddProduct("content", 1250, 1));
  shop.fake_broker->AnswerWith(Answer(v1::OFFER_OUTCOME_BUSY));
  EXPECT_EQ(shop.Run(request).outcome(), v1::CHECKOUT_OUTCOME_BUSY);
  EXPECT_EQ(shop.Run(request).outcome(), v1::CHECKOUT_OUTCOME_BUSY);
  EXPECT_EQ(shop.Stock(request.product_id()), 0) << "one unit for one request, however often";
}

TEST(CheckoutTest, ProductsChangedSinceDoNotTouchAnOrder) {
  TestShop shop;
  const std::string product_id = shop.AddProduct("version 1", 1000);
  const v1::CheckoutResult result = shop.Run(shop.NewRequest(product_id));
  shop.AddProduct("the second version", 2000, absl::nullopt, product_id);
  const orders::Order order = shop.GetOrder(result.terms().order_id());
  EXPECT_EQ(order.price_minor, 1000);
  EXPECT_EQ(order.content_hash, crypto::Sha256("version 1"));
}

TEST(CheckoutTest, ManyConcurrentCheckoutsNeverOversell) {
  TestShop shop;
  constexpr int kThreads = 64;
  constexpr int kStock = 20;
  const std::string product_id = shop.AddProduct("content", 1250, kStock);
  std::vector<v1::CheckoutRequest> requests;
  for (int t = 0; t < kThreads; ++t) requests.push_back(shop.NewRequest(product_id));
  std::atomic<int> ordered{0};
  std::atomic<int> sold_out{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      const v1::CheckoutOutcome outcome = shop.Run(requests[static_cast<size_t>(t)]).outcome();
      if (outcome == v1::CHECKOUT_OUTCOME_ORDERED) ++ordered;
      if (outcome == v1::CHECKOUT_OUTCOME_SOLD_OUT) ++sold_out;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(ordered, kStock);
  EXPECT_EQ(sold_out, kThreads - kStock);
  EXPECT_EQ(shop.Stock(product_id), 0);
}

TEST(CheckoutTest, OneRequestFromManySessionsAtOnceLeavesOneLiveOrder) {
  TestShop shop;
  const v1::CheckoutRequest request = shop.NewRequest(shop.AddProduct("content", 1250, 100));
  std::vector<std::thread> threads;
  for (int t = 0; t < 16; ++t) {
    threads.emplace_back([&] { shop.Run(request); });
  }
  for (std::thread& thread : threads) thread.join();
  int live = 0;
  std::set<std::string> ids;
  for (const v1::OfferOrderCall& offer : shop.fake_broker->offers()) {
    ids.insert(offer.terms().order_id());
    if (!shop.GetOrder(offer.terms().order_id()).superseded) ++live;
  }
  EXPECT_EQ(ids.size(), 16u);
  EXPECT_EQ(live, 1);
}

}  // namespace
}  // namespace blindcart::merchant
