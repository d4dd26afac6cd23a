#include "services/broker/source_throttle.h"

#include <algorithm>

#include "crypto/hash.h"
#include "services/broker/attempts.h"

namespace blindcart::broker {

void SourceThrottle::AddFailure(absl::string_view source) {
  if (source.empty()) return;
  const std::string key = crypto::Sha256(source);
  const int64_t now_ms = clock_.NowMonotonicMs();
  std::lock_guard<std::mutex> lock(mutex_);
  Entry entry;
  if (const auto found = entries_.find(key); found != entries_.end()) {
    if (now_ms - found->second.last_failure_ms < kForgetAfterMs) entry = found->second;
    EraseLocked(key);
  } else if (entries_.size() >= kMaxSources) {
    EraseLocked(std::string(by_age_.front()));
  }
  ++entry.failures;
  entry.last_failure_ms = now_ms;
  entry.blocked_until_ms =
      now_ms + std::min(DelayAfterMs(entry.failures, kFreeFailures), kLongestSourceDelayMs);
  entry.place = by_age_.insert(by_age_.end(), key);
  entries_.emplace(key, entry);
}

bool SourceThrottle::IsBlocked(absl::string_view source) {
  if (source.empty()) return false;
  const std::string key = crypto::Sha256(source);
  std::lock_guard<std::mutex> lock(mutex_);
  const auto found = entries_.find(key);
  return found != entries_.end() && clock_.NowMonotonicMs() < found->second.blocked_until_ms;
}

void SourceThrottle::EraseLocked(const std::string& key) {
  const auto found = entries_.find(key);
  if (found == entries_.end()) return;
  by_age_.erase(found->second.place);
  entries_.erase(found);
}

}  // namespace blindcart::broker
