// Things to do later: reconnects, timeouts, periodic sweeps. Handed in, so that tests decide when
// time passes (testing/fake_scheduler.h).
//
// Thread safety: every method may be called from any thread, also from within a task.
#ifndef BLINDCART_SERVICES_COMMON_SCHEDULER_H_
#define BLINDCART_SERVICES_COMMON_SCHEDULER_H_

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

namespace blindcart {

class Scheduler {
 public:
  virtual ~Scheduler() = default;
  // Runs `task` once, not before `delay_ms` have passed. Tasks are short: they run one at a time.
  virtual void RunAfter(int64_t delay_ms, std::function<void()> task) = 0;
};

// One thread that sleeps until the next task is due.
class ThreadScheduler : public Scheduler {
 public:
  ThreadScheduler();
  ~ThreadScheduler() override;  // Shuts down.

  ThreadScheduler(const ThreadScheduler&) = delete;
  ThreadScheduler& operator=(const ThreadScheduler&) = delete;

  void RunAfter(int64_t delay_ms, std::function<void()> task) override;
  // Drops what waits, lets a running task end, and ends the thread. Idempotent. Not to be called
  // from within a task.
  void Shutdown();

 private:
  using Time = std::chrono::steady_clock::time_point;
  void Work();

  std::mutex mutex_;
  std::condition_variable wake_;
  uint64_t next_number_ = 0;
  std::map<std::pair<Time, uint64_t>, std::function<void()>> tasks_;
  bool closing_ = false;
  std::thread thread_;
};

}  // namespace blindcart

#endif  // BLINDCART_SERVICES_COMMON_SCHEDULER_H_
