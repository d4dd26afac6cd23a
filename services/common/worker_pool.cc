#include "services/common/worker_pool.h"

#include <utility>

namespace blindcart {

WorkerPool::WorkerPool(size_t threads, size_t max_queue)
    : max_queue_(max_queue), thread_count_(threads) {
  threads_.reserve(threads);
  for (size_t i = 0; i < threads; ++i) threads_.emplace_back([this] { Work(); });
}

WorkerPool::~WorkerPool() { Shutdown(); }

absl::Status WorkerPool::Run(std::function<void()> task) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (closing_) return absl::UnavailableError("shutting down");
    if (queue_.size() >= max_queue_) {
      ++refused_;
      return absl::ResourceExhaustedError("too much work waits");
    }
    queue_.push_back(std::move(task));
  }
  wake_.notify_one();
  return absl::OkStatus();
}

void WorkerPool::Shutdown() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    closing_ = true;
  }
  wake_.notify_all();
  std::lock_guard<std::mutex> lock(join_mutex_);
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

WorkerPool::Stats WorkerPool::stats() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return {thread_count_, running_, queue_.size(), refused_};
}

void WorkerPool::Work() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return closing_ || !queue_.empty(); });
    if (queue_.empty()) return;
    {
      // The task, and what it holds, is gone before the lock is taken again.
      const std::function<void()> task = std::move(queue_.front());
      queue_.pop_front();
      ++running_;
      lock.unlock();
      task();
    }
    lock.lock();
    --running_;
  }
}

}  // namespace blindcart
