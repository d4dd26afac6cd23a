#include "services/broker/orders.h"

#include <memory>
#include <utility>
#include <vector>

#include "absl/types/optional.h"
#include "protocol/order.h"
#include "services/common/log.h"

namespace blindcart::broker {
namespace {

v1::OrderStatus ToProto(storage::OrderStatus status) {
  switch (status) {
    case storage::OrderStatus::kCreated:
      return v1::ORDER_STATUS_CREATED;
    case storage::OrderStatus::kDeclined:
      return v1::ORDER_STATUS_DECLINED;
    case storage::OrderStatus::kExpired:
      return v1::ORDER_STATUS_EXPIRED;
    case storage::OrderStatus::kPaid:
      return v1::ORDER_STATUS_PAID;
    case storage::OrderStatus::kDelivered:
      return v1::ORDER_STATUS_DELIVERED;
    case storage::OrderStatus::kRefunded:
      return v1::ORDER_STATUS_REFUNDED;
    case storage::OrderStatus::kInvalid:
      break;
  }
  return v1::ORDER_STATUS_UNSPECIFIED;
}

v1::OfferOrderResult Offered(v1::OfferOutcome outcome) {
  v1::OfferOrderResult result;
  result.set_outcome(outcome);
  return result;
}

// Whether `known` is the same order, offered again.
bool IsSameOffer(const storage::Order& known, const storage::Order& offered) {
  return known.merchant_id == offered.merchant_id && known.customer_id == offered.customer_id &&
         known.sid == offered.sid && known.price_minor == offered.price_minor &&
         known.currency == offered.currency && known.commitment == offered.commitment &&
         known.expires_at_ms == offered.expires_at_ms;
}

// Moves an order that is still open to `status` and tells its merchant.
absl::StatusOr<Notices::Written> CloseOrder(storage::Transaction& transaction,
                                            const storage::Order& order,
                                            storage::OrderStatus status, int64_t now_ms) {
  const absl::Status updated =
      transaction.orders().UpdateStatus(order.order_id, storage::OrderStatus::kCreated, status);
  if (!updated.ok()) return updated;
  return Notices::Write(transaction, order.merchant_id, order.order_id, ToProto(status),
                        /*receipt=*/nullptr, now_ms);
}

}  // namespace

v1::OrderStatus EffectiveStatus(const storage::Order& order, int64_t now_ms) {
  if (order.status == storage::OrderStatus::kCreated && order.expires_at_ms <= now_ms) {
    return v1::ORDER_STATUS_EXPIRED;
  }
  return ToProto(order.status);
}

v1::OrderTerms TermsOf(const storage::Order& order) {
  v1::OrderTerms terms;
  terms.set_order_id(order.order_id);
  terms.set_sid(order.sid);
  terms.set_price_minor(order.price_minor);
  terms.set_currency(order.currency);
  terms.set_expires_at_ms(order.expires_at_ms);
  terms.set_commitment(order.commitment);
  terms.set_signature(order.merchant_signature);
  return terms;
}

Orders::Orders(const Options& options, storage::Store& store, storage::CommitQueue& commits,
               Notices& notices, const protocol::Clock& clock)
    : options_(options), store_(store), commits_(commits), notices_(notices), clock_(clock) {}

void Orders::Offer(const crypto::PublicIdentity& merchant, int64_t merchant_id,
                   const Relay::Session* session, const v1::OrderTerms& terms,
                   std::function<void(v1::OfferOrderResult)> answer) {
  const int64_t now_ms = clock_.NowUnixMs();
  // VerifyTerms checks the bounds of every field first.
  if (session == nullptr || session->merchant_id != merchant_id || terms.sid() != session->sid ||
      !protocol::VerifyTerms(merchant, terms).ok() || terms.expires_at_ms() <= now_ms ||
      terms.expires_at_ms() - now_ms > options_.max_lifetime_ms) {
    answer(Offered(v1::OFFER_OUTCOME_INVALID));
    return;
  }
  if (terms.currency() != options_.currency) {
    answer(Offered(v1::OFFER_OUTCOME_CURRENCY));
    return;
  }
  const absl::StatusOr<ledger::Quote> quote =
      ledger::QuoteSale(options_.charge, terms.price_minor());
  if (!quote.ok() || quote->charge_minor > protocol::kMaxChargeMinor) {
    answer(Offered(v1::OFFER_OUTCOME_INVALID));
    return;
  }
  auto order = std::make_shared<storage::Order>();
  order->order_id = terms.order_id();
  order->merchant_id = merchant_id;
  order->customer_id = session->customer_id;
  order->sid = terms.sid();
  order->price_minor = terms.price_minor();
  order->charge_minor = quote->charge_minor;
  order->total_minor = quote->total_minor;
  order->currency = terms.currency();
  order->commitment = terms.commitment();
  order->merchant_signature = terms.signature();
  order->created_at_ms = now_ms;
  order->expires_at_ms = terms.expires_at_ms();

  auto result = std::make_shared<v1::OfferOrderResult>();
  const absl::Status accepted = commits_.Submit(
      [order, result](storage::Transaction& transaction) {
        const absl::StatusOr<storage::Order> known = transaction.orders().Get(order->order_id);
        if (known.ok()) {
          *result = Offered(IsSameOffer(*known, *order) ? v1::OFFER_OUTCOME_ACCEPTED
                                                        : v1::OFFER_OUTCOME_ALREADY_EXISTS);
          if (result->outcome() == v1::OFFER_OUTCOME_ACCEPTED) {
            result->set_charge_minor(known->charge_minor);
            result->set_total_minor(known->total_minor);
          }
          return absl::OkStatus();
        }
        if (!absl::IsNotFound(known.status())) return known.status();
        const absl::Status inserted = transaction.orders().Insert(*order);
        if (!inserted.ok()) return inserted;
        *result = Offered(v1::OFFER_OUTCOME_ACCEPTED);
        result->set_charge_minor(order->charge_minor);
        result->set_total_minor(order->total_minor);
        return absl::OkStatus();
      },
      [result, answer](const absl::Status& status) {
        if (!status.ok()) LogWarning("offer.failed", {{"code", static_cast<int>(status.code())}});
        answer(status.ok() ? *result : Offered(v1::OFFER_OUTCOME_BUSY));
      });
  if (!accepted.ok()) answer(Offered(v1::OFFER_OUTCOME_BUSY));
}

absl::StatusOr<v1::GetOrderResult> Orders::Get(int64_t customer_id, absl::string_view order_id) {
  v1::GetOrderResult result;
  const absl::Status read = store_.Read([&](storage::Transaction& transaction) {
    result.Clear();
    const absl::StatusOr<storage::Order> order = transaction.orders().Get(order_id);
    if (absl::IsNotFound(order.status())) return absl::OkStatus();
    if (!order.ok()) return order.status();
    if (order->customer_id != customer_id) return absl::OkStatus();
    const absl::StatusOr<storage::Merchant> merchant =
        transaction.merchants().Get(order->merchant_id);
    if (!merchant.ok()) return merchant.status();
    result.set_found(true);
    *result.mutable_terms() = TermsOf(*order);
    result.set_merchant_fingerprint(merchant->fingerprint);
    result.set_charge_minor(order->charge_minor);
    result.set_total_minor(order->total_minor);
    result.set_status(EffectiveStatus(*order, clock_.NowUnixMs()));
    if (!order->receipt.empty() && !result.mutable_receipt()->ParseFromString(order->receipt)) {
      return absl::DataLossError("a stored receipt does not parse");
    }
    return absl::OkStatus();
  });
  if (!read.ok()) return read;
  return result;
}

void Orders::Decline(int64_t customer_id, absl::string_view order_id,
                     std::function<void(v1::DeclineResult)> answer) {
  struct Outcome {
    v1::OrderStatus status = v1::ORDER_STATUS_UNSPECIFIED;
    Notices::Written notice;
  };
  auto outcome = std::make_shared<Outcome>();
  const auto reply = [answer](v1::OrderStatus status) {
    v1::DeclineResult result;
    result.set_status(status);
    answer(result);
  };
  // The one writer serves everybody: what cannot change is answered without it.
  absl::optional<v1::OrderStatus> settled;
  const absl::Status read = store_.Read([&](storage::Transaction& transaction) {
    settled.reset();
    const absl::StatusOr<storage::Order> order = transaction.orders().Get(order_id);
    if (absl::IsNotFound(order.status()) || (order.ok() && order->customer_id != customer_id)) {
      settled = v1::ORDER_STATUS_UNSPECIFIED;
    } else if (order.ok() && order->status != storage::OrderStatus::kCreated) {
      settled = ToProto(order->status);
    }
    return absl::OkStatus();
  });
  if (read.ok() && settled.has_value()) return reply(*settled);
  const absl::Status accepted = commits_.Submit(
      [this, outcome, customer_id, id = std::string(order_id)](storage::Transaction& transaction) {
        *outcome = Outcome();
        const int64_t now_ms = clock_.NowUnixMs();
        const absl::StatusOr<storage::Order> order = transaction.orders().Get(id);
        if (absl::IsNotFound(order.status())) return absl::OkStatus();
        if (!order.ok()) return order.status();
        if (order->customer_id != customer_id) return absl::OkStatus();
        outcome->status = EffectiveStatus(*order, now_ms);
        if (order->status != storage::OrderStatus::kCreated) return absl::OkStatus();
        const bool expired = outcome->status == v1::ORDER_STATUS_EXPIRED;
        absl::StatusOr<Notices::Written> closed = CloseOrder(
            transaction, *order,
            expired ? storage::OrderStatus::kExpired : storage::OrderStatus::kDeclined, now_ms);
        if (!closed.ok()) return closed.status();
        outcome->notice = *std::move(closed);
        outcome->status = outcome->notice.notice.status();
        return absl::OkStatus();
      },
      [this, outcome, reply](const absl::Status& status) {
        if (!status.ok()) {
          LogWarning("decline.failed", {{"code", static_cast<int>(status.code())}});
          reply(v1::ORDER_STATUS_CREATED);
          return;
        }
        reply(outcome->status);
        notices_.OnCommitted(outcome->notice);
      });
  if (!accepted.ok()) reply(v1::ORDER_STATUS_CREATED);
}

void Orders::Sweep() {
  const int64_t now_ms = clock_.NowUnixMs();
  auto ids = std::make_shared<std::vector<std::string>>();
  const absl::Status read = store_.Read([&](storage::Transaction& transaction) {
    absl::StatusOr<std::vector<std::string>> listed =
        transaction.orders().ListExpirable(now_ms, kSweepBatch);
    if (!listed.ok()) return listed.status();
    *ids = *std::move(listed);
    return absl::OkStatus();
  });
  if (!read.ok()) LogWarning("sweep.read_failed", {{"code", static_cast<int>(read.code())}});
  if (!read.ok() || ids->empty()) return;
  auto notices = std::make_shared<std::vector<Notices::Written>>();
  commits_
      .Submit(
          [ids, notices, now_ms](storage::Transaction& transaction) {
            std::vector<Notices::Written> written;
            for (const std::string& id : *ids) {
              const absl::StatusOr<storage::Order> order = transaction.orders().Get(id);
              if (!order.ok()) return order.status();
              // Paid or declined since it was listed.
              if (order->status != storage::OrderStatus::kCreated) continue;
              absl::StatusOr<Notices::Written> closed =
                  CloseOrder(transaction, *order, storage::OrderStatus::kExpired, now_ms);
              if (!closed.ok()) return closed.status();
              written.push_back(*std::move(closed));
            }
            *notices = std::move(written);
            return absl::OkStatus();
          },
          [this, notices](const absl::Status& status) {
            if (!status.ok()) {
              LogWarning("sweep.failed", {{"code", static_cast<int>(status.code())}});
              return;
            }
            for (const Notices::Written& written : *notices) notices_.OnCommitted(written);
          })
      .IgnoreError();
}

}  // namespace blindcart::broker
