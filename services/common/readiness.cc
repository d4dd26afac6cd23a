#include "services/common/readiness.h"

#include <chrono>
#include <utility>

namespace blindcart {

Readiness::Readiness(std::function<absl::Status()> check, const protocol::Clock& clock)
    : check_(std::move(check)),
      clock_(clock),
      good_at_ms_(clock.NowMonotonicMs()),
      thread_([this] { Work(); }) {}

Readiness::~Readiness() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  stop_.notify_all();
  thread_.join();
}

bool Readiness::ready() const {
  return !draining_ && clock_.NowMonotonicMs() - good_at_ms_ < kPatienceMs;
}

void Readiness::Work() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (!stopping_) {
    lock.unlock();
    if (check_().ok()) good_at_ms_ = clock_.NowMonotonicMs();
    lock.lock();
    stop_.wait_for(lock, std::chrono::milliseconds(kCheckIntervalMs), [this] { return stopping_; });
  }
}

}  // namespace blindcart
