// A thin layer over the sqlite3 C library for every service that keeps a database file of its own.
//
// Purpose: the durable and strict settings in one place (WAL, synchronous=FULL, foreign keys, no
// trust in the schema, file mode 0600), resources that free themselves, errors as absl::Status.
// Source: sqlite.org/c3ref, sqlite.org/pragma.html, sqlite.org/rescode.html.
//
// Thread safety: a SqliteDatabase and what it hands out may move between threads but is used by one
// thread at a time; several SqliteDatabase objects, and several processes, may open one file.
//
// Errors, never with a stored or bound value in the message:
//   kAlreadyExists      UNIQUE or PRIMARY KEY
//   kInvalidArgument    CHECK, NOT NULL, FOREIGN KEY, STRICT type, a trigger's RAISE, a value too
//   big kUnavailable        busy or locked beyond busy_timeout_ms; cannot open; writing or syncing
//   failed kResourceExhausted  disk full, out of memory kDataLoss           corrupt, not a
//   database, reading failed kPermissionDenied   read-only file or folder; a write inside
//   InSnapshot kFailedPrecondition the file has a newer schema than this program; a transaction
//   inside another kInternal           wrong SQL or wrong use of this class
#ifndef SERVICES_STORAGE_SQLITE_H_
#define SERVICES_STORAGE_SQLITE_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

struct sqlite3;
struct sqlite3_stmt;

namespace blindcart::storage {

struct SqliteOptions {
  int busy_timeout_ms = 5000;  // how long to wait for another connection's write
  int cache_kib = 16 * 1024;   // page cache of this connection
  // A commit that finds this many pages (of 4 KiB) in the log moves them into the database file.
  int checkpoint_pages = 1000;
};

namespace internal {

// A prepared statement that its database keeps for the next use of the same text.
struct CachedStatement {
  sqlite3_stmt* statement = nullptr;
  bool in_use = false;
};

}  // namespace internal

// One use of a prepared statement. Order of calls: Bind for each parameter from the first to the
// last, then Step until it says false (or Run for a statement without rows), columns after each
// true. A failure in preparing or binding is reported by Step. Destruction makes the statement
// available again; it must happen before the database's.
class SqliteStatement {
 public:
  SqliteStatement(SqliteStatement&& other) noexcept;
  SqliteStatement& operator=(SqliteStatement&&) = delete;
  ~SqliteStatement();

  // Each binds the next parameter. Text and blobs are copied.
  SqliteStatement& BindInt64(int64_t value);
  SqliteStatement& BindText(absl::string_view value);
  SqliteStatement& BindBlob(absl::string_view value);
  SqliteStatement& BindNull();

  // True when there is a row to read, false at the end.
  absl::StatusOr<bool> Step();

  // For a statement that returns no rows (kInternal when it does).
  absl::Status Run();

  // The same for a write that is expected to change so many rows, which SqliteDatabase::changes()
  // then tells.
  absl::Status RunExpecting(int64_t changes);

  // Makes the statement ready to be bound and stepped anew.
  void Reset();

  // Columns count from 0. Copies; NULL reads as 0 or "".
  int64_t ColumnInt64(int column) const;
  std::string ColumnText(int column) const;
  std::string ColumnBlob(int column) const;
  bool ColumnIsNull(int column) const;

 private:
  friend class SqliteDatabase;
  SqliteStatement(sqlite3* database, sqlite3_stmt* statement, internal::CachedStatement* cached,
                  absl::Status status)
      : database_(database), statement_(statement), cached_(cached), status_(std::move(status)) {}
  void NoteBinding(int result);

  sqlite3* database_;
  sqlite3_stmt* statement_;            // null when preparing failed
  internal::CachedStatement* cached_;  // null when the statement belongs to this object alone
  absl::Status status_;
  int next_parameter_ = 1;
};

class SqliteDatabase {
 public:
  // Opens the file, creating it with mode 0600 (and taking other people's rights away from an
  // existing one).
  static absl::StatusOr<std::unique_ptr<SqliteDatabase>> Open(const std::string& path,
                                                              const SqliteOptions& options);
  ~SqliteDatabase();

  SqliteDatabase(const SqliteDatabase&) = delete;
  SqliteDatabase& operator=(const SqliteDatabase&) = delete;

  // Brings the schema to version migrations.size(), each step in a transaction of its own:
  // migration i leads from version i to i + 1 (PRAGMA user_version). A migration once released
  // never changes.
  absl::Status Migrate(absl::Span<const char* const> migrations);

  // Runs one or more statements without parameters or results.
  absl::Status Execute(const char* sql);

  // `sql` must be one of a fixed set of texts: each is prepared once and kept. Values are bound,
  // never pasted.
  SqliteStatement Prepare(absl::string_view sql);

  // Behind a column's name: whether it is one of the ids in the text that is bound here.
  static constexpr char kInIds[] = "IN (SELECT value FROM json_each(?))";
  static std::string Ids(absl::Span<const int64_t> ids);

  // Runs `body` between BEGIN IMMEDIATE and COMMIT. OK means durable. On an error, of the body or
  // of the commit, everything is rolled back and the error returned.
  absl::Status InTransaction(absl::FunctionRef<absl::Status()> body);

  // Runs `body` over one snapshot in which nothing can be written.
  absl::Status InSnapshot(absl::FunctionRef<absl::Status()> body);

  // Inside InTransaction: an error of `body` undoes what `body` did and leaves the rest. After an
  // error in_transaction() may be false: SQLite gives up the whole transaction when, for example,
  // the disk is full. Then nothing more can be done in it.
  absl::Status InSavepoint(absl::FunctionRef<absl::Status()> body);

  // Copies the database as it is at one moment into a new file (mode 0600; kAlreadyExists when there is
  // one), while others go on writing to this one. `progress` is told the pages done and their number.
  // OK means that the whole of it is in that one file and synced.
  absl::Status CopyTo(const std::string& path, absl::FunctionRef<void(int64_t, int64_t)> progress);

  // Moves everything into the database file itself and does without a log from then on, so that the one
  // file is all there is. Only for a file that nobody else has open; opening it again brings the log
  // back.
  absl::Status CloseLog();

  bool in_transaction() const;

  // Of the latest successful INSERT, UPDATE or DELETE.
  int64_t last_insert_rowid() const;
  int64_t changes() const;

 private:
  explicit SqliteDatabase(sqlite3* database) : database_(database) {}
  absl::Status Configure(const SqliteOptions& options);
  absl::Status RunBetween(absl::string_view begin, absl::FunctionRef<absl::Status()> body);

  sqlite3* const database_;
  absl::flat_hash_map<std::string, std::unique_ptr<internal::CachedStatement>> statements_;
};

}  // namespace blindcart::storage

#endif  // SERVICES_STORAGE_SQLITE_H_
