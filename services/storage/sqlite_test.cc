#include "services/storage/sqlite.h"

#include <linux/capability.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <fstream>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/storage/testing/fault_vfs.h"

namespace blindcart::storage {
namespace {

using testing::Fault;
using testing::FaultVfs;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kOneTable[] = {
    "CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT UNIQUE CHECK (name <> ''), data BLOB)"
    " STRICT"};

class SqliteTest : public ::testing::Test {
 protected:
  void SetUp() override {
    FaultVfs::Install();
    path_ = absl::StrCat(::testing::TempDir(), "/",
                         ::testing::UnitTest::GetInstance()->current_test_info()->name(), ".db");
    for (const char* suffix : {"", "-wal", "-shm"}) unlink((path_ + suffix).c_str());
  }
  void TearDown() override { FaultVfs::Clear(); }

  std::unique_ptr<SqliteDatabase> OpenOrDie(SqliteOptions options = SqliteOptions()) {
    absl::StatusOr<std::unique_ptr<SqliteDatabase>> database = SqliteDatabase::Open(path_, options);
    EXPECT_TRUE(database.ok()) << database.status();
    EXPECT_TRUE((*database)->Migrate(kOneTable).ok());
    return *std::move(database);
  }

  static absl::Status Insert(SqliteDatabase& database, absl::string_view name) {
    return database.Prepare("INSERT INTO items (name) VALUES (?)").BindText(name).Run();
  }

  static int64_t Count(SqliteDatabase& database) {
    SqliteStatement query = database.Prepare("SELECT count(*) FROM items");
    absl::StatusOr<bool> row = query.Step();
    EXPECT_TRUE(row.ok() && *row) << row.status();
    return query.ColumnInt64(0);
  }

  static int64_t Pragma(SqliteDatabase& database, const std::string& name) {
    SqliteStatement query = database.Prepare(absl::StrCat("PRAGMA ", name));
    EXPECT_TRUE(*query.Step());
    return query.ColumnInt64(0);
  }

  static mode_t ModeOf(const std::string& path) {
    struct stat info = {};
    EXPECT_EQ(stat(path.c_str(), &info), 0) << path;
    return info.st_mode & 07777;
  }

  std::string path_;
};

TEST_F(SqliteTest, OpensWithStrictAndDurableSettings) {
  const mode_t old_mask = umask(0);
  std::unique_ptr<SqliteDatabase> database = OpenOrDie();
  umask(old_mask);
  EXPECT_EQ(Pragma(*database, "synchronous"), 2);  // FULL
  EXPECT_EQ(Pragma(*database, "foreign_keys"), 1);
  EXPECT_EQ(Pragma(*database, "trusted_schema"), 0);
  SqliteStatement journal = database->Prepare("PRAGMA journal_mode");
  ASSERT_TRUE(*journal.Step());
  EXPECT_EQ(journal.ColumnText(0), "wal");
  for (const char* suffix : {"", "-wal", "-shm"}) EXPECT_EQ(ModeOf(path_ + suffix), 0600) << suffix;
}

TEST_F(SqliteTest, TakesOtherPeoplesRightsAway) {
  OpenOrDie().reset();
  ASSERT_EQ(chmod(path_.c_str(), 0664), 0);
  OpenOrDie().reset();
  EXPECT_EQ(ModeOf(path_), 0600);
}

TEST_F(SqliteTest, ValuesComeBackAsBound) {
  std::unique_ptr<SqliteDatabase> database = OpenOrDie();
  SqliteStatement insert = database->Prepare("INSERT INTO items (id, name, data) VALUES (?, ?, ?)");
  const std::string bytes("\0\xff'; DROP TABLE items; --", 25);
  ASSERT_TRUE(insert.BindInt64(INT64_MAX).BindText("naïve").BindBlob(bytes).Run().ok());
  insert.Reset();
  ASSERT_TRUE(insert.BindInt64(INT64_MIN).BindNull().BindBlob(absl::string_view()).Run().ok());
  SqliteStatement query = database->Prepare("SELECT id, name, data FROM items ORDER BY id");
  ASSERT_TRUE(*query.Step());
  EXPECT_EQ(query.ColumnInt64(0), INT64_MIN);
  EXPECT_TRUE(query.ColumnIsNull(1));
  EXPECT_EQ(query.ColumnText(1), "");
  EXPECT_FALSE(query.ColumnIsNull(2)) << "an empty blob is not NULL";
  EXPECT_EQ(query.ColumnBlob(2), "");
  ASSERT_TRUE(*query.Step());
  EXPECT_EQ(query.ColumnInt64(0), INT64_MAX);
  EXPECT_EQ(query.ColumnText(1), "naïve");
  EXPECT_EQ(query.ColumnBlob(2), bytes);
  EXPECT_FALSE(*query.Step());
}

TEST_F(SqliteTest, ANestedUseOfOneTextHasAStatementOfItsOwn) {
  std::unique_ptr<SqliteDatabase> database = OpenOrDie();
  ASSERT_TRUE(Insert(*database, "a").ok());
  ASSERT_TRUE(Insert(*database, "b").ok());
  constexpr char kQuery[] = "SELECT name FROM items ORDER BY id";
  SqliteStatement outer = database->Prepare(kQuery);
  ASSERT_TRUE(*outer.Step());
  {
    SqliteStatement inner = database->Prepare(kQuery);
    ASSERT_TRUE(*inner.Step());
    EXPECT_EQ(inner.ColumnText(0), "a");
  }
  ASSERT_TRUE(*outer.Step());
  EXPECT_EQ(outer.ColumnText(0), "b");
}

TEST_F(SqliteTest, ErrorsHaveTheirCodesAndNeverTheValues) {
  std::unique_ptr<SqliteDatabase> database = OpenOrDie();
  ASSERT_TRUE(Insert(*database, "secret").ok());
  const absl::Status taken = Insert(*database, "secret");
  EXPECT_EQ(taken.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(std::string(taken.message()), Not(HasSubstr("secret")));
  EXPECT_EQ(Insert(*database, "").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(database->Prepare("INSERT INTO items (id) VALUES (?)").BindText("x").Run().code(),
            absl::StatusCode::kInvalidArgument)
      << "a type that STRICT refuses";
  EXPECT_EQ(database->Prepare("SELECT nothing FROM nowhere").Step().status().code(),
            absl::StatusCode::kInternal);
  EXPECT_EQ(database->Prepare("").Run().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(database->Prepare("SELECT 1").Run().code(), absl::StatusCode::kInternal)
      << "a row that nobody reads";
  EXPECT_EQ(database->Prepare("SELECT ?").BindInt64(1).BindInt64(2).Step().status().code(),
            absl::StatusCode::kInternal)
      << "one parameter too many";
  EXPECT_EQ(Count(*database), 1);
}

TEST_F(SqliteTest, TransactionsAndSavepointsUndoTheirOwn) {
  std::unique_ptr<SqliteDatabase> database = OpenOrDie();
  EXPECT_EQ(database->InTransaction([&] {
    EXPECT_TRUE(Insert(*database, "a").ok());
    return absl::AbortedError("mine");
  }),
            absl::AbortedError("mine"));
  EXPECT_FALSE(database->in_transaction());
  EXPECT_EQ(Count(*database), 0);

  EXPECT_TRUE(
      database
          ->InTransaction([&]() -> absl::Status {
            EXPECT_TRUE(database->InSavepoint([&] { return Insert(*database, "kept"); }).ok());
            EXPECT_EQ(database->InSavepoint([&] {
              EXPECT_TRUE(Insert(*database, "undone").ok());
              EXPECT_TRUE(database->InSavepoint([&] { return Insert(*database, "inner"); }).ok());
              return absl::AbortedError("mine");
            }),
                      absl::AbortedError("mine"));
            EXPECT_EQ(database->InTransaction([] { return absl::OkStatus(); }).code(),
                      absl::StatusCode::kFailedPrecondition);
            return absl::OkStatus();
          })
          .ok());
  EXPECT_EQ(Count(*database), 1);
  EXPECT_EQ(database->InSavepoint([] { return absl::OkStatus(); }).code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST_F(SqliteTest, SnapshotsCannotWrite) {
  std::unique_ptr<SqliteDatabase> database = OpenOrDie();
  EXPECT_EQ(database->InSnapshot([&] { return Insert(*database, "a"); }).code(),
            absl::StatusCode::kPermissionDenied);
  EXPECT_TRUE(Insert(*database, "a").ok()) << "only inside the snapshot";
}

TEST_F(SqliteTest, ASecondWriterWaitsAndThenGivesUp) {
  std::unique_ptr<SqliteDatabase> first = OpenOrDie();
  SqliteOptions hasty;
  hasty.busy_timeout_ms = 1;
  std::unique_ptr<SqliteDatabase> second = OpenOrDie(hasty);
  ASSERT_TRUE(first
                  ->InTransaction([&]() -> absl::Status {
                    EXPECT_EQ(second->InTransaction([] { return absl::OkStatus(); }).code(),
                              absl::StatusCode::kUnavailable);
                    return Insert(*first, "a");
                  })
                  .ok());
  EXPECT_TRUE(Insert(*second, "b").ok());
}

TEST_F(SqliteTest, MigrationsRunOnceAndInOrder) {
  const char* const two[] = {kOneTable[0],
                             "ALTER TABLE items ADD COLUMN price INTEGER;"
                             "INSERT INTO items (name) VALUES ('migrated')"};
  std::unique_ptr<SqliteDatabase> database = OpenOrDie();
  EXPECT_EQ(Pragma(*database, "user_version"), 1);
  ASSERT_TRUE(Insert(*database, "older").ok());
  ASSERT_TRUE(database->Migrate(two).ok());
  ASSERT_TRUE(database->Migrate(two).ok());
  EXPECT_EQ(Pragma(*database, "user_version"), 2);
  EXPECT_EQ(Count(*database), 2);
}

TEST_F(SqliteTest, AFailedMigrationLeavesTheVersionBefore) {
  const char* const broken[] = {kOneTable[0],
                                "INSERT INTO items (name) VALUES ('half'); SELECT * FROM nowhere"};
  std::unique_ptr<SqliteDatabase> database = OpenOrDie();
  EXPECT_FALSE(database->Migrate(broken).ok());
  EXPECT_EQ(Pragma(*database, "user_version"), 1);
  EXPECT_EQ(Count(*database), 0);
}

TEST_F(SqliteTest, ManyOpenersMigrateOnce) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([this] {
      absl::StatusOr<std::unique_ptr<SqliteDatabase>> database =
          SqliteDatabase::Open(path_, SqliteOptions());
      ASSERT_TRUE(database.ok()) << database.status();
      absl::Status migrated = (*database)->Migrate(kOneTable);
      EXPECT_TRUE(migrated.ok()) << migrated;
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(SqliteTest, ANewerSchemaIsRefusedUntouched) {
  std::unique_ptr<SqliteDatabase> database = OpenOrDie();
  ASSERT_TRUE(database->Execute("PRAGMA user_version = 7").ok());
  EXPECT_EQ(database->Migrate(kOneTable).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Pragma(*database, "user_version"), 7);
}

TEST_F(SqliteTest, WhatIsNotADatabaseIsRefused) {
  std::ofstream(path_) << std::string(8192, 'x');
  EXPECT_EQ(SqliteDatabase::Open(path_, SqliteOptions()).status().code(),
            absl::StatusCode::kDataLoss);
  EXPECT_EQ(SqliteDatabase::Open("", SqliteOptions()).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(SqliteDatabase::Open(::testing::TempDir(), SqliteOptions()).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(SqliteDatabase::Open(path_ + ".missing/file.db", SqliteOptions()).status().code(),
            absl::StatusCode::kNotFound);
}

TEST_F(SqliteTest, ACorruptPageIsReported) {
  {
    std::unique_ptr<SqliteDatabase> database = OpenOrDie();
    for (int i = 0; i < 500; ++i) ASSERT_TRUE(Insert(*database, absl::StrCat("name ", i)).ok());
  }
  {
    std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(4096);  // the second page on; the first holds the schema
    file << std::string(3 * 4096, '\x5a');
  }
  absl::StatusOr<std::unique_ptr<SqliteDatabase>> database =
      SqliteDatabase::Open(path_, SqliteOptions());
  ASSERT_TRUE(database.ok()) << database.status();
  EXPECT_EQ((*database)->Prepare("SELECT count(*) FROM items").Step().status().code(),
            absl::StatusCode::kDataLoss);
}

TEST_F(SqliteTest, AReadOnlyFolderIsRefused) {
  const std::string folder = path_ + ".folder";
  mkdir(folder.c_str(), 0755);
  ASSERT_EQ(chmod(folder.c_str(), 0555), 0);
  // Rights do not bind the superuser; without capabilities he is an ordinary owner. They are a
  // thread's own, so the others keep theirs.
  absl::Status status;
  std::thread unprivileged([&] {
    __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {};
    ASSERT_EQ(syscall(SYS_capset, &header, none), 0);
    status = SqliteDatabase::Open(folder + "/new.db", SqliteOptions()).status();
  });
  unprivileged.join();
  EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied) << status;
}

TEST_F(SqliteTest, AFullDiskUndoesTheTransactionAndPasses) {
  std::unique_ptr<SqliteDatabase> database = OpenOrDie();
  ASSERT_TRUE(Insert(*database, "before").ok());
  FaultVfs::FailFrom(Fault::kDiskFull, 1);
  EXPECT_EQ(database->InTransaction([&] { return Insert(*database, "lost"); }).code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_FALSE(database->in_transaction());
  EXPECT_EQ(Count(*database), 1);
  FaultVfs::Clear();
  EXPECT_TRUE(Insert(*database, "after").ok());
  EXPECT_EQ(Count(*database), 2);
}

TEST_F(SqliteTest, AFailedSyncUndoesTheTransactionAndPasses) {
  std::unique_ptr<SqliteDatabase> database = OpenOrDie();
  FaultVfs::FailFrom(Fault::kSyncFails, 1);
  EXPECT_EQ(database->InTransaction([&] { return Insert(*database, "lost"); }).code(),
            absl::StatusCode::kUnavailable);
  EXPECT_FALSE(database->in_transaction());
  EXPECT_EQ(Count(*database), 0);
  FaultVfs::Clear();
  EXPECT_TRUE(Insert(*database, "after").ok());
}

TEST_F(SqliteTest, AFailedReadIsReportedAndPasses) {
  {
    std::unique_ptr<SqliteDatabase> database = OpenOrDie();
    for (int i = 0; i < 500; ++i) ASSERT_TRUE(Insert(*database, absl::StrCat("name ", i)).ok());
  }
  std::unique_ptr<SqliteDatabase> database = OpenOrDie();
  FaultVfs::FailFrom(Fault::kReadFails, 1);
  EXPECT_EQ(database->Prepare("SELECT count(*) FROM items").Step().status().code(),
            absl::StatusCode::kDataLoss);
  FaultVfs::Clear();
  EXPECT_EQ(Count(*database), 500);
}

// A body that overlooks that SQLite gave up the transaction must not end as if it had committed.
TEST_F(SqliteTest, ALostTransactionIsNeverReportedAsCommitted) {
  std::unique_ptr<SqliteDatabase> database = OpenOrDie();
  EXPECT_EQ(database
                ->InTransaction([&] {
                  EXPECT_TRUE(Insert(*database, "a").ok());
                  EXPECT_TRUE(database->Execute("ROLLBACK").ok());
                  return absl::OkStatus();
                })
                .code(),
            absl::StatusCode::kUnavailable);
  EXPECT_EQ(Count(*database), 0);
}

// Copies what was there when it began, however much is written meanwhile.
TEST_F(SqliteTest, CopiesOneMomentWhileOthersWrite) {
  constexpr int kRows = 1'000;
  std::unique_ptr<SqliteDatabase> database = OpenOrDie();
  std::unique_ptr<SqliteDatabase> writer = OpenOrDie();
  ASSERT_TRUE(writer
                  ->InTransaction([&]() -> absl::Status {
                    for (int i = 0; i < kRows; ++i) {
                      const absl::Status added =
                          writer->Prepare("INSERT INTO items (data) VALUES (?)")
                              .BindBlob(std::string(4'000, 'x'))
                              .Run();
                      if (!added.ok()) return added;
                    }
                    return absl::OkStatus();
                  })
                  .ok());
  const std::string copy = path_ + ".copy";
  unlink(copy.c_str());
  int written = 0;
  int64_t last_done = 0;
  int64_t total_pages = 0;
  const absl::Status copied = database->CopyTo(copy, [&](int64_t done, int64_t total) {
    EXPECT_GT(done, last_done) << "the copy began anew";
    last_done = done;
    total_pages = total;
    EXPECT_TRUE(Insert(*writer, absl::StrCat("meanwhile ", written++)).ok());
  });
  ASSERT_TRUE(copied.ok()) << copied;
  EXPECT_GE(written, 3);
  EXPECT_EQ(last_done, total_pages);
  EXPECT_EQ(Count(*database), kRows + written);

  EXPECT_EQ(ModeOf(copy), 0600u);
  EXPECT_NE(access((copy + "-wal").c_str(), F_OK), 0);
  path_ = copy;
  std::unique_ptr<SqliteDatabase> opened = OpenOrDie();
  EXPECT_EQ(Count(*opened), kRows);
  EXPECT_EQ(Pragma(*opened, "user_version"), 1);
  SqliteStatement check = opened->Prepare("PRAGMA integrity_check");
  EXPECT_TRUE(*check.Step());
  EXPECT_EQ(check.ColumnText(0), "ok");

  EXPECT_TRUE(absl::IsAlreadyExists(database->CopyTo(copy, [](int64_t, int64_t) {})));
}

TEST_F(SqliteTest, ACopyThatCannotBeWrittenSaysSo) {
  std::unique_ptr<SqliteDatabase> database = OpenOrDie();
  EXPECT_FALSE(database->CopyTo(path_ + "/no/folder", [](int64_t, int64_t) {}).ok());
  EXPECT_TRUE(Insert(*database, "goes on").ok());
}

}  // namespace
}  // namespace blindcart::storage
