// Backing off from network sources whose handshakes and logins fail (docs/protocol.md section 1b,
// "per account and per source"). In memory only: it spares the broker work, while what guards an
// account is durable (attempts.h).
//
// A source is what the caller says, such as an address without its port; only a digest is kept. An
// empty source is never slowed down: Unix sockets, loopback and a configured proxy
// (BrokerConfig::behind_proxy), where many customers come from one address and the proxy limits them.
//
// Thread-safe. Bounded: at most kMaxSources are remembered, the longest silent forgotten first.
#ifndef BLINDCART_SERVICES_BROKER_SOURCE_THROTTLE_H_
#define BLINDCART_SERVICES_BROKER_SOURCE_THROTTLE_H_

#include <cstddef>
#include <cstdint>
#include <list>
#include <mutex>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "protocol/clock.h"

namespace blindcart::broker {

class SourceThrottle {
 public:
  static constexpr size_t kMaxSources = 16'384;
  // So many failures are free; each further one delays the source, at most by kLongestSourceDelayMs.
  static constexpr int64_t kFreeFailures = 20;
  static constexpr int64_t kLongestSourceDelayMs = 30'000;
  // A source without failures for so long starts afresh.
  static constexpr int64_t kForgetAfterMs = 10 * 60'000;

  // `clock` must outlive the throttle.
  explicit SourceThrottle(const protocol::Clock& clock) : clock_(clock) {}

  void AddFailure(absl::string_view source);
  // Whether the source has to wait before its next attempt.
  bool IsBlocked(absl::string_view source);

 private:
  struct Entry {
    int64_t failures = 0;
    int64_t last_failure_ms = 0;
    int64_t blocked_until_ms = 0;
    std::list<std::string>::iterator place;  // In by_age_.
  };

  void EraseLocked(const std::string& key);

  const protocol::Clock& clock_;
  std::mutex mutex_;
  absl::flat_hash_map<std::string, Entry> entries_;
  std::list<std::string> by_age_;  // The longest silent first.
};

}  // namespace blindcart::broker

#endif  // BLINDCART_SERVICES_BROKER_SOURCE_THROTTLE_H_
