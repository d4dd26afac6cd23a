// What a queue with group commit has done so far, for metrics. Thread-safe.
#ifndef SERVICES_STORAGE_COMMIT_STATS_H_
#define SERVICES_STORAGE_COMMIT_STATS_H_

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>

#include <prometheus/histogram.h>

namespace blindcart::storage {

struct CommitStats {
  prometheus::Histogram jobs{{1, 2, 4, 8, 16, 32, 64}};  // in each commit, failed ones included
  prometheus::Histogram seconds{
      {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10}};
  std::atomic<uint64_t> failed{0};   // commits of which nothing has happened
  std::atomic<uint64_t> refused{0};  // jobs that found the queue full or waited too long

  void Note(size_t job_count, std::chrono::steady_clock::duration took, bool ok) {
    jobs.Observe(static_cast<double>(job_count));
    seconds.Observe(std::chrono::duration<double>(took).count());
    if (!ok) ++failed;
  }
};

}  // namespace blindcart::storage

#endif  // SERVICES_STORAGE_COMMIT_STATS_H_
