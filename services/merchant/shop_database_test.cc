#include "services/merchant/shop_database.h"

#include <sys/stat.h>

#include <atomic>
#include <future>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace blindcart::merchant {
namespace {

class ShopDatabaseTest : public ::testing::Test {
 protected:
  void SetUp() override {
    path_ = ::testing::TempDir() + "/" +
            ::testing::UnitTest::GetInstance()->current_test_info()->name() + ".db";
    Reopen();
  }
  void Reopen() {
    database_.reset();
    auto opened = ShopDatabase::Open(path_);
    ASSERT_TRUE(opened.ok()) << opened.status();
    database_ = *std::move(opened);
  }
  static absl::Status Increment(storage::SqliteDatabase& database) {
    return database.Prepare("UPDATE catalogue SET version = version + 1").Run();
  }
  int64_t Version() {
    int64_t version = -1;
    EXPECT_TRUE(database_
                    ->Read([&](storage::SqliteDatabase& database) -> absl::Status {
                      storage::SqliteStatement query =
                          database.Prepare("SELECT version FROM catalogue");
                      auto row = query.Step();
                      if (!row.ok()) return row.status();
                      version = query.ColumnInt64(0);
                      return absl::OkStatus();
                    })
                    .ok());
    return version;
  }

  std::string path_;
  std::unique_ptr<ShopDatabase> database_;
};

TEST_F(ShopDatabaseTest, IsForItsOwnerOnlyAndKeepsWhatWasWritten) {
  struct stat info;
  ASSERT_EQ(stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  ASSERT_TRUE(database_->Write(Increment).ok());
  Reopen();
  EXPECT_EQ(Version(), 1);
}

TEST_F(ShopDatabaseTest, NoCardLeadsBackToAnEarlierKeyOfABroker) {
  const auto pin = [&](const std::string& path, char fingerprint, const std::string& former = "") {
    std::vector<std::string> fingerprints;
    for (char name : former) fingerprints.push_back(std::string(32, name));
    return database_->PinBroker(path, std::string(32, fingerprint), fingerprints);
  };
  EXPECT_TRUE(pin("/one.card", 'a').ok());
  EXPECT_TRUE(pin("/other.card", 'x').ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(pin("/one.card", 'b')));
  EXPECT_TRUE(absl::IsFailedPrecondition(pin("/one.card", 'b', "x")));
  EXPECT_TRUE(pin("/one.card", 'c', "ab").ok());
  Reopen();
  EXPECT_TRUE(pin("/one.card", 'c', "ab").ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(pin("/one.card", 'a')));
  EXPECT_TRUE(absl::IsFailedPrecondition(pin("/one.card", 'b', "a")));
  EXPECT_TRUE(pin("/other.card", 'x').ok());
}

TEST_F(ShopDatabaseTest, AFailedJobUndoesItselfAlone) {
  // Held up by the first job, the others become one batch.
  std::promise<void> go;
  std::shared_future<void> may_go = go.get_future().share();
  std::vector<std::future<absl::Status>> results;
  const auto submit = [&](ShopDatabase::Job job) {
    auto promise = std::make_shared<std::promise<absl::Status>>();
    results.push_back(promise->get_future());
    ASSERT_TRUE(
        database_
            ->Submit(std::move(job), [promise](absl::Status status) { promise->set_value(status); })
            .ok());
  };
  submit([may_go](storage::SqliteDatabase&) {
    may_go.wait();
    return absl::OkStatus();
  });
  submit(Increment);
  submit([](storage::SqliteDatabase& database) -> absl::Status {
    const absl::Status changed = Increment(database);
    if (!changed.ok()) return changed;
    return absl::AbortedError("changed its mind");
  });
  submit(Increment);
  go.set_value();
  EXPECT_TRUE(results[0].get().ok());
  EXPECT_TRUE(results[1].get().ok());
  EXPECT_EQ(results[2].get().code(), absl::StatusCode::kAborted);
  EXPECT_TRUE(results[3].get().ok());
  EXPECT_EQ(Version(), 2);
}

TEST_F(ShopDatabaseTest, ManyWritersLoseNothing) {
  constexpr int kThreads = 64;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([this] {
      for (int i = 0; i < 10; ++i) EXPECT_TRUE(database_->Write(Increment).ok());
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(Version(), kThreads * 10);
}

TEST_F(ShopDatabaseTest, AReaderSeesOneStateAndDoesNotWait) {
  std::promise<void> in_job;
  std::promise<void> go;
  std::thread writer([&] {
    EXPECT_TRUE(database_
                    ->Write([&](storage::SqliteDatabase& database) {
                      const absl::Status changed = Increment(database);
                      in_job.set_value();
                      go.get_future().wait();
                      return changed;
                    })
                    .ok());
  });
  in_job.get_future().wait();
  EXPECT_EQ(Version(), 0);
  go.set_value();
  writer.join();
  EXPECT_EQ(Version(), 1);
  EXPECT_EQ(database_->Read(Increment).code(), absl::StatusCode::kPermissionDenied);
}

TEST_F(ShopDatabaseTest, ShutdownFinishesWhatWasAcceptedAndRefusesTheRest) {
  std::atomic<int> done{0};
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(database_->Submit(Increment, [&done](absl::Status) { ++done; }).ok());
  }
  database_->Shutdown();
  EXPECT_EQ(done, 100);
  EXPECT_EQ(database_->Write(Increment).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(Version(), 100);
}

}  // namespace
}  // namespace blindcart::merchant
