#include "protocol/refusal.h"

namespace blindcart::protocol {
namespace {

constexpr absl::string_view kRefused = "refused";

}  // namespace

absl::string_view RefusalReasonName(RefusalReason reason) {
  switch (reason) {
    case RefusalReason::kNone:
      return "none";
    case RefusalReason::kBounds:
      return "bounds";
    case RefusalReason::kMalformed:
      return "malformed";
    case RefusalReason::kOutOfOrder:
      return "out_of_order";
    case RefusalReason::kDecryption:
      return "decryption";
    case RefusalReason::kIdentity:
      return "identity";
    case RefusalReason::kChallenge:
      return "challenge";
    case RefusalReason::kKeyExchange:
      return "key_exchange";
    case RefusalReason::kSignature:
      return "signature";
    case RefusalReason::kFinished:
      return "finished";
    case RefusalReason::kUnknownPeer:
      return "unknown_peer";
    case RefusalReason::kUnknownSession:
      return "unknown_session";
    case RefusalReason::kExpired:
      return "expired";
    case RefusalReason::kMac:
      return "mac";
    case RefusalReason::kSequence:
      return "sequence";
    case RefusalReason::kSeal:
      return "seal";
    case RefusalReason::kPadding:
      return "padding";
    case RefusalReason::kStale:
      return "stale";
    case RefusalReason::kPassword:
      return "password";
    case RefusalReason::kRateLimited:
      return "rate_limited";
    case RefusalReason::kCertificate:
      return "certificate";
    case RefusalReason::kCount:
      break;
  }
  return "unknown";
}

absl::Status Refused() { return absl::UnauthenticatedError(kRefused); }

bool IsRefusal(const absl::Status& status) {
  return absl::IsUnauthenticated(status) && status.message() == kRefused;
}

void RefusalCounters::Add(RefusalReason reason) {
  const size_t index = static_cast<size_t>(reason);
  if (reason == RefusalReason::kNone || index >= counts_.size()) return;
  counts_[index].fetch_add(1, std::memory_order_relaxed);
}

uint64_t RefusalCounters::Get(RefusalReason reason) const {
  const size_t index = static_cast<size_t>(reason);
  return index < counts_.size() ? counts_[index].load(std::memory_order_relaxed) : 0;
}

std::vector<std::pair<std::string, uint64_t>> RefusalCounters::Snapshot() const {
  std::vector<std::pair<std::string, uint64_t>> snapshot;
  for (size_t index = 0; index < counts_.size(); ++index) {
    const RefusalReason reason = static_cast<RefusalReason>(index);
    const uint64_t count = Get(reason);
    if (count > 0) snapshot.emplace_back(std::string(RefusalReasonName(reason)), count);
  }
  return snapshot;
}

}  // namespace blindcart::protocol
