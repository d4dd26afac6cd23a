// The sealed channel (docs/protocol.md section 2): one instance at each end of a session.
//
//   header     = "blindcart/v1" ‖ session_id ‖ direction ‖ kind ‖ seq ‖ final
//   nonce      = 4-byte direction-and-kind prefix, then seq as 8 bytes, big-endian
//   ciphertext = AES-256-GCM(S_d, nonce, ad = header, padded plaintext), 16-byte tag last
//   mac        = HMAC-SHA-256(A_d, header ‖ ciphertext)
//
// The receiver checks, in this order: bounds, session known and not expired, MAC, seq exactly the
// next one, AEAD, padding, freshness, parse. The first refusal ends the session for good: every
// later call returns Unauthenticated.
//
// Errors: Open and Seal return Unauthenticated("refused") for every failed check, with the reason
// readable from last_refusal() for the counters only; ResourceExhausted for messages too large to
// seal (the session stays alive then).
// Thread safety: none; the owner serialises calls. Sealing and opening may each have a lock of
// their own: they share no state but `ended`, which is atomic.
#ifndef BLINDCART_PROTOCOL_CHANNEL_H_
#define BLINDCART_PROTOCOL_CHANNEL_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "protocol/clock.h"
#include "protocol/key_schedule.h"
#include "protocol/refusal.h"

namespace blindcart::v1 {
class Frame;
}

namespace blindcart::protocol {

inline constexpr int64_t kFreshnessMs = 120'000;
inline constexpr int64_t kIdleLimitMs = 15 * 60'000;
inline constexpr int64_t kSessionLimitMs = 24 * 3'600'000LL;
inline constexpr uint64_t kMaxFrames = uint64_t{1} << 32;
inline constexpr size_t kMaxBatch = 64;              // Messages in one frame.
inline constexpr size_t kMaxPlaintextBytes = 1024 * 1024;  // The largest padding bucket.
// The largest payload (sum of messages' sizes) that one frame takes: the largest bucket less the
// envelope's own bytes and the padding's first.
inline constexpr size_t kMaxBatchBytes = kMaxPlaintextBytes - 1024;
// A frame that another session carries inside one of its own must fit beside its routing, so S3
// frames stop one bucket lower.
inline constexpr size_t kMaxRelayedPlaintextBytes = 256 * 1024;

class Channel {
 public:
  struct Options {
    size_t max_plaintext_bytes = kMaxPlaintextBytes;
    // Frames are padded at least to this bucket (4 KiB for a merchant's answers under S3).
    size_t min_bucket_bytes = 1024;
  };

  // `keys` is taken. `clock` must outlive the channel.
  static absl::StatusOr<std::unique_ptr<Channel>> Create(SessionKeys keys, Role role,
                                                         const Clock& clock, Options options);
  ~Channel();

  // Seals 1 to 64 messages into the next frame.
  absl::Status Seal(absl::Span<const std::string> messages, v1::Frame* frame);

  // Opens the next frame and returns its messages.
  absl::StatusOr<std::vector<std::string>> Open(const v1::Frame& frame);

  // True once the session was refused, expired or is idle for too long.
  bool ended() const;
  // Ends the session and wipes its keys at destruction; idempotent.
  void End();

  RefusalReason last_refusal() const;
  const std::string& session_id() const;
  // For deliveries of this session.
  absl::StatusOr<SessionKeys> DeliveryKeys(absl::string_view delivery_id) const;

 private:
  struct State;
  explicit Channel(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace blindcart::protocol

#endif  // BLINDCART_PROTOCOL_CHANNEL_H_
