// What the handshakes have in common: the order of calls, RSA-OAEP messages, and going on with
// random data (docs/protocol.md, "The one refusal"). For the handshakes in this folder only.
//
// Thread safety: none.
#ifndef BLINDCART_PROTOCOL_HANDSHAKE_SUPPORT_H_
#define BLINDCART_PROTOCOL_HANDSHAKE_SUPPORT_H_

#include <cstddef>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "crypto/identity.h"
#include "crypto/random.h"
#include "crypto/secret_bytes.h"
#include "crypto/x25519.h"
#include "google/protobuf/message.h"
#include "protocol/key_schedule.h"
#include "protocol/refusal.h"

namespace blindcart::v1 {
class HandshakeMessage;
}

namespace blindcart::protocol {

// Where one run stands. `Step` is the machine's enum; it has kDone, kTaken and kDead.
//
// A call begins with Leave(), which puts the run at kDead, and ends with Reach(): whatever returns
// early in between has ended the run for good.
template <typename Step>
class Progress {
 public:
  explicit Progress(Step first) : step_(first) {}

  // FailedPrecondition unless the run stands at `expected`.
  absl::Status Leave(Step expected) {
    const bool in_order = step_ == expected;
    step_ = Step::kDead;
    if (in_order) return absl::OkStatus();
    if (refusal_ == RefusalReason::kNone) refusal_ = RefusalReason::kOutOfOrder;
    return absl::FailedPreconditionError("handshake call out of order");
  }
  void Reach(Step next) { step_ = next; }

  // Ends the run. Of several reasons the first one counts.
  absl::Status Refuse(RefusalReason reason) {
    step_ = Step::kDead;
    if (refusal_ == RefusalReason::kNone) refusal_ = reason;
    return Refused();
  }

  bool done() const { return step_ == Step::kDone || step_ == Step::kTaken; }
  RefusalReason refusal() const { return refusal_; }

  // Hands out the session's keys, once.
  absl::StatusOr<SessionKeys> Take(SessionKeys& keys) {
    const absl::Status order = Leave(Step::kDone);
    if (!order.ok()) return order;
    Reach(Step::kTaken);
    return std::move(keys);
  }

 private:
  Step step_;
  RefusalReason refusal_ = RefusalReason::kNone;
};

// The two X25519 pairs of one end, used once and wiped with the object.
struct EphemeralKeys {
  static EphemeralKeys Generate(crypto::RandomSource& random);
  crypto::X25519KeyPair encryption;      // c1 or b1.
  crypto::X25519KeyPair authentication;  // c2 or b2.
};

// Of several reasons the first one counts.
void KeepFirst(RefusalReason candidate, RefusalReason* reason);

// What a handshake message may carry; anything else is out of bounds.
struct HandshakeShape {
  size_t body_bytes = 0;  // Exactly.
  bool finished = false;  // Exactly kFinishedBytes of it, or none.
  bool may_frame = false;
};
bool HasShape(const v1::HandshakeMessage& message, const HandshakeShape& shape);

// The serialised form in secret memory.
crypto::SecretBytes SerializeSecret(const google::protobuf::Message& message);

// P_X{message; name}: RSA-OAEP under the label "blindcart/v1/" and the name.
absl::StatusOr<std::string> EncryptMessage(const crypto::PublicIdentity& reader,
                                           absl::string_view name,
                                           const google::protobuf::Message& message);

// Decrypts and parses P_X{message; name} into `opened`; unknown fields and doubled ones are
// refused. Whatever fails, a parse is done: then of `stand_in`, a message of the same shape.
// Returns kNone, kDecryption or kMalformed.
RefusalReason DecryptMessage(const crypto::Identity& reader, absl::string_view name,
                             absl::string_view ciphertext,
                             const google::protobuf::Message& stand_in,
                             google::protobuf::Message* opened);

// DeriveSessionKeys, which on failure gives random keys instead: nobody else has them, so the run
// goes on to its end and fails at Finished. `*reason` is then set to kKeyExchange, unless it is
// set.
SessionKeys DeriveOrRandomKeys(absl::string_view pair, absl::string_view transcript,
                               const EphemeralKeys& own, absl::string_view peer_encryption,
                               absl::string_view peer_authentication,
                               absl::Span<const absl::string_view> nonces,
                               crypto::RandomSource& random, RefusalReason* reason);

}  // namespace blindcart::protocol

#endif  // BLINDCART_PROTOCOL_HANDSHAKE_SUPPORT_H_
