#include "services/storage/commit_queue.h"

#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "protocol/testing/fake_clock.h"
#include "services/storage/sqlite_store.h"
#include "services/storage/testing/gated_store.h"

namespace blindcart::storage {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using testing::GatedStore;
using ::testing::SizeIs;

class CommitQueueTest : public ::testing::Test {
 protected:
  void SetUp() override {
    path_ = absl::StrCat(::testing::TempDir(), "/queue-", getpid(), "-",
                         ::testing::UnitTest::GetInstance()->current_test_info()->name(), ".db");
    absl::StatusOr<std::unique_ptr<Store>> store = OpenSqliteStore(path_);
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
    gate_ = std::make_unique<GatedStore>(*store_);
    gate_->Shut();
  }
  void TearDown() override {
    for (const char* suffix : {"", "-wal", "-shm"}) unlink((path_ + suffix).c_str());
  }

  std::unique_ptr<CommitQueue> MakeQueue(size_t max_batch, size_t max_queue) {
    CommitQueue::Options options;
    options.max_batch = max_batch;
    options.max_queue = max_queue;
    options.clock = &clock_;
    absl::StatusOr<std::unique_ptr<CommitQueue>> queue = CommitQueue::Create(*gate_, options);
    EXPECT_TRUE(queue.ok()) << queue.status();
    return *std::move(queue);
  }

  static CommitQueue::Job Set(const std::string& key) {
    return [key](Transaction& t) { return t.meta().Set(key, "value"); };
  }

  CommitQueue::Done Collect() {
    return [this](absl::Status status) {
      std::lock_guard<std::mutex> lock(mutex_);
      results_.push_back(std::move(status));
    };
  }

  std::vector<absl::Status> results() {
    std::lock_guard<std::mutex> lock(mutex_);
    return results_;
  }

  bool IsStored(const std::string& key) {
    return store_->Read([&](Transaction& t) { return t.meta().Get(key).status(); }).ok();
  }

  protocol::FakeClock clock_;
  std::string path_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<GatedStore> gate_;
  std::mutex mutex_;
  std::vector<absl::Status> results_;
};

TEST_F(CommitQueueTest, WhatWaitsIsCommittedTogether) {
  std::unique_ptr<CommitQueue> queue = MakeQueue(64, 1000);
  ASSERT_TRUE(queue->Submit(Set("first"), Collect()).ok());
  gate_->AwaitBatches(1);
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(queue->Submit(Set(absl::StrCat("key ", i)), Collect()).ok());
  }
  EXPECT_THAT(results(), SizeIs(0)) << "nothing is answered before its commit";
  EXPECT_EQ(queue->waiting(), 100u);
  gate_->Open();
  queue->Shutdown();
  EXPECT_THAT(gate_->batch_sizes(), ElementsAre(1, 64, 36));
  EXPECT_EQ(queue->waiting(), 0u);
  EXPECT_EQ(queue->stats().jobs.Collect().histogram.sample_count, 3u);
  EXPECT_EQ(queue->stats().jobs.Collect().histogram.sample_sum, 101);
  EXPECT_EQ(queue->stats().seconds.Collect().histogram.sample_count, 3u);
  EXPECT_EQ(queue->stats().failed, 0u);
  EXPECT_THAT(results(), SizeIs(101));
  EXPECT_THAT(results(), Each(absl::OkStatus()));
  EXPECT_TRUE(IsStored("key 99"));
}

TEST_F(CommitQueueTest, TheAnswerComesAfterTheCommit) {
  gate_->Open();
  std::unique_ptr<CommitQueue> queue = MakeQueue(64, 1000);
  bool was_stored = false;
  ASSERT_TRUE(queue
                  ->Submit(Set("key"),
                           [&](absl::Status status) {
                             EXPECT_TRUE(status.ok()) << status;
                             was_stored = IsStored("key");
                           })
                  .ok());
  queue->Shutdown();
  EXPECT_TRUE(was_stored);
}

TEST_F(CommitQueueTest, AJobGetsItsOwnError) {
  std::unique_ptr<CommitQueue> queue = MakeQueue(64, 1000);
  ASSERT_TRUE(queue->Submit(Set("a"), Collect()).ok());
  ASSERT_TRUE(queue
                  ->Submit(
                      [](Transaction& t) -> absl::Status {
                        absl::Status status = t.meta().Set("b", "value");
                        return status.ok() ? absl::AbortedError("mine") : status;
                      },
                      Collect())
                  .ok());
  ASSERT_TRUE(queue->Submit(Set("c"), Collect()).ok());
  gate_->Open();
  queue->Shutdown();
  EXPECT_THAT(results(),
              ElementsAre(absl::OkStatus(), absl::AbortedError("mine"), absl::OkStatus()));
  EXPECT_TRUE(IsStored("a"));
  EXPECT_FALSE(IsStored("b"));
  EXPECT_TRUE(IsStored("c"));
}

TEST_F(CommitQueueTest, AFailedCommitReachesEveryJobAndNothingIsKept) {
  std::unique_ptr<CommitQueue> queue = MakeQueue(64, 1000);
  for (const char* key : {"a", "b", "c"}) ASSERT_TRUE(queue->Submit(Set(key), Collect()).ok());
  gate_->Open(absl::ResourceExhaustedError("disk full"));
  queue->Shutdown();
  EXPECT_THAT(results(), SizeIs(3));
  EXPECT_THAT(results(), Each(absl::ResourceExhaustedError("disk full")));
  EXPECT_EQ(queue->stats().failed, gate_->batch_sizes().size());
  for (const char* key : {"a", "b", "c"}) EXPECT_FALSE(IsStored(key));
}

TEST_F(CommitQueueTest, AFullQueueRefuses) {
  std::unique_ptr<CommitQueue> queue = MakeQueue(1, 2);
  ASSERT_TRUE(queue->Submit(Set("running"), Collect()).ok());
  gate_->AwaitBatches(1);
  ASSERT_TRUE(queue->Submit(Set("waiting 1"), Collect()).ok());
  ASSERT_TRUE(queue->Submit(Set("waiting 2"), Collect()).ok());
  EXPECT_EQ(queue->Submit(Set("refused"), Collect()).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(queue->stats().refused, 1u);
  gate_->Open();
  queue->Shutdown();
  EXPECT_THAT(results(), SizeIs(3)) << "a refused job is never answered";
  EXPECT_FALSE(IsStored("refused"));
}

TEST_F(CommitQueueTest, WhatHasWaitedTooLongIsNotRunAnyMore) {
  std::unique_ptr<CommitQueue> queue = MakeQueue(2, 1000);
  ASSERT_TRUE(queue->Submit(Set("running"), Collect()).ok());
  gate_->AwaitBatches(1);
  for (const char* key : {"old 1", "old 2", "old 3"}) {
    ASSERT_TRUE(queue->Submit(Set(key), Collect()).ok());
  }
  clock_.Advance(1);
  for (const char* key : {"new 1", "new 2", "new 3"}) {
    ASSERT_TRUE(queue->Submit(Set(key), Collect()).ok());
  }
  clock_.Advance(CommitQueue::Options().max_wait_ms);
  gate_->Open();
  queue->Shutdown();
  // What was running is late too, but nobody knows that it will not happen.
  const absl::Status late = absl::UnavailableError("waited too long for a commit");
  const absl::Status ok;
  EXPECT_THAT(results(), ElementsAre(ok, late, late, late, ok, ok, ok));
  EXPECT_THAT(gate_->batch_sizes(), ElementsAre(1, 2, 1));
  EXPECT_EQ(queue->stats().refused, 3u);
  EXPECT_FALSE(IsStored("old 1"));
  EXPECT_TRUE(IsStored("new 1"));
}

TEST_F(CommitQueueTest, AQueueOfWhatHasWaitedTooLongEmptiesWithoutACommit) {
  std::unique_ptr<CommitQueue> queue = MakeQueue(2, 1000);
  ASSERT_TRUE(queue->Submit(Set("running"), Collect()).ok());
  gate_->AwaitBatches(1);
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(queue->Submit(Set("old"), Collect()).ok());
  clock_.Advance(CommitQueue::Options().max_wait_ms + 1);
  gate_->Open();
  queue->Shutdown();
  EXPECT_THAT(results(), SizeIs(101));
  EXPECT_THAT(gate_->batch_sizes(), ElementsAre(1));
}

TEST_F(CommitQueueTest, ShutdownFinishesWhatWasAcceptedAndRefusesMore) {
  std::unique_ptr<CommitQueue> queue = MakeQueue(4, 1000);
  for (int i = 0; i < 30; ++i) {
    ASSERT_TRUE(queue->Submit(Set(absl::StrCat(i + 1)), Collect()).ok());
  }
  std::vector<std::thread> closers;
  for (int i = 0; i < 3; ++i) closers.emplace_back([&] { queue->Shutdown(); });
  gate_->Open();
  for (std::thread& closer : closers) closer.join();
  EXPECT_THAT(results(), SizeIs(30));
  EXPECT_EQ(queue->Submit(Set("late"), Collect()).code(), absl::StatusCode::kUnavailable);
  queue.reset();
  EXPECT_THAT(results(), SizeIs(30));
}

// Else the end would wait for the store's patience with every batch.
TEST_F(CommitQueueTest, ShutdownAsksAStoreThatDoesNotAnswerOnce) {
  std::unique_ptr<CommitQueue> queue = MakeQueue(1, 10);
  ASSERT_TRUE(queue->Submit(Set("running"), Collect()).ok());
  gate_->AwaitBatches(1);
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(queue->Submit(Set(absl::StrCat(i)), Collect()).ok());
  std::thread closer([&] { queue->Shutdown(); });
  // It is full until it is closed.
  while (!absl::IsUnavailable(queue->Submit(Set("late"), Collect()))) std::this_thread::yield();
  gate_->Open(absl::UnavailableError("the database does not answer"));
  closer.join();
  EXPECT_THAT(gate_->batch_sizes(), ElementsAre(1));
  EXPECT_THAT(results(), SizeIs(11));
  EXPECT_THAT(results(), Each(absl::UnavailableError("the database does not answer")));
}

TEST_F(CommitQueueTest, AStoreThatAnswersAgainIsAskedAgain) {
  std::unique_ptr<CommitQueue> queue = MakeQueue(1, 10);
  ASSERT_TRUE(queue->Submit(Set("lost"), Collect()).ok());
  gate_->Open(absl::UnavailableError("the database does not answer"));
  while (results().empty()) std::this_thread::yield();
  gate_->Open();
  ASSERT_TRUE(queue->Submit(Set("kept"), Collect()).ok());
  queue->Shutdown();
  EXPECT_TRUE(IsStored("kept"));
}

TEST_F(CommitQueueTest, DoneMaySubmitAgain) {
  gate_->Open();
  std::unique_ptr<CommitQueue> queue = MakeQueue(64, 1000);
  std::mutex mutex;
  std::condition_variable changed;
  bool finished = false;
  ASSERT_TRUE(queue
                  ->Submit(Set("first"),
                           [&](absl::Status) {
                             absl::Status status = queue->Submit(Set("second"), [&](absl::Status) {
                               std::lock_guard<std::mutex> lock(mutex);
                               finished = true;
                               changed.notify_all();
                             });
                             EXPECT_TRUE(status.ok()) << status;
                           })
                  .ok());
  std::unique_lock<std::mutex> lock(mutex);
  changed.wait(lock, [&] { return finished; });
  EXPECT_TRUE(IsStored("second"));
}

TEST_F(CommitQueueTest, EveryJobOfManyThreadsIsAnsweredOnce) {
  gate_->Open();
  constexpr int kThreads = 32;
  constexpr int kEach = 50;
  std::vector<std::atomic<int>> answers(kThreads * kEach);
  {
    std::unique_ptr<CommitQueue> queue = MakeQueue(64, kThreads * kEach);
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([&, i] {
        for (int n = 0; n < kEach; ++n) {
          const int job = i * kEach + n;
          EXPECT_TRUE(queue
                          ->Submit(Set(absl::StrCat("key ", job)),
                                   [&answers, job](absl::Status status) {
                                     EXPECT_TRUE(status.ok()) << status;
                                     ++answers[job];
                                   })
                          .ok());
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
  for (const std::atomic<int>& count : answers) EXPECT_EQ(count, 1);
}

TEST_F(CommitQueueTest, BoundsOfZeroAreRefused) {
  CommitQueue::Options options;
  options.max_batch = 0;
  EXPECT_EQ(CommitQueue::Create(*store_, options).status().code(),
            absl::StatusCode::kInvalidArgument);
  options = CommitQueue::Options();
  options.max_wait_ms = 0;
  EXPECT_EQ(CommitQueue::Create(*store_, options).status().code(),
            absl::StatusCode::kInvalidArgument);
  options = CommitQueue::Options();
  options.max_queue = 0;
  EXPECT_EQ(CommitQueue::Create(*store_, options).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace blindcart::storage
