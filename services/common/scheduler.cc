#include "services/common/scheduler.h"

namespace blindcart {

ThreadScheduler::ThreadScheduler() : thread_([this] { Work(); }) {}

ThreadScheduler::~ThreadScheduler() { Shutdown(); }

void ThreadScheduler::RunAfter(int64_t delay_ms, std::function<void()> task) {
  const Time due = std::chrono::steady_clock::now() + std::chrono::milliseconds(delay_ms);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (closing_) return;
    tasks_.emplace(std::make_pair(due, next_number_++), std::move(task));
  }
  wake_.notify_one();
}

void ThreadScheduler::Shutdown() {
  std::map<std::pair<Time, uint64_t>, std::function<void()>> dropped;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    closing_ = true;
    dropped.swap(tasks_);  // What the tasks hold is let go of without the lock.
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void ThreadScheduler::Work() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (!closing_) {
    if (tasks_.empty()) {
      wake_.wait(lock);
      continue;
    }
    const Time due = tasks_.begin()->first.first;
    if (std::chrono::steady_clock::now() < due) {
      wake_.wait_until(lock, due);
      continue;
    }
    {
      const std::function<void()> task = std::move(tasks_.begin()->second);
      tasks_.erase(tasks_.begin());
      lock.unlock();
      task();
    }
    lock.lock();
  }
}

}  // namespace blindcart
