#include "services/merchant/checkout.h"

#include <utility>

#include "crypto/hash.h"
#include "protocol/order.h"
#include "services/catalog/catalog.h"
#include "services/common/log.h"
#include "services/orders/orders.h"

namespace blindcart::merchant {

bool IsWellFormed(const v1::CheckoutRequest& request) {
  return request.request_id().size() == protocol::kRequestIdBytes &&
         request.product_id().size() == protocol::kProductIdBytes &&
         request.order_key().size() == protocol::kOrderKeyBytes;
}

struct Checkout::State {
  Call call;
  Done done;
  orders::Order order;
  // Set by FindOrMake when the customer is answered without an order.
  v1::CheckoutOutcome refused = v1::CHECKOUT_OUTCOME_UNSPECIFIED;
  // The order was made, and confirmed, by an earlier request of this session.
  bool repeated = false;

  absl::Status Refuse(v1::CheckoutOutcome outcome) {
    refused = outcome;
    return absl::AbortedError("checkout refused");  // Rolls back; never leaves this file.
  }
};

void Checkout::Run(Call call, Done done) {
  auto state = std::make_shared<State>();
  state->call = std::move(call);
  state->done = std::move(done);
  const absl::Status accepted = database_.Submit(
      [this, state](storage::SqliteDatabase& database) { return FindOrMake(database, *state); },
      [this, state](const absl::Status& status) {
        if (state->refused != v1::CHECKOUT_OUTCOME_UNSPECIFIED) {
          Fail(state, state->refused);
        } else if (!status.ok()) {
          LogWarning("checkout.storage_failed", {{"code", static_cast<int>(status.code())}});
          Fail(state, v1::CHECKOUT_OUTCOME_BUSY);
        } else if (state->repeated) {
          Answer(state);
        } else {
          Offer(state);
        }
      });
  if (!accepted.ok()) Fail(state, v1::CHECKOUT_OUTCOME_BUSY);
}

absl::Status Checkout::FindOrMake(storage::SqliteDatabase& database, State& state) {
  orders::Orders orders(database);
  catalog::Catalog catalog(database);
  const v1::CheckoutRequest& request = state.call.request;
  const std::string order_key_hash = crypto::Sha256(request.order_key());
  const auto is_for_this = [&](const orders::Order& order) {
    return order.request_id == request.request_id() && order.product_id == request.product_id() &&
           order.order_key_hash == order_key_hash;
  };

  if (!state.call.known_order_id.empty()) {
    absl::StatusOr<orders::Order> known = orders.Get(state.call.known_order_id);
    if (!known.ok()) return known.status();
    if (!is_for_this(*known)) return state.Refuse(v1::CHECKOUT_OUTCOME_ORDER_KEY_USED);
    state.order = *std::move(known);
    state.repeated = true;
    return absl::OkStatus();
  }

  absl::StatusOr<orders::Order> earlier = orders.FindByRequest(request.request_id());
  if (earlier.ok()) {
    if (!is_for_this(*earlier) || orders::IsPaid(*earlier)) {
      return state.Refuse(v1::CHECKOUT_OUTCOME_ORDER_KEY_USED);
    }
  } else if (!absl::IsNotFound(earlier.status())) {
    return earlier.status();
  } else {
    const absl::Status taken = orders.FindByOrderKeyHash(order_key_hash).status();
    if (taken.ok()) return state.Refuse(v1::CHECKOUT_OUTCOME_ORDER_KEY_USED);
    if (!absl::IsNotFound(taken)) return taken;
  }

  absl::StatusOr<catalog::StockedProduct> found = catalog.Find(request.product_id());
  if (absl::IsNotFound(found.status())) {
    return state.Refuse(v1::CHECKOUT_OUTCOME_NO_SUCH_PRODUCT);
  }
  if (!found.ok()) return found.status();
  const v1::Product& product = found->product;

  orders::Order& order = state.order;
  order.order_id = random_.Bytes(protocol::kOrderIdBytes);
  order.request_id = request.request_id();
  order.order_key_hash = order_key_hash;
  order.product_id = product.product_id();
  order.title = product.title();
  order.content_hash = product.content_hash();
  order.size_bytes = product.size_bytes();
  order.format = product.format();
  order.price_minor = product.price_minor();
  order.currency = product.currency();
  order.salt = random_.Bytes(protocol::kSaltBytes);
  order.created_at_ms = clock_.NowUnixMs();
  order.expires_at_ms = order.created_at_ms + order_lifetime_ms_;
  order.broker_fingerprint = state.call.broker->identity().fingerprint();

  bool reserved = false;
  if (earlier.ok()) {
    const absl::Status superseded = orders.Supersede(earlier->order_id);
    if (!superseded.ok()) return superseded;
    // Nobody was told the id of an order that the broker did not confirm, so nobody can pay it.
    if (!earlier->total_minor.has_value()) {
      absl::StatusOr<bool> moved = catalog.MoveReservation(earlier->order_id, order.order_id);
      if (!moved.ok()) return moved.status();
      reserved = *moved;
    }
  }
  if (!reserved) {
    const absl::Status taken = catalog.Reserve(order.product_id, order.order_id);
    if (absl::IsFailedPrecondition(taken)) return state.Refuse(v1::CHECKOUT_OUTCOME_SOLD_OUT);
    if (!taken.ok()) return taken;
  }
  return orders.Insert(order);
}

void Checkout::Offer(const StatePtr& state) {
  v1::OfferOrderCall call;
  call.set_handle(state->call.handle);
  *call.mutable_terms() = orders::TermsOf(state->order, state->call.sid, merchant_);
  state->call.broker->OfferOrder(std::move(call),
                                 [this, state](absl::StatusOr<v1::OfferOrderResult> offered) {
                                   OnOffered(state, std::move(offered));
                                 });
}

void Checkout::OnOffered(const StatePtr& state, absl::StatusOr<v1::OfferOrderResult> offered) {
  if (!offered.ok() || offered->outcome() == v1::OFFER_OUTCOME_BUSY) {
    Fail(state, v1::CHECKOUT_OUTCOME_BUSY);
    return;
  }
  const int64_t price_minor = state->order.price_minor;
  const int64_t charge_minor = offered->charge_minor();
  // A charge above the price's own limit cannot be honest, and sums below it cannot overflow.
  if (offered->outcome() == v1::OFFER_OUTCOME_ACCEPTED && charge_minor >= 0 &&
      charge_minor <= protocol::kMaxPriceMinor &&
      offered->total_minor() == price_minor + charge_minor) {
    Confirm(state, charge_minor, offered->total_minor());
    return;
  }
  LogWarning("checkout.broker_declined", {{"outcome", offered->outcome()}});
  Abandon(state);
}

void Checkout::Confirm(const StatePtr& state, int64_t charge_minor, int64_t total_minor) {
  state->order.charge_minor = charge_minor;
  state->order.total_minor = total_minor;
  const absl::Status accepted = database_.Submit(
      [state](storage::SqliteDatabase& database) {
        return orders::Orders(database).Confirm(state->order.order_id, *state->order.charge_minor,
                                                *state->order.total_minor);
      },
      [this, state](const absl::Status& status) {
        if (status.ok()) {
          Answer(state);
        } else {
          Fail(state, v1::CHECKOUT_OUTCOME_BUSY);
        }
      });
  if (!accepted.ok()) Fail(state, v1::CHECKOUT_OUTCOME_BUSY);
}

void Checkout::Abandon(const StatePtr& state) {
  const absl::Status accepted = database_.Submit(
      [state](storage::SqliteDatabase& database) -> absl::Status {
        const absl::Status declined = orders::Orders(database).MarkDeclined(state->order.order_id);
        if (!declined.ok()) return declined;
        return catalog::Catalog(database).Release(state->order.order_id);
      },
      [state](const absl::Status& status) {
        Fail(state, status.ok() ? v1::CHECKOUT_OUTCOME_BROKER_DECLINED : v1::CHECKOUT_OUTCOME_BUSY);
      });
  if (!accepted.ok()) Fail(state, v1::CHECKOUT_OUTCOME_BUSY);
}

void Checkout::Answer(const StatePtr& state) {
  const orders::Order& order = state->order;
  v1::CheckoutResult result;
  result.set_outcome(v1::CHECKOUT_OUTCOME_ORDERED);
  *result.mutable_terms() = orders::TermsOf(order, state->call.sid, merchant_);
  result.set_product_id(order.product_id);
  result.set_title(order.title);
  result.set_content_hash(order.content_hash);
  result.set_salt(order.salt);
  result.set_charge_minor(order.charge_minor.value_or(0));
  result.set_total_minor(order.total_minor.value_or(0));
  result.set_size_bytes(order.size_bytes);
  result.set_format(order.format);
  state->done(std::move(result));
}

void Checkout::Fail(const StatePtr& state, v1::CheckoutOutcome outcome) {
  v1::CheckoutResult result;
  result.set_outcome(outcome);
  state->done(std::move(result));
}

}  // namespace blindcart::merchant
