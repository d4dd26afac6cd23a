// A fixed number of threads for work that must not hold up a network thread: public-key operations,
// password hashing, file reads. The queue is bounded: what does not fit is refused at once, so that
// load never turns into memory.
//
// Thread safety: every method may be called from any thread; Shutdown not from within a task.
#ifndef BLINDCART_SERVICES_COMMON_WORKER_POOL_H_
#define BLINDCART_SERVICES_COMMON_WORKER_POOL_H_

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "absl/status/status.h"

namespace blindcart {

// Where work can be put; tests run it at once (testing/inline_executor.h).
class Executor {
 public:
  virtual ~Executor() = default;
  // Runs `task` once, sooner or later; on an error never: ResourceExhausted when the queue is full,
  // Unavailable after the shutdown.
  virtual absl::Status Run(std::function<void()> task) = 0;
};

class WorkerPool : public Executor {
 public:
  WorkerPool(size_t threads, size_t max_queue);
  ~WorkerPool() override;  // Shuts down.

  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  absl::Status Run(std::function<void()> task) override;
  // Refuses new tasks, finishes those accepted, and ends the threads. Idempotent.
  void Shutdown();

  struct Stats {
    size_t threads = 0;
    size_t running = 0;
    size_t waiting = 0;
    uint64_t refused = 0;  // Found the queue full, so far.
  };
  Stats stats() const;

 private:
  void Work();

  const size_t max_queue_;
  const size_t thread_count_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> queue_;
  bool closing_ = false;
  size_t running_ = 0;
  uint64_t refused_ = 0;
  std::mutex join_mutex_;  // Makes concurrent Shutdown calls safe; never held with mutex_.
  std::vector<std::thread> threads_;
};

}  // namespace blindcart

#endif  // BLINDCART_SERVICES_COMMON_WORKER_POOL_H_
