#include "services/orders/orders.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "crypto/testing/test_identity.h"
#include "gtest/gtest.h"
#include "proto/shop.pb.h"
#include "protocol/order.h"
#include "services/catalog/catalog.h"
#include "services/merchant/shop_database.h"

namespace blindcart::orders {
namespace {

constexpr int64_t kNow = 1'800'000'000'000;

std::string Bytes(size_t size, int n) {
  std::string bytes(size, '\x07');
  bytes[0] = static_cast<char>(n);
  bytes[1] = static_cast<char>(n >> 8);
  return bytes;
}

Order MakeOrder(int n) {
  Order order;
  order.order_id = Bytes(16, n);
  order.request_id = Bytes(16, n);
  order.order_key_hash = Bytes(32, n);
  order.product_id = Bytes(16, 99);
  order.title = "A Book";
  order.content_hash = Bytes(32, 98);
  order.size_bytes = 12345;
  order.format = "pdf";
  order.price_minor = 1250;
  order.currency = "EUR";
  order.salt = Bytes(32, n + 1000);
  order.created_at_ms = kNow;
  order.expires_at_ms = kNow + 60'000;
  order.broker_fingerprint = Bytes(32, 97);
  return order;
}

class OrdersTest : public ::testing::Test {
 protected:
  void SetUp() override {
    path_ = ::testing::TempDir() + "/" +
            ::testing::UnitTest::GetInstance()->current_test_info()->name() + ".db";
    Reopen();
    v1::Product product;
    product.set_product_id(Bytes(16, 99));
    product.set_title("A Book");
    product.set_price_minor(1250);
    product.set_currency("EUR");
    product.set_content_hash(Bytes(32, 98));
    ASSERT_TRUE(database_
                    ->Write([product](storage::SqliteDatabase& database) {
                      return catalog::Catalog(database).Put(product, absl::nullopt);
                    })
                    .ok());
  }
  void Reopen() {
    database_.reset();
    auto opened = merchant::ShopDatabase::Open(path_);
    ASSERT_TRUE(opened.ok()) << opened.status();
    database_ = *std::move(opened);
  }
  template <typename Body>
  absl::Status Write(Body body) {
    return database_->Write([body](storage::SqliteDatabase& database) {
      Orders orders(database);
      return body(orders);
    });
  }
  absl::Status Insert(const Order& order) {
    return Write([order](Orders& orders) { return orders.Insert(order); });
  }
  Order Get(int n) {
    Order order;
    EXPECT_TRUE(Write([&order, n](Orders& orders) {
                  auto found = orders.Get(Bytes(16, n));
                  if (found.ok()) order = *std::move(found);
                  return found.status();
                }).ok());
    return order;
  }
  using Move = absl::Status (Orders::*)(absl::string_view);
  absl::Status Step(Move move, int n = 1) {
    return Write([move, n](Orders& orders) { return (orders.*move)(Bytes(16, n)); });
  }
  absl::Status Pay(int n = 1) {
    v1::Receipt receipt;
    receipt.set_order_id(Bytes(16, n));
    receipt.set_paid_at_ms(kNow + 5);
    return Write([receipt, n](Orders& orders) { return orders.MarkPaid(Bytes(16, n), receipt); });
  }

  std::string path_;
  std::unique_ptr<merchant::ShopDatabase> database_;
};

TEST_F(OrdersTest, KeepsEveryFieldAcrossARestart) {
  const Order order = MakeOrder(1);
  ASSERT_TRUE(Insert(order).ok());
  Reopen();
  const Order read = Get(1);
  EXPECT_EQ(read.order_id, order.order_id);
  EXPECT_EQ(read.request_id, order.request_id);
  EXPECT_EQ(read.order_key_hash, order.order_key_hash);
  EXPECT_EQ(read.product_id, order.product_id);
  EXPECT_EQ(read.title, order.title);
  EXPECT_EQ(read.content_hash, order.content_hash);
  EXPECT_EQ(read.size_bytes, order.size_bytes);
  EXPECT_EQ(read.format, order.format);
  EXPECT_EQ(read.price_minor, order.price_minor);
  EXPECT_EQ(read.currency, order.currency);
  EXPECT_EQ(read.salt, order.salt);
  EXPECT_EQ(read.created_at_ms, order.created_at_ms);
  EXPECT_EQ(read.expires_at_ms, order.expires_at_ms);
  EXPECT_EQ(read.broker_fingerprint, order.broker_fingerprint);
  EXPECT_EQ(read.status, v1::ORDER_STATUS_CREATED);
  EXPECT_FALSE(read.total_minor.has_value());
  EXPECT_FALSE(read.superseded);
  EXPECT_EQ(read.paid_at_ms, 0);
  EXPECT_EQ(read.receipt, "");
}

TEST_F(OrdersTest, OrderRequestAndKeyAreUnique) {
  ASSERT_TRUE(Insert(MakeOrder(1)).ok());
  Order same_order = MakeOrder(2);
  same_order.order_id = MakeOrder(1).order_id;
  EXPECT_TRUE(absl::IsAlreadyExists(Insert(same_order)));
  Order same_request = MakeOrder(2);
  same_request.request_id = MakeOrder(1).request_id;
  EXPECT_TRUE(absl::IsAlreadyExists(Insert(same_request)));
  Order same_key = MakeOrder(2);
  same_key.order_key_hash = MakeOrder(1).order_key_hash;
  EXPECT_TRUE(absl::IsAlreadyExists(Insert(same_key)));
  EXPECT_TRUE(Insert(MakeOrder(2)).ok());
}

TEST_F(OrdersTest, ASupersededOrderGivesWayButStays) {
  ASSERT_TRUE(Insert(MakeOrder(1)).ok());
  ASSERT_TRUE(Step(&Orders::Supersede).ok());
  EXPECT_TRUE(absl::IsNotFound(Step(&Orders::Supersede)));
  Order next = MakeOrder(2);
  next.request_id = MakeOrder(1).request_id;
  next.order_key_hash = MakeOrder(1).order_key_hash;
  ASSERT_TRUE(Insert(next).ok());
  EXPECT_TRUE(Write([&](Orders& orders) {
                auto by_request = orders.FindByRequest(next.request_id);
                auto by_key = orders.FindByOrderKeyHash(next.order_key_hash);
                EXPECT_TRUE(by_request.ok() && by_request->order_id == next.order_id);
                EXPECT_TRUE(by_key.ok() && by_key->order_id == next.order_id);
                return absl::OkStatus();
              }).ok());
  EXPECT_TRUE(Get(1).superseded);
  // A confirmation that comes too late does not make it live again, but a payment counts.
  EXPECT_TRUE(absl::IsFailedPrecondition(
      Write([](Orders& orders) { return orders.Confirm(Bytes(16, 1), 10, 1260); })));
  EXPECT_TRUE(Pay().ok());
}

TEST_F(OrdersTest, ConfirmsOnceWithASumThatAddsUp) {
  ASSERT_TRUE(Insert(MakeOrder(1)).ok());
  EXPECT_FALSE(Write([](Orders& orders) { return orders.Confirm(Bytes(16, 1), 10, 1261); }).ok());
  EXPECT_FALSE(Write([](Orders& orders) { return orders.Confirm(Bytes(16, 1), -10, 1240); }).ok());
  EXPECT_TRUE(Write([](Orders& orders) { return orders.Confirm(Bytes(16, 1), 10, 1260); }).ok());
  EXPECT_EQ(*Get(1).charge_minor, 10);
  EXPECT_EQ(*Get(1).total_minor, 1260);
  EXPECT_TRUE(absl::IsFailedPrecondition(
      Write([](Orders& orders) { return orders.Confirm(Bytes(16, 1), 10, 1260); })));
}

// Every step from every state: only those that protocol.md allows.
TEST_F(OrdersTest, AllowsOnlyTheStepsOfAnOrder) {
  enum State { kCreated, kDeclined, kExpired, kPaid, kDelivered, kStates };
  enum Action { kDecline, kExpire, kPay, kDeliver, kActions };
  const bool allowed[kStates][kActions] = {
      /* created   */ {true, true, true, false},
      /* declined  */ {false, false, false, false},
      /* expired   */ {false, false, true, false},
      /* paid      */ {false, false, false, true},
      /* delivered */ {false, false, false, false},
  };
  int n = 0;
  for (int state = 0; state < kStates; ++state) {
    for (int action = 0; action < kActions; ++action) {
      ++n;
      ASSERT_TRUE(Insert(MakeOrder(n)).ok());
      if (state == kDeclined) {
        ASSERT_TRUE(Step(&Orders::MarkDeclined, n).ok());
      }
      if (state == kExpired) {
        ASSERT_TRUE(Step(&Orders::MarkExpired, n).ok());
      }
      if (state == kPaid || state == kDelivered) {
        ASSERT_TRUE(Pay(n).ok());
      }
      if (state == kDelivered) {
        ASSERT_TRUE(Step(&Orders::MarkDelivered, n).ok());
      }
      const v1::OrderStatus before = Get(n).status;
      absl::Status moved;
      if (action == kDecline) moved = Step(&Orders::MarkDeclined, n);
      if (action == kExpire) moved = Step(&Orders::MarkExpired, n);
      if (action == kPay) moved = Pay(n);
      if (action == kDeliver) moved = Step(&Orders::MarkDelivered, n);
      EXPECT_EQ(moved.ok(), allowed[state][action]) << state << " " << action;
      if (!moved.ok()) {
        EXPECT_TRUE(absl::IsFailedPrecondition(moved)) << moved;
        EXPECT_EQ(Get(n).status, before);
      }
    }
  }
}

TEST_F(OrdersTest, PaymentKeepsTheReceipt) {
  ASSERT_TRUE(Insert(MakeOrder(1)).ok());
  ASSERT_TRUE(Pay().ok());
  v1::Receipt receipt;
  ASSERT_TRUE(receipt.ParseFromString(Get(1).receipt));
  EXPECT_EQ(receipt.order_id(), Bytes(16, 1));
  EXPECT_EQ(Get(1).paid_at_ms, kNow + 5);
}

TEST_F(OrdersTest, ListsUnconfirmedOnesThatAreOver) {
  ASSERT_TRUE(Insert(MakeOrder(1)).ok());
  Order later = MakeOrder(2);
  later.expires_at_ms += 10;
  ASSERT_TRUE(Insert(later).ok());
  Order confirmed = MakeOrder(3);
  ASSERT_TRUE(Insert(confirmed).ok());
  ASSERT_TRUE(Write([](Orders& orders) { return orders.Confirm(Bytes(16, 3), 0, 1250); }).ok());
  ASSERT_TRUE(Write([](Orders& orders) {
                auto ids = orders.ListUnconfirmed(kNow + 60'001, 10);
                EXPECT_TRUE(ids.ok());
                EXPECT_EQ(*ids, std::vector<std::string>{Bytes(16, 1)});
                return ids.status();
              }).ok());
}

TEST_F(OrdersTest, ListsNewestFirstInPages) {
  for (int n = 1; n <= 5; ++n) ASSERT_TRUE(Insert(MakeOrder(n)).ok());
  ASSERT_TRUE(Write([](Orders& orders) {
                auto first = orders.List(0, 3);
                EXPECT_TRUE(first.ok() && first->size() == 3);
                EXPECT_EQ(first->front().order_id, Bytes(16, 5));
                auto rest = orders.List(first->back().number, 3);
                EXPECT_TRUE(rest.ok() && rest->size() == 2);
                EXPECT_EQ(rest->back().order_id, Bytes(16, 1));
                return absl::OkStatus();
              }).ok());
}

TEST_F(OrdersTest, TermsAreSignedAndTheSameEachTime) {
  const crypto::Identity& merchant = crypto::TestIdentity(0);
  const Order order = MakeOrder(1);
  const v1::OrderTerms terms = TermsOf(order, Bytes(16, 50), merchant);
  EXPECT_TRUE(protocol::VerifyTerms(merchant.public_identity(), terms).ok());
  EXPECT_EQ(terms.SerializeAsString(), TermsOf(order, Bytes(16, 50), merchant).SerializeAsString());
  EXPECT_NE(terms.signature(), TermsOf(order, Bytes(16, 51), merchant).signature());
  Order other = order;
  other.title = "Another Book";
  EXPECT_NE(TermsOf(other, Bytes(16, 50), merchant).commitment(), terms.commitment());
}

}  // namespace
}  // namespace blindcart::orders
