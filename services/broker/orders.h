// Orders at the broker (docs/protocol.md section 4): taken from merchants, shown to and declined by
// the customer whose session they were made in, expired by time. Payment is payments.h.
//
// The broker sees an order without its product: a commitment and a price. Every change of status is
// durable before it is answered, and the merchant is told of it through the outbox.
//
// Thread-safe. Answers come once, on the caller's thread or the commit queue's; they must not block.
#ifndef BLINDCART_SERVICES_BROKER_ORDERS_H_
#define BLINDCART_SERVICES_BROKER_ORDERS_H_

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "crypto/identity.h"
#include "proto/customer.pb.h"
#include "proto/merchant.pb.h"
#include "protocol/clock.h"
#include "services/broker/notices.h"
#include "services/broker/relay.h"
#include "services/ledger/commission.h"
#include "services/storage/commit_queue.h"
#include "services/storage/store.h"

namespace blindcart::broker {

// The status that an order has at `now_ms`: one whose time is over can no longer be paid, whether or
// not the sweep has been there.
v1::OrderStatus EffectiveStatus(const storage::Order& order, int64_t now_ms);

// The terms as the merchant signed them.
v1::OrderTerms TermsOf(const storage::Order& order);

class Orders {
 public:
  struct Options {
    std::string currency;
    ledger::ChargeRule charge;
    int64_t max_lifetime_ms = 0;
  };
  // Orders that one sweep expires in one commit.
  static constexpr int64_t kSweepBatch = 256;

  // All must outlive the object and every callback of the queue.
  Orders(const Options& options, storage::Store& store, storage::CommitQueue& commits,
         Notices& notices, const protocol::Clock& clock);

  // An order of `merchant` for the session that its handle stands for, or for none (then INVALID).
  // The same offer again is ACCEPTED again.
  void Offer(const crypto::PublicIdentity& merchant, int64_t merchant_id,
             const Relay::Session* session, const v1::OrderTerms& terms,
             std::function<void(v1::OfferOrderResult)> answer);

  // found = false for an order that is not this customer's.
  absl::StatusOr<v1::GetOrderResult> Get(int64_t customer_id, absl::string_view order_id);

  // Unspecified for an order that is not this customer's; CREATED when the broker could not do it
  // now, or does not know whether it did.
  void Decline(int64_t customer_id, absl::string_view order_id,
               std::function<void(v1::DeclineResult)> answer);

  // Expires orders whose time is over.
  void Sweep();

 private:
  const Options options_;
  storage::Store& store_;
  storage::CommitQueue& commits_;
  Notices& notices_;
  const protocol::Clock& clock_;
};

}  // namespace blindcart::broker

#endif  // BLINDCART_SERVICES_BROKER_ORDERS_H_
