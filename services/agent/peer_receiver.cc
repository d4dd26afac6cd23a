#include "services/agent/peer_receiver.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "crypto/encoding.h"
#include "protocol/file_name.h"
#include "services/common/files.h"

namespace blindcart::agent {
namespace {

// A sync each 16 MiB: a break of the power loses no more.
constexpr uint64_t kPiecesPerSync = 64;
// A look at what is left of the disk each MiB, far less than what is kept free.
constexpr uint64_t kPiecesPerLook = 4;

// Of the sender's fingerprint, in names of part files.
constexpr size_t kSenderDigits = 32;

absl::Status AgainstTheRules() {
  return absl::InvalidArgumentError("a file's messages are out of order");
}

// One safe component out of what the sender calls the file.
std::string NameFor(const std::string& hint) {
  const size_t dot = hint.rfind('.');
  if (dot == std::string::npos || dot == 0) return protocol::CleanFileName(hint, "");
  return protocol::CleanFileName(hint.substr(0, dot), absl::AsciiStrToLower(hint.substr(dot + 1)));
}

}  // namespace

PeerReceiver::PeerReceiver(ReceivedFolder& folder, const crypto::PublicIdentity& sender,
                           std::string own_fingerprint, FindEarlier find_earlier,
                           FindStored find_stored)
    : folder_(folder),
      sender_name_(crypto::HexEncode(sender.fingerprint()).substr(0, kSenderDigits)),
      sender_(sender),
      own_fingerprint_(std::move(own_fingerprint)),
      find_earlier_(std::move(find_earlier)),
      find_stored_(std::move(find_stored)) {}

bool PeerReceiver::IsHere(const std::string& path, const v1::PeerFileOffer& offer) {
  std::error_code error;
  if (path.empty() || offer.size_bytes() == 0 ||
      std::filesystem::file_size(path, error) != offer.size_bytes() || error) {
    return false;
  }
  folder_.CountRead(sender_name_, offer.size_bytes());
  const absl::StatusOr<FileDigest> digest = DigestFile(path);
  return digest.ok() && digest->sha256 == offer.sha256() &&
         digest->size_bytes == offer.size_bytes();
}

v1::PeerFileVerdict PeerReceiver::Begin(const v1::PeerFileOffer& offer, Incoming* incoming) {
  const absl::StatusOr<ReceivedFolder::Stored> stored = find_stored_();
  if (!stored.ok() || !MakePrivateDirectory(folder_.path()).ok()) {
    return v1::PEER_FILE_VERDICT_NO_SPACE;
  }
  const v1::PeerFileVerdict entered =
      folder_.Enter(sender_name_, offer.sha256(), offer.size_bytes(), *stored, &incoming->place);
  if (entered != v1::PEER_FILE_VERDICT_ACCEPTED) return entered;
  const std::string name = ReceivedFolder::PartName(sender_name_, offer.sha256());
  absl::StatusOr<PartFile> part = PartFile::Open(folder_.path(), name);
  if (!part.ok()) return v1::PEER_FILE_VERDICT_NO_SPACE;
  std::error_code error;
  const uint64_t there = std::filesystem::file_size(absl::StrCat(folder_.path(), "/", name), error);
  const uint64_t whole = error ? 0 : std::min(there, offer.size_bytes());
  const uint64_t kept = whole == offer.size_bytes()
                            ? whole
                            : whole / protocol::kPeerPieceBytes * protocol::kPeerPieceBytes;
  folder_.CountRead(sender_name_, kept);
  absl::StatusOr<crypto::Sha256Hasher> hasher = part->KeepFirst(kept);
  if (!hasher.ok()) return v1::PEER_FILE_VERDICT_NO_SPACE;
  incoming->hasher = *std::move(hasher);
  incoming->received_bytes = kept;
  incoming->part.emplace(*std::move(part));
  return v1::PEER_FILE_VERDICT_ACCEPTED;
}

v1::PeerFileAnswer PeerReceiver::OnOffer(const v1::PeerFileOffer& offer, uint64_t max_size_bytes) {
  v1::PeerFileAnswer answer;
  answer.set_transfer_id(offer.transfer_id());
  answer.set_verdict(v1::PEER_FILE_VERDICT_ACCEPTED);
  Incoming incoming;
  incoming.transfer_id = offer.transfer_id();
  incoming.file = {offer.name(), offer.size_bytes(), offer.sha256()};
  if (incoming_.has_value()) {
    answer.set_verdict(v1::PEER_FILE_VERDICT_BUSY);
  } else if (max_size_bytes == 0 || offer.size_bytes() > max_size_bytes) {
    answer.set_max_size_bytes(max_size_bytes);
    answer.set_verdict(v1::PEER_FILE_VERDICT_NOT_WANTED);
  } else if (!folder_.MayOffer(sender_name_)) {
    answer.set_verdict(v1::PEER_FILE_VERDICT_TOO_OFTEN);
  } else if (IsHere(find_earlier_(offer.sha256()), offer)) {
    incoming.received_bytes = offer.size_bytes();
  } else {
    answer.set_verdict(Begin(offer, &incoming));
  }
  if (answer.verdict() != v1::PEER_FILE_VERDICT_ACCEPTED) return answer;
  answer.set_offset_bytes(incoming.received_bytes);
  incoming_.emplace(std::move(incoming));
  return answer;
}

v1::PeerFileResult PeerReceiver::GiveUp(v1::PeerFileVerdict verdict) {
  v1::PeerFileResult result;
  result.set_transfer_id(incoming_->transfer_id);
  result.set_verdict(verdict);
  given_up_id_ = incoming_->transfer_id;
  incoming_.reset();
  return result;
}

absl::StatusOr<PeerReceiver::Taken> PeerReceiver::OnPiece(const v1::PeerFilePiece& piece) {
  Taken taken;
  if (piece.transfer_id() == given_up_id_) return taken;
  if (!incoming_.has_value() || !incoming_->part.has_value() ||
      piece.transfer_id() != incoming_->transfer_id ||
      piece.offset_bytes() != incoming_->received_bytes ||
      piece.content().size() !=
          protocol::PeerPieceBytesAt(piece.offset_bytes(), incoming_->file.size_bytes)) {
    return AgainstTheRules();
  }
  // Others write to the disk as well.
  if (incoming_->received_bytes % (kPiecesPerLook * protocol::kPeerPieceBytes) == 0 &&
      folder_.IsFull()) {
    taken.failed = GiveUp(v1::PEER_FILE_VERDICT_NO_SPACE);
    return taken;
  }
  absl::Status written = incoming_->part->Append(piece.content());
  incoming_->hasher.Update(piece.content());
  incoming_->received_bytes += piece.content().size();
  folder_.CountReceived(sender_name_, piece.content().size());
  if (written.ok() &&
      incoming_->received_bytes % (kPiecesPerSync * protocol::kPeerPieceBytes) == 0) {
    written = incoming_->part->Sync();
  }
  if (!written.ok()) {
    taken.failed = GiveUp(v1::PEER_FILE_VERDICT_NO_SPACE);
    return taken;
  }
  taken.received.emplace();
  taken.received->set_transfer_id(incoming_->transfer_id);
  taken.received->set_received_bytes(incoming_->received_bytes);
  return taken;
}

absl::StatusOr<absl::optional<PeerReceiver::Done>> PeerReceiver::OnEnd(const v1::PeerFileEnd& end) {
  if (end.transfer_id() == given_up_id_) return absl::optional<Done>();
  if (!incoming_.has_value() || end.transfer_id() != incoming_->transfer_id ||
      incoming_->received_bytes != incoming_->file.size_bytes) {
    return AgainstTheRules();
  }
  Done done;
  const protocol::PeerFile file = incoming_->file;
  const bool is_signed =
      end.sha256() == file.sha256 &&
      protocol::VerifyPeerFile(sender_, own_fingerprint_, file, end.signature()).ok();
  if (!incoming_->part.has_value()) {  // It was here already.
    done.result =
        GiveUp(is_signed ? v1::PEER_FILE_VERDICT_ACCEPTED : v1::PEER_FILE_VERDICT_DAMAGED);
    return absl::optional<Done>(std::move(done));
  }
  if (!is_signed || incoming_->hasher.Finish() != file.sha256) {
    // Kept bytes that are wrong would make every later attempt fail as well.
    (void)incoming_->part->Remove();
    done.result = GiveUp(v1::PEER_FILE_VERDICT_DAMAGED);
    return absl::optional<Done>(std::move(done));
  }
  absl::StatusOr<std::string> path = incoming_->part->Publish(NameFor(file.name));
  if (!path.ok()) {
    done.result = GiveUp(v1::PEER_FILE_VERDICT_NO_SPACE);
    return absl::optional<Done>(std::move(done));
  }
  done.result = GiveUp(v1::PEER_FILE_VERDICT_ACCEPTED);
  done.file = file;
  done.path = *std::move(path);
  done.signature = end.signature();
  return absl::optional<Done>(std::move(done));
}

void PeerReceiver::OnStopped(const v1::PeerFileStopped& stopped) {
  if (incoming_.has_value() && stopped.transfer_id() == incoming_->transfer_id) {
    (void)GiveUp(v1::PEER_FILE_VERDICT_DAMAGED);
  }
}

absl::optional<PeerReceiver::Progress> PeerReceiver::progress() const {
  if (!incoming_.has_value()) return absl::nullopt;
  return Progress{incoming_->file.name, incoming_->received_bytes, incoming_->file.size_bytes};
}

}  // namespace blindcart::agent
