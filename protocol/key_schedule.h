// The session key schedule (docs/protocol.md, "Session keys").
//
//   T  = SHA-256("blindcart/v1" ‖ pair ‖ fp(initiator) or "" ‖ fp(responder) ‖ wire bytes)
//   S  = HKDF(salt = T, ikm = X25519(c1, B1) ‖ nonces, info = "S" ‖ pair)
//   A  = HKDF(salt = T, ikm = X25519(c2, B2) ‖ nonces, info = "A" ‖ pair)
//   session id = HKDF-Expand(A, info = "session id"), 16 bytes (S3: its sid instead)
//   per direction d, each 32 bytes:
//     S_d = HKDF-Expand(S, info = "seal" ‖ d)
//     A_d = HKDF-Expand(A, info = "mac" ‖ d)
//     F_d = HKDF-Expand(A, info = "finished" ‖ d)        Finished = HMAC-SHA-256(F_d, T)
//   per delivery, each 32 bytes:
//     S' = HKDF-Expand(S, info = "delivery" ‖ delivery id)
//     A' = HKDF-Expand(A, info = "delivery" ‖ delivery id)
//
// ‖ is crypto::LengthPrefixed: every field, also a lone one or an empty one, stands behind its
// length in 4 bytes, most significant first. So with pair "customer-broker" the info of S is
//   00 00 00 01 'S' 00 00 00 0f "customer-broker"
// that of the session id is
//   00 00 00 0a "session id"
// and an ikm with the nonces R_C and R_B is
//   00 00 00 20 X25519(c1, B1) 00 00 00 20 R_C 00 00 00 20 R_B
// A direction d is spelled "initiator->responder" or "responder->initiator".
// The fields of T after the fingerprints are the handshake's messages; each handshake's header says
// which bytes of them.
//
// Thread safety: values; not shared while being moved from.
#ifndef BLINDCART_PROTOCOL_KEY_SCHEDULE_H_
#define BLINDCART_PROTOCOL_KEY_SCHEDULE_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "crypto/secret_bytes.h"
#include "crypto/x25519.h"

namespace blindcart::protocol {

inline constexpr absl::string_view kProtocolName = "blindcart/v1";
inline constexpr absl::string_view kPairCustomerBroker = "customer-broker";
inline constexpr absl::string_view kPairBrokerMerchant = "broker-merchant";
inline constexpr absl::string_view kPairCustomerMerchant = "customer-merchant";
inline constexpr absl::string_view kPairPeerPeer = "peer-peer";

inline constexpr size_t kSessionIdBytes = 16;
inline constexpr size_t kKeyBytes = 32;
inline constexpr size_t kFinishedBytes = 32;
inline constexpr size_t kNonceBytes = 32;  // R_C, R_B, R1B, R_M.

enum class Role { kInitiator, kResponder };

enum class Direction : unsigned char { kInitiatorToResponder = 0, kResponderToInitiator = 1 };

// The direction in which `role` sends.
Direction SendDirection(Role role);
Direction ReceiveDirection(Role role);
absl::string_view DirectionName(Direction direction);

// What both ends derive from one handshake. Move-only: every key is in wiped memory.
struct SessionKeys {
  std::string session_id;    // 16 bytes.
  crypto::SecretBytes seal;  // S, from which S_d and deliveries' keys are expanded.
  crypto::SecretBytes mac;   // A, likewise.
};

// What one direction of a session is sealed under.
struct DirectionKeys {
  crypto::SecretBytes seal;  // S_d.
  crypto::SecretBytes mac;   // A_d.
};

// T of the handshake so far. `wire` is each handshake message's bytes, in order.
std::string TranscriptHash(absl::string_view pair, absl::string_view initiator_fingerprint,
                           absl::string_view responder_fingerprint,
                           absl::Span<const std::string> wire);

// S and A, with the session id from A. `nonces` travelled inside RSA encryption, in the order in
// which they were sent. Fails (InvalidArgument) when an exchange yields the all-zero result.
absl::StatusOr<SessionKeys> DeriveSessionKeys(absl::string_view pair, absl::string_view transcript,
                                              const crypto::X25519KeyPair& own1,
                                              absl::string_view peer1,
                                              const crypto::X25519KeyPair& own2,
                                              absl::string_view peer2,
                                              absl::Span<const absl::string_view> nonces);

// HMAC(F_d, T), and its check in constant time. InvalidArgument (false) when `keys` holds no keys.
absl::StatusOr<std::string> FinishedMac(const SessionKeys& keys, Direction sender,
                                        absl::string_view transcript);
bool FinishedMatches(const SessionKeys& keys, Direction sender, absl::string_view transcript,
                     absl::string_view finished);

// S_d and A_d, of a session or of a delivery. InvalidArgument when `keys` holds no keys.
absl::StatusOr<DirectionKeys> DeriveDirectionKeys(const SessionKeys& keys, Direction direction);

// Keys of one delivery: HKDF-Expand(S or A, "delivery" ‖ delivery id); its session id is the
// delivery id. InvalidArgument unless `delivery_id` has 16 bytes.
absl::StatusOr<SessionKeys> DeriveDeliveryKeys(const SessionKeys& session,
                                               absl::string_view delivery_id);

}  // namespace blindcart::protocol

#endif  // BLINDCART_PROTOCOL_KEY_SCHEDULE_H_
