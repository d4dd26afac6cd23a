#include "services/common/scheduler.h"

#include <atomic>
#include <future>
#include <memory>
#include <vector>

#include "gtest/gtest.h"

namespace blindcart {
namespace {

TEST(ThreadSchedulerTest, RunsInOrderOfTimeAndNotBefore) {
  ThreadScheduler scheduler;
  std::vector<int> order;  // Written by the scheduler's one thread only.
  std::promise<void> done;
  const auto begin = std::chrono::steady_clock::now();
  scheduler.RunAfter(60, [&] {
    order.push_back(3);
    done.set_value();
  });
  scheduler.RunAfter(20, [&] { order.push_back(2); });
  scheduler.RunAfter(0, [&] { order.push_back(1); });
  done.get_future().wait();
  EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(60));
  EXPECT_EQ(order, (std::vector<int>{1, 2, 3}));
}

TEST(ThreadSchedulerTest, ATaskMaySchedule) {
  ThreadScheduler scheduler;
  std::promise<void> done;
  scheduler.RunAfter(0, [&] { scheduler.RunAfter(0, [&] { done.set_value(); }); });
  done.get_future().wait();
}

TEST(ThreadSchedulerTest, ShutdownDropsWhatWaitsAndWhatItHeld) {
  auto held = std::make_shared<int>(1);
  std::atomic<bool> ran{false};
  ThreadScheduler scheduler;
  scheduler.RunAfter(3'600'000, [held, &ran] { ran = true; });
  EXPECT_EQ(held.use_count(), 2);
  scheduler.Shutdown();
  EXPECT_EQ(held.use_count(), 1);
  EXPECT_FALSE(ran);
}

}  // namespace
}  // namespace blindcart
