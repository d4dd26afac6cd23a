// Mutual challenge of broker and merchant (docs/protocol.md section 1a).
//
//   M->B  the merchant's fingerprint                                         MerchantSide::Start
//   B->M  P_M{ "Broker", H(ids), R1B, C1, C2 ; broker-challenge }             BrokerSide::Start
//   M->B  P_B{ "Merchant", H(ids), R1B, R_M, B1, B2 ; merchant-response }     MerchantSide::OnChallenge
//   B->M  P_M{ R_M ; broker-confirm }, Finished                               BrokerSide::OnResponse
//   M->B  Finished                                                            MerchantSide::OnConfirm
//                                                                             BrokerSide::OnFinished
// T covers the fingerprint message and the three ciphertexts. The broker is the initiator.
//
// One instance per run; a message in, a message out. A call out of order is FailedPrecondition and
// ends the machine; every failed check is Refused() with the reason in refusal(). An unknown
// merchant (`merchant` null) is challenged under `decoy` and fails at its response, like a wrong key.
// The session's keys can be taken once, when done() is true.
// Thread safety: none. Identities must outlive the machine.
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
