#include "services/broker/mail_allowance.h"

#include <algorithm>
#include <iterator>

namespace blindcart::broker {
namespace {

constexpr double kDayMs = 24 * 3'600'000.0;

}  // namespace

void MailAllowance::Fill(Bucket& bucket, int64_t now_ms) const {
  const double days = static_cast<double>(now_ms - bucket.filled_at_ms) / kDayMs;
  const auto full_messages = static_cast<double>(options_.messages_per_day);
  const auto full_bytes = static_cast<double>(options_.bytes_per_day);
  bucket.messages = std::min(full_messages, bucket.messages + days * full_messages);
  bucket.bytes = std::min(full_bytes, bucket.bytes + days * full_bytes);
  bucket.filled_at_ms = now_ms;
}

bool MailAllowance::Take(int64_t customer_id, int64_t bytes) {
  const int64_t now_ms = clock_.NowMonotonicMs();
  std::lock_guard<std::mutex> lock(mutex_);
  const auto [entry, added] = buckets_.try_emplace(customer_id);
  Bucket& bucket = entry->second;
  if (added) {
    bucket = {static_cast<double>(options_.messages_per_day),
              static_cast<double>(options_.bytes_per_day), now_ms};
  }
  Fill(bucket, now_ms);
  const auto wanted_bytes = static_cast<double>(bytes);
  if (bucket.messages < 1 || bucket.bytes < wanted_bytes) return false;
  bucket.messages -= 1;
  bucket.bytes -= wanted_bytes;
  return true;
}

void MailAllowance::Sweep() {
  const int64_t now_ms = clock_.NowMonotonicMs();
  std::lock_guard<std::mutex> lock(mutex_);
  for (auto entry = buckets_.begin(); entry != buckets_.end();) {
    // flat_hash_map's erase leaves other iterators valid.
    const auto next = std::next(entry);
    Fill(entry->second, now_ms);
    if (entry->second.messages >= static_cast<double>(options_.messages_per_day) &&
        entry->second.bytes >= static_cast<double>(options_.bytes_per_day)) {
      buckets_.erase(entry);
    }
    entry = next;
  }
}

}  // namespace blindcart::broker
