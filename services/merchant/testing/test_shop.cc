#include "services/merchant/testing/test_shop.h"

#include <future>
#include <utility>

#include "absl/strings/str_cat.h"
#include "crypto/testing/test_identity.h"
#include "gtest/gtest.h"
#include "protocol/order.h"
#include "services/catalog/catalog.h"
#include "services/common/files.h"

namespace blindcart::merchant::testing {

void FakeBroker::Send(const v1::MerchantToBroker&) {}

void FakeBroker::AnswerWith(absl::optional<v1::OfferOrderResult> answer) {
  std::lock_guard<std::mutex> lock(mutex_);
  default_answer_ = false;
  answer_ = std::move(answer);
}

void FakeBroker::Hold() {
  std::lock_guard<std::mutex> lock(mutex_);
  holding_ = true;
}

void FakeBroker::Release() {
  std::vector<std::function<void()>> held;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    holding_ = false;
    held.swap(held_);
  }
  for (const std::function<void()>& answer : held) answer();
}

std::vector<v1::OfferOrderCall> FakeBroker::offers() {
  std::lock_guard<std::mutex> lock(mutex_);
  return offers_;
}

absl::StatusOr<v1::OfferOrderResult> FakeBroker::Answer(const v1::OfferOrderCall& call) {
  EXPECT_TRUE(protocol::VerifyTerms(merchant_, call.terms()).ok());
  if (!default_answer_) {
    if (!answer_.has_value()) return absl::UnavailableError("the link is gone");
    return *answer_;
  }
  v1::OfferOrderResult accepted;
  accepted.set_outcome(v1::OFFER_OUTCOME_ACCEPTED);
  accepted.set_charge_minor(kChargeMinor);
  accepted.set_total_minor(call.terms().price_minor() + kChargeMinor);
  return accepted;
}

void FakeBroker::OfferOrder(v1::OfferOrderCall call, OfferDone done) {
  absl::StatusOr<v1::OfferOrderResult> answer = absl::UnknownError("");
  {
    std::lock_guard<std::mutex> lock(mutex_);
    answer = Answer(call);
    offers_.push_back(std::move(call));
    if (holding_) {
      held_.push_back([done, answer] { done(answer); });
      return;
    }
  }
  done(std::move(answer));
}

TestShop::TestShop()
    : merchant(crypto::TestIdentity(0)),
      broker(crypto::TestIdentity(1)),
      pinned_broker(broker.public_identity(), clock),
      fake_broker(
          std::make_shared<FakeBroker>(broker.public_identity(), merchant.public_identity())) {
  const ::testing::TestInfo* const test = ::testing::UnitTest::GetInstance()->current_test_info();
  folder = absl::StrCat(::testing::TempDir(), "/", test->test_suite_name(), ".", test->name());
  EXPECT_TRUE(MakePrivateDirectory(folder).ok());
  Restart();
}

void TestShop::Restart() {
  database.reset();
  auto opened_goods = catalog::GoodsStore::Open(folder + "/goods");
  auto opened_database = ShopDatabase::Open(folder + "/merchant.db");
  EXPECT_TRUE(opened_goods.ok() && opened_database.ok());
  goods = *std::move(opened_goods);
  database = *std::move(opened_database);
  checkout = std::make_unique<Checkout>(*database, merchant, clock, random, kOrderLifetimeMs);
  payments = std::make_unique<Payments>(*database, merchant.public_identity(),
                                        std::vector<const PinnedBroker*>{&pinned_broker}, clock);
  shop = std::make_unique<ShopService>(*database, *goods, *checkout, *payments, workers,
                                       protocol::SizeClasses::Default());
}

std::string TestShop::AddProduct(const std::string& content, int64_t price_minor,
                                 absl::optional<int64_t> stock, const std::string& product_id) {
  const std::string path = folder + "/upload";
  EXPECT_TRUE(WriteFileAtomically(path, content, 0600, /*replace=*/true).ok());
  const auto added = goods->Add(path, protocol::kMaxContentBytes, nullptr);
  EXPECT_TRUE(added.ok()) << added.status();
  v1::Product product;
  product.set_product_id(product_id.empty() ? random.Bytes(protocol::kProductIdBytes) : product_id);
  product.set_title(absl::StrCat("Product of ", content.size(), " bytes"));
  product.set_price_minor(price_minor);
  product.set_currency("EUR");
  product.set_format("bin");
  product.set_size_bytes(added->size_bytes);
  product.set_content_hash(added->content_hash);
  EXPECT_TRUE(database
                  ->Write([&product, &stock](storage::SqliteDatabase& open) {
                    return catalog::Catalog(open).Put(product, stock);
                  })
                  .ok());
  return product.product_id();
}

v1::CheckoutRequest TestShop::NewRequest(const std::string& product_id) {
  v1::CheckoutRequest request;
  request.set_request_id(random.Bytes(protocol::kRequestIdBytes));
  request.set_product_id(product_id);
  request.set_order_key(random.Bytes(protocol::kOrderKeyBytes));
  return request;
}

Checkout::Call TestShop::NewCall(const v1::CheckoutRequest& request, const std::string& sid) {
  Checkout::Call call;
  call.request = request;
  call.handle = std::string(16, 'h');
  call.sid = sid.empty() ? random.Bytes(16) : sid;
  call.broker = fake_broker;
  return call;
}

v1::CheckoutResult TestShop::Run(const v1::CheckoutRequest& request, const std::string& sid,
                                 const std::string& known_order_id) {
  std::promise<v1::CheckoutResult> result;
  Checkout::Call call = NewCall(request, sid);
  call.known_order_id = known_order_id;
  checkout->Run(std::move(call), [&result](v1::CheckoutResult made) { result.set_value(made); });
  return result.get_future().get();
}

orders::Order TestShop::GetOrder(const std::string& order_id) {
  orders::Order order;
  const absl::Status read = database->Read([&](storage::SqliteDatabase& open) {
    auto found = orders::Orders(open).Get(order_id);
    if (found.ok()) order = *std::move(found);
    return found.status();
  });
  EXPECT_TRUE(read.ok()) << read;
  return order;
}

int64_t TestShop::OrderCount() {
  int64_t count = 0;
  EXPECT_TRUE(database
                  ->Read([&](storage::SqliteDatabase& open) {
                    auto listed = orders::Orders(open).List(0, 1'000'000);
                    if (listed.ok()) count = static_cast<int64_t>(listed->size());
                    return listed.status();
                  })
                  .ok());
  return count;
}

int64_t TestShop::Stock(const std::string& product_id) {
  int64_t stock = -1;
  EXPECT_TRUE(database
                  ->Read([&](storage::SqliteDatabase& open) {
                    auto found = catalog::Catalog(open).Find(product_id);
                    if (found.ok()) stock = found->stock.value_or(-1);
                    return found.status();
                  })
                  .ok());
  return stock;
}

v1::Receipt TestShop::ReceiptFor(const orders::Order& order) {
  v1::Receipt receipt;
  receipt.set_order_id(order.order_id);
  receipt.set_commitment(orders::UnsignedTermsOf(order).commitment());
  receipt.set_merchant_fingerprint(merchant.public_identity().fingerprint());
  receipt.set_price_minor(order.price_minor);
  receipt.set_charge_minor(kChargeMinor);
  receipt.set_total_minor(order.price_minor + kChargeMinor);
  receipt.set_currency(order.currency);
  receipt.set_paid_at_ms(clock.NowUnixMs());
  protocol::SignReceipt(broker, &receipt);
  return receipt;
}

bool TestShop::Notify(const orders::Order& order, v1::OrderStatus status,
                      const v1::Receipt* receipt, const std::string& from_broker) {
  v1::PaymentNotice notice;
  notice.set_notice_id(1);
  notice.set_order_id(order.order_id);
  notice.set_status(status);
  if (receipt != nullptr) *notice.mutable_receipt() = *receipt;
  std::promise<bool> acknowledged;
  payments->OnNotice(from_broker.empty() ? broker.public_identity().fingerprint() : from_broker,
                     notice,
                     [&acknowledged](bool acknowledge) { acknowledged.set_value(acknowledge); });
  return acknowledged.get_future().get();
}

void TestShop::Pay(const std::string& order_id) {
  const orders::Order order = GetOrder(order_id);
  const v1::Receipt receipt = ReceiptFor(order);
  EXPECT_TRUE(Notify(order, v1::ORDER_STATUS_PAID, &receipt));
}

void TestShop::DrainWrites() {
  EXPECT_TRUE(database->Write([](storage::SqliteDatabase&) { return absl::OkStatus(); }).ok());
}

}  // namespace blindcart::merchant::testing
