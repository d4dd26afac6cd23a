// A thin layer over libpq for the store on PostgreSQL (postgres_store.h).
//
// Purpose: one connection with the settings that durability and safety need, prepared statements
// with the same calls as sqlite.h, resources that free themselves, errors as absl::Status, and a
// judgement of what a failure means for the transaction that met it. Source: postgresql.org/docs/15,
// chapters "libpq" (pipeline mode too) and "PostgreSQL Error Codes"; only SQL and settings that
// databases compatible with PostgreSQL take as well.
//
// Round trips: BEGIN, SAVEPOINT and their ends travel with the next statement in one pipeline, so
// that they cost none of their own; only COMMIT is waited for. ReadAhead and DeferWrites save those
// of the statements between.
//
// Thread safety: a PostgresConnection and what it hands out may move between threads but is used by
// one thread at a time.
//
// Errors, never with a stored or bound value in the message:
//   kAlreadyExists      a unique value is taken
//   kInvalidArgument    another rule of the schema, a value that no column of its type can hold, a
//                       connection string that is wrong or not safe
//   kAborted            a conflict with another transaction (Failure::kConflict)
//   kUnavailable        the server cannot be reached, or the connection was lost
//   kResourceExhausted  the server's disk or memory is full
//   kDataLoss           the server found its files damaged
//   kPermissionDenied   a write inside InSnapshot; a right that the database's user lacks
//   kFailedPrecondition a newer schema than this program; a server that cannot be used
//   kInternal           wrong SQL or wrong use of this class
#ifndef SERVICES_STORAGE_POSTGRES_H_
#define SERVICES_STORAGE_POSTGRES_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

extern "C" {
struct pg_conn;
struct pg_result;
}

namespace blindcart::storage {

class PostgresConnection;

// Is `url` a connection string of PostgreSQL (postgres:// or postgresql://) that may be used: TLS
// with a checked certificate to every host that is not this machine? kInvalidArgument otherwise.
absl::Status CheckPostgresUrl(const std::string& url);

// One use of a prepared statement; see SqliteStatement. Parameters are written '?'. A text that
// PostgreSQL cannot hold (a NUL byte, no UTF-8) equals no stored text: a query finds nothing by it,
// and anything else refuses it (kInvalidArgument).
class PostgresStatement {
 public:
  PostgresStatement(PostgresStatement&& other) noexcept;
  PostgresStatement& operator=(PostgresStatement&&) = delete;
  ~PostgresStatement();

  PostgresStatement& BindInt64(int64_t value);
  PostgresStatement& BindText(absl::string_view value);
  PostgresStatement& BindBlob(absl::string_view value);
  PostgresStatement& BindNull();

  absl::StatusOr<bool> Step();
  absl::Status Run();
  absl::Status RunExpecting(int64_t changes);
  void Reset();

  // Of the columns BIGINT, INTEGER and BOOLEAN; TEXT; BYTEA. NULL reads as 0 or "".
  int64_t ColumnInt64(int column) const;
  std::string ColumnText(int column) const;
  std::string ColumnBlob(int column) const;
  bool ColumnIsNull(int column) const;

 private:
  friend class PostgresConnection;
  struct Parameter {
    char type = 'n';  // 'i'nt64, 't'ext, 'b'lob, 'n'ull
    std::string bytes;
  };
  PostgresStatement(PostgresConnection& connection, absl::string_view sql)
      : connection_(connection), sql_(sql) {}
  absl::Status CheckTexts() const;
  absl::Status Execute();
  absl::string_view Column(int column) const;

  PostgresConnection& connection_;
  const std::string sql_;
  std::vector<Parameter> parameters_;
  bool impossible_text_ = false;
  bool executed_ = false;
  pg_result* result_ = nullptr;
  int next_row_ = 0;
};

class PostgresConnection {
 public:
  // What went wrong in a transaction, beside the status.
  enum class Failure {
    kNone,
    kRefused,        // a statement was refused; doing the same again would be refused again
    kConflict,       // nothing has happened; the same again may succeed
    kLost,           // the connection is gone, nothing has happened; the same again on another
    kCommitUnknown,  // the connection was lost during COMMIT: it may have happened or not
  };

  // `url` as CheckPostgresUrl takes it. Gives up after a few seconds.
  static absl::StatusOr<std::unique_ptr<PostgresConnection>> Open(const std::string& url);
  ~PostgresConnection();

  PostgresConnection(const PostgresConnection&) = delete;
  PostgresConnection& operator=(const PostgresConnection&) = delete;

  // Of the schema; 0: there is none.
  absl::StatusOr<int64_t> SchemaVersion();
  // Inside a transaction.
  absl::StatusOr<bool> HasTable(absl::string_view table);

  // Brings the schema to version migrations.size(), each step in a transaction of its own, recorded
  // in the table schema_migrations. Several may do so at once. A migration once released never
  // changes.
  absl::Status Migrate(absl::Span<const char* const> migrations);

  // Runs one or more statements without parameters or results, outside InTransaction.
  absl::Status Execute(const char* sql);

  // `sql` must be one of a fixed set of texts: each is prepared once and kept.
  PostgresStatement Prepare(absl::string_view sql);

  // As SqliteDatabase has them.
  static constexpr char kInIds[] = "= ANY (CAST(? AS BIGINT[]))";
  static std::string Ids(absl::Span<const int64_t> ids);

  // Runs `body` in a serialisable transaction. OK means durable. An error that the database reported
  // inside is returned even when `body` did not pass it on.
  absl::Status InTransaction(absl::FunctionRef<absl::Status()> body);

  // Runs `body` over one snapshot in which nothing can be written.
  absl::Status InSnapshot(absl::FunctionRef<absl::Status()> body);

  // Inside InTransaction: an error of `body` undoes what `body` did and leaves the rest. Afterwards
  // transaction_failed() may be true: then nothing more can be done in the transaction.
  absl::Status InSavepoint(absl::FunctionRef<absl::Status()> body);

  // See Transaction::ReadAhead. What is not asked for before the next write is forgotten. Should it
  // fail, so does the transaction.
  void ReadAhead(absl::FunctionRef<void()> body);

  // See Transaction::DeferWrites: RunExpecting waits no more, up to the end of the savepoint or of
  // the transaction.
  void DeferWrites() { deferring_ = may_defer_; }
  // Whether DeferWrites does anything in the transactions that follow; so at first.
  void AllowDeferredWrites(bool allow) { may_defer_ = allow; }
  // Whether the latest transaction failed (Failure::kConflict) because a deferred write did not do
  // what was expected: without deferring, it will tell which one, and why.
  bool was_surprised() const { return surprised_; }

  bool transaction_failed() const { return failure_ != Failure::kNone; }

  // Of the latest InTransaction or InSnapshot.
  Failure failure() const { return failure_; }

  // Whether the connection can be used again. False also when the server should see a fresh one.
  bool usable() const;

  // Rows that the latest INSERT, UPDATE or DELETE changed.
  int64_t changes() const { return changes_; }

  // How often this connection waited for the server inside transactions.
  int64_t round_trips() const { return round_trips_; }

 private:
  friend class PostgresStatement;
  struct ResultDeleter {
    void operator()(pg_result* result) const;
  };
  using Result = std::unique_ptr<pg_result, ResultDeleter>;
  // A statement on its way.
  struct Sent {
    std::string sql;  // Its own parameters are written '?'.
    std::vector<PostgresStatement::Parameter> parameters;
    bool is_control = false;  // BEGIN and the like: not prepared
    int64_t expected_changes = kAnyChanges;
    std::string name = "";  // the server's, once it is chosen
  };
  static constexpr int64_t kAnyChanges = -1;

  explicit PostgresConnection(pg_conn* connection) : connection_(connection) {}
  absl::Status Configure();
  absl::Status RunBetween(const char* begin, absl::FunctionRef<absl::Status()> body);
  static Sent Control(const char* sql);
  // What distinguishes a statement that the server prepares.
  static std::string PreparedKey(const Sent& statement);
  // What distinguishes a query in a transaction.
  static std::string QueryKey(absl::string_view sql,
                              const std::vector<PostgresStatement::Parameter>& parameters);
  // Sends what is pending and then these; waits for all of it. Their results, one each.
  absl::StatusOr<std::vector<Result>> Exchange(std::vector<Sent> statements);
  // Sends one with its preparation, where it has none yet. `preparing` has what this exchange
  // prepares.
  bool Send(Sent& statement, absl::flat_hash_map<std::string, std::string>& preparing,
            bool* prepares);
  absl::Status Note(const Sent& statement, const pg_result* result);
  absl::Status FlushPending();
  void ForgetReadAhead() { read_ahead_.clear(); }
  absl::Status Commit();
  // Leaves the transaction that is open on the server, if any.
  void RollBack();
  // Records the first failure of the transaction and returns its status.
  absl::Status Fail(Failure failure, absl::Status status);
  absl::Status FailFromResult(const pg_result* result);
  // A deferred write failed, or changed other rows than expected.
  absl::Status FailSurprised(const pg_result* result);
  absl::Status FailLost();

  pg_conn* const connection_;
  // Controls and deferred writes, which travel with the next exchange.
  std::vector<Sent> pending_;
  absl::flat_hash_map<std::string, std::string> prepared_;  // PreparedKey to the server's name
  int64_t last_name_ = 0;
  std::vector<Sent> reading_ahead_;                      // what the body of ReadAhead has asked for
  absl::flat_hash_map<std::string, Result> read_ahead_;  // by QueryKey, until it is asked for
  bool is_reading_ahead_ = false;
  bool may_defer_ = true;
  bool deferring_ = false;
  bool surprised_ = false;
  bool in_transaction_ = false;
  bool begun_ = false;       // something of this transaction has been sent
  bool committing_ = false;  // a COMMIT may be on its way
  bool usable_ = true;
  Failure failure_ = Failure::kNone;
  absl::Status failed_;  // the status that belongs to failure_
  int64_t changes_ = 0;
  int64_t round_trips_ = 0;
};

}  // namespace blindcart::storage

#endif  // SERVICES_STORAGE_POSTGRES_H_
