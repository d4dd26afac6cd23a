#include "services/storage/sqlite_store.h"

#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/storage/mailboxes_contract_test.h"
#include "services/storage/sqlite.h"
#include "services/storage/store_contract_test.h"
#include "services/storage/testing/fault_vfs.h"

namespace blindcart::storage {

using testing::AddSampleWorld;
using ::testing::Each;
using testing::Fault;
using testing::FaultVfs;
using ::testing::HasSubstr;
using testing::SampleBytes;
using testing::SampleOrder;
using ::testing::SizeIs;

namespace {

std::string NewPath() {
  static std::atomic<int> count{0};
  return absl::StrCat(::testing::TempDir(), "/store-", getpid(), "-", ++count, ".db");
}

void RemoveDatabase(const std::string& path) {
  for (const char* suffix : {"", "-wal", "-shm"}) unlink((path + suffix).c_str());
}

class SqliteBackend : public StoreBackend {
 public:
  SqliteBackend() : path_(NewPath()) {}
  ~SqliteBackend() override { RemoveDatabase(path_); }
  absl::StatusOr<std::unique_ptr<Store>> Open() override { return OpenSqliteStore(path_); }

 private:
  const std::string path_;
};

std::unique_ptr<StoreBackend> MakeSqliteBackend() { return std::make_unique<SqliteBackend>(); }

}  // namespace

INSTANTIATE_TEST_SUITE_P(Sqlite, StoreContractTest, ::testing::Values(MakeSqliteBackend));
INSTANTIATE_TEST_SUITE_P(Sqlite, MailboxesContractTest, ::testing::Values(MakeSqliteBackend));

namespace {

class SqliteStoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    FaultVfs::Install();
    path_ = NewPath();
    absl::StatusOr<std::unique_ptr<Store>> store = OpenSqliteStore(path_);
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
    world_ = AddSampleWorld(*store_);
    absl::StatusOr<std::unique_ptr<SqliteDatabase>> raw =
        SqliteDatabase::Open(path_, SqliteOptions());
    ASSERT_TRUE(raw.ok()) << raw.status();
    raw_ = *std::move(raw);
  }
  void TearDown() override {
    FaultVfs::Clear();
    RemoveDatabase(path_);
  }

  absl::Status SetMeta(const std::string& value) {
    return store_->Write([&](Transaction& t) { return t.meta().Set("key", value); });
  }
  absl::StatusOr<std::string> GetMeta() {
    absl::StatusOr<std::string> value;
    absl::Status status = store_->Read([&](Transaction& t) -> absl::Status {
      value = t.meta().Get("key");
      return value.status();
    });
    return value.ok() ? value : status;
  }

  std::string path_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<SqliteDatabase> raw_;
  testing::SampleWorld world_;
};

TEST_F(SqliteStoreTest, OnlyTheOwnerMayReadTheFile) {
  for (const char* suffix : {"", "-wal", "-shm"}) {
    struct stat info = {};
    ASSERT_EQ(stat((path_ + suffix).c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 07777, 0600u) << suffix;
  }
}

TEST_F(SqliteStoreTest, ANewerDatabaseIsRefused) {
  ASSERT_TRUE(raw_->Execute("PRAGMA user_version = 1000").ok());
  EXPECT_EQ(OpenSqliteStore(path_).status().code(), absl::StatusCode::kFailedPrecondition);
}

// The rules hold against whoever writes SQL, not only against this program.
TEST_F(SqliteStoreTest, HistoryCannotBeRewrittenInSql) {
  testing::AddPaidOrder(*store_, world_);
  for (const char* sql : {
           "UPDATE transfers SET created_at_ms = 1",
           "DELETE FROM transfers",
           "UPDATE entries SET amount_minor = amount_minor + 1",
           "DELETE FROM entries",
           "UPDATE requests SET answer = x'00'",
           "UPDATE orders SET price_minor = 1, total_minor = 26",
           "UPDATE orders SET customer_id = customer_id + 1",
           "UPDATE orders SET commitment = zeroblob(32)",
           "UPDATE orders SET expires_at_ms = 1",
           "UPDATE orders SET receipt = x'01'",
           "UPDATE orders SET transfer_id = NULL, receipt = NULL, paid_at_ms = NULL",
           "UPDATE orders SET status = 'created'",
           "UPDATE orders SET status = 'stolen'",
           "DELETE FROM orders",
           "UPDATE accounts SET number = 'C-9'",
           "UPDATE accounts SET kind = 'external'",
           "UPDATE accounts SET currency = 'USD'",
           "UPDATE accounts SET balance_minor = -1 WHERE kind = 'customer'",
           "UPDATE accounts SET balance_minor = 9223372036854775807 + 1",
           "UPDATE accounts SET balance_minor = 'much'",
           "DELETE FROM accounts",
           "INSERT INTO accounts VALUES (99, 'C-99', 'customer', 'EUR', 5, '', 0, 0)",
           "DELETE FROM customers",
           "DELETE FROM merchants",
       }) {
    EXPECT_EQ(raw_->Execute(sql).code(), absl::StatusCode::kInvalidArgument) << sql;
  }
}

TEST_F(SqliteStoreTest, EveryFindingOfTheFileIsNamed) {
  testing::AddPaidOrder(*store_, world_);
  ASSERT_TRUE(raw_->Execute("PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON;"
                            "INSERT INTO entries VALUES (99, zeroblob(16), 1, 5);"
                            "INSERT INTO meta VALUES ('', x'')")
                  .ok());
  absl::StatusOr<std::vector<std::string>> findings = store_->CheckIntegrity();
  ASSERT_TRUE(findings.ok()) << findings.status();
  ASSERT_THAT(*findings, SizeIs(2));
  EXPECT_THAT((*findings)[0], HasSubstr("CHECK constraint failed in meta"));
  EXPECT_EQ((*findings)[1], "row 99 of entries refers to no row of transfers");
}

TEST_F(SqliteStoreTest, AStoredValueOutsideItsEnumIsDataLossToUseAndInvalidToList) {
  ASSERT_TRUE(raw_->Execute("PRAGMA ignore_check_constraints = ON; DROP TRIGGER accounts_fixed;"
                            "UPDATE accounts SET kind = 'pirate' WHERE number = 'C-1'")
                  .ok());
  ASSERT_TRUE(store_
                  ->Read([&](Transaction& t) -> absl::Status {
                    EXPECT_EQ(t.accounts().Get(world_.customer_account).status().code(),
                              absl::StatusCode::kDataLoss);
                    absl::StatusOr<std::vector<Account>> all = t.accounts().List(0, 10);
                    if (!all.ok()) return all.status();
                    EXPECT_EQ(all->front().kind, AccountKind::kInvalid);
                    return absl::OkStatus();
                  })
                  .ok());
}

// Time per payment stays flat in the number of orders only while no hot query scans a table.
TEST_F(SqliteStoreTest, HotQueriesUseAnIndex) {
  for (const char* sql : {
           "SELECT * FROM accounts WHERE number = ?",
           "SELECT * FROM accounts WHERE kind IN ('broker', 'external') AND kind = ? AND"
           " currency = ?",
           "SELECT * FROM customers WHERE username = ?",
           "SELECT * FROM customers WHERE fingerprint = ?",
           "SELECT * FROM merchants WHERE fingerprint = ?",
           "SELECT * FROM orders WHERE order_id = ?",
           "SELECT order_id FROM orders WHERE status = 'created' AND expires_at_ms <= ?"
           " ORDER BY expires_at_ms LIMIT ?",
           "SELECT * FROM transfers WHERE transfer_id = ?",
           "SELECT * FROM transfers WHERE order_id = ? AND kind = ?",
           "SELECT * FROM entries WHERE transfer_id = ? ORDER BY entry_id",
           "SELECT * FROM requests WHERE customer_id = ? AND request_id = ?",
           "SELECT * FROM notices WHERE merchant_id = ? AND notice_id > ? ORDER BY notice_id LIMIT"
           " ?",
           "UPDATE orders SET status = ? WHERE order_id = ? AND status = ?",
       }) {
    SqliteStatement plan = raw_->Prepare(absl::StrCat("EXPLAIN QUERY PLAN ", sql));
    ASSERT_TRUE(*plan.Step()) << sql;
    EXPECT_THAT(plan.ColumnText(3), HasSubstr("SEARCH")) << sql;
  }
}

WriteJob MetaJob(const std::string& value) {
  return {[value](Transaction& t) { return t.meta().Set("key", value); }, absl::OkStatus()};
}

std::vector<absl::StatusCode> CodesOf(const std::vector<WriteJob>& jobs) {
  std::vector<absl::StatusCode> codes;
  for (const WriteJob& job : jobs) codes.push_back(job.status.code());
  return codes;
}

TEST_F(SqliteStoreTest, AFailedCommitReachesEveryJob) {
  ASSERT_TRUE(SetMeta("before").ok());
  const struct {
    Fault fault;
    absl::StatusCode code;
  } cases[] = {{Fault::kDiskFull, absl::StatusCode::kResourceExhausted},
               {Fault::kSyncFails, absl::StatusCode::kUnavailable}};
  for (const auto& [fault, code] : cases) {
    FaultVfs::FailFrom(fault, 1);
    std::vector<WriteJob> jobs = {MetaJob("one"), MetaJob("two")};
    // A refusal of its own rests on jobs that did not happen after all.
    jobs.push_back({[](Transaction&) { return absl::AbortedError("mine"); }, absl::OkStatus()});
    EXPECT_EQ(store_->WriteBatch(absl::MakeSpan(jobs)).code(), code);
    EXPECT_THAT(CodesOf(jobs), Each(code));
    EXPECT_EQ(*GetMeta(), "before");
    EXPECT_EQ(SetMeta("no").code(), code);
    FaultVfs::Clear();
    EXPECT_EQ(*GetMeta(), "before");
  }
  EXPECT_TRUE(SetMeta("after").ok()) << "works again when the fault is gone";
  EXPECT_EQ(*GetMeta(), "after");
}

// A job that outgrows the page cache makes SQLite write before the commit; on a full disk it then
// gives up the whole transaction in the middle of the batch.
TEST_F(SqliteStoreTest, ATransactionGivenUpInTheMiddleReachesEveryJob) {
  ASSERT_TRUE(SetMeta("before").ok());
  FaultVfs::FailFrom(Fault::kDiskFull, 1);
  std::vector<WriteJob> jobs = {MetaJob("one")};
  jobs.push_back({[](Transaction& t) -> absl::Status {
                    const std::string megabyte(kMaxPayloadBytes, 'm');
                    for (int i = 0; i < 80; ++i) {
                      absl::Status status = t.meta().Set(absl::StrCat("big ", i), megabyte);
                      if (!status.ok()) return status;
                    }
                    return absl::OkStatus();
                  },
                  absl::OkStatus()});
  jobs.push_back(MetaJob("three"));
  EXPECT_EQ(store_->WriteBatch(absl::MakeSpan(jobs)).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(CodesOf(jobs), Each(absl::StatusCode::kResourceExhausted));
  FaultVfs::Clear();
  EXPECT_EQ(*GetMeta(), "before");
  EXPECT_TRUE(SetMeta("after").ok());
}

TEST_F(SqliteStoreTest, FaultsWhileOpeningAreRefusals) {
  store_.reset();
  raw_.reset();
  FaultVfs::FailFrom(Fault::kReadFails, 1);
  EXPECT_EQ(OpenSqliteStore(path_).status().code(), absl::StatusCode::kDataLoss);
  FaultVfs::Clear();
  EXPECT_TRUE(OpenSqliteStore(path_).ok());

  const std::string fresh = NewPath();
  FaultVfs::FailFrom(Fault::kDiskFull, 1);
  EXPECT_EQ(OpenSqliteStore(fresh).status().code(), absl::StatusCode::kResourceExhausted);
  FaultVfs::Clear();
  EXPECT_TRUE(OpenSqliteStore(fresh).ok());
  RemoveDatabase(fresh);
}

}  // namespace
}  // namespace blindcart::storage
