#include "services/merchant/payments.h"

#include <memory>
#include <utility>

#include "protocol/order.h"
#include "services/catalog/catalog.h"
#include "services/common/log.h"

namespace blindcart::merchant {
namespace {

constexpr int64_t kSweepBatch = 256;

}  // namespace

void Payments::OnNotice(const std::string& broker_fingerprint, v1::PaymentNotice notice,
                        std::function<void(bool)> done) {
  auto shared_done = std::make_shared<std::function<void(bool)>>(std::move(done));
  const absl::Status accepted = database_.Submit(
      [this, broker_fingerprint, notice = std::move(notice)](storage::SqliteDatabase& database) {
        return Apply(database, broker_fingerprint, notice);
      },
      [shared_done](const absl::Status& status) { (*shared_done)(status.ok()); });
  if (!accepted.ok()) (*shared_done)(false);
}

absl::Status Payments::Apply(storage::SqliteDatabase& database,
                             const std::string& broker_fingerprint,
                             const v1::PaymentNotice& notice) {
  orders::Orders orders(database);
  absl::StatusOr<orders::Order> order = orders.Get(notice.order_id());
  // One broker has no say over another's orders.
  if (absl::IsNotFound(order.status()) ||
      (order.ok() && !IsSameBroker(order->broker_fingerprint, broker_fingerprint))) {
    ++counters_.unknown_orders;
    return absl::OkStatus();
  }
  if (!order.ok()) return order.status();

  const bool open = order->status == v1::ORDER_STATUS_CREATED;
  absl::Status ended;
  switch (notice.status()) {
    case v1::ORDER_STATUS_PAID:
      if (order->status == v1::ORDER_STATUS_DECLINED) {
        ++counters_.contradictions;
        return absl::OkStatus();
      }
      ended = Pay(database, *order, notice.receipt());
      // It may have been signed by an identity of the broker that is still to be followed. What stays bad
      // is taken, too, in the end, since others wait behind it.
      if (absl::IsPermissionDenied(ended) &&
          clock_.NowUnixMs() > order->expires_at_ms + kUnconfirmedGraceMs) {
        return absl::OkStatus();
      }
      return ended;
    case v1::ORDER_STATUS_DECLINED:
    case v1::ORDER_STATUS_EXPIRED:
      if (!open) {
        if (orders::IsPaid(*order)) ++counters_.contradictions;
        return absl::OkStatus();
      }
      ended = notice.status() == v1::ORDER_STATUS_DECLINED ? orders.MarkDeclined(order->order_id)
                                                           : orders.MarkExpired(order->order_id);
      if (!ended.ok()) return ended;
      return catalog::Catalog(database).Release(order->order_id);
    default:
      // A payment failed and the order is still open, or a notice of a later version.
      return absl::OkStatus();
  }
}

absl::Status Payments::Pay(storage::SqliteDatabase& database, const orders::Order& order,
                           const v1::Receipt& receipt) {
  if (orders::IsPaid(order)) return absl::OkStatus();
  const absl::Status valid = CheckReceipt(order, receipt);
  if (!valid.ok()) {
    ++counters_.bad_receipts;
    return absl::PermissionDeniedError("the receipt does not prove a payment of this order");
  }
  catalog::Catalog catalog(database);
  if (order.status == v1::ORDER_STATUS_EXPIRED) {
    // Its unit was given back; it takes another, if there still is one.
    const absl::Status reserved = catalog.Reserve(order.product_id, order.order_id);
    if (absl::IsFailedPrecondition(reserved)) {
      ++counters_.oversold;
    } else if (!reserved.ok() && !absl::IsNotFound(reserved)) {
      return reserved;
    }
  }
  const absl::Status consumed = catalog.Consume(order.order_id);
  if (!consumed.ok()) return consumed;
  return orders::Orders(database).MarkPaid(order.order_id, receipt);
}

bool Payments::IsSameBroker(absl::string_view one, absl::string_view other) const {
  if (one == other) return true;
  for (const PinnedBroker* broker : brokers_) {
    const auto lineage = broker->lineage();
    if (lineage->Knows(one) && lineage->Knows(other)) return true;
  }
  return false;
}

absl::Status Payments::CheckReceipt(const orders::Order& order, const v1::Receipt& receipt) const {
  absl::Status status = absl::NotFoundError("the order's broker is not configured any more");
  for (const PinnedBroker* broker : brokers_) {
    const auto lineage = broker->lineage();
    if (!lineage->Knows(order.broker_fingerprint)) continue;
    // Where the broker's confirmation was lost, its own signed total stands; price and charge of
    // the receipt are then all that there is to compare.
    status = protocol::CheckReceipt(lineage->SignerOf(receipt, order.created_at_ms),
                                    merchant_.fingerprint(), orders::UnsignedTermsOf(order),
                                    order.total_minor.value_or(receipt.total_minor()), receipt);
    // One of several links to one broker may be the first to have followed it.
    if (status.ok()) return status;
  }
  return status;
}

void Payments::OnReceipt(const std::string& order_id, v1::Receipt receipt,
                         std::function<void(absl::Status)> done) {
  auto shared_done = std::make_shared<std::function<void(absl::Status)>>(std::move(done));
  const absl::Status accepted = database_.Submit(
      [this, order_id, receipt = std::move(receipt)](storage::SqliteDatabase& database) {
        absl::StatusOr<orders::Order> order = orders::Orders(database).Get(order_id);
        if (!order.ok()) return order.status();
        if (order->status == v1::ORDER_STATUS_DECLINED) {
          return absl::PermissionDeniedError("the order was declined");
        }
        return Pay(database, *order, receipt);
      },
      [shared_done](absl::Status status) { (*shared_done)(std::move(status)); });
  if (!accepted.ok()) (*shared_done)(accepted);
}

void Payments::OnDelivered(const std::string& order_id) {
  const absl::Status accepted = database_.Submit(
      [order_id](storage::SqliteDatabase& database) -> absl::Status {
        const absl::Status marked = orders::Orders(database).MarkDelivered(order_id);
        // It was delivered before: goods may be fetched again.
        return absl::IsFailedPrecondition(marked) ? absl::OkStatus() : marked;
      },
      [](const absl::Status& status) {
        if (!status.ok()) {
          LogWarning("delivery.not_marked", {{"code", static_cast<int>(status.code())}});
        }
      });
  if (!accepted.ok())
    LogWarning("delivery.not_marked", {{"code", static_cast<int>(accepted.code())}});
}

void Payments::ExpireUnconfirmed() {
  const int64_t before_ms = clock_.NowUnixMs() - kUnconfirmedGraceMs;
  const absl::Status accepted = database_.Submit(
      [before_ms](storage::SqliteDatabase& database) -> absl::Status {
        orders::Orders orders(database);
        catalog::Catalog catalog(database);
        absl::StatusOr<std::vector<std::string>> order_ids =
            orders.ListUnconfirmed(before_ms, kSweepBatch);
        if (!order_ids.ok()) return order_ids.status();
        for (const std::string& order_id : *order_ids) {
          absl::Status status = orders.MarkExpired(order_id);
          if (status.ok()) status = catalog.Release(order_id);
          if (!status.ok()) return status;
        }
        return absl::OkStatus();
      },
      [](const absl::Status& status) {
        if (!status.ok()) {
          LogWarning("orders.sweep_failed", {{"code", static_cast<int>(status.code())}});
        }
      });
  if (!accepted.ok()) {
    LogWarning("orders.sweep_failed", {{"code", static_cast<int>(accepted.code())}});
  }
}

}  // namespace blindcart::merchant
