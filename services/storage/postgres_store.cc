#include "services/storage/postgres_store.h"

#include <algorithm>
#include <chrono>
#include <random>
#include <set>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "services/storage/postgres.h"
#include "services/storage/postgres_pool.h"
#include "services/storage/postgres_schema.h"
#include "services/storage/sql_transaction.h"

namespace blindcart::storage {
namespace {

using Failure = PostgresConnection::Failure;
using Purpose = PostgresPool::Purpose;
using std::chrono::milliseconds;

// Whoever waited at a locked row conflicts with who held it, and has waited enough by then.
constexpr int kConflictsWithoutPause = 2;
// Pauses grow from the first to the last, doubling.
constexpr milliseconds kFirstConflictPause(1);
constexpr milliseconds kLastConflictPause(64);
constexpr milliseconds kFirstReconnectPause(20);
constexpr milliseconds kLastReconnectPause(1'000);

// Remembers whose state the transaction changes, so that a second attempt can lock them in order.
class PostgresAccounts : public SqlAccounts<PostgresConnection> {
 public:
  explicit PostgresAccounts(PostgresConnection& connection)
      : SqlAccounts(connection), connection_(connection) {}

  absl::Status SetBalances(absl::Span<const AccountBalance> balances) override {
    for (const AccountBalance& balance : balances) changed_.insert(balance.id);
    return SqlAccounts::SetBalances(balances);
  }

  absl::Status SetPinState(int64_t id, int64_t failures, int64_t blocked_until_ms) override {
    changed_.insert(id);
    return SqlAccounts::SetPinState(id, failures, blocked_until_ms);
  }

  absl::Status Lock(const std::set<int64_t>& ids) {
    if (ids.empty()) return absl::OkStatus();
    PostgresStatement lock = connection_.Prepare(
        "SELECT id FROM accounts WHERE id = ANY (CAST(? AS BIGINT[])) ORDER BY id FOR UPDATE");
    return lock.BindText(absl::StrCat("{", absl::StrJoin(ids, ","), "}")).Step().status();
  }

  const std::set<int64_t>& changed() const { return changed_; }

 private:
  PostgresConnection& connection_;
  std::set<int64_t> changed_;
};

class PostgresNotices : public SqlNotices<PostgresConnection> {
 public:
  explicit PostgresNotices(PostgresConnection& connection)
      : SqlNotices(connection), connection_(connection) {}

  absl::StatusOr<int64_t> Append(int64_t merchant_id, absl::string_view payload,
                                 int64_t created_at_ms) override {
    PostgresStatement insert = connection_.Prepare(
        "WITH next AS (UPDATE counters SET last_id = last_id + 1 WHERE name = 'notices'"
        " RETURNING last_id)"
        " INSERT INTO notices (notice_id, merchant_id, payload, created_at_ms)"
        " SELECT last_id, ?, ?, ? FROM next RETURNING notice_id");
    insert.BindInt64(merchant_id).BindBlob(payload).BindInt64(created_at_ms);
    return InsertReturningId(insert, "notice");
  }

 private:
  PostgresConnection& connection_;
};

class PostgresTransaction
    : public SqlTransaction<PostgresConnection, PostgresAccounts, PostgresNotices> {
 public:
  explicit PostgresTransaction(PostgresConnection& connection) : SqlTransaction(connection) {}

  void ReadAhead(absl::FunctionRef<void(Transaction&)> reads) override {
    database().ReadAhead([&] { reads(*this); });
  }
  void DeferWrites() override { database().DeferWrites(); }
};

// A random part of `first` doubled `attempt` times, but never more than `last`.
milliseconds Pause(milliseconds first, milliseconds last, int attempt) {
  thread_local std::minstd_rand random(std::random_device{}());
  const milliseconds longest = std::min(last, first * (int64_t{1} << std::min(attempt, 20)));
  return milliseconds(std::uniform_int_distribution<int64_t>(0, longest.count())(random));
}

class PostgresStore : public Store {
 public:
  explicit PostgresStore(const PostgresStoreOptions& options)
      : patience_(options.patience_ms),
        read_patience_(std::min(options.read_patience_ms, options.patience_ms)),
        pool_(options.url, options.connections) {}

  StoreConnections Connections() override { return pool_.connections(); }

  absl::Status Read(absl::FunctionRef<absl::Status(Transaction&)> body) override {
    return Try(Purpose::kRead, [&](PostgresConnection& connection) {
      PostgresTransaction transaction(connection);
      return connection.InSnapshot([&] { return body(transaction); });
    });
  }

  absl::Status Write(absl::FunctionRef<absl::Status(Transaction&)> body) override {
    std::set<int64_t> accounts;
    bool surprised = false;
    return Try(Purpose::kWrite, [&](PostgresConnection& connection) {
      PostgresTransaction transaction(connection);
      connection.AllowDeferredWrites(!surprised);
      const absl::Status status = connection.InTransaction([&] {
        const absl::Status locked = transaction.accounts().Lock(accounts);
        return locked.ok() ? body(transaction) : locked;
      });
      accounts.insert(transaction.accounts().changed().begin(),
                      transaction.accounts().changed().end());
      surprised = surprised || connection.was_surprised();
      return status;
    });
  }

  absl::Status WriteBatch(absl::Span<WriteJob> jobs) override {
    const absl::Status status = Write([&](Transaction& transaction) -> absl::Status {
      PostgresConnection& connection = static_cast<PostgresTransaction&>(transaction).database();
      for (WriteJob& job : jobs) {
        job.status = connection.InSavepoint([&] { return job.run(transaction); });
        if (connection.transaction_failed()) return job.status;
      }
      return absl::OkStatus();
    });
    if (!status.ok()) {
      for (WriteJob& job : jobs) job.status = status;
    }
    return status;
  }

  // The server checks its own files; what can be asked of it is whether references still hold, which
  // they may not after somebody took a constraint away.
  absl::StatusOr<std::vector<std::string>> CheckIntegrity() override {
    std::vector<std::string> findings;
    const absl::Status checked = Try(Purpose::kRead, [&](PostgresConnection& connection) {
      findings.clear();
      return connection.InSnapshot([&]() -> absl::Status {
        // Reads whole tables.
        const absl::Status unhurried = connection.Prepare("SET LOCAL statement_timeout = 0").Run();
        if (!unhurried.ok()) return unhurried;
        for (const PostgresReference& reference : PostgresReferences()) {
          PostgresStatement query = connection.Prepare(
              absl::StrCat("SELECT COUNT(*) FROM ", reference.table, " AS a LEFT JOIN ",
                           reference.referred_table, " AS b ON a.", reference.column, " = b.",
                           reference.referred_column, " WHERE a.", reference.column,
                           " IS NOT NULL AND b.", reference.referred_column, " IS NULL"));
          const absl::StatusOr<bool> row = query.Step();
          if (!row.ok()) return row.status();
          const int64_t count = query.ColumnInt64(0);
          if (count == 0) continue;
          findings.push_back(absl::StrCat(count, " row(s) of ", reference.table,
                                          " refer to no row of ", reference.referred_table));
        }
        return absl::OkStatus();
      });
    });
    if (!checked.ok()) return checked;
    return findings;
  }

 private:
  using Attempt = absl::FunctionRef<absl::Status(PostgresConnection&)>;

  // Runs `attempt` on a connection, again for as long as that makes sense.
  absl::Status Try(Purpose purpose, Attempt attempt) {
    const PostgresPool::Clock::time_point deadline =
        PostgresPool::Clock::now() + (purpose == Purpose::kRead ? read_patience_ : patience_);
    absl::Status status;
    for (int losses = 0;; ++losses) {
      bool lost = false;
      status = TryOnOneConnection(purpose, attempt, deadline, &lost);
      if (!lost) return status;
      if (!Wait(Pause(kFirstReconnectPause, kLastReconnectPause, losses), deadline)) break;
    }
    return absl::UnavailableError(
        absl::StrCat("the database did not take it in time: ", status.message()));
  }

  // The same until the connection is lost, which is when another one may help.
  absl::Status TryOnOneConnection(Purpose purpose, Attempt attempt,
                                  PostgresPool::Clock::time_point deadline, bool* lost) {
    absl::StatusOr<PostgresPool::Lease> lease = pool_.Take(purpose, deadline);
    if (!lease.ok()) {
      *lost = absl::IsUnavailable(lease.status());
      return lease.status();
    }
    PostgresConnection& connection = lease->connection();
    // It is kept through conflicts: who has begun is not overtaken by others of this store.
    for (int conflicts = 0;; ++conflicts) {
      const absl::Status status = attempt(connection);
      if (status.ok()) return status;
      switch (connection.failure()) {
        case Failure::kNone:
        case Failure::kRefused:
          return status;
        case Failure::kCommitUnknown:
          // A snapshot's end settles nothing.
          *lost = purpose == Purpose::kRead;
          return status;
        case Failure::kLost:
          *lost = true;
          return status;
        case Failure::kConflict:
          break;
      }
      if (!connection.usable()) {
        *lost = true;
        return status;
      }
      const milliseconds pause =
          conflicts < kConflictsWithoutPause
              ? milliseconds(0)
              : Pause(kFirstConflictPause, kLastConflictPause, conflicts - kConflictsWithoutPause);
      if (!Wait(pause, deadline)) {
        return absl::UnavailableError(
            absl::StrCat("the database did not take it in time: ", status.message()));
      }
    }
  }

  // False when the deadline comes first.
  static bool Wait(milliseconds pause, PostgresPool::Clock::time_point deadline) {
    if (PostgresPool::Clock::now() + pause >= deadline) return false;
    std::this_thread::sleep_for(pause);
    return true;
  }

  const milliseconds patience_;
  const milliseconds read_patience_;
  PostgresPool pool_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Store>> OpenPostgresStore(const PostgresStoreOptions& options) {
  absl::StatusOr<std::unique_ptr<PostgresConnection>> connection =
      PostgresConnection::Open(options.url);
  if (!connection.ok()) return connection.status();
  const absl::Status migrated = (*connection)->Migrate(PostgresMigrations());
  if (!migrated.ok()) return migrated;
  return std::make_unique<PostgresStore>(options);
}

}  // namespace blindcart::storage
