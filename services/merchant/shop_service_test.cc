#include "services/merchant/shop_service.h"

#include <filesystem>
#include <functional>
#include <future>
#include <string>

#include "absl/strings/str_cat.h"
#include "crypto/encoding.h"
#include "crypto/hash.h"
#include "gtest/gtest.h"
#include "services/merchant/testing/test_shop.h"

namespace blindcart::merchant {
namespace {

using testing::TestShop;

class ShopServiceTest : public ::testing::Test {
 protected:
  DeliveryPlan Plan(const v1::DeliveryRequest& request) {
    std::promise<DeliveryPlan> plan;
    shop_.shop->PlanDelivery(request,
                             [&plan](DeliveryPlan made) { plan.set_value(std::move(made)); });
    return plan.get_future().get();
  }
  v1::DeliveryOutcome Outcome(const v1::DeliveryRequest& request) {
    return Plan(request).result.outcome();
  }
  // An order of this content, and the request for its delivery.
  v1::DeliveryRequest Order(const std::string& content, bool paid) {
    const v1::CheckoutRequest checkout = shop_.NewRequest(shop_.AddProduct(content));
    const std::string order_id = shop_.Run(checkout).terms().order_id();
    if (paid) shop_.Pay(order_id);
    v1::DeliveryRequest request;
    request.set_order_id(order_id);
    request.set_order_key(checkout.order_key());
    request.set_delivery_id(shop_.random.Bytes(16));
    return request;
  }

  TestShop shop_;
};

TEST_F(ShopServiceTest, APaidOrderIsDelivered) {
  const std::string content(300'000, 'c');
  const DeliveryPlan plan = Plan(Order(content, /*paid=*/true));
  EXPECT_EQ(plan.result.outcome(), v1::DELIVERY_OUTCOME_COMING);
  EXPECT_EQ(plan.result.true_size_bytes(), content.size());
  EXPECT_EQ(plan.result.padded_size_bytes(), 1024u * 1024);
  EXPECT_EQ(plan.result.piece_count(), 4u);
  EXPECT_EQ(plan.params.content_hash, crypto::Sha256(content));
  ASSERT_NE(plan.file, nullptr);
  EXPECT_EQ(plan.file->size_bytes(), content.size());
}

TEST_F(ShopServiceTest, AWrongKeyAndAnUnknownOrderLookAlike) {
  v1::DeliveryRequest wrong_key = Order("content", /*paid=*/true);
  wrong_key.mutable_order_key()->front() ^= 1;
  v1::DeliveryRequest unknown = Order("content", /*paid=*/true);
  unknown.set_order_id(std::string(16, 'u'));
  const DeliveryPlan first = Plan(wrong_key);
  EXPECT_EQ(first.result.outcome(), v1::DELIVERY_OUTCOME_NO_SUCH_ORDER);
  EXPECT_EQ(first.result.SerializeAsString(), Plan(unknown).result.SerializeAsString());
  EXPECT_EQ(first.file, nullptr);
}

TEST_F(ShopServiceTest, AnUnpaidOrderIsNotDeliveredWithoutProof) {
  v1::DeliveryRequest request = Order("content", /*paid=*/false);
  EXPECT_EQ(Outcome(request), v1::DELIVERY_OUTCOME_NOT_PAID);
  v1::DeliveryRequest other = Order("content", /*paid=*/true);
  *request.mutable_receipt() = shop_.ReceiptFor(shop_.GetOrder(other.order_id()));
  EXPECT_EQ(Outcome(request), v1::DELIVERY_OUTCOME_NOT_PAID) << "another order's receipt";
  *request.mutable_receipt() = shop_.ReceiptFor(shop_.GetOrder(request.order_id()));
  request.mutable_receipt()->mutable_signature()->back() ^= 1;
  EXPECT_EQ(Outcome(request), v1::DELIVERY_OUTCOME_NOT_PAID) << "a forged receipt";
  EXPECT_EQ(shop_.GetOrder(request.order_id()).status, v1::ORDER_STATUS_CREATED);
}

TEST_F(ShopServiceTest, AReceiptStandsInForANoticeThatDidNotCome) {
  v1::DeliveryRequest request = Order("content", /*paid=*/false);
  *request.mutable_receipt() = shop_.ReceiptFor(shop_.GetOrder(request.order_id()));
  EXPECT_EQ(Outcome(request), v1::DELIVERY_OUTCOME_COMING);
  EXPECT_EQ(shop_.GetOrder(request.order_id()).status, v1::ORDER_STATUS_PAID);
}

TEST_F(ShopServiceTest, ADeclinedOrderIsNotDelivered) {
  v1::DeliveryRequest request = Order("content", /*paid=*/false);
  const orders::Order order = shop_.GetOrder(request.order_id());
  ASSERT_TRUE(shop_.Notify(order, v1::ORDER_STATUS_DECLINED));
  *request.mutable_receipt() = shop_.ReceiptFor(order);
  EXPECT_EQ(Outcome(request), v1::DELIVERY_OUTCOME_NOT_PAID);
}

TEST_F(ShopServiceTest, OffsetsReachToTheFinalFrameAndNoFurther) {
  v1::DeliveryRequest request = Order(std::string(300'000, 'c'), /*paid=*/true);
  request.set_first_piece(4);  // Only the final frame is missing.
  EXPECT_EQ(Outcome(request), v1::DELIVERY_OUTCOME_COMING);
  request.set_first_piece(5);
  EXPECT_EQ(Outcome(request), v1::DELIVERY_OUTCOME_BAD_OFFSET);
  request.set_first_piece(UINT64_MAX);
  EXPECT_EQ(Outcome(request), v1::DELIVERY_OUTCOME_BAD_OFFSET);
}

TEST_F(ShopServiceTest, MissingOrDamagedGoodsAreUnavailable) {
  const v1::DeliveryRequest request = Order("content", /*paid=*/true);
  const std::string path =
      absl::StrCat(shop_.folder, "/goods/", crypto::HexEncode(crypto::Sha256("content")));
  std::filesystem::resize_file(path, 3);
  EXPECT_EQ(Outcome(request), v1::DELIVERY_OUTCOME_UNAVAILABLE);
  std::filesystem::remove(path);
  EXPECT_EQ(Outcome(request), v1::DELIVERY_OUTCOME_UNAVAILABLE);
}

TEST_F(ShopServiceTest, ABuyerOfAnEarlierVersionGetsThatVersionAlsoAfterRemoval) {
  const std::string product_id = shop_.AddProduct("version 1");
  const v1::CheckoutRequest checkout = shop_.NewRequest(product_id);
  const std::string order_id = shop_.Run(checkout).terms().order_id();
  shop_.AddProduct("a second version", 5000, absl::nullopt, product_id);
  shop_.Pay(order_id);
  v1::DeliveryRequest request;
  request.set_order_id(order_id);
  request.set_order_key(checkout.order_key());
  request.set_delivery_id(shop_.random.Bytes(16));
  const DeliveryPlan plan = Plan(request);
  EXPECT_EQ(plan.result.outcome(), v1::DELIVERY_OUTCOME_COMING);
  EXPECT_EQ(plan.params.content_hash, crypto::Sha256("version 1"));
  std::string read(9, '\0');
  ASSERT_TRUE(plan.file->ReadAt(0, read.size(), read.data()).ok());
  EXPECT_EQ(read, "version 1");
}

TEST_F(ShopServiceTest, OverloadIsBusy) {
  const v1::DeliveryRequest request = Order("content", /*paid=*/true);
  shop_.workers.SetFull(true);
  EXPECT_EQ(Outcome(request), v1::DELIVERY_OUTCOME_BUSY);
  std::promise<absl::Status> page;
  shop_.shop->Catalogue(
      0, [&page](absl::StatusOr<v1::CataloguePage> made) { page.set_value(made.status()); });
  EXPECT_TRUE(absl::IsResourceExhausted(page.get_future().get()));
}

TEST_F(ShopServiceTest, FieldsHaveExactlyTheirLengths) {
  v1::DeliveryRequest delivery = Order("content", /*paid=*/true);
  EXPECT_TRUE(IsWellFormed(delivery));
  v1::CheckoutRequest checkout = shop_.NewRequest(std::string(16, 'p'));
  EXPECT_TRUE(IsWellFormed(checkout));
  using Delivery = std::string* (v1::DeliveryRequest::*)();
  for (const Delivery field : {Delivery(&v1::DeliveryRequest::mutable_order_id),
                               Delivery(&v1::DeliveryRequest::mutable_order_key),
                               Delivery(&v1::DeliveryRequest::mutable_delivery_id)}) {
    v1::DeliveryRequest changed = delivery;
    (changed.*field)()->push_back('x');
    EXPECT_FALSE(IsWellFormed(changed));
    (changed.*field)()->resize(3);
    EXPECT_FALSE(IsWellFormed(changed));
  }
  using CheckoutField = std::string* (v1::CheckoutRequest::*)();
  for (const CheckoutField field : {CheckoutField(&v1::CheckoutRequest::mutable_request_id),
                                    CheckoutField(&v1::CheckoutRequest::mutable_product_id),
                                    CheckoutField(&v1::CheckoutRequest::mutable_order_key)}) {
    v1::CheckoutRequest changed = checkout;
    (changed.*field)()->push_back('x');
    EXPECT_FALSE(IsWellFormed(changed));
    (changed.*field)()->clear();
    EXPECT_FALSE(IsWellFormed(changed));
  }
}

}  // namespace
}  // namespace blindcart::merchant
