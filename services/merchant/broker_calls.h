// What the shop asks of a broker over its link. broker_conversation.h implements it; tests have
// doubles.
//
// Thread safety: every method may be called from any thread, also with a session's lock held:
// nothing calls back before it returns.
#ifndef BLINDCART_SERVICES_MERCHANT_BROKER_CALLS_H_
#define BLINDCART_SERVICES_MERCHANT_BROKER_CALLS_H_

#include <functional>

#include "absl/status/statusor.h"
#include "crypto/identity.h"
#include "proto/merchant.pb.h"

namespace blindcart::merchant {

class BrokerCalls {
 public:
  using OfferDone = std::function<void(absl::StatusOr<v1::OfferOrderResult>)>;

  virtual ~BrokerCalls() = default;
  // Whose receipts pay for what is ordered here.
  virtual const crypto::PublicIdentity& identity() const = 0;
  // Queues a message that wants no answer; dropped when the link is gone.
  virtual void Send(const v1::MerchantToBroker& message) = 0;
  // `done` is called exactly once: with the broker's answer, or Unavailable when the link is gone,
  // the answer does not come in time, or too many offers wait.
  virtual void OfferOrder(v1::OfferOrderCall call, OfferDone done) = 0;
};

}  // namespace blindcart::merchant

#endif  // BLINDCART_SERVICES_MERCHANT_BROKER_CALLS_H_
