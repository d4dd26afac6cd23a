#include "services/merchant/payments.h"

#include <functional>
#include <future>
#include <string>
#include <vector>

#include "crypto/testing/test_identity.h"
#include "gtest/gtest.h"
#include "protocol/order.h"
#include "services/merchant/testing/test_shop.h"

namespace blindcart::merchant {
namespace {

using testing::kOrderLifetimeMs;
using testing::TestShop;

class PaymentsTest : public ::testing::Test {
 protected:
  orders::Order NewOrder() {
    return shop_.GetOrder(shop_.Run(shop_.NewRequest(product_id_)).terms().order_id());
  }
  v1::OrderStatus Status(const orders::Order& order) {
    return shop_.GetOrder(order.order_id).status;
  }
  absl::Status ShowReceipt(const orders::Order& order, const v1::Receipt& receipt) {
    std::promise<absl::Status> result;
    shop_.payments->OnReceipt(order.order_id, receipt,
                              [&result](absl::Status status) { result.set_value(status); });
    return result.get_future().get();
  }

  TestShop shop_;
  std::string product_id_ = shop_.AddProduct("content", 1250, 10);
};

TEST_F(PaymentsTest, AReceiptMakesAnOrderPaidAndItsUnitSold) {
  const orders::Order order = NewOrder();
  const v1::Receipt receipt = shop_.ReceiptFor(order);
  EXPECT_TRUE(shop_.Notify(order, v1::ORDER_STATUS_PAID, &receipt));
  const orders::Order paid = shop_.GetOrder(order.order_id);
  EXPECT_EQ(paid.status, v1::ORDER_STATUS_PAID);
  EXPECT_EQ(paid.paid_at_ms, receipt.paid_at_ms());
  EXPECT_EQ(paid.receipt, receipt.SerializeAsString());
  EXPECT_EQ(shop_.Stock(product_id_), 9);
}

TEST_F(PaymentsTest, NoticesRepeatWithoutHarmAlsoAcrossARestart) {
  const orders::Order order = NewOrder();
  const v1::Receipt receipt = shop_.ReceiptFor(order);
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(shop_.Notify(order, v1::ORDER_STATUS_PAID, &receipt));
    shop_.Restart();
  }
  EXPECT_EQ(Status(order), v1::ORDER_STATUS_PAID);
  EXPECT_EQ(shop_.Stock(product_id_), 9);
  EXPECT_EQ(shop_.payments->counters().contradictions, 0);
}

TEST_F(PaymentsTest, APaymentWithoutAValidReceiptIsNeitherBelievedNorAcknowledged) {
  const orders::Order order = NewOrder();
  const std::vector<std::function<void(v1::Receipt*)>> forgeries = {
      [](v1::Receipt* receipt) { receipt->Clear(); },
      [](v1::Receipt* receipt) { receipt->clear_signature(); },
      [](v1::Receipt* receipt) { receipt->mutable_signature()->front() ^= 1; },
      [](v1::Receipt* receipt) { receipt->set_paid_at_ms(receipt->paid_at_ms() + 1); },
      [&](v1::Receipt* receipt) { protocol::SignReceipt(shop_.merchant, receipt); },
      [&](v1::Receipt* receipt) { protocol::SignReceipt(crypto::TestIdentity(2), receipt); },
      [&](v1::Receipt* receipt) {
        receipt->set_price_minor(1);
        receipt->set_total_minor(1 + receipt->charge_minor());
        protocol::SignReceipt(shop_.broker, receipt);
      },
      [&](v1::Receipt* receipt) {
        receipt->set_total_minor(receipt->total_minor() + 1);
        receipt->set_charge_minor(receipt->charge_minor() + 1);
        protocol::SignReceipt(shop_.broker, receipt);
      },
      [&](v1::Receipt* receipt) {
        receipt->set_merchant_fingerprint(std::string(32, 'm'));
        protocol::SignReceipt(shop_.broker, receipt);
      },
  };
  for (size_t i = 0; i < forgeries.size(); ++i) {
    v1::Receipt receipt = shop_.ReceiptFor(order);
    forgeries[i](&receipt);
    EXPECT_FALSE(shop_.Notify(order, v1::ORDER_STATUS_PAID, &receipt)) << i;
    EXPECT_TRUE(absl::IsPermissionDenied(ShowReceipt(order, receipt))) << i;
    EXPECT_EQ(Status(order), v1::ORDER_STATUS_CREATED) << i;
  }
  EXPECT_EQ(shop_.payments->counters().bad_receipts, 2 * static_cast<int64_t>(forgeries.size()));
}

TEST_F(PaymentsTest, ABadReceiptDoesNotStandInTheWayForEver) {
  const orders::Order order = NewOrder();
  v1::Receipt receipt = shop_.ReceiptFor(order);
  protocol::SignReceipt(crypto::TestIdentity(2), &receipt);
  shop_.clock.Advance(kOrderLifetimeMs + Payments::kUnconfirmedGraceMs);
  EXPECT_FALSE(shop_.Notify(order, v1::ORDER_STATUS_PAID, &receipt));
  shop_.clock.Advance(1);
  EXPECT_TRUE(shop_.Notify(order, v1::ORDER_STATUS_PAID, &receipt));
  EXPECT_EQ(shop_.payments->counters().bad_receipts, 2);
  EXPECT_EQ(Status(order), v1::ORDER_STATUS_CREATED);
  EXPECT_TRUE(absl::IsPermissionDenied(ShowReceipt(order, receipt)));
}

TEST_F(PaymentsTest, AnotherOrdersReceiptPaysNothing) {
  const orders::Order paid = NewOrder();
  const orders::Order open = NewOrder();
  const v1::Receipt receipt = shop_.ReceiptFor(paid);
  EXPECT_FALSE(shop_.Notify(open, v1::ORDER_STATUS_PAID, &receipt));
  EXPECT_TRUE(absl::IsPermissionDenied(ShowReceipt(open, receipt)));
  EXPECT_EQ(Status(open), v1::ORDER_STATUS_CREATED);
}

TEST_F(PaymentsTest, ACustomersReceiptIsAsGoodAsANotice) {
  const orders::Order order = NewOrder();
  const v1::Receipt receipt = shop_.ReceiptFor(order);
  EXPECT_TRUE(ShowReceipt(order, receipt).ok());
  EXPECT_EQ(Status(order), v1::ORDER_STATUS_PAID);
  EXPECT_TRUE(ShowReceipt(order, receipt).ok());
  EXPECT_TRUE(shop_.Notify(order, v1::ORDER_STATUS_PAID, &receipt));
  EXPECT_EQ(shop_.Stock(product_id_), 9);
}

TEST_F(PaymentsTest, DeclinedAndExpiredOrdersGiveTheirUnitBackOnce) {
  const orders::Order declined = NewOrder();
  const orders::Order expired = NewOrder();
  EXPECT_EQ(shop_.Stock(product_id_), 8);
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(shop_.Notify(declined, v1::ORDER_STATUS_DECLINED));
    EXPECT_TRUE(shop_.Notify(expired, v1::ORDER_STATUS_EXPIRED));
  }
  EXPECT_EQ(Status(declined), v1::ORDER_STATUS_DECLINED);
  EXPECT_EQ(Status(expired), v1::ORDER_STATUS_EXPIRED);
  EXPECT_EQ(shop_.Stock(product_id_), 10);
}

TEST_F(PaymentsTest, AFailedPaymentLeavesTheOrderOpen) {
  const orders::Order order = NewOrder();
  EXPECT_TRUE(shop_.Notify(order, v1::ORDER_STATUS_CREATED));
  EXPECT_EQ(Status(order), v1::ORDER_STATUS_CREATED);
  EXPECT_EQ(shop_.Stock(product_id_), 9);
}

TEST_F(PaymentsTest, PaidWinsOverExpiredAndNothingWinsOverPaidOrDeclined) {
  const orders::Order order = NewOrder();
  EXPECT_TRUE(shop_.Notify(order, v1::ORDER_STATUS_EXPIRED));
  const v1::Receipt receipt = shop_.ReceiptFor(order);
  EXPECT_TRUE(shop_.Notify(order, v1::ORDER_STATUS_PAID, &receipt));
  EXPECT_EQ(Status(order), v1::ORDER_STATUS_PAID);
  EXPECT_EQ(shop_.Stock(product_id_), 9) << "it took a unit again";
  EXPECT_TRUE(shop_.Notify(order, v1::ORDER_STATUS_DECLINED));
  EXPECT_EQ(Status(order), v1::ORDER_STATUS_PAID);
  EXPECT_EQ(shop_.payments->counters().contradictions, 1);

  const orders::Order declined = NewOrder();
  EXPECT_TRUE(shop_.Notify(declined, v1::ORDER_STATUS_DECLINED));
  const v1::Receipt late = shop_.ReceiptFor(declined);
  EXPECT_TRUE(shop_.Notify(declined, v1::ORDER_STATUS_PAID, &late));
  EXPECT_TRUE(absl::IsPermissionDenied(ShowReceipt(declined, late)));
  EXPECT_EQ(Status(declined), v1::ORDER_STATUS_DECLINED);
  EXPECT_EQ(shop_.payments->counters().contradictions, 2);
}

TEST_F(PaymentsTest, APaymentAfterItsUnitWasSoldOnIsHonouredAndCounted) {
  const std::string single = shop_.AddProduct("one of a kind", 1250, 1);
  const orders::Order first =
      shop_.GetOrder(shop_.Run(shop_.NewRequest(single)).terms().order_id());
  EXPECT_TRUE(shop_.Notify(first, v1::ORDER_STATUS_EXPIRED));
  ASSERT_EQ(shop_.Run(shop_.NewRequest(single)).outcome(), v1::CHECKOUT_OUTCOME_ORDERED);
  const v1::Receipt receipt = shop_.ReceiptFor(first);
  EXPECT_TRUE(shop_.Notify(first, v1::ORDER_STATUS_PAID, &receipt));
  EXPECT_EQ(Status(first), v1::ORDER_STATUS_PAID);
  EXPECT_EQ(shop_.Stock(single), 0);
  EXPECT_EQ(shop_.payments->counters().oversold, 1);
}

TEST_F(PaymentsTest, UnknownOrdersAndOtherBrokersOrdersAreAcknowledgedAndCounted) {
  orders::Order unknown = NewOrder();
  unknown.order_id = std::string(16, 'u');
  EXPECT_TRUE(shop_.Notify(unknown, v1::ORDER_STATUS_EXPIRED));
  const orders::Order order = NewOrder();
  EXPECT_TRUE(shop_.Notify(order, v1::ORDER_STATUS_DECLINED, nullptr,
                           crypto::TestIdentity(2).public_identity().fingerprint()));
  EXPECT_EQ(Status(order), v1::ORDER_STATUS_CREATED);
  EXPECT_EQ(shop_.payments->counters().unknown_orders, 2);
}

TEST_F(PaymentsTest, OrdersSurviveTheBrokersNewKeyAndRetiredKeysPayNothingNew) {
  const crypto::Identity& next = crypto::TestIdentity(3);
  const std::string next_fingerprint = next.public_identity().fingerprint();
  const orders::Order paid_before = NewOrder();
  const orders::Order told_late = NewOrder();
  const orders::Order paid_after = NewOrder();
  const v1::Receipt late_receipt = shop_.ReceiptFor(told_late);
  const v1::Receipt before_receipt = shop_.ReceiptFor(paid_before);
  EXPECT_TRUE(shop_.Notify(paid_before, v1::ORDER_STATUS_PAID, &before_receipt));
  // Not followed yet: it is another broker.
  EXPECT_TRUE(shop_.Notify(paid_after, v1::ORDER_STATUS_DECLINED, nullptr, next_fingerprint));
  EXPECT_EQ(Status(paid_after), v1::ORDER_STATUS_CREATED);
  v1::Receipt after_receipt = shop_.ReceiptFor(paid_after);
  protocol::SignReceipt(next, &after_receipt);
  EXPECT_TRUE(absl::IsPermissionDenied(ShowReceipt(paid_after, after_receipt)));

  ASSERT_TRUE(shop_.pinned_broker
                  .Follow({protocol::MakeIdentityLink(shop_.broker, next.public_identity(), 1,
                                                      shop_.clock.NowUnixMs())})
                  .ok());
  EXPECT_TRUE(shop_.Notify(told_late, v1::ORDER_STATUS_PAID, &late_receipt, next_fingerprint));
  EXPECT_EQ(Status(told_late), v1::ORDER_STATUS_PAID);
  EXPECT_TRUE(shop_.Notify(paid_after, v1::ORDER_STATUS_PAID, &after_receipt, next_fingerprint));
  EXPECT_EQ(Status(paid_after), v1::ORDER_STATUS_PAID);
  EXPECT_TRUE(ShowReceipt(paid_before, before_receipt).ok());

  // Somebody got hold of the old key.
  shop_.clock.Advance(1);
  const orders::Order made_since = NewOrder();
  v1::Receipt stolen = shop_.ReceiptFor(made_since);
  EXPECT_TRUE(absl::IsPermissionDenied(ShowReceipt(made_since, stolen)));
  stolen.set_paid_at_ms(before_receipt.paid_at_ms());
  protocol::SignReceipt(shop_.broker, &stolen);
  EXPECT_TRUE(absl::IsPermissionDenied(ShowReceipt(made_since, stolen)));
  EXPECT_EQ(Status(made_since), v1::ORDER_STATUS_CREATED);
}

TEST_F(PaymentsTest, OrdersThatTheBrokerNeverConfirmedEndByThemselves) {
  const orders::Order confirmed = NewOrder();
  shop_.fake_broker->AnswerWith(absl::nullopt);
  EXPECT_EQ(shop_.Run(shop_.NewRequest(product_id_)).outcome(), v1::CHECKOUT_OUTCOME_BUSY);
  EXPECT_EQ(shop_.Stock(product_id_), 8);
  shop_.clock.Advance(kOrderLifetimeMs + Payments::kUnconfirmedGraceMs);
  shop_.payments->ExpireUnconfirmed();
  shop_.DrainWrites();
  EXPECT_EQ(shop_.Stock(product_id_), 8) << "not before the grace is over";
  shop_.clock.Advance(1);
  shop_.payments->ExpireUnconfirmed();
  shop_.DrainWrites();
  EXPECT_EQ(shop_.Stock(product_id_), 9);
  EXPECT_EQ(Status(confirmed), v1::ORDER_STATUS_CREATED) << "the broker will say how that one ends";
}

TEST_F(PaymentsTest, DeliveredOnceAndForAll) {
  const orders::Order order = NewOrder();
  shop_.Pay(order.order_id);
  for (int i = 0; i < 2; ++i) {
    shop_.payments->OnDelivered(order.order_id);
    shop_.DrainWrites();
    EXPECT_EQ(Status(order), v1::ORDER_STATUS_DELIVERED);
  }
  const v1::Receipt receipt = shop_.ReceiptFor(order);
  EXPECT_TRUE(shop_.Notify(order, v1::ORDER_STATUS_PAID, &receipt));
  EXPECT_EQ(Status(order), v1::ORDER_STATUS_DELIVERED);
}

}  // namespace
}  // namespace blindcart::merchant
