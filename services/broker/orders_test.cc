#include "services/broker/orders.h"

#include <functional>

#include "gtest/gtest.h"
#include "protocol/order.h"
#include "services/broker/testing/broker_fixture.h"

namespace blindcart::broker {
namespace {

class OrdersTest : public BrokerFixture {
 protected:
  OrdersTest() {
    alice_link_ = LoggedIn(kAlice);
    bob_link_ = LoggedIn(kBob);
    shop_ = Connected(books_);
    handle_ = OpenSession(*alice_link_, *shop_, books_, Id("sid"));
  }
  ~OrdersTest() override {
    alice_link_.reset();
    bob_link_.reset();
    shop_.reset();
  }

  v1::OrderTerms Offered() {
    const v1::OrderTerms terms = Terms(books_, Id("sid"));
    EXPECT_EQ(shop_->Offer(handle_, terms).outcome(), v1::OFFER_OUTCOME_ACCEPTED);
    return terms;
  }
  v1::GetOrderResult Get(TestCustomer& customer, const std::string& order_id) {
    v1::CustomerMessage message;
    message.mutable_get_order()->set_order_id(order_id);
    const auto reply = customer.Call(message);
    return reply.has_value() ? reply->get_order() : v1::GetOrderResult();
  }
  v1::OrderStatus Decline(TestCustomer& customer, const std::string& order_id) {
    v1::CustomerMessage message;
    message.mutable_decline()->set_order_id(order_id);
    const auto reply = customer.Call(message);
    return reply.has_value() ? reply->decline().status() : v1::ORDER_STATUS_UNSPECIFIED;
  }

  std::unique_ptr<TestCustomer> alice_link_;
  std::unique_ptr<TestCustomer> bob_link_;
  std::unique_ptr<TestMerchant> shop_;
  std::string handle_;
};

TEST_F(OrdersTest, TakesAnOrderAndShowsItToItsCustomerAlone) {
  const v1::OrderTerms terms = Terms(books_, Id("sid"), 1'001);
  const v1::OfferOrderResult offered = shop_->Offer(handle_, terms);
  EXPECT_EQ(offered.outcome(), v1::OFFER_OUTCOME_ACCEPTED);
  EXPECT_EQ(offered.charge_minor(), 11 + 5);  // 1 % of 10.01 rounded up, and the fixed part.
  EXPECT_EQ(offered.total_minor(), 1'017);

  const v1::GetOrderResult order = Get(*alice_link_, terms.order_id());
  EXPECT_TRUE(order.found());
  EXPECT_EQ(order.terms().SerializeAsString(), terms.SerializeAsString());
  EXPECT_TRUE(protocol::VerifyTerms(books_.public_identity(), order.terms()).ok());
  EXPECT_EQ(order.merchant_fingerprint(), books_.public_identity().fingerprint());
  EXPECT_EQ(order.charge_minor(), 16);
  EXPECT_EQ(order.total_minor(), 1'017);
  EXPECT_EQ(order.status(), v1::ORDER_STATUS_CREATED);
  EXPECT_FALSE(order.has_receipt());

  EXPECT_FALSE(Get(*bob_link_, terms.order_id()).found());
  EXPECT_FALSE(Get(*alice_link_, Id("no such order")).found());
}

TEST_F(OrdersTest, TheSameOfferAgainIsAcceptedAgain) {
  const v1::OrderTerms terms = Offered();
  EXPECT_EQ(shop_->Offer(handle_, terms).outcome(), v1::OFFER_OUTCOME_ACCEPTED);
  EXPECT_EQ(shop_->Offer(handle_, terms).total_minor(), 1'015);
}

TEST_F(OrdersTest, AnOrderIdThatIsTakenIsRefused) {
  v1::OrderTerms terms = Offered();
  terms.set_price_minor(2'000);
  protocol::SignTerms(books_, &terms);
  EXPECT_EQ(shop_->Offer(handle_, terms).outcome(), v1::OFFER_OUTCOME_ALREADY_EXISTS);
  EXPECT_EQ(Get(*alice_link_, terms.order_id()).terms().price_minor(), 1'000);
  // Nor may another merchant take it.
  auto music = Connected(music_);
  const std::string handle = OpenSession(*alice_link_, *music, music_, Id("sid2"));
  terms.set_sid(Id("sid2"));
  protocol::SignTerms(music_, &terms);
  EXPECT_EQ(music->Offer(handle, terms).outcome(), v1::OFFER_OUTCOME_ALREADY_EXISTS);
}

TEST_F(OrdersTest, RefusesEachWrongField) {
  const int64_t now_ms = clock_.NowUnixMs();
  const std::function<void(v1::OrderTerms*)> kSpoilers[] = {
      [](v1::OrderTerms* t) { t->set_order_id("short"); },
      [](v1::OrderTerms* t) { t->set_sid(Id("another sid")); },
      [](v1::OrderTerms* t) { t->set_price_minor(0); },
      [](v1::OrderTerms* t) { t->set_price_minor(-1); },
      [](v1::OrderTerms* t) { t->set_price_minor(protocol::kMaxPriceMinor + 1); },
      [](v1::OrderTerms* t) { t->set_price_minor(INT64_MAX); },
      [](v1::OrderTerms* t) { t->set_currency("euro"); },
      [&](v1::OrderTerms* t) { t->set_expires_at_ms(now_ms); },
      [&](v1::OrderTerms* t) { t->set_expires_at_ms(0); },
      [&](v1::OrderTerms* t) {
        t->set_expires_at_ms(now_ms + config_.limits().max_order_lifetime_ms() + 1);
      },
      [](v1::OrderTerms* t) { t->set_expires_at_ms(INT64_MAX); },
      [](v1::OrderTerms* t) { t->set_commitment("short"); },
  };
  for (size_t i = 0; i < std::size(kSpoilers); ++i) {
    v1::OrderTerms terms = Terms(books_, Id("sid"));
    kSpoilers[i](&terms);
    protocol::SignTerms(books_, &terms);
    EXPECT_EQ(shop_->Offer(handle_, terms).outcome(), v1::OFFER_OUTCOME_INVALID) << i;
    EXPECT_FALSE(Get(*alice_link_, Id(terms.order_id())).found());
  }
}

TEST_F(OrdersTest, RefusesAnotherSignatureHandleAndCurrency) {
  v1::OrderTerms terms = Terms(music_, Id("sid"));
  EXPECT_EQ(shop_->Offer(handle_, terms).outcome(), v1::OFFER_OUTCOME_INVALID);
  terms = Terms(books_, Id("sid"));
  terms.set_price_minor(terms.price_minor() + 1);  // Not what was signed.
  EXPECT_EQ(shop_->Offer(handle_, terms).outcome(), v1::OFFER_OUTCOME_INVALID);
  terms = Terms(books_, Id("sid"));
  EXPECT_EQ(shop_->Offer(Id("no handle"), terms).outcome(), v1::OFFER_OUTCOME_INVALID);
  auto music = Connected(music_);
  EXPECT_EQ(music->Offer(handle_, Terms(music_, Id("sid"))).outcome(), v1::OFFER_OUTCOME_INVALID);
  terms.set_currency("USD");
  protocol::SignTerms(books_, &terms);
  EXPECT_EQ(shop_->Offer(handle_, terms).outcome(), v1::OFFER_OUTCOME_CURRENCY);
}

TEST_F(OrdersTest, ASessionThatIsGoneTakesNoOrder) {
  alice_link_->Disconnect();
  ASSERT_TRUE(shop_->Push()->has_session_closed());
  EXPECT_EQ(shop_->Offer(handle_, Terms(books_, Id("sid"))).outcome(), v1::OFFER_OUTCOME_INVALID);
}

TEST_F(OrdersTest, DecliningIsTheCustomersOwnAndTellsTheMerchant) {
  const v1::OrderTerms terms = Offered();
  EXPECT_EQ(Decline(*bob_link_, terms.order_id()), v1::ORDER_STATUS_UNSPECIFIED);
  EXPECT_EQ(StatusOf(terms.order_id()), v1::ORDER_STATUS_CREATED);
  EXPECT_EQ(Decline(*alice_link_, terms.order_id()), v1::ORDER_STATUS_DECLINED);
  EXPECT_EQ(StatusOf(terms.order_id()), v1::ORDER_STATUS_DECLINED);
  const auto notice = shop_->Notice(/*acknowledge=*/true);
  ASSERT_TRUE(notice.has_value());
  EXPECT_EQ(notice->order_id(), terms.order_id());
  EXPECT_EQ(notice->status(), v1::ORDER_STATUS_DECLINED);
  EXPECT_FALSE(notice->has_receipt());
  EXPECT_EQ(Decline(*alice_link_, terms.order_id()), v1::ORDER_STATUS_DECLINED);
  EXPECT_EQ(Decline(*alice_link_, Id("none")), v1::ORDER_STATUS_UNSPECIFIED);
}

TEST_F(OrdersTest, TheSweepExpiresWhatIsOverAndTellsTheMerchant) {
  const v1::OrderTerms over = Offered();
  clock_.Advance(1'000);
  const v1::OrderTerms open = Offered();
  clock_.Advance(over.expires_at_ms() - clock_.NowUnixMs());
  EXPECT_EQ(Get(*alice_link_, over.order_id()).status(), v1::ORDER_STATUS_EXPIRED);
  broker_->Sweep();
  const auto notice = shop_->Notice(/*acknowledge=*/true);
  ASSERT_TRUE(notice.has_value());
  EXPECT_EQ(notice->order_id(), over.order_id());
  EXPECT_EQ(notice->status(), v1::ORDER_STATUS_EXPIRED);
  EXPECT_EQ(StatusOf(over.order_id()), v1::ORDER_STATUS_EXPIRED);
  EXPECT_EQ(StatusOf(open.order_id()), v1::ORDER_STATUS_CREATED);
  EXPECT_EQ(Decline(*alice_link_, over.order_id()), v1::ORDER_STATUS_EXPIRED);
}

TEST_F(OrdersTest, DecliningTooLateExpires) {
  const v1::OrderTerms terms = Offered();
  clock_.Advance(terms.expires_at_ms() - clock_.NowUnixMs());
  EXPECT_EQ(Decline(*alice_link_, terms.order_id()), v1::ORDER_STATUS_EXPIRED);
  EXPECT_EQ(shop_->Notice(true)->status(), v1::ORDER_STATUS_EXPIRED);
}

TEST_F(OrdersTest, OrdersSurviveARestart) {
  const v1::OrderTerms terms = Offered();
  alice_link_.reset();
  bob_link_.reset();
  shop_.reset();
  Restart();
  alice_link_ = LoggedIn(kAlice);
  EXPECT_TRUE(Get(*alice_link_, terms.order_id()).found());
}

}  // namespace
}  // namespace blindcart::broker
