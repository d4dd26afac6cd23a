// Whoever changes or copies the keys of a broker's folder holds this lock meanwhile.
#ifndef BLINDCART_SERVICES_BROKER_KEY_LOCK_H_
#define BLINDCART_SERVICES_BROKER_KEY_LOCK_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace blindcart::broker {

// Of the folder with the keys, for as long as the object lives. Works between processes and between
// threads.
class KeyLock {
 public:
  // Others hold it for seconds at most, when they make keys.
  static constexpr int64_t kPatienceMs = 30'000;

  // Waits for others. Unavailable when they hold it for longer than that.
  static absl::StatusOr<std::unique_ptr<KeyLock>> Take(const std::string& folder,
                                                       int64_t patience_ms = kPatienceMs);
  ~KeyLock();
  KeyLock(const KeyLock&) = delete;
  KeyLock& operator=(const KeyLock&) = delete;

 private:
  explicit KeyLock(int fd) : fd_(fd) {}
  const int fd_;
};

}  // namespace blindcart::broker

#endif  // BLINDCART_SERVICES_BROKER_KEY_LOCK_H_
