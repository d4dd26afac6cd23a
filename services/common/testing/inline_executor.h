// An Executor that runs each task at once on the caller's thread, so that a test's steps come in
// one order. Can be told to refuse, as a full pool does. Thread-safe.
#ifndef BLINDCART_SERVICES_COMMON_TESTING_INLINE_EXECUTOR_H_
#define BLINDCART_SERVICES_COMMON_TESTING_INLINE_EXECUTOR_H_

#include <atomic>
#include <functional>

#include "absl/status/status.h"
#include "services/common/worker_pool.h"

namespace blindcart::testing {

class InlineExecutor : public Executor {
 public:
  absl::Status Run(std::function<void()> task) override {
    if (full_) return absl::ResourceExhaustedError("too much work waits");
    task();
    return absl::OkStatus();
  }
  void SetFull(bool full) { full_ = full; }

 private:
  std::atomic<bool> full_{false};
};

}  // namespace blindcart::testing

#endif  // BLINDCART_SERVICES_COMMON_TESTING_INLINE_EXECUTOR_H_
