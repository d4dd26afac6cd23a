// The sealed channel (docs/protocol.md section 2): one instance at each end of a session.
//
//   header     = frame_header.h, kind channel, final 0
//   nonce      = frame_header.h
//   plaintext  = Envelope, then 0x80 and zeros (ISO/IEC 7816-4) up to a padding bucket
//   ciphertext = AES-256-GCM(S_d, nonce, ad = header, plaintext), 16-byte tag last
//   mac        = HMAC-SHA-256(A_d, header followed by ciphertext, as they are)
//
// The Envelope is protobuf with its fields in ascending order and sent_at_ms always there: 08, the
// time as a varint, then for each message 12, its length as a varint, its bytes. Other encodings
// are refused: the time is to be checked before anything else is looked at.
//
// The receiver checks, in this order: bounds, session known and not expired, MAC, seq exactly the
// next one, AEAD, padding, freshness, parse. The first refusal ends the session for good: every
// later call returns Unauthenticated. A session expires after 15 minutes in which it neither sealed
// nor opened a frame, after 24 hours, and in either direction after 2^32 frames.
//
// Errors: Open and Seal return Unauthenticated("refused") for every failed check, with the reason
// readable from last_refusal() for the counters only. Seal alone has two errors that leave the
// session as it was: ResourceExhausted for messages too large for one frame, InvalidArgument for
// none or more than kMaxBatch of them.
// Thread safety: one thread may seal while another opens (a lock each will do); Seal with Seal and
// Open with Open must not run at once. ended, End, last_refusal, session_id and DeliveryKeys are
// safe from any thread.
#ifndef BLINDCART_PROTOCOL_CHANNEL_H_
#define BLINDCART_PROTOCOL_CHANNEL_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
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
inline constexpr size_t kMaxBatch = 64;                    // Messages in one frame.
inline constexpr size_t kMaxPlaintextBytes = 1024 * 1024;  // The largest padding bucket.
// The largest payload (sum of messages' sizes) that one frame takes: the largest bucket less the
// envelope's own bytes and the padding's first.
inline constexpr size_t kMaxBatchBytes = kMaxPlaintextBytes - 1024;
// A frame that another session carries inside one of its own must fit beside its routing, so S3
// frames stop one bucket lower.
inline constexpr size_t kMaxRelayedPlaintextBytes = 256 * 1024;

class Channel {
 public:
  // Both are padding buckets (crypto/padding.h).
  struct Options {
    // The largest plaintext that is sealed or opened.
    size_t max_plaintext_bytes = kMaxPlaintextBytes;
    // Sealed frames are padded at least to this (4 KiB for a merchant's answers under S3).
    size_t min_bucket_bytes = 1024;
  };

  // `keys` is taken. `clock` must outlive the channel. InvalidArgument for keys of other sizes than
  // a handshake gives, and for options that are no buckets.
  static absl::StatusOr<std::unique_ptr<Channel>> Create(SessionKeys keys, Role role,
                                                         const Clock& clock, Options options);
  ~Channel();

  // Seals 1 to 64 messages into the next frame. All of `frame` is overwritten; its memory is
  // reused.
  absl::Status Seal(absl::Span<const std::string> messages, v1::Frame* frame);

  // Opens the next frame and returns its messages, 1 to 64.
  absl::StatusOr<std::vector<std::string>> Open(const v1::Frame& frame);

  // True once the session was refused, has expired, or was ended.
  bool ended() const;
  // Ends the session; idempotent. Its keys are wiped with the channel.
  void End();

  // Why the session ended: the first reason; kNone while it stands or when only End() ended it.
  RefusalReason last_refusal() const;
  const std::string& session_id() const;
  // For deliveries of this session. Unauthenticated once it has ended.
  absl::StatusOr<SessionKeys> DeliveryKeys(absl::string_view delivery_id) const;

 private:
  friend class ChannelTestPeer;  // Sets the counters, of which a test cannot count to the end.
  struct State;
  explicit Channel(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
  uint64_t send_seq_ = 0;     // Of the next frame to seal.
  uint64_t receive_seq_ = 0;  // Of the next frame to open.
};

}  // namespace blindcart::protocol

#endif  // BLINDCART_PROTOCOL_CHANNEL_H_
