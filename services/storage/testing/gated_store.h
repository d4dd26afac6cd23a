// A store over a real one whose batches wait at a gate, can be made to fail or to lose their answers, and
// are counted. The gate is open at first. Thread-safe.
#ifndef SERVICES_STORAGE_TESTING_GATED_STORE_H_
#define SERVICES_STORAGE_TESTING_GATED_STORE_H_

#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "services/storage/store.h"

namespace blindcart::storage::testing {

class GatedStore : public Store {
 public:
  // `real` must outlive the object.
  explicit GatedStore(Store& real) : real_(real) {}

  absl::Status Read(absl::FunctionRef<absl::Status(Transaction&)> body) override {
    return real_.Read(body);
  }
  absl::Status Write(absl::FunctionRef<absl::Status(Transaction&)> body) override {
    return real_.Write(body);
  }
  absl::Status WriteBatch(absl::Span<WriteJob> jobs) override {
    absl::Status failure;
    bool lose_answer = false;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      batch_sizes_.push_back(jobs.size());
      changed_.notify_all();
      changed_.wait(lock, [this] { return open_; });
      failure = failure_;
      lose_answer = lose_answers_;
    }
    if (failure.ok()) return real_.WriteBatch(jobs);
    if (lose_answer) real_.WriteBatch(jobs).IgnoreError();
    for (WriteJob& job : jobs) job.status = failure;
    return failure;
  }
  absl::StatusOr<std::vector<std::string>> CheckIntegrity() override {
    return real_.CheckIntegrity();
  }

  void Shut() {
    std::lock_guard<std::mutex> lock(mutex_);
    open_ = false;
  }
  // With a `failure` nothing is committed.
  void Open(absl::Status failure = absl::OkStatus()) {
    std::lock_guard<std::mutex> lock(mutex_);
    open_ = true;
    failure_ = std::move(failure);
    lose_answers_ = false;
    changed_.notify_all();
  }
  // Open: everything is committed, and nobody is told so.
  void LoseAnswers(absl::Status failure = absl::UnavailableError("the connection broke")) {
    std::lock_guard<std::mutex> lock(mutex_);
    open_ = true;
    failure_ = std::move(failure);
    lose_answers_ = true;
    changed_.notify_all();
  }

  void AwaitBatches(size_t count) {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return batch_sizes_.size() >= count; });
  }
  // Of all batches so far, those that wait included.
  std::vector<size_t> batch_sizes() {
    std::lock_guard<std::mutex> lock(mutex_);
    return batch_sizes_;
  }

 private:
  Store& real_;
  std::mutex mutex_;
  std::condition_variable changed_;
  // The rest is used under mutex_.
  bool open_ = true;
  absl::Status failure_;
  bool lose_answers_ = false;
  std::vector<size_t> batch_sizes_;
};

}  // namespace blindcart::storage::testing

#endif  // SERVICES_STORAGE_TESTING_GATED_STORE_H_
