#include "protocol/peer_message.h"

#include <algorithm>
#include <limits>

#include "crypto/ed25519.h"
#include "crypto/encoding.h"
#include "crypto/hash.h"
#include "proto/peer.pb.h"
#include "protocol/utf8.h"

namespace blindcart::protocol {
namespace {

constexpr absl::string_view kFileContext = "blindcart/v1 peer-file";

// The largest message is a piece.
constexpr size_t kMaxMessageBytes = kPeerPieceBytes + 256;

bool IsId(const std::string& id) { return id.size() == kPeerIdBytes; }

bool InBounds(const v1::PeerMessage& message) {
  switch (message.kind_case()) {
    case v1::PeerMessage::kText:
      return IsId(message.text().message_id()) && !message.text().text().empty() &&
             message.text().text().size() <= kMaxPeerTextBytes &&
             IsPlainText(message.text().text());
    case v1::PeerMessage::kTextReceived:
      return IsId(message.text_received().message_id());
    case v1::PeerMessage::kFileOffer: {
      const v1::PeerFileOffer& offer = message.file_offer();
      return IsId(offer.transfer_id()) && !offer.name().empty() &&
             offer.name().size() <= kMaxPeerFileNameBytes && IsPlainLine(offer.name()) &&
             offer.size_bytes() <= kMaxPeerFileBytes &&
             offer.sha256().size() == crypto::kSha256Bytes;
    }
    case v1::PeerMessage::kFileAnswer: {
      const v1::PeerFileAnswer& answer = message.file_answer();
      return IsId(answer.transfer_id()) && v1::PeerFileVerdict_IsValid(answer.verdict()) &&
             answer.verdict() != v1::PEER_FILE_VERDICT_UNSPECIFIED &&
             answer.offset_bytes() <= kMaxPeerFileBytes;
    }
    case v1::PeerMessage::kFilePiece: {
      const v1::PeerFilePiece& piece = message.file_piece();
      return IsId(piece.transfer_id()) && piece.offset_bytes() < kMaxPeerFileBytes &&
             !piece.content().empty() && piece.content().size() <= kPeerPieceBytes;
    }
    case v1::PeerMessage::kFileReceived:
      return IsId(message.file_received().transfer_id()) &&
             message.file_received().received_bytes() <= kMaxPeerFileBytes;
    case v1::PeerMessage::kFileEnd:
      return IsId(message.file_end().transfer_id()) &&
             message.file_end().sha256().size() == crypto::kSha256Bytes &&
             message.file_end().signature().size() == crypto::kEd25519SignatureBytes;
    case v1::PeerMessage::kFileResult:
      return IsId(message.file_result().transfer_id()) &&
             v1::PeerFileVerdict_IsValid(message.file_result().verdict()) &&
             message.file_result().verdict() != v1::PEER_FILE_VERDICT_UNSPECIFIED;
    case v1::PeerMessage::kFileStopped:
      return IsId(message.file_stopped().transfer_id());
    case v1::PeerMessage::kBye:
      return true;
    case v1::PeerMessage::KIND_NOT_SET:
      return false;
  }
  return false;
}

std::string Statement(absl::string_view sender_fingerprint, absl::string_view receiver_fingerprint,
                      const PeerFile& file) {
  std::string size(8, '\0');
  for (size_t i = 0; i < size.size(); ++i) {
    size[i] = static_cast<char>(file.size_bytes >> (8 * (size.size() - 1 - i)));
  }
  return crypto::LengthPrefixed(
      {sender_fingerprint, receiver_fingerprint, file.name, size, file.sha256});
}

}  // namespace

absl::StatusOr<v1::PeerMessage> ParsePeerMessage(absl::string_view bytes) {
  v1::PeerMessage message;
  // A field that stands twice parses as its last value, and an unknown one is kept apart: neither is
  // what our own writer would have written, and the size or a second writing tells.
  if (bytes.size() > kMaxMessageBytes ||
      !message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())) ||
      message.ByteSizeLong() != bytes.size() || !InBounds(message)) {
    return absl::InvalidArgumentError("no message of a direct session");
  }
  message.DiscardUnknownFields();
  if (message.ByteSizeLong() != bytes.size()) {
    return absl::InvalidArgumentError("no message of a direct session");
  }
  return message;
}

size_t PeerPieceBytesAt(uint64_t offset_bytes, uint64_t size_bytes) {
  if (offset_bytes >= size_bytes) return 0;
  return static_cast<size_t>(std::min<uint64_t>(kPeerPieceBytes, size_bytes - offset_bytes));
}

std::string SignPeerFile(const crypto::Identity& sender, absl::string_view receiver_fingerprint,
                         const PeerFile& file) {
  return sender.Sign(kFileContext,
                     Statement(sender.public_identity().fingerprint(), receiver_fingerprint, file));
}

absl::Status VerifyPeerFile(const crypto::PublicIdentity& sender,
                            absl::string_view receiver_fingerprint, const PeerFile& file,
                            absl::string_view signature) {
  return sender.VerifySignature(
      kFileContext, Statement(sender.fingerprint(), receiver_fingerprint, file), signature);
}

}  // namespace blindcart::protocol
