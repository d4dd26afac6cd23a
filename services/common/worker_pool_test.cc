#include "services/common/worker_pool.h"

#include <atomic>
#include <future>

#include "gtest/gtest.h"

namespace blindcart {
namespace {

TEST(WorkerPoolTest, RunsEveryAcceptedTaskBeforeItEnds) {
  std::atomic<int> ran{0};
  {
    WorkerPool pool(4, 1000);
    for (int i = 0; i < 1000; ++i) ASSERT_TRUE(pool.Run([&ran] { ++ran; }).ok());
  }
  EXPECT_EQ(ran, 1000);
}

TEST(WorkerPoolTest, RefusesWhatDoesNotFitAndWhatComesTooLate) {
  WorkerPool pool(1, 2);
  std::promise<void> started;
  std::promise<void> go;
  std::shared_future<void> may_go = go.get_future().share();
  ASSERT_TRUE(pool.Run([&started, may_go] {
                    started.set_value();
                    may_go.wait();
                  })
                  .ok());
  started.get_future().wait();  // The thread is busy and the queue empty.
  std::atomic<int> ran{0};
  EXPECT_TRUE(pool.Run([&ran] { ++ran; }).ok());
  EXPECT_TRUE(pool.Run([&ran] { ++ran; }).ok());
  EXPECT_EQ(pool.Run([&ran] { ++ran; }).code(), absl::StatusCode::kResourceExhausted);
  WorkerPool::Stats stats = pool.stats();
  EXPECT_EQ(stats.threads, 1u);
  EXPECT_EQ(stats.running, 1u);
  EXPECT_EQ(stats.waiting, 2u);
  EXPECT_EQ(stats.refused, 1u);
  go.set_value();
  pool.Shutdown();
  stats = pool.stats();
  EXPECT_EQ(stats.running, 0u);
  EXPECT_EQ(stats.waiting, 0u);
  EXPECT_EQ(ran, 2);
  EXPECT_EQ(pool.Run([&ran] { ++ran; }).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ran, 2);
}

}  // namespace
}  // namespace blindcart
