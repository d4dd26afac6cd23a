// Session of customer and merchant through the broker (docs/protocol.md section 1c).
//
//   C->M  sid, P_M{ H(merchant), sid, R_C, C1, C2 ; shop-hello }              ShopCustomer::Start
//   M->C  B1, B2, R_M, Ed25519_M("shop-hello" ‖ T), Finished                  ShopMerchant::OnHello
//   C->M  Finished with the first sealed request                              ShopCustomer::OnAnswer
//                                                                             ShopMerchant::OnFinished
// H(merchant) = SHA-256 of the merchant's fingerprint. The ciphertext is as long as the merchant's
// modulus. T covers sid ‖ ciphertext and B1 ‖ B2 ‖ R_M, each as one field of its list. The
// customer, nameless, is the initiator ("" as fingerprint). The one nonce of the key derivation is
// R_C; R_M is public and counts through T. The signature is Identity::Sign("blindcart/v1
// shop-hello", T). The session id is `sid`.
//
// A hello that does not decrypt, or names another merchant or sid, is answered alike under random
// keys, and refused at its Finished; only wrong sizes are refused at once. A call out of order is
// FailedPrecondition and ends the machine: every later call is FailedPrecondition, too, as it is
// after a refusal. Failed checks are Refused(), with the reason in refusal().
// Thread safety: none. Identities and `random` must outlive the machine.
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
