#include "services/agent/purchases.h"

#include <functional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "crypto/testing/test_identity.h"
#include "gtest/gtest.h"
#include "protocol/order.h"
#include "services/agent/testing/test_world.h"

namespace blindcart::agent {
namespace {

using testing::TestWorld;

class PurchasesTest : public ::testing::Test {
 protected:
  PurchasesTest() { EXPECT_TRUE(world_.Login().ok()); }
  Purchases& purchases() { return world_.agent().purchases(); }
  CatalogueEntry Book() { return world_.Browsed("A Book", 1000, "content"); }
  // How many checkouts with different request ids and keys the shop has seen.
  size_t DifferentCheckouts() {
    std::set<std::string> seen;
    for (const v1::ShopRequest& request : world_.shop.requests) {
      if (request.has_checkout()) {
        seen.insert(request.checkout().request_id() + request.checkout().order_key());
      }
    }
    return seen.size();
  }
  std::set<std::string> PayRequestIds() {
    std::set<std::string> ids;
    for (const v1::PayCall& call : world_.broker.pay_calls) ids.insert(call.request_id());
    return ids;
  }

  TestWorld world_;
};

TEST_F(PurchasesTest, ChecksOutWhatTheCatalogueShows) {
  const auto ordered = purchases().Checkout(Book());
  ASSERT_TRUE(ordered.ok()) << ordered.status();
  EXPECT_EQ(ordered->outcome, v1::CHECKOUT_OUTCOME_ORDERED);
  ASSERT_TRUE(ordered->purchase.has_value());
  EXPECT_EQ(ordered->purchase->terms.price_minor(), 1000);
  EXPECT_EQ(ordered->purchase->charge_minor, 100);
  EXPECT_EQ(ordered->purchase->total_minor, 1100);
  EXPECT_EQ(ordered->purchase->status, v1::ORDER_STATUS_CREATED);
  ASSERT_EQ(purchases().List()->size(), 1u);
  EXPECT_EQ(purchases().List()->front().title, "A Book");
}

TEST_F(PurchasesTest, TwoCheckoutsAreTwoOrders) {
  const CatalogueEntry book = Book();
  const auto first = purchases().Checkout(book);
  const auto second = purchases().Checkout(book);
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_NE(first->purchase->order_id, second->purchase->order_id);
  EXPECT_NE(first->purchase->order_key, second->purchase->order_key);
}

TEST_F(PurchasesTest, EveryFieldThatTheShopAltersIsRefused) {
  const std::vector<std::function<void(v1::CheckoutResult*)>> alterations = {
      [](v1::CheckoutResult* r) { r->mutable_terms()->set_price_minor(999); },
      [](v1::CheckoutResult* r) { r->mutable_terms()->set_price_minor(-1000); },
      [](v1::CheckoutResult* r) { r->mutable_terms()->set_currency("USD"); },
      [](v1::CheckoutResult* r) { r->mutable_terms()->mutable_order_id()->at(0) ^= 1; },
      [](v1::CheckoutResult* r) { r->mutable_terms()->mutable_sid()->at(0) ^= 1; },
      [](v1::CheckoutResult* r) { r->mutable_terms()->mutable_commitment()->at(0) ^= 1; },
      [](v1::CheckoutResult* r) { r->mutable_terms()->mutable_signature()->at(0) ^= 1; },
      [](v1::CheckoutResult* r) { r->mutable_terms()->set_expires_at_ms(1); },
      [](v1::CheckoutResult* r) { r->mutable_product_id()->at(0) ^= 1; },
      [](v1::CheckoutResult* r) { r->set_title("Another Book"); },
      [](v1::CheckoutResult* r) { r->mutable_content_hash()->at(0) ^= 1; },
      [](v1::CheckoutResult* r) { r->mutable_salt()->at(0) ^= 1; },
      [](v1::CheckoutResult* r) { r->set_charge_minor(99); },
      [](v1::CheckoutResult* r) { r->set_total_minor(1101); },
      [](v1::CheckoutResult* r) { r->set_total_minor(INT64_MAX); },
      [](v1::CheckoutResult* r) { r->set_size_bytes(1); },
      [](v1::CheckoutResult* r) { r->set_format("exe"); },
      [](v1::CheckoutResult* r) { r->clear_terms(); },
      [](v1::CheckoutResult* r) { r->set_outcome(v1::CHECKOUT_OUTCOME_UNSPECIFIED); },
  };
  const CatalogueEntry book = Book();
  for (size_t i = 0; i < alterations.size(); ++i) {
    world_.shop.alter_reply = [&](const v1::ShopRequest& request, v1::ShopReply* reply) {
      if (request.has_checkout()) alterations[i](reply->mutable_checkout());
    };
    const auto ordered = purchases().Checkout(book);
    EXPECT_TRUE(absl::IsDataLoss(ordered.status())) << i << " " << ordered.status();
  }
  EXPECT_TRUE(purchases().List()->empty());
  // A refused order's request is never sent again.
  EXPECT_EQ(DifferentCheckouts(), alterations.size());
}

TEST_F(PurchasesTest, EveryFieldThatTheBrokerAltersIsRefused) {
  const std::vector<std::function<void(v1::GetOrderResult*)>> alterations = {
      [](v1::GetOrderResult* r) { r->set_found(false); },
      [](v1::GetOrderResult* r) { r->mutable_terms()->set_price_minor(1001); },
      [](v1::GetOrderResult* r) { r->mutable_terms()->set_currency("USD"); },
      [](v1::GetOrderResult* r) { r->mutable_terms()->mutable_order_id()->at(0) ^= 1; },
      [](v1::GetOrderResult* r) { r->mutable_terms()->mutable_sid()->at(0) ^= 1; },
      [](v1::GetOrderResult* r) { r->mutable_terms()->mutable_commitment()->at(0) ^= 1; },
      [](v1::GetOrderResult* r) { r->mutable_terms()->mutable_signature()->at(0) ^= 1; },
      [](v1::GetOrderResult* r) { r->mutable_terms()->set_expires_at_ms(2'000'000'000'000); },
      [](v1::GetOrderResult* r) { r->mutable_merchant_fingerprint()->at(0) ^= 1; },
      [](v1::GetOrderResult* r) { r->set_charge_minor(101); },
      [](v1::GetOrderResult* r) { r->set_total_minor(1101); },
      [](v1::GetOrderResult* r) { r->set_status(v1::ORDER_STATUS_PAID); },
      [](v1::GetOrderResult* r) { r->set_status(v1::ORDER_STATUS_EXPIRED); },
  };
  const CatalogueEntry book = Book();
  for (size_t i = 0; i < alterations.size(); ++i) {
    world_.broker.alter = [&](const v1::CustomerMessage& call, v1::BrokerToCustomer* answer) {
      if (call.has_get_order()) alterations[i](answer->mutable_get_order());
    };
    const auto ordered = purchases().Checkout(book);
    EXPECT_TRUE(absl::IsDataLoss(ordered.status())) << i << " " << ordered.status();
  }
  EXPECT_TRUE(purchases().List()->empty());
}

TEST_F(PurchasesTest, BusinessAnswersAreOutcomes) {
  const CatalogueEntry book = Book();
  for (const v1::CheckoutOutcome outcome :
       {v1::CHECKOUT_OUTCOME_NO_SUCH_PRODUCT, v1::CHECKOUT_OUTCOME_SOLD_OUT,
        v1::CHECKOUT_OUTCOME_BROKER_DECLINED, v1::CHECKOUT_OUTCOME_BUSY}) {
    world_.shop.alter_reply = [&](const v1::ShopRequest& request, v1::ShopReply* reply) {
      if (!request.has_checkout()) return;
      reply->mutable_checkout()->Clear();
      reply->mutable_checkout()->set_outcome(outcome);
    };
    const auto ordered = purchases().Checkout(book);
    ASSERT_TRUE(ordered.ok()) << ordered.status();
    EXPECT_EQ(ordered->outcome, outcome);
    EXPECT_FALSE(ordered->purchase.has_value());
  }
  // Busy left its request to be repeated.
  world_.shop.alter_reply = nullptr;
  ASSERT_TRUE(purchases().Checkout(book).ok());
  EXPECT_EQ(DifferentCheckouts(), 4u);
}

TEST_F(PurchasesTest, ALostCheckoutAnswerLeadsToTheSameOrder) {
  const CatalogueEntry book = Book();
  world_.shop.alter_reply = [&](const v1::ShopRequest& request, v1::ShopReply*) {
    if (request.has_checkout()) world_.broker.reachable = false;
  };
  world_.broker.break_after = {v1::CustomerMessage::kShopFrame};
  EXPECT_TRUE(absl::IsUnavailable(purchases().Checkout(book).status()));
  EXPECT_EQ(world_.broker.orders.size(), 1u);

  // Also across a restart of the agent.
  world_.RestartAgent();
  world_.broker.reachable = true;
  world_.shop.alter_reply = nullptr;
  ASSERT_TRUE(world_.Login().ok());
  const auto ordered = purchases().Checkout(book);
  ASSERT_TRUE(ordered.ok()) << ordered.status();
  EXPECT_EQ(world_.broker.orders.size(), 1u);
  EXPECT_EQ(DifferentCheckouts(), 1u);
  EXPECT_EQ(world_.broker.orders.begin()->first, ordered->purchase->order_id);
}

TEST_F(PurchasesTest, AnOldUnansweredOrderThatExpiredIsMadeAnew) {
  const CatalogueEntry book = Book();
  world_.broker.break_after = {v1::CustomerMessage::kShopFrame};
  world_.shop.alter_reply = [&](const v1::ShopRequest& request, v1::ShopReply*) {
    if (request.has_checkout()) world_.broker.reachable = false;
  };
  EXPECT_FALSE(purchases().Checkout(book).ok());
  world_.broker.reachable = true;
  world_.shop.alter_reply = nullptr;
  world_.clock.Advance(3'600'000);
  const auto ordered = purchases().Checkout(book);
  ASSERT_TRUE(ordered.ok()) << ordered.status();
  EXPECT_EQ(world_.broker.orders.size(), 2u);
  EXPECT_GT(ordered->purchase->terms.expires_at_ms(), world_.clock.NowUnixMs());
}

TEST_F(PurchasesTest, AnotherPurchasesOrderIdIsRefused) {
  const PurchaseRecord first = world_.Ordered("First", 1000, "content");
  const CatalogueEntry second = world_.Browsed("Second", 1000, "content");
  world_.shop.alter_reply = [&](const v1::ShopRequest& request, v1::ShopReply* reply) {
    if (!request.has_checkout()) return;
    v1::OrderTerms* terms = reply->mutable_checkout()->mutable_terms();
    terms->set_order_id(first.order_id);
    protocol::SignTerms(world_.shop.identity(), terms);
    *world_.broker.orders[first.order_id].state.mutable_terms() = *terms;
  };
  EXPECT_TRUE(absl::IsDataLoss(purchases().Checkout(second).status()));
  EXPECT_EQ(purchases().List()->size(), 1u);
}

TEST_F(PurchasesTest, PaysOnceAndKeepsTheReceipt) {
  const PurchaseRecord order = world_.Ordered();
  auto paid = world_.Pay(order);
  ASSERT_TRUE(paid.ok()) << paid.status();
  EXPECT_EQ(paid->outcome, v1::PAY_OUTCOME_SUCCESSFUL);
  EXPECT_EQ(paid->purchase.status, v1::ORDER_STATUS_PAID);
  ASSERT_TRUE(paid->purchase.receipt.has_value());
  EXPECT_EQ(world_.broker.balance_minor, 100'000 - 1100);

  // The same again, also with a wrong PIN and after a restart, charges nothing.
  world_.RestartAgent();
  paid = world_.Pay(order, "0000");
  ASSERT_TRUE(paid.ok()) << paid.status();
  EXPECT_EQ(paid->outcome, v1::PAY_OUTCOME_SUCCESSFUL);
  EXPECT_EQ(world_.broker.charges, 1);
  EXPECT_EQ(world_.broker.pay_calls.size(), 1u);
}

TEST_F(PurchasesTest, APaymentWhoseAnswerIsLostIsSentAgainUnderItsId) {
  const PurchaseRecord order = world_.Ordered();
  world_.broker.break_after = {v1::CustomerMessage::kPay};
  const auto paid = world_.Pay(order);
  ASSERT_TRUE(paid.ok()) << paid.status();
  EXPECT_EQ(paid->outcome, v1::PAY_OUTCOME_SUCCESSFUL);
  EXPECT_EQ(world_.broker.charges, 1);
  EXPECT_EQ(world_.broker.pay_calls.size(), 2u);
  EXPECT_EQ(PayRequestIds().size(), 1u);
}

TEST_F(PurchasesTest, APaymentLostWithTheAgentIsLearnedOfLater) {
  const PurchaseRecord order = world_.Ordered();
  // The first try is lost on its way; the second is carried out and its answer is lost.
  world_.broker.break_before = {v1::CustomerMessage::kPay};
  world_.broker.break_after = {v1::CustomerMessage::kPay};
  const absl::Status lost = world_.Pay(order).status();
  EXPECT_TRUE(absl::IsUnavailable(lost));
  EXPECT_NE(lost.message().find("never charged twice"), absl::string_view::npos);
  EXPECT_EQ(world_.broker.charges, 1);
  EXPECT_EQ(purchases().Find(TestWorld::Id(order))->status, v1::ORDER_STATUS_CREATED);

  world_.RestartAgent();
  ASSERT_TRUE(world_.Login().ok());
  const auto again = world_.Pay(order);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->outcome, v1::PAY_OUTCOME_SUCCESSFUL);
  EXPECT_EQ(world_.broker.charges, 1);
  // The broker's word on the order was enough; no second payment was sent.
  EXPECT_EQ(world_.broker.pay_calls.size(), 1u);
}

TEST_F(PurchasesTest, ALostPaymentThatNeverArrivedIsSentUnderItsId) {
  const PurchaseRecord order = world_.Ordered();
  world_.broker.break_before = {v1::CustomerMessage::kPay};
  world_.broker.alter = [](const v1::CustomerMessage& call, v1::BrokerToCustomer* answer) {
    if (call.has_pay()) answer->mutable_balance();  // An answer that is none.
  };
  EXPECT_TRUE(absl::IsDataLoss(world_.Pay(order).status()));
  const std::string sent = world_.broker.pay_calls.back().request_id();
  world_.broker.alter = nullptr;
  // The broker forgets the payment, as if it had never arrived.
  v1::GetOrderResult& state = world_.broker.orders[order.order_id].state;
  state.set_status(v1::ORDER_STATUS_CREATED);
  state.clear_receipt();
  ASSERT_TRUE(world_.Pay(order).ok());
  EXPECT_EQ(world_.broker.pay_calls.back().request_id(), sent);
  EXPECT_EQ(world_.broker.charges, 1);
}

TEST_F(PurchasesTest, ABusyBrokerMayHaveChargedSoItIsAskedAgainUnderTheSameId) {
  const PurchaseRecord order = world_.Ordered();
  world_.broker.alter = [](const v1::CustomerMessage& call, v1::BrokerToCustomer* answer) {
    if (!call.has_pay()) return;
    answer->mutable_pay()->Clear();
    answer->mutable_pay()->set_outcome(v1::PAY_OUTCOME_BUSY);
  };
  auto paid = world_.Pay(order);
  ASSERT_TRUE(paid.ok()) << paid.status();
  EXPECT_EQ(paid->outcome, v1::PAY_OUTCOME_BUSY);
  EXPECT_EQ(paid->purchase.status, v1::ORDER_STATUS_CREATED);
  EXPECT_EQ(world_.broker.charges, 1);
  // The broker does not show it yet.
  v1::GetOrderResult& state = world_.broker.orders[order.order_id].state;
  const v1::GetOrderResult charged = state;
  state.set_status(v1::ORDER_STATUS_CREATED);
  state.clear_receipt();
  ASSERT_EQ(world_.Pay(order)->outcome, v1::PAY_OUTCOME_BUSY);
  EXPECT_EQ(world_.broker.pay_calls.size(), 2u);
  EXPECT_EQ(PayRequestIds().size(), 1u);
  // It does now: its word on the order is enough.
  state = charged;
  paid = world_.Pay(order);
  ASSERT_TRUE(paid.ok()) << paid.status();
  EXPECT_EQ(paid->outcome, v1::PAY_OUTCOME_SUCCESSFUL);
  EXPECT_EQ(world_.broker.pay_calls.size(), 2u);
  EXPECT_EQ(world_.broker.charges, 1);
}

TEST_F(PurchasesTest, AFailedPaymentMayBeTriedAnew) {
  const PurchaseRecord order = world_.Ordered();
  auto paid = world_.Pay(order, "0000");
  ASSERT_TRUE(paid.ok());
  EXPECT_EQ(paid->outcome, v1::PAY_OUTCOME_ACCOUNT_OR_PIN);
  world_.broker.balance_minor = 10;
  paid = world_.Pay(order);
  ASSERT_TRUE(paid.ok());
  EXPECT_EQ(paid->outcome, v1::PAY_OUTCOME_INSUFFICIENT_BALANCE);
  EXPECT_EQ(paid->purchase.status, v1::ORDER_STATUS_CREATED);
  world_.broker.balance_minor = 5000;
  paid = world_.Pay(order);
  ASSERT_TRUE(paid.ok());
  EXPECT_EQ(paid->outcome, v1::PAY_OUTCOME_SUCCESSFUL);
  EXPECT_EQ(PayRequestIds().size(), 3u);
}

TEST_F(PurchasesTest, AnotherTotalThanAgreedIsNotPaid) {
  const PurchaseRecord order = world_.Ordered();
  const auto paid = purchases().Pay(TestWorld::Id(order), world_.broker.account,
                                    crypto::SecretBytes::CopyOf("1234"), 1099);
  ASSERT_TRUE(paid.ok());
  EXPECT_EQ(paid->outcome, v1::PAY_OUTCOME_TOTAL_DIFFERS);
  EXPECT_TRUE(world_.broker.pay_calls.empty());
}

TEST_F(PurchasesTest, PaidIsBelievedOnlyWithAReceiptForExactlyThisOrder) {
  const std::vector<std::function<void(v1::Receipt*)>> alterations = {
      [](v1::Receipt* r) { r->mutable_order_id()->at(0) ^= 1; },
      [](v1::Receipt* r) { r->mutable_commitment()->at(0) ^= 1; },
      [](v1::Receipt* r) { r->mutable_merchant_fingerprint()->at(0) ^= 1; },
      [](v1::Receipt* r) { r->set_price_minor(1); },
      [](v1::Receipt* r) { r->set_charge_minor(1); },
      [](v1::Receipt* r) { r->set_total_minor(1); },
      [](v1::Receipt* r) { r->set_currency("USD"); },
      [](v1::Receipt* r) { r->set_paid_at_ms(1); },
      [](v1::Receipt* r) { r->mutable_signature()->at(0) ^= 1; },
      [](v1::Receipt* r) { r->clear_signature(); },
  };
  const PurchaseRecord order = world_.Ordered();
  for (size_t i = 0; i <= alterations.size(); ++i) {
    // The broker claims that it is paid without having charged anything, each time otherwise.
    world_.broker.alter = [&](const v1::CustomerMessage& call, v1::BrokerToCustomer* answer) {
      if (call.has_get_order()) answer->mutable_get_order()->clear_receipt();
      if (call.has_get_order()) {
        answer->mutable_get_order()->set_status(v1::ORDER_STATUS_CREATED);
      }
      if (!call.has_pay()) return;
      if (i == alterations.size()) {
        answer->mutable_pay()->clear_receipt();
      } else {
        alterations[i](answer->mutable_pay()->mutable_receipt());
      }
    };
    const auto paid = world_.Pay(order);
    EXPECT_TRUE(absl::IsDataLoss(paid.status())) << i << " " << paid.status();
    EXPECT_EQ(purchases().Find(TestWorld::Id(order))->status, v1::ORDER_STATUS_CREATED);
    EXPECT_FALSE(purchases().Find(TestWorld::Id(order))->receipt.has_value());
  }
  EXPECT_EQ(PayRequestIds().size(), 1u);
  world_.broker.alter = nullptr;
  EXPECT_EQ(world_.Pay(order)->outcome, v1::PAY_OUTCOME_SUCCESSFUL);
  EXPECT_EQ(world_.broker.charges, 1);
}

TEST_F(PurchasesTest, AReceiptSignedBySomebodyElseIsRefused) {
  const PurchaseRecord order = world_.Ordered();
  world_.broker.alter = [&](const v1::CustomerMessage& call, v1::BrokerToCustomer* answer) {
    if (call.has_pay()) {
      protocol::SignReceipt(crypto::TestIdentity(5), answer->mutable_pay()->mutable_receipt());
    }
  };
  EXPECT_TRUE(absl::IsDataLoss(world_.Pay(order).status()));
}

TEST_F(PurchasesTest, FailedWithAReceiptIsDataLossAndTheReceiptIsKept) {
  const PurchaseRecord order = world_.Ordered();
  world_.broker.alter = [&](const v1::CustomerMessage& call, v1::BrokerToCustomer* answer) {
    if (call.has_pay()) {
      answer->mutable_pay()->set_outcome(v1::PAY_OUTCOME_INSUFFICIENT_BALANCE);
    }
  };
  EXPECT_TRUE(absl::IsDataLoss(world_.Pay(order).status()));
  EXPECT_EQ(purchases().Find(TestWorld::Id(order))->status, v1::ORDER_STATUS_PAID);
}

TEST_F(PurchasesTest, APaymentOutcomeThatIsNoneIsDataLoss) {
  const PurchaseRecord order = world_.Ordered();
  world_.broker.alter = [&](const v1::CustomerMessage& call, v1::BrokerToCustomer* answer) {
    if (!call.has_pay()) return;
    answer->mutable_pay()->Clear();
  };
  EXPECT_TRUE(absl::IsDataLoss(world_.Pay(order).status()));
}

TEST_F(PurchasesTest, RefreshTellsTheTruthOrSaysWhoLies) {
  PurchaseRecord order = world_.Ordered();
  v1::GetOrderResult& state = world_.broker.orders[order.order_id].state;
  EXPECT_EQ(purchases().Refresh(order)->status, v1::ORDER_STATUS_CREATED);

  const v1::GetOrderResult honest = state;
  state.set_status(v1::ORDER_STATUS_PAID);  // Without a receipt.
  EXPECT_TRUE(absl::IsDataLoss(purchases().Refresh(order).status()));
  state = honest;
  state.set_total_minor(1);
  EXPECT_TRUE(absl::IsDataLoss(purchases().Refresh(order).status()));
  state.set_found(false);
  EXPECT_TRUE(absl::IsDataLoss(purchases().Refresh(order).status()));
  state = honest;

  order = world_.Pay(order)->purchase;
  EXPECT_EQ(purchases().Refresh(order)->status, v1::ORDER_STATUS_PAID);
  state = honest;  // The broker denies the payment.
  const absl::Status denied = purchases().Refresh(order).status();
  EXPECT_TRUE(absl::IsDataLoss(denied));
  EXPECT_NE(denied.message().find("denies a payment"), absl::string_view::npos);
  EXPECT_EQ(purchases().Find(TestWorld::Id(order))->status, v1::ORDER_STATUS_PAID);
}

TEST_F(PurchasesTest, DeclinesUnpaidOrdersOnly) {
  const PurchaseRecord order = world_.Ordered();
  const auto declined = purchases().Decline(TestWorld::Id(order));
  ASSERT_TRUE(declined.ok()) << declined.status();
  EXPECT_EQ(declined->status, v1::ORDER_STATUS_DECLINED);
  const auto paid = world_.Pay(order);
  ASSERT_TRUE(paid.ok());
  EXPECT_EQ(paid->outcome, v1::PAY_OUTCOME_ORDER_DECLINED);

  const PurchaseRecord bought = world_.Bought("Other", "content");
  EXPECT_TRUE(absl::IsFailedPrecondition(purchases().Decline(TestWorld::Id(bought)).status()));
}

TEST_F(PurchasesTest, ADeclineThatTheBrokerAnswersWithPaidNeedsAReceipt) {
  const PurchaseRecord order = world_.Ordered();
  world_.broker.alter = [&](const v1::CustomerMessage& call, v1::BrokerToCustomer* answer) {
    if (call.has_decline()) answer->mutable_decline()->set_status(v1::ORDER_STATUS_PAID);
  };
  EXPECT_TRUE(absl::IsDataLoss(purchases().Decline(TestWorld::Id(order)).status()));
}

TEST_F(PurchasesTest, ADeclineThatABusyBrokerDoesNotKnowOfIsToBeRepeated) {
  const PurchaseRecord order = world_.Ordered();
  world_.broker.alter = [&](const v1::CustomerMessage& call, v1::BrokerToCustomer* answer) {
    if (call.has_decline()) answer->mutable_decline()->set_status(v1::ORDER_STATUS_CREATED);
  };
  EXPECT_TRUE(absl::IsUnavailable(purchases().Decline(TestWorld::Id(order)).status()));
  EXPECT_EQ(purchases().Find(TestWorld::Id(order))->status, v1::ORDER_STATUS_CREATED);
  world_.broker.alter = nullptr;
  EXPECT_EQ(purchases().Decline(TestWorld::Id(order))->status, v1::ORDER_STATUS_DECLINED);
}

TEST_F(PurchasesTest, UnpaidOrdersExpire) {
  const PurchaseRecord order = world_.Ordered();
  world_.clock.Advance(16 * 60'000);
  EXPECT_EQ(purchases().List()->front().status, v1::ORDER_STATUS_EXPIRED);
  const auto paid = world_.Pay(order);
  ASSERT_TRUE(paid.ok()) << paid.status();
  EXPECT_EQ(paid->outcome, v1::PAY_OUTCOME_ORDER_EXPIRED);
  EXPECT_EQ(world_.broker.charges, 0);
}

TEST_F(PurchasesTest, ManyPaymentsAtOnceChargeOnce) {
  const PurchaseRecord order = world_.Ordered();
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      const auto paid = world_.Pay(order);
      EXPECT_TRUE(paid.ok() || absl::IsFailedPrecondition(paid.status())) << paid.status();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(world_.broker.charges, 1);
}

TEST_F(PurchasesTest, BadInputIsSaidAndNotSent) {
  const PurchaseRecord order = world_.Ordered();
  EXPECT_TRUE(absl::IsInvalidArgument(
      purchases().Pay(TestWorld::Id(order), "", crypto::SecretBytes::CopyOf("1"), 0).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(
      purchases().Pay(TestWorld::Id(order), "A", crypto::SecretBytes(), 0).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(
      purchases().Pay(TestWorld::Id(order), "A", crypto::SecretBytes::CopyOf("1"), -5).status()));
  EXPECT_TRUE(absl::IsNotFound(purchases().Decline("00000000").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(purchases().Decline("xyz").status()));
  EXPECT_TRUE(world_.broker.pay_calls.empty());
}

}  // namespace
}  // namespace blindcart::agent
