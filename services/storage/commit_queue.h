// One writer with group commit over a Store (architecture.md, "Choices that measurement made":
// SQLite commits 5.7k transfers/s one by one and 32k/s at 64 a commit).
//
// Jobs wait in a bounded queue; one thread takes whatever waits, at most max_batch at a time, and
// runs it as one Store::WriteBatch, so a lone job waits for nobody and a busy queue shares its
// commits. A job that has waited for longer than max_wait_ms is not run any more: whoever asked for it
// has given up or asked again, and what it was to decide by may be out of date.
//
// Thread safety: any thread may call Submit. `done` is called exactly once for every accepted job,
// on the queue's thread, after the commit; it must not block (every later commit waits for it) and
// may Submit further jobs.
#ifndef SERVICES_STORAGE_COMMIT_QUEUE_H_
#define SERVICES_STORAGE_COMMIT_QUEUE_H_

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "protocol/clock.h"
#include "services/storage/commit_stats.h"
#include "services/storage/store.h"

namespace blindcart::storage {

class CommitQueue {
 public:
  using Job = std::function<absl::Status(Transaction&)>;
  using Done = std::function<void(absl::Status)>;

  struct Options {
    size_t max_batch = 64;         // jobs in one commit
    size_t max_queue = 4096;       // jobs waiting; more are refused
    int64_t max_wait_ms = 10'000;  // as long as a store is patient with its database
    const protocol::Clock* clock = &protocol::SystemClock();  // must outlive the queue
  };

  // `store` must outlive the queue. kInvalidArgument for a bound of zero.
  static absl::StatusOr<std::unique_ptr<CommitQueue>> Create(Store& store, const Options& options);

  // Shuts down.
  ~CommitQueue();

  CommitQueue(const CommitQueue&) = delete;
  CommitQueue& operator=(const CommitQueue&) = delete;

  // Accepts the job, or says why not, in which case `done` is never called: kResourceExhausted when
  // max_queue jobs wait, kUnavailable after Shutdown. `done` gets OK when the job's changes are
  // durable, the job's own error when it was rolled back, the error of the commit, or kUnavailable when
  // the job waited too long and was not run. A job runs as
  // Store::WriteBatch says: it may run again after a conflict.
  absl::Status Submit(Job job, Done done);

  // Refuses new jobs, answers those accepted, and ends the thread. Once the store has answered
  // kUnavailable meanwhile, the rest get that unrun. Idempotent. Not to be called from `done`.
  void Shutdown();

  size_t waiting() const;  // jobs
  const CommitStats& stats() const { return stats_; }

 private:
  struct Item {
    Job job;
    Done done;
    int64_t submitted_ms = 0;  // monotonic
  };

  CommitQueue(Store& store, const Options& options);
  void Run();

  Store& store_;
  const Options options_;
  CommitStats stats_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;  // work has come, or closing_
  std::deque<Item> waiting_;         // under mutex_
  bool closing_ = false;             // under mutex_
  std::mutex join_mutex_;            // makes concurrent Shutdown calls safe; never held with mutex_
  std::thread thread_;               // under join_mutex_
};

}  // namespace blindcart::storage

#endif  // SERVICES_STORAGE_COMMIT_QUEUE_H_
