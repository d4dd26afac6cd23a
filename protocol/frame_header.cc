#include "protocol/frame_header.h"

#include <cstdlib>
#include <cstring>

namespace blindcart::protocol {
namespace {

constexpr size_t kLengthBytes = 4;
constexpr size_t kSeqBytes = 8;
constexpr size_t kSeqOffset = 50;
constexpr size_t kFinalOffset = 62;

static_assert(kLengthBytes * 6 + 12 + kSessionIdBytes + 1 + 1 + kSeqBytes + 1 == kFrameHeaderBytes,
              "the header's fields and their lengths");
static_assert(kProtocolName.size() == 12, "the offsets count on it");

void PutBigEndian64(uint64_t value, char* out) {
  for (size_t i = 0; i < kSeqBytes; ++i) {
    out[i] = static_cast<char>(static_cast<unsigned char>(value >> (8 * (kSeqBytes - 1 - i))));
  }
}

// Every field is shorter than 256 bytes, so that its length is three zeros and one byte.
char* PutField(absl::string_view field, char* out) {
  std::memset(out, 0, kLengthBytes - 1);
  out[kLengthBytes - 1] = static_cast<char>(field.size());
  std::memcpy(out + kLengthBytes, field.data(), field.size());
  return out + kLengthBytes + field.size();
}

}  // namespace

FrameHeader::FrameHeader(absl::string_view session_id, Direction direction, FrameKind kind) {
  if (session_id.size() != kSessionIdBytes) std::abort();
  const char direction_byte = static_cast<char>(direction);
  const char kind_byte = static_cast<char>(kind);
  const std::array<char, kSeqBytes> no_seq{};
  const char not_final = 0;
  char* out = bytes_.data();
  out = PutField(kProtocolName, out);
  out = PutField(session_id, out);
  out = PutField(absl::string_view(&direction_byte, 1), out);
  out = PutField(absl::string_view(&kind_byte, 1), out);
  out = PutField(absl::string_view(no_seq.data(), no_seq.size()), out);
  PutField(absl::string_view(&not_final, 1), out);
}

absl::string_view FrameHeader::Encode(uint64_t seq, bool final) {
  PutBigEndian64(seq, bytes_.data() + kSeqOffset);
  bytes_[kFinalOffset] = final ? 1 : 0;
  return absl::string_view(bytes_.data(), bytes_.size());
}

FrameNonce::FrameNonce(Direction direction, FrameKind kind, uint64_t seq)
    : bytes_{static_cast<char>(direction), static_cast<char>(kind), 0, 0} {
  PutBigEndian64(seq, bytes_.data() + kFrameNonceBytes - kSeqBytes);
}

}  // namespace blindcart::protocol
