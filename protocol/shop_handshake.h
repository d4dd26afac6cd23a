// Session of customer and merchant through the broker (docs/protocol.md section 1c).
//
//   C->M  sid, P_M{ H(merchant), sid, R_C, C1, C2 ; shop-hello }              ShopCustomer::Start
//   M->C  B1, B2, R_M, Ed25519_M("shop-hello" ‖ T), Finished                   ShopMerchant::OnHello
//   C->M  Finished with the first sealed request                              ShopCustomer::OnAnswer
//                                                                             ShopMerchant::OnFinished
// T covers LengthPrefixed(sid, ciphertext) and LengthPrefixed(B1, B2, R_M). The customer, nameless,
// is the initiator ("" as fingerprint). The signature is Identity::Sign("blindcart/v1 shop-hello", T).
// The session id is `sid`.
//
// A hello that does not decrypt, or names another merchant or sid, is answered alike under random
// keys, and refused at its Finished. A call out of order is FailedPrecondition; failed checks are
// Refused(). Thread safety: none. Identities must outlive the machine.
#ifndef BLINDCART_PROTOCOL_SHOP_HANDSHAKE_H_
#define BLINDCART_PROTOCOL_SHOP_HANDSHAKE_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "crypto/identity.h"
#include "crypto/random.h"
#include "protocol/key_schedule.h"
#include "protocol/refusal.h"

namespace blindcart::v1 {
class ShopAnswer;
}

namespace blindcart::protocol {

class ShopCustomer {
 public:
  struct Hello {
    std::string sid;         // 16 bytes.
    std::string ciphertext;  // RSA-OAEP for the merchant.
  };

  // `merchant` is the pinned identity.
  ShopCustomer(const crypto::PublicIdentity& merchant, crypto::RandomSource& random);
  ~ShopCustomer();

  absl::StatusOr<Hello> Start();
  // Returns the Finished to send with the first sealed request.
  absl::StatusOr<std::string> OnAnswer(const v1::ShopAnswer& answer);

  bool done() const;
  RefusalReason refusal() const;
  absl::StatusOr<SessionKeys> TakeKeys();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

class ShopMerchant {
 public:
  ShopMerchant(const crypto::Identity& merchant, crypto::RandomSource& random);
  ~ShopMerchant();

  absl::StatusOr<v1::ShopAnswer> OnHello(absl::string_view sid, absl::string_view ciphertext);
  absl::Status OnFinished(absl::string_view finished);

  bool done() const;
  RefusalReason refusal() const;
  absl::StatusOr<SessionKeys> TakeKeys();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace blindcart::protocol

#endif  // BLINDCART_PROTOCOL_SHOP_HANDSHAKE_H_
