// What a sealed frame authenticates about itself (docs/protocol.md section 2), shared by the channel
// and by deliveries. It never travels: both ends make it from what they know and from `seq`.
//
//   header, 63 bytes: the six fields, each after its length in 4 bytes, most significant first
//     offset  0   4   00 00 00 0c
//             4  12   "blindcart/v1"
//            16   4   00 00 00 10
//            20  16   session id (of a delivery: the delivery id)
//            36   4   00 00 00 01
//            40   1   direction: 0 initiator to responder, 1 responder to initiator
//            41   4   00 00 00 01
//            45   1   kind: 0 channel, 1 delivery
//            46   4   00 00 00 08
//            50   8   seq, most significant byte first
//            58   4   00 00 00 01
//            62   1   final: 1 on the last frame of a delivery, else 0
//
//   nonce, 12 bytes: direction, kind, 00 00, then seq as 8 bytes, most significant first
//
// The final mark is in the header but not in the nonce: one seq is sealed once only, as final or not.
//
// Thread safety: a FrameHeader is a value; FrameNonce is pure.
#ifndef BLINDCART_PROTOCOL_FRAME_HEADER_H_
#define BLINDCART_PROTOCOL_FRAME_HEADER_H_

#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"
#include "protocol/key_schedule.h"

namespace blindcart::protocol {

enum class FrameKind : unsigned char { kChannel = 0, kDelivery = 1 };

inline constexpr size_t kFrameHeaderBytes = 63;
inline constexpr size_t kFrameNonceBytes = 12;
inline constexpr size_t kFrameMacBytes = 32;

// The header of one direction of one session, written once; a frame changes seq and final alone, so
// that no frame allocates.
class FrameHeader {
 public:
  // `session_id` has exactly kSessionIdBytes bytes; anything else is a caller's mistake and ends the
  // process.
  FrameHeader(absl::string_view session_id, Direction direction, FrameKind kind);

  // The header of frame `seq`. The view is good until the next call and the object's end.
  absl::string_view Encode(uint64_t seq, bool final);

 private:
  std::array<char, kFrameHeaderBytes> bytes_;
};

class FrameNonce {
 public:
  FrameNonce(Direction direction, FrameKind kind, uint64_t seq);
  absl::string_view view() const { return absl::string_view(bytes_.data(), bytes_.size()); }

 private:
  std::array<char, kFrameNonceBytes> bytes_;
};

}  // namespace blindcart::protocol

#endif  // BLINDCART_PROTOCOL_FRAME_HEADER_H_
