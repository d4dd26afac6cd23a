#include "services/agent/received_folder.h"

#include <algorithm>
#include <filesystem>
#include <limits>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "crypto/encoding.h"

namespace blindcart::agent {
namespace {

constexpr char kPartExtension[] = ".part";

std::string PartPrefix(const std::string& sender) { return absl::StrCat(".", sender, "-"); }

// A part file that nobody writes to.
struct Idle {
  std::filesystem::file_time_type written;
  std::filesystem::path path;
  uint64_t size_bytes = 0;

  bool operator<(const Idle& other) const { return written < other.written; }
};

}  // namespace

ReceivedFolder::Place::~Place() {
  std::lock_guard<std::mutex> lock(folder_.mutex_);
  folder_.under_way_.erase(part_name_);
}

ReceivedFolder::ReceivedFolder(std::string path, const Limits& limits, const protocol::Clock& clock,
                               FreeBytes free_bytes)
    : path_(std::move(path)), limits_(limits), clock_(clock), free_bytes_(std::move(free_bytes)) {}

uint64_t ReceivedFolder::DiskFreeBytes(const std::string& path) {
  std::error_code error;
  const std::filesystem::space_info space = std::filesystem::space(path, error);
  // A disk that cannot say so will tell when it is written to.
  return error ? std::numeric_limits<uint64_t>::max() : space.available;
}

std::string ReceivedFolder::PartName(const std::string& sender, const std::string& sha256) {
  return absl::StrCat(PartPrefix(sender), crypto::HexEncode(sha256), kPartExtension);
}

v1::PeerFileVerdict ReceivedFolder::Enter(const std::string& sender, const std::string& sha256,
                                          uint64_t size_bytes, const Stored& stored,
                                          std::unique_ptr<Place>* place) {
  const std::string part_name = PartName(sender, sha256);
  const std::string prefix = PartPrefix(sender);
  std::lock_guard<std::mutex> lock(mutex_);
  if (under_way_.count(part_name) > 0) return v1::PEER_FILE_VERDICT_BUSY;

  // Without the sender's idle part files, which can go, and with this file in full.
  uint64_t of_sender = stored.bytes + size_bytes;
  uint64_t of_all = size_bytes;
  uint64_t to_come = size_bytes;  // That has to be written yet.
  uint64_t idle_bytes = 0;
  std::vector<Idle> idle;
  for (const auto& [name, file] : under_way_) {
    if (file.sender == sender) of_sender += file.size_bytes;
    of_all += file.size_bytes;
    to_come += file.size_bytes;
  }
  std::error_code error;
  for (std::filesystem::directory_iterator entry(path_, error), end; !error && entry != end;
       entry.increment(error)) {
    std::error_code entry_error;
    if (!entry->is_regular_file(entry_error)) continue;
    const uint64_t bytes = entry->file_size(entry_error);
    if (entry_error) continue;  // It was moved away just now.
    const std::string name = entry->path().filename().string();
    const auto writing = under_way_.find(name);
    if (writing != under_way_.end()) {
      to_come -= std::min(bytes, writing->second.size_bytes);
    } else if (name == part_name) {
      to_come -= std::min(bytes, size_bytes);
    } else if (absl::StartsWith(name, prefix) && absl::EndsWith(name, kPartExtension)) {
      idle.push_back({entry->last_write_time(entry_error), entry->path(), bytes});
      idle_bytes += bytes;
    } else {
      of_all += bytes;
    }
  }
  if (stored.files >= kMaxFilesPerSender || of_sender > limits_.per_sender_bytes ||
      of_all > limits_.total_bytes) {
    return v1::PEER_FILE_VERDICT_OVER_QUOTA;
  }
  uint64_t free = free_bytes_(path_);
  const uint64_t needed = to_come + kReserveBytes;
  if (free < needed && needed - free > idle_bytes) return v1::PEER_FILE_VERDICT_NO_SPACE;

  // What began earlier makes room. The one that begins now is one of those that are kept.
  std::sort(idle.begin(), idle.end());
  for (size_t i = 0; i < idle.size(); ++i) {
    const bool fits = of_sender + idle_bytes <= limits_.per_sender_bytes &&
                      of_all + idle_bytes <= limits_.total_bytes && free >= needed;
    if (fits && idle.size() - i < kMaxUnfinished) break;
    std::filesystem::remove(idle[i].path, error);
    idle_bytes -= idle[i].size_bytes;
    free += idle[i].size_bytes;
  }
  under_way_[part_name] = {sender, size_bytes};
  place->reset(new Place(*this, part_name));
  return v1::PEER_FILE_VERDICT_ACCEPTED;
}

ReceivedFolder::Allowance& ReceivedFolder::AllowanceLocked(const std::string& sender) {
  const int64_t now_ms = clock_.NowMonotonicMs();
  for (auto entry = allowances_.begin(); entry != allowances_.end();) {
    Allowance& allowance = entry->second;
    const int64_t missing = limits_.read_allowance_bytes - allowance.bytes;
    const int64_t passed_ms = std::max<int64_t>(0, now_ms - allowance.at_ms);
    const bool whole = passed_ms >= missing / kReadBytesPerMs;
    allowance.bytes =
        whole ? limits_.read_allowance_bytes : allowance.bytes + passed_ms * kReadBytesPerMs;
    allowance.at_ms = now_ms;
    entry = whole && entry->first != sender ? allowances_.erase(entry) : std::next(entry);
  }
  return allowances_.try_emplace(sender, Allowance{limits_.read_allowance_bytes, now_ms})
      .first->second;
}

void ReceivedFolder::ChangeAllowance(const std::string& sender, int64_t bytes) {
  std::lock_guard<std::mutex> lock(mutex_);
  Allowance& allowance = AllowanceLocked(sender);
  allowance.bytes = std::min(limits_.read_allowance_bytes, allowance.bytes + bytes);
}

bool ReceivedFolder::MayOffer(const std::string& sender) {
  std::lock_guard<std::mutex> lock(mutex_);
  Allowance& allowance = AllowanceLocked(sender);
  if (allowance.bytes < kOfferBytes) return false;
  allowance.bytes -= kOfferBytes;
  return true;
}

void ReceivedFolder::CountRead(const std::string& sender, uint64_t bytes) {
  ChangeAllowance(sender, -static_cast<int64_t>(bytes));
}

void ReceivedFolder::CountReceived(const std::string& sender, uint64_t bytes) {
  ChangeAllowance(sender, static_cast<int64_t>(bytes));
}

}  // namespace blindcart::agent
