#include "services/storage/sqlite.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace blindcart::storage {
namespace {

constexpr mode_t kOwnerOnly = 0600;
constexpr mode_t kOthersRights = 0077;
// A copy tells its progress this often; between two steps other threads get at the disk.
constexpr int kPagesPerCopyStep = 256;

absl::StatusCode CodeOf(int extended_result) {
  switch (extended_result) {
    case SQLITE_CONSTRAINT_UNIQUE:
    case SQLITE_CONSTRAINT_PRIMARYKEY:
    case SQLITE_CONSTRAINT_ROWID:
      return absl::StatusCode::kAlreadyExists;
    case SQLITE_IOERR_READ:
    case SQLITE_IOERR_SHORT_READ:
    case SQLITE_IOERR_CORRUPTFS:
    case SQLITE_IOERR_DATA:
      return absl::StatusCode::kDataLoss;
    case SQLITE_IOERR_NOMEM:
      return absl::StatusCode::kResourceExhausted;
    default:
      break;
  }
  switch (extended_result & 0xff) {
    case SQLITE_CONSTRAINT:
    case SQLITE_TOOBIG:
    case SQLITE_MISMATCH:
      return absl::StatusCode::kInvalidArgument;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
    case SQLITE_PROTOCOL:
    case SQLITE_SCHEMA:
    case SQLITE_INTERRUPT:
      return absl::StatusCode::kUnavailable;
    case SQLITE_FULL:
    case SQLITE_NOMEM:
      return absl::StatusCode::kResourceExhausted;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return absl::StatusCode::kDataLoss;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
      return absl::StatusCode::kPermissionDenied;
    default:
      return absl::StatusCode::kInternal;
  }
}

// SQLite's messages name tables, columns and constraints, never values.
absl::Status StatusOf(sqlite3* database, int result) {
  const char* text = database != nullptr ? sqlite3_errmsg(database) : sqlite3_errstr(result);
  return absl::Status(CodeOf(result), absl::StrCat("sqlite: ", text, " (", result, ")"));
}

// SQLite would create the file with the process's umask. An existing file is never opened and
// closed here: closing any descriptor of a file drops the POSIX locks that other connections of
// this process hold on it.
absl::Status PrepareFile(const std::string& path) {
  const int descriptor = open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, kOwnerOnly);
  if (descriptor >= 0) {
    close(descriptor);
    return absl::OkStatus();
  }
  if (errno != EEXIST && errno != EISDIR) {
    return absl::ErrnoToStatus(errno, "database file cannot be created");
  }
  struct stat info;
  if (stat(path.c_str(), &info) != 0) {
    return absl::ErrnoToStatus(errno, "database file cannot be examined");
  }
  if (!S_ISREG(info.st_mode)) return absl::InvalidArgumentError("database is not a regular file");
  if ((info.st_mode & kOthersRights) != 0 && chmod(path.c_str(), kOwnerOnly) != 0) {
    return absl::ErrnoToStatus(errno, "database file's mode cannot be restricted");
  }
  return absl::OkStatus();
}

}  // namespace

SqliteStatement::SqliteStatement(SqliteStatement&& other) noexcept
    : database_(other.database_),
      statement_(std::exchange(other.statement_, nullptr)),
      cached_(std::exchange(other.cached_, nullptr)),
      status_(std::move(other.status_)),
      next_parameter_(other.next_parameter_) {}

SqliteStatement::~SqliteStatement() {
  if (statement_ == nullptr) return;
  if (cached_ == nullptr) {
    sqlite3_finalize(statement_);
    return;
  }
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
  cached_->in_use = false;
}

void SqliteStatement::NoteBinding(int result) {
  ++next_parameter_;
  if (result != SQLITE_OK && status_.ok()) status_ = StatusOf(database_, result);
}

SqliteStatement& SqliteStatement::BindInt64(int64_t value) {
  if (statement_ != nullptr) NoteBinding(sqlite3_bind_int64(statement_, next_parameter_, value));
  return *this;
}

SqliteStatement& SqliteStatement::BindText(absl::string_view value) {
  if (statement_ != nullptr) {
    // A null pointer would bind NULL.
    const char* data = value.data() != nullptr ? value.data() : "";
    NoteBinding(sqlite3_bind_text64(statement_, next_parameter_, data, value.size(),
                                    SQLITE_TRANSIENT, SQLITE_UTF8));
  }
  return *this;
}

SqliteStatement& SqliteStatement::BindBlob(absl::string_view value) {
  if (statement_ != nullptr) {
    const char* data = value.data() != nullptr ? value.data() : "";
    NoteBinding(
        sqlite3_bind_blob64(statement_, next_parameter_, data, value.size(), SQLITE_TRANSIENT));
  }
  return *this;
}

SqliteStatement& SqliteStatement::BindNull() {
  if (statement_ != nullptr) NoteBinding(sqlite3_bind_null(statement_, next_parameter_));
  return *this;
}

absl::StatusOr<bool> SqliteStatement::Step() {
  if (!status_.ok()) return status_;
  const int result = sqlite3_step(statement_);
  if (result == SQLITE_ROW) return true;
  if (result == SQLITE_DONE) return false;
  return StatusOf(database_, result);
}

absl::Status SqliteStatement::Run() {
  absl::StatusOr<bool> row = Step();
  if (!row.ok()) return row.status();
  if (*row) return absl::InternalError("sqlite: a statement returned a row that nobody reads");
  return absl::OkStatus();
}

// Nothing is saved by not waiting for a database in this process.
absl::Status SqliteStatement::RunExpecting(int64_t) { return Run(); }

void SqliteStatement::Reset() {
  if (statement_ == nullptr) return;
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
  status_ = absl::OkStatus();
  next_parameter_ = 1;
}

int64_t SqliteStatement::ColumnInt64(int column) const {
  return sqlite3_column_int64(statement_, column);
}

std::string SqliteStatement::ColumnText(int column) const {
  const void* data = sqlite3_column_text(statement_, column);
  if (data == nullptr) return std::string();
  return std::string(static_cast<const char*>(data), sqlite3_column_bytes(statement_, column));
}

std::string SqliteStatement::ColumnBlob(int column) const {
  const void* data = sqlite3_column_blob(statement_, column);
  if (data == nullptr) return std::string();
  return std::string(static_cast<const char*>(data), sqlite3_column_bytes(statement_, column));
}

bool SqliteStatement::ColumnIsNull(int column) const {
  return sqlite3_column_type(statement_, column) == SQLITE_NULL;
}

absl::StatusOr<std::unique_ptr<SqliteDatabase>> SqliteDatabase::Open(const std::string& path,
                                                                     const SqliteOptions& options) {
  if (path.empty()) return absl::InvalidArgumentError("database path is empty");
  absl::Status prepared = PrepareFile(path);
  if (!prepared.ok()) return prepared;
  sqlite3* raw = nullptr;
  const int result =
      sqlite3_open_v2(path.c_str(), &raw,
                      SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, nullptr);
  // Even a failed open may hand out a connection that has to be closed.
  std::unique_ptr<SqliteDatabase> database(new SqliteDatabase(raw));
  if (result != SQLITE_OK) return StatusOf(raw, result);
  if (sqlite3_db_readonly(raw, "main") == 1) {
    return absl::PermissionDeniedError("database file is read-only");
  }
  absl::Status configured = database->Configure(options);
  if (!configured.ok()) return configured;
  return database;
}

absl::Status SqliteDatabase::Configure(const SqliteOptions& options) {
  sqlite3_busy_timeout(database_, options.busy_timeout_ms);
  // Defensive mode keeps even a SQL mistake from writing the schema tables; without double-quoted
  // strings a misspelt column is an error.
  sqlite3_db_config(database_, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  sqlite3_db_config(database_, SQLITE_DBCONFIG_DQS_DML, 0, nullptr);
  sqlite3_db_config(database_, SQLITE_DBCONFIG_DQS_DDL, 0, nullptr);
  const std::string pragmas = absl::StrCat(
      "PRAGMA trusted_schema = OFF;"
      "PRAGMA cell_size_check = ON;"
      "PRAGMA foreign_keys = ON;"
      "PRAGMA synchronous = FULL;"
      "PRAGMA cache_size = -",
      options.cache_kib, "; PRAGMA wal_autocheckpoint = ", options.checkpoint_pages, ";");
  absl::Status set = Execute(pragmas.c_str());
  if (!set.ok()) return set;
  SqliteStatement journal = Prepare("PRAGMA journal_mode = WAL");
  absl::StatusOr<bool> row = journal.Step();
  // Two connections that switch a new file to WAL at once get SQLITE_BUSY without SQLite's own wait.
  for (int waited_ms = 0; !row.ok() && (sqlite3_errcode(database_) & 0xff) == SQLITE_BUSY &&
                          waited_ms < options.busy_timeout_ms;
       ++waited_ms) {
    journal.Reset();
    sqlite3_sleep(1);
    row = journal.Step();
  }
  if (!row.ok()) return row.status();
  if (!*row || journal.ColumnText(0) != "wal") {
    return absl::UnavailableError("sqlite: this file system cannot hold a write-ahead log");
  }
  return absl::OkStatus();
}

SqliteDatabase::~SqliteDatabase() {
  for (auto& [sql, cached] : statements_) sqlite3_finalize(cached->statement);
  sqlite3_close_v2(database_);
}

absl::Status SqliteDatabase::Migrate(absl::Span<const char* const> migrations) {
  const int64_t newest = static_cast<int64_t>(migrations.size());
  for (bool done = false; !done;) {
    absl::Status status = InTransaction([&]() -> absl::Status {
      int64_t version = 0;
      {
        SqliteStatement query = Prepare("PRAGMA user_version");
        absl::StatusOr<bool> row = query.Step();
        if (!row.ok()) return row.status();
        version = query.ColumnInt64(0);
      }
      if (version < 0 || version > newest) {
        return absl::FailedPreconditionError(absl::StrCat("database has schema version ", version,
                                                          ", this program knows up to ", newest));
      }
      done = version == newest;
      if (done) return absl::OkStatus();
      absl::Status migrated = Execute(migrations[static_cast<size_t>(version)]);
      if (!migrated.ok()) return migrated;
      return Execute(absl::StrCat("PRAGMA user_version = ", version + 1).c_str());
    });
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status SqliteDatabase::Execute(const char* sql) {
  const int result = sqlite3_exec(database_, sql, nullptr, nullptr, nullptr);
  if (result != SQLITE_OK) return StatusOf(database_, result);
  return absl::OkStatus();
}

std::string SqliteDatabase::Ids(absl::Span<const int64_t> ids) {
  return absl::StrCat("[", absl::StrJoin(ids, ","), "]");
}

SqliteStatement SqliteDatabase::Prepare(absl::string_view sql) {
  auto known = statements_.find(sql);
  if (known != statements_.end() && !known->second->in_use) {
    known->second->in_use = true;
    return SqliteStatement(database_, known->second->statement, known->second.get(),
                           absl::OkStatus());
  }
  sqlite3_stmt* statement = nullptr;
  const int result = sqlite3_prepare_v3(database_, sql.data(), static_cast<int>(sql.size()),
                                        SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
  if (result != SQLITE_OK) {
    return SqliteStatement(database_, nullptr, nullptr, StatusOf(database_, result));
  }
  if (statement == nullptr) {
    return SqliteStatement(database_, nullptr, nullptr,
                           absl::InternalError("sqlite: an empty statement"));
  }
  // The kept one is being stepped by a caller further up; this use gets one of its own.
  if (known != statements_.end()) {
    return SqliteStatement(database_, statement, nullptr, absl::OkStatus());
  }
  auto cached = std::make_unique<internal::CachedStatement>();
  cached->statement = statement;
  cached->in_use = true;
  internal::CachedStatement* const borrowed = cached.get();
  statements_.emplace(std::string(sql), std::move(cached));
  return SqliteStatement(database_, statement, borrowed, absl::OkStatus());
}

absl::Status SqliteDatabase::RunBetween(absl::string_view begin,
                                        absl::FunctionRef<absl::Status()> body) {
  if (in_transaction()) {
    return absl::FailedPreconditionError("a transaction inside another transaction");
  }
  absl::Status status = Prepare(begin).Run();
  if (!status.ok()) return status;
  status = body();
  // Without this a body that swallowed the loss of the transaction would end in a COMMIT of
  // nothing.
  if (status.ok() && !in_transaction()) {
    status = absl::UnavailableError("sqlite: the transaction was given up");
  }
  if (status.ok()) status = Prepare("COMMIT").Run();
  if (!status.ok() && in_transaction()) {
    // The first error is what the caller needs; a rollback can only fail when nothing is open.
    Prepare("ROLLBACK").Run().IgnoreError();
  }
  return status;
}

absl::Status SqliteDatabase::InTransaction(absl::FunctionRef<absl::Status()> body) {
  return RunBetween("BEGIN IMMEDIATE", body);
}

absl::Status SqliteDatabase::InSnapshot(absl::FunctionRef<absl::Status()> body) {
  absl::Status status = Execute("PRAGMA query_only = ON");
  if (!status.ok()) return status;
  status = RunBetween("BEGIN", body);
  absl::Status restored = Execute("PRAGMA query_only = OFF");
  return status.ok() ? restored : status;
}

absl::Status SqliteDatabase::InSavepoint(absl::FunctionRef<absl::Status()> body) {
  if (!in_transaction()) return absl::FailedPreconditionError("a savepoint outside a transaction");
  absl::Status status = Prepare("SAVEPOINT job").Run();
  if (!status.ok()) return status;
  status = body();
  if (!in_transaction()) {
    return status.ok() ? absl::UnavailableError("sqlite: the transaction was given up") : status;
  }
  if (!status.ok() && !Prepare("ROLLBACK TO job").Run().ok()) {
    // What cannot be undone alone must not be committed with the rest.
    Prepare("ROLLBACK").Run().IgnoreError();
    return status;
  }
  absl::Status released = Prepare("RELEASE job").Run();
  if (!released.ok()) {
    Prepare("ROLLBACK").Run().IgnoreError();
    return released;
  }
  return status;
}

absl::Status SqliteDatabase::CopyTo(const std::string& path,
                                    absl::FunctionRef<void(int64_t, int64_t)> progress) {
  const int descriptor = open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, kOwnerOnly);
  if (descriptor < 0) return absl::ErrnoToStatus(errno, "the copy's file cannot be created");
  close(descriptor);
  absl::StatusOr<std::unique_ptr<SqliteDatabase>> target = Open(path, SqliteOptions());
  if (!target.ok()) return target.status();

  const absl::Status copied = InSnapshot([&]() -> absl::Status {
    {
      // Only a read begins the snapshot. While it is held no write of others makes the copy start
      // over.
      SqliteStatement first = Prepare("SELECT COUNT(*) FROM sqlite_master");
      const absl::StatusOr<bool> row = first.Step();
      if (!row.ok()) return row.status();
    }
    sqlite3_backup* const copy =
        sqlite3_backup_init((*target)->database_, "main", database_, "main");
    if (copy == nullptr) {
      return StatusOf((*target)->database_, sqlite3_extended_errcode((*target)->database_));
    }
    int result = SQLITE_OK;
    while (result == SQLITE_OK) {
      result = sqlite3_backup_step(copy, kPagesPerCopyStep);
      const int64_t total = sqlite3_backup_pagecount(copy);
      progress(total - sqlite3_backup_remaining(copy), total);
    }
    const int finished = sqlite3_backup_finish(copy);
    if (result != SQLITE_DONE) return StatusOf(nullptr, result);
    return finished == SQLITE_OK ? absl::OkStatus() : StatusOf(nullptr, finished);
  });
  if (!copied.ok()) return copied;
  return (*target)->CloseLog();
}

absl::Status SqliteDatabase::CloseLog() {
  SqliteStatement journal = Prepare("PRAGMA journal_mode = DELETE");
  const absl::StatusOr<bool> row = journal.Step();
  if (!row.ok()) return row.status();
  if (!*row || journal.ColumnText(0) != "delete") {
    return absl::UnavailableError("sqlite: the write-ahead log cannot be closed");
  }
  return absl::OkStatus();
}

bool SqliteDatabase::in_transaction() const { return sqlite3_get_autocommit(database_) == 0; }

int64_t SqliteDatabase::last_insert_rowid() const { return sqlite3_last_insert_rowid(database_); }

int64_t SqliteDatabase::changes() const { return sqlite3_changes64(database_); }

}  // namespace blindcart::storage
