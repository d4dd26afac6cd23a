// Checkout at the merchant's (docs/protocol.md section 4): a durable order with its stock reserved,
// the broker's confirmation, then the customer's copy. Every step is durable before the next party
// hears.
//
// The same request in the same session gets the same order. In another session it cannot: the terms
// name the session that the broker bound to the customer. So a retry there supersedes the order by
// a new one with a new id; if the broker had taken the first, nobody pays it and it expires. When
// the broker never confirmed the first, its reserved unit moves on to the second; else the second
// needs a unit of its own, because the first can still be paid. A request whose order has been paid
// is over (ORDER_KEY_USED). An offer that got no answer is BUSY to the customer and may be retried.
//
// Thread safety: Run may be called from any thread and does not block; `done` comes from any
// thread.
#ifndef BLINDCART_SERVICES_MERCHANT_CHECKOUT_H_
#define BLINDCART_SERVICES_MERCHANT_CHECKOUT_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "crypto/identity.h"
#include "crypto/random.h"
#include "proto/shop.pb.h"
#include "protocol/clock.h"
#include "services/merchant/broker_calls.h"
#include "services/merchant/shop_database.h"

namespace blindcart::merchant {

// Whether every field has exactly its length.
bool IsWellFormed(const v1::CheckoutRequest& request);

class Checkout {
 public:
  struct Call {
    v1::CheckoutRequest request;  // Well-formed.
    std::string handle;
    std::string sid;
    // The order that this session already got for this request; empty for none.
    std::string known_order_id;
    std::shared_ptr<BrokerCalls> broker;
  };
  using Done = std::function<void(v1::CheckoutResult)>;

  // All must outlive every call's end.
  Checkout(ShopDatabase& database, const crypto::Identity& merchant, const protocol::Clock& clock,
           crypto::RandomSource& random, int64_t order_lifetime_ms)
      : database_(database),
        merchant_(merchant),
        clock_(clock),
        random_(random),
        order_lifetime_ms_(order_lifetime_ms) {}

  // `done` is called exactly once.
  void Run(Call call, Done done);

 private:
  struct State;
  using StatePtr = std::shared_ptr<State>;

  // The first transaction: finds the order, or makes it and reserves its stock. A business outcome
  // is left in the state, and an error rolls back.
  absl::Status FindOrMake(storage::SqliteDatabase& database, State& state);
  void Offer(const StatePtr& state);
  void OnOffered(const StatePtr& state, absl::StatusOr<v1::OfferOrderResult> offered);
  void Confirm(const StatePtr& state, int64_t charge_minor, int64_t total_minor);
  void Abandon(const StatePtr& state);
  void Answer(const StatePtr& state);
  static void Fail(const StatePtr& state, v1::CheckoutOutcome outcome);

  ShopDatabase& database_;
  const crypto::Identity& merchant_;
  const protocol::Clock& clock_;
  crypto::RandomSource& random_;
  const int64_t order_lifetime_ms_;
};

}  // namespace blindcart::merchant

#endif  // BLINDCART_SERVICES_MERCHANT_CHECKOUT_H_
