#include "services/broker/pre_key_throttle.h"

namespace blindcart::broker {

void PreKeyThrottle::ForgetOldLocked(int64_t now_ms) {
  while (!by_age_.empty() &&
         (by_age_.size() > max_remembered_ || now_ms - by_age_.front().at_ms >= kIntervalMs)) {
    taken_.erase(by_age_.front().pair);
    by_age_.pop_front();
  }
}

bool PreKeyThrottle::MayTake(int64_t asker_id, int64_t owner_id) {
  // One's own are no use.
  if (asker_id == owner_id) return false;
  const int64_t now_ms = clock_.NowMonotonicMs();
  std::lock_guard<std::mutex> lock(mutex_);
  ForgetOldLocked(now_ms);
  const Pair pair(asker_id, owner_id);
  if (taken_.contains(pair)) return false;
  taken_[pair] = by_age_.insert(by_age_.end(), {pair, now_ms});
  ForgetOldLocked(now_ms);
  return true;
}

void PreKeyThrottle::Sweep() {
  const int64_t now_ms = clock_.NowMonotonicMs();
  std::lock_guard<std::mutex> lock(mutex_);
  ForgetOldLocked(now_ms);
}

}  // namespace blindcart::broker
