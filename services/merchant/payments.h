// How the merchant learns that an order is paid, declined or expired (docs/protocol.md section 5):
// from the broker's notices, or from the customer who shows the broker's receipt. A payment is
// believed only with a receipt that this order's broker has signed for exactly this order.
//
// Thread safety: every method may be called from any thread and does not block. `done` comes from any
// thread, exactly once.
#ifndef BLINDCART_SERVICES_MERCHANT_PAYMENTS_H_
#define BLINDCART_SERVICES_MERCHANT_PAYMENTS_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "crypto/identity.h"
#include "proto/merchant.pb.h"
#include "protocol/clock.h"
#include "services/common/pinned_broker.h"
#include "services/merchant/shop_database.h"
#include "services/orders/orders.h"

namespace blindcart::merchant {

// What a healthy pair of merchant and broker never counts.
struct PaymentCounters {
  std::atomic<int64_t> unknown_orders{0};  // Notices for orders that are not here.
  std::atomic<int64_t> bad_receipts{0};    // Payments claimed without a valid receipt.
  std::atomic<int64_t> contradictions{0};  // Paid after declined, or declined after paid.
  std::atomic<int64_t> oversold{0};        // Paid after its stock was given to somebody else.
};

class Payments {
 public:
  // An order that the broker has not confirmed ends this long after its expiry: later than any
  // clock that is right within the protocol's freshness window could have paid it.
  static constexpr int64_t kUnconfirmedGraceMs = 10 * 60'000;

  // All that is handed in must outlive every call's end.
  Payments(ShopDatabase& database, const crypto::PublicIdentity& merchant,
           std::vector<const PinnedBroker*> brokers, const protocol::Clock& clock)
      : database_(database), merchant_(merchant), brokers_(std::move(brokers)), clock_(clock) {}

  // A notice over the link of the broker with this fingerprint. `done(true)`: its effect, if any,
  // is durable and it may be acknowledged; `done(false)`: not, and the broker will tell again. A payment
  // whose receipt proves nothing is acknowledged without effect kUnconfirmedGraceMs after the order's
  // expiry.
  void OnNotice(const std::string& broker_fingerprint, v1::PaymentNotice notice,
                std::function<void(bool acknowledge)> done);

  // A receipt that a customer shows. OK when the order is durably paid; PermissionDenied when the
  // receipt does not prove that.
  void OnReceipt(const std::string& order_id, v1::Receipt receipt,
                 std::function<void(absl::Status)> done);

  // A delivery was written to its end.
  void OnDelivered(const std::string& order_id);

  // Ends orders that the broker never confirmed and gives their stock back; for a periodic sweep.
  void ExpireUnconfirmed();

  const PaymentCounters& counters() const { return counters_; }

 private:
  absl::Status Apply(storage::SqliteDatabase& database, const std::string& broker_fingerprint,
                     const v1::PaymentNotice& notice);
  absl::Status Pay(storage::SqliteDatabase& database, const orders::Order& order,
                   const v1::Receipt& receipt);
  // Whether both are identities of one broker, at different times perhaps.
  bool IsSameBroker(absl::string_view one, absl::string_view other) const;
  absl::Status CheckReceipt(const orders::Order& order, const v1::Receipt& receipt) const;

  ShopDatabase& database_;
  const crypto::PublicIdentity& merchant_;
  const std::vector<const PinnedBroker*> brokers_;
  const protocol::Clock& clock_;
  PaymentCounters counters_;
};

}  // namespace blindcart::merchant

#endif  // BLINDCART_SERVICES_MERCHANT_PAYMENTS_H_
