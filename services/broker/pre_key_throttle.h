// Who took a one-time pre-key of whom, and when: one asker gets at most one of each owner's in
// kIntervalMs, so that nobody uses up another's store of them.
//
// In memory only. Bounded: at most `max_remembered` pairs, the longest ago forgotten first.
//
// Thread-safe. The clock must outlive the object.
#ifndef BLINDCART_SERVICES_BROKER_PRE_KEY_THROTTLE_H_
#define BLINDCART_SERVICES_BROKER_PRE_KEY_THROTTLE_H_

#include <cstddef>
#include <cstdint>
#include <list>
#include <mutex>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "protocol/clock.h"

namespace blindcart::broker {

class PreKeyThrottle {
 public:
  static constexpr int64_t kIntervalMs = 24 * 3'600'000LL;
  static constexpr size_t kMaxRemembered = 65'536;

  explicit PreKeyThrottle(const protocol::Clock& clock, size_t max_remembered = kMaxRemembered)
      : clock_(clock), max_remembered_(max_remembered) {}

  // Whether the asker may take one of the owner's now; notes it when so.
  bool MayTake(int64_t asker_id, int64_t owner_id);
  // Forgets what is too long ago to matter.
  void Sweep();

 private:
  using Pair = std::pair<int64_t, int64_t>;  // Asker and owner.
  struct Taken {
    Pair pair;
    int64_t at_ms = 0;  // Monotonic.
  };
  void ForgetOldLocked(int64_t now_ms);

  const protocol::Clock& clock_;
  const size_t max_remembered_;
  std::mutex mutex_;
  // Under mutex_.
  std::list<Taken> by_age_;  // The longest ago first.
  absl::flat_hash_map<Pair, std::list<Taken>::iterator> taken_;
};

}  // namespace blindcart::broker

#endif  // BLINDCART_SERVICES_BROKER_PRE_KEY_THROTTLE_H_
