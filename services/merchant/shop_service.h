// What a shop does for an authenticated but nameless session (docs/protocol.md sections 3, 4, 6):
// catalogue pages, checkouts, and the decision about a delivery. Knows neither links nor seals;
// nothing here is told who asks.
//
// Thread safety: every method may be called from any thread and does not block; `done` is called
// exactly once, from any thread.
#ifndef BLINDCART_SERVICES_MERCHANT_SHOP_SERVICE_H_
#define BLINDCART_SERVICES_MERCHANT_SHOP_SERVICE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/shop.pb.h"
#include "protocol/channel.h"
#include "protocol/delivery.h"
#include "services/catalog/goods_store.h"
#include "services/common/call_stats.h"
#include "services/common/worker_pool.h"
#include "services/merchant/checkout.h"
#include "services/merchant/payments.h"
#include "services/merchant/shop_database.h"
#include "services/orders/orders.h"

namespace blindcart::merchant {

// Whether every field has exactly its length.
bool IsWellFormed(const v1::DeliveryRequest& request);

// What a delivery request comes to. With outcome COMING the rest says what to send.
struct DeliveryPlan {
  v1::DeliveryResult result;
  protocol::DeliverySender::Params params;
  std::shared_ptr<catalog::GoodsFile> file;
};

class ShopService {
 public:
  // A page with its reply and envelope has to fit into the largest frame that can be relayed.
  static constexpr size_t kMaxPageBytes = protocol::kMaxRelayedPlaintextBytes - 1024;

  // All must outlive every call's end. `workers` read the database and open files.
  ShopService(ShopDatabase& database, const catalog::GoodsStore& goods, Checkout& checkout,
              Payments& payments, Executor& workers, protocol::SizeClasses size_classes)
      : database_(database),
        goods_(goods),
        checkout_(checkout),
        payments_(payments),
        workers_(workers),
        size_classes_(std::move(size_classes)) {}

  void Catalogue(uint64_t known_version,
                 std::function<void(absl::StatusOr<v1::CataloguePage>)> done);
  void CheckOut(Checkout::Call call, Checkout::Done done) {
    checkout_.Run(std::move(call), std::move(done));
  }
  // `request` is well-formed. Refuses an order that is unknown or has another key, is not paid, is
  // not there, or has no such piece, in this order.
  void PlanDelivery(v1::DeliveryRequest request, std::function<void(DeliveryPlan)> done);
  Payments& payments() { return payments_; }

  // Of all sessions.
  CallStats& calls() { return calls_; }
  // From now on no session and no request is to be taken; what is under way goes on.
  void Close() { closed_ = true; }
  bool closed() const { return closed_; }

 private:
  using PlanDone = std::function<void(DeliveryPlan)>;
  void FindOrder(const v1::DeliveryRequest& request, const PlanDone& done);
  DeliveryPlan Plan(const orders::Order& order, uint64_t first_piece) const;

  ShopDatabase& database_;
  const catalog::GoodsStore& goods_;
  Checkout& checkout_;
  Payments& payments_;
  Executor& workers_;
  const protocol::SizeClasses size_classes_;
  CallStats calls_{*v1::ShopRequest::descriptor()->FindOneofByName("body")};
  std::atomic<bool> closed_{false};
};

}  // namespace blindcart::merchant

#endif  // BLINDCART_SERVICES_MERCHANT_SHOP_SERVICE_H_
