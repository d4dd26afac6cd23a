// Delivery of goods (docs/protocol.md section 6): pieces of 256 KiB sealed under keys of their own,
// padded with random bytes to a size class, closed by a final frame with the content's hash and the
// merchant's signature over (order id, hash).
//
//   piece  : ciphertext = AES-256-GCM(S_d, nonce, ad = header, piece), 16-byte tag last,
//            mac = HMAC-SHA-256(A_d, header ‖ GCM tag), seq from 0
//   final  : seq = number of pieces sent, header final = 1,
//            plaintext = v1::DeliveryTrailer padded to 1 KiB, mac as a piece's
//
// Header and nonce are frame_header.h's with kind = delivery. S_d and A_d are expanded from the
// delivery's own keys (Channel::DeliveryKeys), whose session id is the delivery id. The signature
// is Identity::Sign("blindcart/v1 delivery", LengthPrefixed(order id, content hash)).
//
// The merchant is the responder of its session, so pieces travel responder->initiator. A resumed
// delivery has a new delivery id and begins at `first_piece` with seq 0.
// Memory is flat in the content's size: a piece goes in, a frame comes out. Hand the same Frame to
// every SealPiece and its buffers are used again; then a piece costs AES-GCM and next to nothing.
//
// What a relay sees of a delivery depends on the size class and `first_piece` alone.
//
// Errors: Refused() for a frame that fails a check (the delivery is then over); DataLoss from
// DeliveryReceiver::Verdict when the content is not what was ordered; InvalidArgument from Create;
// FailedPrecondition for calls out of order. Thread safety: none.
#ifndef BLINDCART_PROTOCOL_DELIVERY_H_
#define BLINDCART_PROTOCOL_DELIVERY_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "crypto/hash.h"
#include "crypto/identity.h"
#include "crypto/random.h"
#include "protocol/key_schedule.h"
#include "protocol/order.h"
#include "protocol/refusal.h"

namespace blindcart::v1 {
class Frame;
}

namespace blindcart::protocol {

inline constexpr size_t kPieceBytes = 256 * 1024;
inline constexpr size_t kDeliveryIdBytes = 16;

// Every size class is a multiple of this, those over kPieceBytes a multiple of kPieceBytes.
inline constexpr uint64_t kClassUnitBytes = 64 * 1024;
inline constexpr size_t kMaxSizeClasses = 64;

// The padded sizes that a merchant uses, strictly ascending, at most kMaxContentBytes.
class SizeClasses {
 public:
  static SizeClasses Default();  // 64 KiB × 4^k, up to 1 TiB.
  // InvalidArgument says what is wrong with which class.
  static absl::StatusOr<SizeClasses> Create(std::vector<uint64_t> classes_bytes);
  // The smallest class that holds `true_size_bytes`; content above the largest class is refused
  // (OutOfRange), never sent unpadded.
  absl::StatusOr<uint64_t> ClassFor(uint64_t true_size_bytes) const;

 private:
  explicit SizeClasses(std::vector<uint64_t> classes_bytes);
  std::vector<uint64_t> classes_bytes_;
};

// Whether a size can be a class's: what a receiver checks of a merchant's answer.
bool IsValidSizeClass(uint64_t padded_size_bytes);

// Content frames of a whole delivery of `padded_size_bytes`, which is a valid size class.
uint64_t PieceCount(uint64_t padded_size_bytes);
// Size of every piece of it: kPieceBytes, or the class's size when that is smaller.
size_t PieceSize(uint64_t padded_size_bytes);

// That the merchant vouched for this content under this order; DataLoss otherwise. For evidence
// that was kept.
absl::Status VerifyDeliverySignature(const crypto::PublicIdentity& merchant,
                                     absl::string_view order_id, absl::string_view content_hash,
                                     absl::string_view signature);

class DeliverySender {
 public:
  struct Params {
    uint64_t true_size_bytes = 0;
    uint64_t padded_size_bytes = 0;
    uint64_t first_piece = 0;  // At most PieceCount(); then only the final frame follows.
    std::string order_id;
    std::string content_hash;  // SHA-256 of the content, as ordered.
  };
  // `keys` from Channel::DeliveryKeys. `merchant` must outlive the sender; `random` is drawn from in
  // Create only.
  static absl::StatusOr<std::unique_ptr<DeliverySender>> Create(SessionKeys keys, Params params,
                                                                const crypto::Identity& merchant,
                                                                crypto::RandomSource& random);
  ~DeliverySender();

  // How many content bytes the next piece wants (0: the piece is padding only), from which offset
  // of the content.
  size_t NextContentBytes() const;
  uint64_t NextContentOffset() const;
  bool pieces_done() const;

  // Seals the next piece. `content` has exactly NextContentBytes() bytes (InvalidArgument
  // otherwise, and nothing has happened); the rest is padding. `content` must not lie within
  // `frame`.
  absl::Status SealPiece(absl::string_view content, v1::Frame* frame);
  // Seals the final frame, once pieces_done(). Nothing can be sealed after it.
  absl::Status SealFinal(v1::Frame* frame);

 private:
  struct State;
  explicit DeliverySender(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

class DeliveryReceiver {
 public:
  struct Params {
    uint64_t true_size_bytes = 0;
    uint64_t padded_size_bytes = 0;
    uint64_t first_piece = 0;
    std::string order_id;
    std::string expected_hash;  // From the order's commitment.
  };
  // `hasher` has already seen the content before `first_piece` (resume).
  static absl::StatusOr<std::unique_ptr<DeliveryReceiver>> Create(
      SessionKeys keys, Params params, const crypto::PublicIdentity& merchant,
      crypto::Sha256Hasher hasher);
  ~DeliveryReceiver();

  // Opens the next frame. Returns the content bytes in it, padding removed (empty for padding and
  // for the final frame). The view is good until the next call and the receiver's end.
  absl::StatusOr<absl::string_view> Open(const v1::Frame& frame);
  // True once the final frame was accepted.
  bool finished() const;
  // After finished(): OK when hash, signature and order agree; DataLoss says which does not.
  // FailedPrecondition before.
  absl::Status Verdict() const;
  // After finished(): the merchant's signature over (order id, hash), to keep as evidence.
  const std::string& signature() const;
  RefusalReason refusal() const;

 private:
  struct State;
  explicit DeliveryReceiver(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace blindcart::protocol

#endif  // BLINDCART_PROTOCOL_DELIVERY_H_
