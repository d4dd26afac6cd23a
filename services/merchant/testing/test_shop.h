// A shop for tests: real database, goods, keys and use cases in a temporary folder, a clock that stands
// still, and a broker's side that is played by the test. Not thread-safe except where it says so.
#ifndef BLINDCART_SERVICES_MERCHANT_TESTING_TEST_SHOP_H_
#define BLINDCART_SERVICES_MERCHANT_TESTING_TEST_SHOP_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/types/optional.h"
#include "crypto/identity.h"
#include "crypto/testing/deterministic_random.h"
#include "proto/merchant.pb.h"
#include "proto/shop.pb.h"
#include "protocol/refusal.h"
#include "protocol/testing/fake_clock.h"
#include "services/catalog/goods_store.h"
#include "services/common/pinned_broker.h"
#include "services/common/testing/inline_executor.h"
#include "services/merchant/broker_calls.h"
#include "services/merchant/checkout.h"
#include "services/merchant/payments.h"
#include "services/merchant/shop_database.h"
#include "services/merchant/shop_service.h"
#include "services/orders/orders.h"

namespace blindcart::merchant::testing {

constexpr int64_t kOrderLifetimeMs = 15 * 60'000;
constexpr int64_t kChargeMinor = 13;

// A broker that answers offers as it is told, once it has checked that their signature is the
// merchant's. Thread-safe.
class FakeBroker : public BrokerCalls {
 public:
  FakeBroker(const crypto::PublicIdentity& identity, const crypto::PublicIdentity& merchant)
      : identity_(identity), merchant_(merchant) {}

  const crypto::PublicIdentity& identity() const override { return identity_; }
  void Send(const v1::MerchantToBroker& message) override;
  void OfferOrder(v1::OfferOrderCall call, OfferDone done) override;

  // What the next offers are answered with; by default ACCEPTED with kChargeMinor. `nullopt`: with
  // Unavailable, as when the link breaks.
  void AnswerWith(absl::optional<v1::OfferOrderResult> answer);
  // The next offers are kept back until Release.
  void Hold();
  void Release();
  std::vector<v1::OfferOrderCall> offers();

 private:
  absl::StatusOr<v1::OfferOrderResult> Answer(const v1::OfferOrderCall& call);

  const crypto::PublicIdentity& identity_;
  const crypto::PublicIdentity& merchant_;
  std::mutex mutex_;
  bool default_answer_ = true;
  absl::optional<v1::OfferOrderResult> answer_;
  bool holding_ = false;
  std::vector<std::function<void()>> held_;
  std::vector<v1::OfferOrderCall> offers_;
};

class TestShop {
 public:
  TestShop();

  // The process ends and starts again.
  void Restart();

  // Adds a product, or with `product_id` its next version. Returns its id.
  std::string AddProduct(const std::string& content, int64_t price_minor = 1250,
                         absl::optional<int64_t> stock = absl::nullopt,
                         const std::string& product_id = "");
  v1::CheckoutRequest NewRequest(const std::string& product_id);
  // A checkout to its end; with `broker` null by way of fake_broker. Each call is a session of its own
  // unless `known_order_id` says otherwise.
  v1::CheckoutResult Run(const v1::CheckoutRequest& request, const std::string& sid = "",
                         const std::string& known_order_id = "");
  Checkout::Call NewCall(const v1::CheckoutRequest& request, const std::string& sid = "");

  orders::Order GetOrder(const std::string& order_id);
  int64_t OrderCount();
  // Of a product with counted stock.
  int64_t Stock(const std::string& product_id);
  // What the broker signs when the order is paid.
  v1::Receipt ReceiptFor(const orders::Order& order);
  // True when it was to be acknowledged.
  bool Notify(const orders::Order& order, v1::OrderStatus status,
              const v1::Receipt* receipt = nullptr, const std::string& from_broker = "");
  void Pay(const std::string& order_id);
  // Until everything that was submitted to the database has happened.
  void DrainWrites();

  const crypto::Identity& merchant;
  const crypto::Identity& broker;
  protocol::FakeClock clock;
  PinnedBroker pinned_broker;
  crypto::DeterministicRandom random{1};
  protocol::RefusalCounters refusals;
  blindcart::testing::InlineExecutor workers;
  std::shared_ptr<FakeBroker> fake_broker;
  std::string folder;
  std::unique_ptr<catalog::GoodsStore> goods;
  std::unique_ptr<Checkout> checkout;
  std::unique_ptr<Payments> payments;
  std::unique_ptr<ShopService> shop;
  std::unique_ptr<ShopDatabase> database;  // Last: it ends first, and with it every callback.
};

}  // namespace blindcart::merchant::testing

#endif  // BLINDCART_SERVICES_MERCHANT_TESTING_TEST_SHOP_H_
