// The messages of a direct session (proto/peer.proto) as they are judged when they come out of the
// seal, and what a sender signs about a file (docs/protocol.md, "Certificates and direct sessions").
//
// A file's signature is Identity::Sign("blindcart/v1 peer-file", statement) with
//   statement = sender's fingerprint ‖ receiver's fingerprint ‖ name ‖ size (8 bytes, most
//               significant first) ‖ SHA-256 of the content
// so that it stands for this file, given by this sender to this receiver, and for nothing else.
//
// Pure functions; thread-safe.
#ifndef BLINDCART_PROTOCOL_PEER_MESSAGE_H_
#define BLINDCART_PROTOCOL_PEER_MESSAGE_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "crypto/identity.h"

namespace blindcart::v1 {
class PeerMessage;
}

namespace blindcart::protocol {

inline constexpr size_t kPeerIdBytes = 16;
inline constexpr size_t kMaxPeerTextBytes = 16 * 1024;
inline constexpr size_t kMaxPeerFileNameBytes = 255;
inline constexpr uint64_t kMaxPeerFileBytes = uint64_t{1} << 40;
// With what stands around it a lone piece just fits the seal's 256 KiB bucket, four the largest one.
inline constexpr size_t kPeerPieceBytes = 255 * 1024;
// Pieces that may be under way beyond what the receiver has said to have.
inline constexpr uint64_t kPeerWindowPieces = 16;

// Parses and bounds one message: of a known kind, nothing unknown in it, ids, hashes and signatures
// of their sizes, texts plain, sizes and offsets within what a file may have. InvalidArgument
// otherwise.
absl::StatusOr<v1::PeerMessage> ParsePeerMessage(absl::string_view bytes);

// The content's bytes of the piece at `offset` of a file of that size; 0 at and behind the end.
size_t PeerPieceBytesAt(uint64_t offset_bytes, uint64_t size_bytes);

struct PeerFile {
  std::string name;
  uint64_t size_bytes = 0;
  std::string sha256;
};

// 64 bytes.
std::string SignPeerFile(const crypto::Identity& sender, absl::string_view receiver_fingerprint,
                         const PeerFile& file);
// Ok or Unauthenticated.
absl::Status VerifyPeerFile(const crypto::PublicIdentity& sender,
                            absl::string_view receiver_fingerprint, const PeerFile& file,
                            absl::string_view signature);

}  // namespace blindcart::protocol

#endif  // BLINDCART_PROTOCOL_PEER_MESSAGE_H_
