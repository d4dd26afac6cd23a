// Whoever changes or copies the keys of a broker's folder holds this lock meanwhile.
#ifndef BLINDCART_SERVICES_BROKER_KEY_LOCK_H_
#define BLINDCART_SERVICES_BROKER_KEY_LOCK_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace blindcart::broker {

// Of the folder with the keys, for as long as the object lives. Take waits for others, who hold it for
// moments only. Works between processes and between threads.
class KeyLock {
 public:
  static absl::StatusOr<std::unique_ptr<KeyLock>> Take(const std::string& folder);
  ~KeyLock();
  KeyLock(const KeyLock&) = delete;
  KeyLock& operator=(const KeyLock&) = delete;

 private:
  explicit KeyLock(int fd) : fd_(fd) {}
  const int fd_;
};

}  // namespace blindcart::broker

#endif  // BLINDCART_SERVICES_BROKER_KEY_LOCK_H_
