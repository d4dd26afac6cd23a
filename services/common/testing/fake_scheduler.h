// A Scheduler whose time passes when a test says so. Tasks run on the thread that calls Advance.
// Thread-safe.
#ifndef BLINDCART_SERVICES_COMMON_TESTING_FAKE_SCHEDULER_H_
#define BLINDCART_SERVICES_COMMON_TESTING_FAKE_SCHEDULER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "services/common/scheduler.h"

namespace blindcart::testing {

class FakeScheduler : public Scheduler {
 public:
  void RunAfter(int64_t delay_ms, std::function<void()> task) override {
    std::lock_guard<std::mutex> lock(mutex_);
    tasks_.emplace(std::make_pair(now_ms_ + delay_ms, next_number_++), std::move(task));
  }

  // Lets time pass and runs what is due, in order, also what that schedules.
  void Advance(int64_t ms) {
    std::unique_lock<std::mutex> lock(mutex_);
    const int64_t until_ms = now_ms_ + ms;
    while (!tasks_.empty() && tasks_.begin()->first.first <= until_ms) {
      now_ms_ = tasks_.begin()->first.first;
      {
        const std::function<void()> task = std::move(tasks_.begin()->second);
        tasks_.erase(tasks_.begin());
        lock.unlock();
        task();
      }
      lock.lock();
    }
    now_ms_ = until_ms;
  }

  // How long until each waiting task, soonest first.
  std::vector<int64_t> Delays() {
    std::lock_guard<std::mutex> lock(mutex_);
    std::vector<int64_t> delays;
    for (const auto& [when, task] : tasks_) delays.push_back(when.first - now_ms_);
    return delays;
  }

 private:
  std::mutex mutex_;
  int64_t now_ms_ = 0;
  uint64_t next_number_ = 0;
  std::map<std::pair<int64_t, uint64_t>, std::function<void()>> tasks_;
};

}  // namespace blindcart::testing

#endif  // BLINDCART_SERVICES_COMMON_TESTING_FAKE_SCHEDULER_H_
