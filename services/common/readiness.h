// Whether work should be sent here: not while the service drains, nor while what it needs does not
// answer. A thread asks for that again and again; a question that stays unanswered is an answer too.
//
// Thread-safe.
#ifndef BLINDCART_SERVICES_COMMON_READINESS_H_
#define BLINDCART_SERVICES_COMMON_READINESS_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>

#include "absl/status/status.h"
#include "protocol/clock.h"

namespace blindcart {

class Readiness {
 public:
  static constexpr int64_t kCheckIntervalMs = 1'000;
  // After so long without a good answer the service is not ready.
  static constexpr int64_t kPatienceMs = 5'000;

  // `check` may block. It is taken to have been good just now. `clock` must outlive the object.
  Readiness(std::function<absl::Status()> check, const protocol::Clock& clock);
  ~Readiness();  // Waits for the end of a check that is under way.
  Readiness(const Readiness&) = delete;
  Readiness& operator=(const Readiness&) = delete;

  bool ready() const;
  bool draining() const { return draining_; }
  // Not ready from now on.
  void StartDraining() { draining_ = true; }

 private:
  void Work();

  const std::function<absl::Status()> check_;
  const protocol::Clock& clock_;
  std::atomic<bool> draining_{false};
  std::atomic<int64_t> good_at_ms_;
  std::mutex mutex_;
  std::condition_variable stop_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace blindcart

#endif  // BLINDCART_SERVICES_COMMON_READINESS_H_
