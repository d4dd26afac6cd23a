// X3DH: the key agreement that begins a session between two users of whom only one is online.
//
// Source: Signal, "The X3DH Key Agreement Protocol", revision 1, 2016-11-04; its sections are cited.
// Parameters (section 2.1): curve X25519, hash SHA-256, info "blindcart/v1 x3dh".
//
// What differs, by the leave of the specification or to the safer side:
// - The identity that users pin is an Ed25519 key (with an RSA key, crypto/identity.h). It signs the
//   X25519 identity key and the signed pre-key, each under a context of its own, in place of XEdDSA
//   by the X25519 key (section 2.4).
// - AD (section 3.3) is LengthPrefixed{IK_A, IK_B, fingerprint_A, fingerprint_B, name_A, name_B}, so
//   that a broker can pass no message off as another user's.
// - A result of all zeros, from a key of small order, is refused.
//
//   DH1 = DH(IK_A, SPK_B)   DH2 = DH(EK_A, IK_B)   DH3 = DH(EK_A, SPK_B)   DH4 = DH(EK_A, OPK_B)
//   SK  = HKDF(salt = 32 zero bytes, ikm = F ‖ DH1 ‖ DH2 ‖ DH3 [‖ DH4], info), F = 32 bytes 0xFF;
//         ‖ is plain here (all parts have 32 bytes), as section 2.2 has it
//   signed message of an identity key: key              context "blindcart/v1 identity key"
//   signed message of a pre-key: id (4 bytes, most significant first) ‖ key
//                                                       context "blindcart/v1 signed pre-key"
//
// Pure functions. Errors: InvalidArgument for wrong sizes and keys of small order, Unauthenticated for
// a signature that does not fit.
#ifndef BLINDCART_PROTOCOL_X3DH_H_
#define BLINDCART_PROTOCOL_X3DH_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "crypto/identity.h"
#include "crypto/random.h"
#include "crypto/secret_bytes.h"
#include "crypto/x25519.h"
#include "proto/mail.pb.h"

namespace blindcart::protocol {

// What the owner signs and everybody (the broker too, before it stores them) verifies.
std::string SignIdentityKey(const crypto::Identity& owner, absl::string_view identity_key);
absl::Status VerifyIdentityKey(const crypto::PublicIdentity& owner, absl::string_view identity_key,
                               absl::string_view signature);
// Ids begin with 1.
v1::SignedPreKey SignPreKey(const crypto::Identity& owner, uint32_t id, absl::string_view key);
absl::Status VerifyPreKey(const crypto::PublicIdentity& owner, const v1::SignedPreKey& pre_key);

// A recipient's keys as the broker handed them out, checked: bounds, and both signatures against the
// identity that came along. Whether that identity is the one to talk to is for the caller's pin to
// say.
struct PreKeyBundle {
  crypto::PublicIdentity identity;
  std::string identity_key;
  uint32_t signed_pre_key_id = 0;
  std::string signed_pre_key;
  uint32_t one_time_pre_key_id = 0;  // 0: none was left.
  std::string one_time_pre_key;
};
// InvalidArgument also when `keys` are not found.
absl::StatusOr<PreKeyBundle> CheckBundle(const v1::FetchKeysResult& keys);

// One end as AD names it.
struct X3dhParty {
  std::string username;
  std::string fingerprint;   // Of its identity, 32 bytes.
  std::string identity_key;  // X25519, public.
};

struct X3dhResult {
  crypto::SecretBytes shared_secret;  // SK, 32 bytes.
  std::string associated_data;
};

// Section 3.3. `own.identity_key` is that of `own_identity_key`.
struct X3dhInitiated {
  X3dhResult result;
  std::string ephemeral_key;  // EK_A, public; its private half is gone already.
};
absl::StatusOr<X3dhInitiated> InitiateX3dh(const X3dhParty& own,
                                           const crypto::X25519KeyPair& own_identity_key,
                                           absl::string_view peer_username,
                                           const PreKeyBundle& peer, crypto::RandomSource& random);

// Section 3.4. `one_time_pre_key` is null when none was used.
absl::StatusOr<X3dhResult> RespondX3dh(const X3dhParty& own,
                                       const crypto::X25519KeyPair& own_identity_key,
                                       const crypto::X25519KeyPair& signed_pre_key,
                                       const crypto::X25519KeyPair* one_time_pre_key,
                                       const X3dhParty& peer, absl::string_view ephemeral_key);

}  // namespace blindcart::protocol

#endif  // BLINDCART_PROTOCOL_X3DH_H_
