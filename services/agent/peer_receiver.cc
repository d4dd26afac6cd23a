#include "services/agent/peer_receiver.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "crypto/encoding.h"
#include "protocol/file_name.h"
#include "services/common/files.h"

namespace blindcart::agent {
namespace {

// A sync each 16 MiB: a break of the power loses no more.
constexpr uint64_t kPiecesPerSync = 64;

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

PeerReceiver::PeerReceiver(std::string folder, const crypto::PublicIdentity& sender,
                           std::string own_fingerprint, FindEarlier find_earlier,
                           InProgress& under_way)
    : folder_(std::move(folder)),
      sender_(sender),
      own_fingerprint_(std::move(own_fingerprint)),
      find_earlier_(std::move(find_earlier)),
      under_way_(under_way) {}

std::string PeerReceiver::PartName(const v1::PeerFileOffer& offer) const {
  return absl::StrCat(".", crypto::HexEncode(sender_.fingerprint()).substr(0, 32), "-",
                      crypto::HexEncode(offer.sha256()), ".part");
}

void PeerReceiver::RemoveOldest(const std::string& keep) const {
  const std::string beginning =
      absl::StrCat(".", crypto::HexEncode(sender_.fingerprint()).substr(0, 32), "-");
  std::vector<std::pair<std::filesystem::file_time_type, std::filesystem::path>> parts;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(folder_, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (name == keep || !absl::StartsWith(name, beginning) || !absl::EndsWith(name, ".part")) {
      continue;
    }
    std::error_code time_error;
    parts.emplace_back(entry->last_write_time(time_error), entry->path());
  }
  std::sort(parts.begin(), parts.end());
  // The one that begins now is one of them.
  for (size_t i = 0; i + kMaxUnfinished - 1 < parts.size(); ++i) {
    std::filesystem::remove(parts[i].second, error);
  }
}

v1::PeerFileAnswer PeerReceiver::OnOffer(const v1::PeerFileOffer& offer, uint64_t max_size_bytes) {
  v1::PeerFileAnswer answer;
  answer.set_transfer_id(offer.transfer_id());
  const auto refuse = [&answer](v1::PeerFileVerdict verdict) {
    answer.set_verdict(verdict);
    return answer;
  };
  if (incoming_.has_value()) return refuse(v1::PEER_FILE_VERDICT_BUSY);
  if (max_size_bytes == 0 || offer.size_bytes() > max_size_bytes) {
    answer.set_max_size_bytes(max_size_bytes);
    return refuse(v1::PEER_FILE_VERDICT_NOT_WANTED);
  }
  Incoming incoming;
  incoming.alone = under_way_.Enter(PartName(offer));
  if (incoming.alone == nullptr) return refuse(v1::PEER_FILE_VERDICT_BUSY);
  incoming.transfer_id = offer.transfer_id();
  incoming.file = {offer.name(), offer.size_bytes(), offer.sha256()};

  const std::string earlier = find_earlier_(offer.sha256());
  if (!earlier.empty()) {
    const absl::StatusOr<FileDigest> digest = DigestFile(earlier);
    if (digest.ok() && digest->sha256 == offer.sha256() &&
        digest->size_bytes == offer.size_bytes()) {
      incoming.received_bytes = offer.size_bytes();
    }
  }
  if (earlier.empty() || incoming.received_bytes != offer.size_bytes() || offer.size_bytes() == 0) {
    const std::string name = PartName(offer);
    if (!MakePrivateDirectory(folder_).ok()) return refuse(v1::PEER_FILE_VERDICT_NO_SPACE);
    RemoveOldest(name);
    absl::StatusOr<PartFile> part = PartFile::Open(folder_, name);
    if (!part.ok()) return refuse(v1::PEER_FILE_VERDICT_NO_SPACE);
    std::error_code error;
    const uint64_t there = std::filesystem::file_size(absl::StrCat(folder_, "/", name), error);
    const uint64_t whole = error ? 0 : std::min(there, offer.size_bytes());
    const uint64_t kept = whole == offer.size_bytes()
                              ? whole
                              : whole / protocol::kPeerPieceBytes * protocol::kPeerPieceBytes;
    const std::filesystem::space_info space = std::filesystem::space(folder_, error);
    if (!error && space.available < offer.size_bytes() - kept + kReserveBytes) {
      return refuse(v1::PEER_FILE_VERDICT_NO_SPACE);
    }
    absl::StatusOr<crypto::Sha256Hasher> hasher = part->KeepFirst(kept);
    if (!hasher.ok()) return refuse(v1::PEER_FILE_VERDICT_NO_SPACE);
    incoming.hasher = *std::move(hasher);
    incoming.received_bytes = kept;
    incoming.part.emplace(*std::move(part));
  }
  answer.set_verdict(v1::PEER_FILE_VERDICT_ACCEPTED);
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
  absl::Status written = incoming_->part->Append(piece.content());
  incoming_->hasher.Update(piece.content());
  incoming_->received_bytes += piece.content().size();
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
