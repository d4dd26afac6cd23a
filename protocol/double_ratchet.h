// The Double Ratchet: every message of a session has a key of its own, which is gone once it is used,
// and each answer brings fresh secrets in.
//
// Source: Signal, "The Double Ratchet Algorithm", revision 1, 2016-11-20; its sections are cited.
//   RK, CK  = KDF_RK: HKDF(salt = RK, ikm = DH output, info "blindcart/v1 ratchet root"), 64 bytes:
//             the root key, then the chain key                                        (section 5.2)
//   CK, mk  = KDF_CK: next CK = HMAC-SHA-256(CK, 0x02), mk = HMAC-SHA-256(CK, 0x01)   (section 5.2)
//   ENCRYPT = AES-256-GCM with key (32) and nonce (12) = HKDF(salt = 32 zero bytes, ikm = mk, info
//             "blindcart/v1 ratchet message"), ad = LengthPrefixed{AD, context, ratchet key, PN (4),
//             N (4)}. (Section 5.2 recommends CBC with HMAC and allows any AEAD; a key serves once.)
// MAX_SKIP is 1,000 in one chain, and at most 1,000 keys of messages that did not come yet are kept
// in all: the oldest go first.
//
// Used with X3DH as section 8.1 says (in the later revisions 7.1): SK is the first root key, the
// signed pre-key the responder's first ratchet key.
//
// Errors: Decrypt returns InvalidArgument (bounds, a key of small order), OutOfRange (more skipped
// than MAX_SKIP), AlreadyExists (the key of this number is used up or given up), Unauthenticated.
// After any error the state is what it was before. FailedPrecondition from Encrypt of a responder
// that has received nothing yet. Thread safety: none.
#ifndef BLINDCART_PROTOCOL_DOUBLE_RATCHET_H_
#define BLINDCART_PROTOCOL_DOUBLE_RATCHET_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "crypto/random.h"
#include "crypto/secret_bytes.h"
#include "crypto/x25519.h"
#include "proto/message.pb.h"

namespace blindcart::protocol {

inline constexpr uint32_t kMaxSkip = 1'000;
inline constexpr size_t kMaxSkippedKeys = 1'000;

// What travels with a ciphertext (section 3.2); the ciphertext answers for it.
struct RatchetHeader {
  std::string key;  // The sender's ratchet key, 32 bytes.
  uint32_t previous_chain_length = 0;
  uint32_t number = 0;
};

struct RatchetMessage {
  RatchetHeader header;
  std::string ciphertext;  // 16-byte tag last.
};

// Movable; every key is in wiped memory.
class DoubleRatchet {
 public:
  // RatchetInitAlice and RatchetInitBob (section 3.3). `shared_secret` has 32 bytes.
  static absl::StatusOr<DoubleRatchet> Initiate(const crypto::SecretBytes& shared_secret,
                                                absl::string_view peer_key,
                                                absl::string_view associated_data,
                                                crypto::RandomSource& random);
  static absl::StatusOr<DoubleRatchet> Respond(const crypto::SecretBytes& shared_secret,
                                               const crypto::X25519KeyPair& own_key,
                                               absl::string_view associated_data);
  // The reverse of ToProto. InvalidArgument for what it does not give.
  static absl::StatusOr<DoubleRatchet> FromProto(const v1::RatchetState& state);

  // Holds every key in plain; whoever gets it wipes it (WipeRatchetState).
  void ToProto(v1::RatchetState* state) const;

  // RatchetEncrypt (section 3.4). `context` is authenticated.
  absl::StatusOr<RatchetMessage> Encrypt(absl::string_view plaintext, absl::string_view context);
  // RatchetDecrypt (section 3.5).
  absl::StatusOr<std::string> Decrypt(const RatchetMessage& message, absl::string_view context,
                                      crypto::RandomSource& random);

  size_t skipped_keys() const { return skipped_.size(); }
  bool can_encrypt() const { return !sending_chain_.empty(); }

 private:
  struct Skipped {
    std::string ratchet_key;
    uint32_t number;
    crypto::SecretBytes message_key;
  };
  struct Step;

  DoubleRatchet(std::string associated_data, crypto::X25519KeyPair own_key,
                crypto::SecretBytes root_key);

  // Message keys of a chain from `*number` up to `until` go to `skipped`.
  static absl::Status Skip(const std::string& ratchet_key, uint32_t until,
                           crypto::SecretBytes* chain, uint32_t* number,
                           std::deque<Skipped>* skipped);
  std::string AuthenticatedData(const RatchetHeader& header, absl::string_view context) const;

  std::string associated_data_;
  crypto::X25519KeyPair own_key_;        // DHs
  std::string peer_key_;                 // DHr, or empty
  crypto::SecretBytes root_key_;         // RK
  crypto::SecretBytes sending_chain_;    // CKs, or empty
  crypto::SecretBytes receiving_chain_;  // CKr, or empty
  uint32_t sent_ = 0;                    // Ns
  uint32_t received_ = 0;                // Nr
  uint32_t previous_chain_length_ = 0;   // PN
  std::deque<Skipped> skipped_;          // MKSKIPPED, oldest first
};

// Overwrites every key that `state` holds.
void WipeRatchetState(v1::RatchetState& state);

}  // namespace blindcart::protocol

#endif  // BLINDCART_PROTOCOL_DOUBLE_RATCHET_H_
