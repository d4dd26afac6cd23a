#include "services/storage/commit_queue.h"

#include <chrono>
#include <utility>
#include <vector>

namespace blindcart::storage {

absl::StatusOr<std::unique_ptr<CommitQueue>> CommitQueue::Create(Store& store,
                                                                 const Options& options) {
  if (options.max_batch == 0 || options.max_queue == 0 || options.max_wait_ms <= 0) {
    return absl::InvalidArgumentError("a commit queue needs bounds above zero");
  }
  std::unique_ptr<CommitQueue> queue(new CommitQueue(store, options));
  std::lock_guard<std::mutex> lock(queue->join_mutex_);
  queue->thread_ = std::thread([raw = queue.get()] { raw->Run(); });
  return queue;
}

CommitQueue::CommitQueue(Store& store, const Options& options) : store_(store), options_(options) {}

CommitQueue::~CommitQueue() { Shutdown(); }

absl::Status CommitQueue::Submit(Job job, Done done) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (closing_) return absl::UnavailableError("the commit queue is closed");
    if (waiting_.size() >= options_.max_queue) {
      ++stats_.refused;
      return absl::ResourceExhaustedError("the commit queue is full");
    }
    waiting_.push_back({std::move(job), std::move(done), options_.clock->NowMonotonicMs()});
  }
  changed_.notify_one();
  return absl::OkStatus();
}

void CommitQueue::Shutdown() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    closing_ = true;
  }
  changed_.notify_one();
  std::lock_guard<std::mutex> lock(join_mutex_);
  if (thread_.joinable()) thread_.join();
}

size_t CommitQueue::waiting() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return waiting_.size();
}

void CommitQueue::Run() {
  std::vector<WriteJob> jobs;
  std::vector<Done> dones;
  std::vector<Done> too_late;
  absl::Status given_up;  // Not OK: why the store is not asked any more.
  for (;;) {
    jobs.clear();
    dones.clear();
    too_late.clear();
    {
      std::unique_lock<std::mutex> lock(mutex_);
      changed_.wait(lock, [this] { return closing_ || !waiting_.empty(); });
      if (waiting_.empty()) return;
      const int64_t oldest_ms = options_.clock->NowMonotonicMs() - options_.max_wait_ms;
      while (!waiting_.empty() && jobs.size() < options_.max_batch) {
        Item& item = waiting_.front();
        if (item.submitted_ms < oldest_ms) {
          too_late.push_back(std::move(item.done));
        } else {
          jobs.push_back({std::move(item.job), absl::OkStatus()});
          dones.push_back(std::move(item.done));
        }
        waiting_.pop_front();
      }
    }
    stats_.refused += too_late.size();
    for (Done& done : too_late) done(absl::UnavailableError("waited too long for a commit"));
    if (jobs.empty()) continue;
    const auto began = std::chrono::steady_clock::now();
    if (!given_up.ok()) {
      for (size_t i = 0; i < jobs.size(); ++i) dones[i](given_up);
      continue;
    }
    // The commit's own error is in every job's status.
    const absl::Status committed = store_.WriteBatch(absl::MakeSpan(jobs));
    if (absl::IsUnavailable(committed)) {
      // Every batch would wait for the store's patience, and this is to come to an end.
      std::lock_guard<std::mutex> lock(mutex_);
      if (closing_) given_up = committed;
    }
    stats_.Note(jobs.size(), std::chrono::steady_clock::now() - began, committed.ok());
    for (size_t i = 0; i < jobs.size(); ++i) dones[i](std::move(jobs[i].status));
  }
}

}  // namespace blindcart::storage
