// Mutual challenge of broker and merchant (docs/protocol.md section 1a).
//
//   M->B  the merchant's fingerprint                                     MerchantSide::Start
//   B->M  P_M{ "Broker", H(ids), R1B, C1, C2 ; broker-challenge }         BrokerSide::Start
//   M->B  P_B{ "Merchant", H(ids), R1B, R_M, B1, B2 ; merchant-response } MerchantSide::OnChallenge
//   B->M  P_M{ R_M ; broker-confirm }, Finished                           BrokerSide::OnResponse
//   M->B  Finished                                                        MerchantSide::OnConfirm
//                                                                         BrokerSide::OnFinished
// The bodies of the five messages are: the fingerprint (32 bytes), the three RSA-OAEP ciphertexts
// (each exactly as long as its reader's modulus), nothing. `finished` is there (32 bytes) where the
// table says so, else empty; no message carries a frame.
// H(ids) = SHA-256(broker's fingerprint ‖ merchant's fingerprint). T covers the first four bodies,
// in order. The nonces of the key derivation are R1B, R_M. The broker is the initiator.
//
// One instance per run; a message in, a message out. A call out of order is FailedPrecondition and
// ends the machine: every later call is FailedPrecondition, too, as it is after a refusal. A failed
// check is Refused(), with the reason in refusal(). A challenge or response that does not decrypt
// or holds something else than it should is answered alike, with random data, and refused at the
// sender's Finished; only a message whose sizes are wrong is refused at once. An unknown merchant
// (`merchant` null) is challenged under `decoy` and refused at its Finished, like a wrong key.
// The session's keys can be taken once, when done() is true.
// Thread safety: none. The machine's own identity, MerchantSide's `broker` and `random` must
// outlive it; what BrokerSide::Start is given need not.
#ifndef BLINDCART_PROTOCOL_BROKER_MERCHANT_HANDSHAKE_H_
#define BLINDCART_PROTOCOL_BROKER_MERCHANT_HANDSHAKE_H_

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
class HandshakeMessage;
}

namespace blindcart::protocol {

class BrokerSide {
 public:
  BrokerSide(const crypto::Identity& broker, crypto::RandomSource& random);
  ~BrokerSide();

  // The fingerprint that a merchant's first message names: 32 bytes, or Refused().
  static absl::StatusOr<std::string> FingerprintOf(const v1::HandshakeMessage& hello);

  // `merchant` is the enrolled identity of that fingerprint, or null; `decoy` is then used instead.
  absl::StatusOr<v1::HandshakeMessage> Start(const v1::HandshakeMessage& hello,
                                             const crypto::PublicIdentity* merchant,
                                             const crypto::PublicIdentity& decoy);
  absl::StatusOr<v1::HandshakeMessage> OnResponse(const v1::HandshakeMessage& response);
  absl::Status OnFinished(const v1::HandshakeMessage& finished);

  bool done() const;
  RefusalReason refusal() const;
  absl::StatusOr<SessionKeys> TakeKeys();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

class MerchantSide {
 public:
  MerchantSide(const crypto::Identity& merchant, const crypto::PublicIdentity& broker,
               crypto::RandomSource& random);
  ~MerchantSide();

  absl::StatusOr<v1::HandshakeMessage> Start();
  absl::StatusOr<v1::HandshakeMessage> OnChallenge(const v1::HandshakeMessage& challenge);
  absl::StatusOr<v1::HandshakeMessage> OnConfirm(const v1::HandshakeMessage& confirm);

  bool done() const;
  RefusalReason refusal() const;
  absl::StatusOr<SessionKeys> TakeKeys();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace blindcart::protocol

#endif  // BLINDCART_PROTOCOL_BROKER_MERCHANT_HANDSHAKE_H_
