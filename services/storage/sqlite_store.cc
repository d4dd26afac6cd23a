#include "services/storage/sqlite_store.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/storage/sql_transaction.h"
#include "services/storage/sqlite.h"
#include "services/storage/sqlite_schema.h"

namespace blindcart::storage {
namespace {

using SqliteTransaction = SqlTransaction<SqliteDatabase>;

class SqliteStore : public Store {
 public:
  SqliteStore(std::string path, std::unique_ptr<SqliteDatabase> writer,
              std::unique_ptr<SqliteDatabase> reader)
      : path_(std::move(path)),
        writer_(std::move(writer)),
        write_transaction_(*writer_),
        reader_(std::move(reader)),
        read_transaction_(*reader_) {}

  StoreConnections Connections() override {
    StoreConnections connections;
    connections.limit = 2;
    connections.open = 2;
    const int readers = readers_;
    const int writers = writers_;
    connections.in_use = std::min(readers, 1) + std::min(writers, 1);
    connections.waiting = readers + writers - connections.in_use;
    return connections;
  }

  absl::Status Read(absl::FunctionRef<absl::Status(Transaction&)> body) override {
    const Counted reader(readers_);
    std::lock_guard<std::mutex> lock(read_mutex_);
    return reader_->InSnapshot([&] { return body(read_transaction_); });
  }

  absl::Status Write(absl::FunctionRef<absl::Status(Transaction&)> body) override {
    const Counted writer(writers_);
    std::lock_guard<std::mutex> lock(write_mutex_);
    return writer_->InTransaction([&] { return body(write_transaction_); });
  }

  absl::Status WriteBatch(absl::Span<WriteJob> jobs) override {
    const Counted writer(writers_);
    std::lock_guard<std::mutex> lock(write_mutex_);
    const absl::Status status = writer_->InTransaction([&]() -> absl::Status {
      for (WriteJob& job : jobs) {
        job.status = writer_->InSavepoint([&] { return job.run(write_transaction_); });
        if (!writer_->in_transaction()) return job.status;
      }
      return absl::OkStatus();
    });
    if (!status.ok()) {
      for (WriteJob& job : jobs) job.status = status;
    }
    return status;
  }

  // On a connection of its own, since it may take long.
  absl::StatusOr<std::vector<std::string>> CheckIntegrity() override {
    absl::StatusOr<std::unique_ptr<SqliteDatabase>> database =
        SqliteDatabase::Open(path_, SqliteOptions());
    if (!database.ok()) return database.status();
    std::vector<std::string> findings;
    SqliteStatement integrity = (*database)->Prepare("PRAGMA integrity_check");
    for (;;) {
      absl::StatusOr<bool> more = integrity.Step();
      if (!more.ok()) return more.status();
      if (!*more) break;
      std::string finding = integrity.ColumnText(0);
      if (finding != "ok") findings.push_back(std::move(finding));
    }
    SqliteStatement references = (*database)->Prepare("PRAGMA foreign_key_check");
    for (;;) {
      absl::StatusOr<bool> more = references.Step();
      if (!more.ok()) return more.status();
      if (!*more) break;
      findings.push_back(absl::StrCat("row ", references.ColumnInt64(1), " of ",
                                      references.ColumnText(0), " refers to no row of ",
                                      references.ColumnText(2)));
    }
    return findings;
  }

 private:
  // One more for as long as it lives.
  class Counted {
   public:
    explicit Counted(std::atomic<int>& count) : count_(count) { ++count_; }
    ~Counted() { --count_; }
    Counted(const Counted&) = delete;
    Counted& operator=(const Counted&) = delete;

   private:
    std::atomic<int>& count_;
  };

  const std::string path_;
  std::atomic<int> readers_{0};  // each waits for the lock or holds it
  std::atomic<int> writers_{0};
  std::mutex write_mutex_;  // over the next two
  const std::unique_ptr<SqliteDatabase> writer_;
  SqliteTransaction write_transaction_;
  std::mutex read_mutex_;  // over the next two
  const std::unique_ptr<SqliteDatabase> reader_;
  SqliteTransaction read_transaction_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Store>> OpenSqliteStore(const std::string& path) {
  SqliteOptions options;
  options.cache_kib = 64 * 1024;
  // Payments touch random pages of four indexes; moving them eight times less often made a batch of 64
  // payments a third faster.
  options.checkpoint_pages = 8000;
  absl::StatusOr<std::unique_ptr<SqliteDatabase>> writer = SqliteDatabase::Open(path, options);
  if (!writer.ok()) return writer.status();
  absl::Status migrated = (*writer)->Migrate(BrokerMigrations());
  if (!migrated.ok()) return migrated;
  absl::StatusOr<std::unique_ptr<SqliteDatabase>> reader = SqliteDatabase::Open(path, options);
  if (!reader.ok()) return reader.status();
  return std::make_unique<SqliteStore>(path, *std::move(writer), *std::move(reader));
}

}  // namespace blindcart::storage
