// One session between two users: X3DH (x3dh.h), then the Double Ratchet (double_ratchet.h), and the
// envelope that carries them (proto/message.proto, MailEnvelope).
//
//   session id = HKDF-Expand(SK, info = LengthPrefixed{"mail session id"}), 16 bytes
//   plaintext  = serialised MailContent, padded (crypto/padding.h) to 1, 4, 16, 64 or 256 KiB
//   context    = the serialised envelope without ratchet header and ciphertext, authenticated by the
//                ratchet with its own header; so every byte of an envelope is answered for
//
// The initiator sends the X3DH initial message with every envelope until it has got an answer, since
// any of them may arrive first (X3DH, section 3.3).
//
// Errors: as double_ratchet.h and x3dh.h; after those a session is what it was before. Open alone has
// one more, DataLoss: authentic and opened, its key used up, but padded as no sender of this version
// pads.
// Thread safety: none.
#ifndef BLINDCART_PROTOCOL_MAIL_SESSION_H_
#define BLINDCART_PROTOCOL_MAIL_SESSION_H_

#include <cstddef>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "crypto/identity.h"
#include "crypto/random.h"
#include "crypto/secret_bytes.h"
#include "crypto/x25519.h"
#include "proto/message.pb.h"
#include "protocol/double_ratchet.h"
#include "protocol/mail_content.h"
#include "protocol/x3dh.h"

namespace blindcart::protocol {

inline constexpr size_t kMailSessionIdBytes = 16;

// One's own end, as sessions are made with it. What is pointed to must outlive the calls only.
struct MailOwner {
  std::string username;
  const crypto::Identity* identity = nullptr;
  const crypto::X25519KeyPair* identity_key = nullptr;
};

// Bounded and strict: exactly the encoding that Seal gives, every field of its size; else
// InvalidArgument. Nothing is authentic yet.
absl::StatusOr<v1::MailEnvelope> ParseEnvelope(absl::string_view sealed);

// The identity that an initial message comes with: its signature over the X25519 identity key is
// checked, whether it is the right one is for the caller's pin to say.
absl::StatusOr<crypto::PublicIdentity> CheckInitial(const v1::X3dhInitial& initial);

class MailSession {
 public:
  // `peer` comes from CheckBundle, its identity was compared with the pin.
  static absl::StatusOr<MailSession> Initiate(const MailOwner& own, absl::string_view peer_username,
                                              const PreKeyBundle& peer,
                                              crypto::RandomSource& random);
  // From the envelope's initial message. `peer_identity` comes from CheckInitial and was compared
  // with the pin; `one_time_pre_key` is null exactly when its id is 0. Unauthenticated when the
  // keys do not lead to the envelope's session. The session stands for nothing until Open.
  static absl::StatusOr<MailSession> Respond(const MailOwner& own, absl::string_view peer_username,
                                             const crypto::PublicIdentity& peer_identity,
                                             const v1::MailEnvelope& envelope,
                                             const crypto::X25519KeyPair& signed_pre_key,
                                             const crypto::X25519KeyPair* one_time_pre_key);
  // The reverse of Serialize; InvalidArgument.
  static absl::StatusOr<MailSession> Parse(absl::string_view serialized);
  crypto::SecretBytes Serialize() const;

  const std::string& id() const { return id_; }
  // Begun here, and no answer came by it yet.
  bool unanswered() const { return !initial_.identity().empty(); }

  // At most kMaxMessagePlaintextBytes - 1 bytes; the result is at most kMaxSealedBytes.
  absl::StatusOr<std::string> Seal(absl::string_view plaintext);
  // Of this session's id.
  absl::StatusOr<std::string> Open(const v1::MailEnvelope& envelope, crypto::RandomSource& random);

 private:
  MailSession(std::string id, DoubleRatchet ratchet)
      : id_(std::move(id)), ratchet_(std::move(ratchet)) {}

  std::string id_;
  v1::X3dhInitial initial_;  // Empty for a responder, and once an answer came.
  DoubleRatchet ratchet_;
};

}  // namespace blindcart::protocol

#endif  // BLINDCART_PROTOCOL_MAIL_SESSION_H_
