#include "services/storage/postgres.h"

#include <endian.h>
#include <postgresql/libpq-fe.h>

#include <cstring>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "protocol/utf8.h"

namespace blindcart::storage {
namespace {

// Object ids of types; fixed for ever (pg_type.dat).
constexpr Oid kBool = 16;
constexpr Oid kBytea = 17;
constexpr Oid kInt8 = 20;
constexpr Oid kInt2 = 21;
constexpr Oid kInt4 = 23;
constexpr Oid kText = 25;
constexpr int kBinary = 1;

constexpr char kLocalSocketFolder[] = "/var/run/postgresql";
constexpr int kMaxMigrationAttempts = 20;

// A statement never runs long here, and a transaction never waits long for its program; the limits
// are for servers and networks that hang, and for a broker that stopped in the middle.
constexpr char kSessionSettings[] =
    "SET statement_timeout = 60000; SET lock_timeout = 10000;"
    " SET idle_in_transaction_session_timeout = 60000";

Oid OidOf(char type) {
  switch (type) {
    case 'i':
      return kInt8;
    case 't':
      return kText;
    case 'b':
      return kBytea;
    default:
      return 0;  // the server finds it out
  }
}

bool IsReadable(Oid type) {
  return type == kBool || type == kBytea || type == kInt8 || type == kInt2 || type == kInt4 ||
         type == kText;
}

bool IsText(absl::string_view text) {
  while (!text.empty()) {
    const protocol::CodePoint point = protocol::FirstCodePoint(text);
    if (!point.valid || point.value == 0) return false;
    text.remove_prefix(point.bytes);
  }
  return true;
}

// "?" to "$1", "$2"; no statement here has a question mark in a literal.
std::string WithNumberedParameters(absl::string_view sql) {
  std::string numbered;
  int count = 0;
  for (char c : sql) {
    if (c == '?') {
      absl::StrAppend(&numbered, "$", ++count);
    } else {
      numbered.push_back(c);
    }
  }
  return numbered;
}

struct Judgement {
  PostgresConnection::Failure failure;
  absl::StatusCode code;
  bool usable;  // whether the connection can stay
};

// By SQLSTATE (appendix "PostgreSQL Error Codes").
Judgement Judge(absl::string_view state) {
  using Failure = PostgresConnection::Failure;
  using absl::StatusCode;
  // The schema changed under a prepared statement, or somebody dropped it.
  if (state == "0A000" || state == "26000")
    return {Failure::kConflict, StatusCode::kAborted, false};
  // Outcome unknown: the caller tells a commit from the rest.
  if (state == "40003") return {Failure::kLost, StatusCode::kUnavailable, false};
  if (absl::StartsWith(state, "40") || state == "55P03") {
    return {Failure::kConflict, StatusCode::kAborted, true};
  }
  if (state.empty() || absl::StartsWith(state, "08") || absl::StartsWith(state, "57P") ||
      state == "25P03") {
    return {Failure::kLost, StatusCode::kUnavailable, false};
  }
  const auto refused = [](StatusCode code) { return Judgement{Failure::kRefused, code, true}; };
  if (state == "23505" || state == "42P07" || state == "42710") {
    return refused(StatusCode::kAlreadyExists);
  }
  if (absl::StartsWith(state, "22") || absl::StartsWith(state, "23") ||
      absl::StartsWith(state, "54")) {
    return refused(StatusCode::kInvalidArgument);
  }
  if (state == "53100" || state == "53200") return refused(StatusCode::kResourceExhausted);
  if (absl::StartsWith(state, "53") || state == "57014") return refused(StatusCode::kUnavailable);
  if (state == "25006" || state == "42501") return refused(StatusCode::kPermissionDenied);
  if (absl::StartsWith(state, "58") || absl::StartsWith(state, "XX0")) {
    return refused(StatusCode::kDataLoss);
  }
  return refused(StatusCode::kInternal);
}

std::string StateOf(const pg_result* result) {
  const char* state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
  return state == nullptr ? "" : state;
}

// The primary message names tables and constraints; values stand in the detail, which is left out.
absl::Status StatusOf(const pg_result* result, absl::StatusCode code) {
  const char* text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
  return absl::Status(code, absl::StrCat("postgres: ", text == nullptr ? "no answer" : text, " (",
                                         StateOf(result), ")"));
}

bool IsThisMachine(absl::string_view host) {
  return absl::StartsWith(host, "/") || absl::StartsWith(host, "@") || host == "localhost" ||
         host == "::1" || absl::StartsWith(host, "127.");
}

struct ConnectionOptions {
  std::vector<std::pair<std::string, std::string>> values;

  const std::string* Find(absl::string_view keyword) const {
    for (const auto& [known, value] : values) {
      if (known == keyword) return &value;
    }
    return nullptr;
  }
  void SetDefault(const char* keyword, const char* value) {
    if (Find(keyword) == nullptr) values.emplace_back(keyword, value);
  }
};

absl::StatusOr<ConnectionOptions> ParseUrl(const std::string& url) {
  if (!absl::StartsWith(url, "postgres://") && !absl::StartsWith(url, "postgresql://")) {
    return absl::InvalidArgumentError(
        "a database's address begins with postgres://, such as "
        "postgres://broker@db.example.org/blindcart");
  }
  char* error = nullptr;
  PQconninfoOption* const parsed = PQconninfoParse(url.c_str(), &error);
  if (parsed == nullptr) {
    // libpq's own message repeats parts of the string, which may hold a password.
    PQfreemem(error);
    return absl::InvalidArgumentError("the database's postgres:// address is malformed");
  }
  ConnectionOptions options;
  for (const PQconninfoOption* option = parsed; option->keyword != nullptr; ++option) {
    if (option->val != nullptr) options.values.emplace_back(option->keyword, option->val);
  }
  PQconninfoFree(parsed);
  if (options.Find("service") != nullptr) {
    return absl::InvalidArgumentError(
        "write the database's whole address instead of service=: a service file could point it "
        "anywhere");
  }

  if (options.Find("hostaddr") == nullptr) options.SetDefault("host", kLocalSocketFolder);
  bool local = true;
  for (const char* keyword : {"host", "hostaddr"}) {
    const std::string* hosts = options.Find(keyword);
    if (hosts == nullptr) continue;
    for (absl::string_view host : absl::StrSplit(*hosts, ',')) local = local && IsThisMachine(host);
  }
  if (!local) {
    options.SetDefault("sslmode", "verify-full");
    options.SetDefault("ssl_min_protocol_version", "TLSv1.3");
    const std::string& mode = *options.Find("sslmode");
    if (mode != "verify-full" && mode != "verify-ca") {
      return absl::InvalidArgumentError(
          "a database on another machine needs sslmode=verify-full (or verify-ca) with "
          "sslrootcert=FILE: its answers are money");
    }
  }
  options.SetDefault("connect_timeout", "5");
  options.SetDefault("keepalives_idle", "15");
  options.SetDefault("keepalives_interval", "5");
  options.SetDefault("keepalives_count", "3");
  options.SetDefault("tcp_user_timeout", "20000");
  options.SetDefault("gssencmode", "disable");
  // With several hosts, the one that takes writes; with one, a standby is no broker's database.
  options.SetDefault("target_session_attrs", "read-write");
  options.SetDefault("application_name", "blindcart");
  options.values.emplace_back("client_encoding", "UTF8");
  return options;
}

void DropNotice(void*, const char*) {}

}  // namespace

absl::Status CheckPostgresUrl(const std::string& url) { return ParseUrl(url).status(); }

PostgresStatement::PostgresStatement(PostgresStatement&& other) noexcept
    : connection_(other.connection_),
      sql_(other.sql_),
      parameters_(std::move(other.parameters_)),
      impossible_text_(other.impossible_text_),
      executed_(other.executed_),
      result_(std::exchange(other.result_, nullptr)),
      next_row_(other.next_row_) {}

PostgresStatement::~PostgresStatement() { PQclear(result_); }

PostgresStatement& PostgresStatement::BindInt64(int64_t value) {
  const uint64_t big_endian = htobe64(static_cast<uint64_t>(value));
  std::string bytes(sizeof(big_endian), '\0');
  std::memcpy(&bytes[0], &big_endian, sizeof(big_endian));
  parameters_.push_back({'i', std::move(bytes)});
  return *this;
}

PostgresStatement& PostgresStatement::BindText(absl::string_view value) {
  if (!IsText(value)) impossible_text_ = true;
  parameters_.push_back({'t', std::string(value)});
  return *this;
}

PostgresStatement& PostgresStatement::BindBlob(absl::string_view value) {
  parameters_.push_back({'b', std::string(value)});
  return *this;
}

PostgresStatement& PostgresStatement::BindNull() {
  parameters_.push_back({'n', ""});
  return *this;
}

absl::Status PostgresStatement::Execute() {
  executed_ = true;
  if (impossible_text_) {
    if (absl::StartsWith(sql_, "SELECT")) return absl::OkStatus();
    return connection_.Fail(
        PostgresConnection::Failure::kRefused,
        absl::InvalidArgumentError("postgres: a text has to be UTF-8 without NUL"));
  }
  absl::StatusOr<pg_result*> result = connection_.Exchange(sql_, parameters_);
  if (!result.ok()) return result.status();
  result_ = *result;
  for (int column = 0; column < PQnfields(result_); ++column) {
    if (!IsReadable(PQftype(result_, column))) {
      return connection_.Fail(PostgresConnection::Failure::kRefused,
                              absl::InternalError("postgres: a column's type is not supported"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> PostgresStatement::Step() {
  if (!executed_) {
    const absl::Status executed = Execute();
    if (!executed.ok()) return executed;
  }
  if (result_ == nullptr || next_row_ >= PQntuples(result_)) return false;
  ++next_row_;
  return true;
}

absl::Status PostgresStatement::Run() {
  const absl::StatusOr<bool> row = Step();
  if (!row.ok()) return row.status();
  if (*row) {
    return connection_.Fail(PostgresConnection::Failure::kRefused,
                            absl::InternalError("postgres: a statement without rows returned one"));
  }
  return absl::OkStatus();
}

void PostgresStatement::Reset() {
  PQclear(std::exchange(result_, nullptr));
  parameters_.clear();
  impossible_text_ = false;
  executed_ = false;
  next_row_ = 0;
}

absl::string_view PostgresStatement::Column(int column) const {
  if (result_ == nullptr || next_row_ == 0 || PQgetisnull(result_, next_row_ - 1, column))
    return "";
  return absl::string_view(PQgetvalue(result_, next_row_ - 1, column),
                           static_cast<size_t>(PQgetlength(result_, next_row_ - 1, column)));
}

int64_t PostgresStatement::ColumnInt64(int column) const {
  const absl::string_view bytes = Column(column);
  if (bytes.empty()) return 0;
  // Big-endian and signed; only a BOOLEAN has one byte.
  uint64_t value = bytes.size() > 1 && (bytes.front() & 0x80) != 0 ? ~uint64_t{0} : 0;
  for (char byte : bytes) value = value << 8 | static_cast<uint8_t>(byte);
  return static_cast<int64_t>(value);
}

std::string PostgresStatement::ColumnText(int column) const { return std::string(Column(column)); }

std::string PostgresStatement::ColumnBlob(int column) const { return std::string(Column(column)); }

bool PostgresStatement::ColumnIsNull(int column) const {
  return result_ == nullptr || next_row_ == 0 || PQgetisnull(result_, next_row_ - 1, column) != 0;
}

absl::StatusOr<std::unique_ptr<PostgresConnection>> PostgresConnection::Open(
    const std::string& url) {
  const absl::StatusOr<ConnectionOptions> options = ParseUrl(url);
  if (!options.ok()) return options.status();
  std::vector<const char*> keywords;
  std::vector<const char*> values;
  for (const auto& [keyword, value] : options->values) {
    keywords.push_back(keyword.c_str());
    values.push_back(value.c_str());
  }
  keywords.push_back(nullptr);
  values.push_back(nullptr);
  pg_conn* const raw = PQconnectdbParams(keywords.data(), values.data(), /*expand_dbname=*/0);
  if (raw == nullptr) return absl::ResourceExhaustedError("postgres: out of memory");
  std::unique_ptr<PostgresConnection> connection(new PostgresConnection(raw));
  const absl::Status configured = connection->Configure();
  if (!configured.ok()) return configured;
  return connection;
}

absl::Status PostgresConnection::Configure() {
  if (PQstatus(connection_) != CONNECTION_OK) {
    // Names hosts, users and databases, but no password.
    std::string message = PQerrorMessage(connection_);
    while (!message.empty() && message.back() == '\n') message.pop_back();
    return absl::UnavailableError(absl::StrCat("postgres: ", message));
  }
  PQsetNoticeProcessor(connection_, DropNotice, nullptr);
  const char* encoding = PQparameterStatus(connection_, "server_encoding");
  if (encoding != nullptr && absl::string_view(encoding) != "UTF8") {
    return absl::FailedPreconditionError(
        "postgres: the database's encoding has to be UTF8 (CREATE DATABASE ... ENCODING 'UTF8' "
        "TEMPLATE template0)");
  }
  const absl::Status set = Execute(kSessionSettings);
  if (!set.ok()) return set;
  // An acknowledged payment is on the disk, and on the standby where there is one.
  pg_result* const shown = PQexec(connection_, "SHOW synchronous_commit");
  const std::string level =
      PQresultStatus(shown) == PGRES_TUPLES_OK ? PQgetvalue(shown, 0, 0) : "on";
  PQclear(shown);
  if (level == "on" || level == "remote_apply") return absl::OkStatus();
  return Execute("SET synchronous_commit = on");
}

PostgresConnection::~PostgresConnection() { PQfinish(connection_); }

bool PostgresConnection::usable() const {
  return usable_ && PQstatus(connection_) == CONNECTION_OK;
}

absl::Status PostgresConnection::Execute(const char* sql) {
  if (in_transaction_) return absl::FailedPreconditionError("a script inside a transaction");
  if (PQpipelineStatus(connection_) != PQ_PIPELINE_OFF) PQexitPipelineMode(connection_);
  pg_result* const result = PQexec(connection_, sql);
  const absl::Cleanup clear = [result] { PQclear(result); };
  const ExecStatusType status = PQresultStatus(result);
  if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK) return absl::OkStatus();
  if (PQstatus(connection_) != CONNECTION_OK) {
    usable_ = false;
    return absl::UnavailableError("postgres: the connection was lost");
  }
  return StatusOf(result, Judge(StateOf(result)).code);
}

absl::Status PostgresConnection::Migrate(absl::Span<const char* const> migrations) {
  const int64_t newest = static_cast<int64_t>(migrations.size());
  absl::Status status;
  for (int attempt = 0; attempt < kMaxMigrationAttempts;) {
    bool exists = false;
    int64_t version = 0;
    status = InSnapshot([&]() -> absl::Status {
      PostgresStatement known = Prepare(
          "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = current_schema()"
          " AND table_name = 'schema_migrations'");
      absl::StatusOr<bool> row = known.Step();
      if (!row.ok()) return row.status();
      exists = known.ColumnInt64(0) != 0;
      if (!exists) return absl::OkStatus();
      PostgresStatement latest = Prepare("SELECT MAX(version) FROM schema_migrations");
      row = latest.Step();
      if (row.ok()) version = latest.ColumnInt64(0);
      return row.status();
    });
    if (!status.ok()) return status;
    if (version > newest) {
      return absl::FailedPreconditionError(absl::StrCat("database has schema version ", version,
                                                        ", this program knows up to ", newest));
    }
    if (version == newest) return absl::OkStatus();
    // Whoever comes second waits at the version's row, and then finds it taken.
    const std::string script = absl::StrCat(
        "BEGIN;", exists ? "" : "CREATE TABLE schema_migrations (version BIGINT PRIMARY KEY);",
        "INSERT INTO schema_migrations (version) VALUES (", version + 1, ");",
        migrations[static_cast<size_t>(version)], ";COMMIT");
    status = Execute(script.c_str());
    if (status.ok()) continue;
    const absl::Status left = Execute("ROLLBACK");
    if (!left.ok()) return left;
    if (!absl::IsAborted(status) && !absl::IsAlreadyExists(status)) return status;
    ++attempt;
  }
  return status;
}

std::string PostgresConnection::Ids(absl::Span<const int64_t> ids) {
  return absl::StrCat("{", absl::StrJoin(ids, ","), "}");
}

PostgresStatement PostgresConnection::Prepare(absl::string_view sql) {
  return PostgresStatement(*this, sql);
}

absl::StatusOr<pg_result*> PostgresConnection::Exchange(
    absl::string_view sql, const std::vector<PostgresStatement::Parameter>& parameters) {
  if (!in_transaction_) return absl::FailedPreconditionError("a statement outside a transaction");
  if (failure_ != Failure::kNone) return failed_;
  bool sent = PQpipelineStatus(connection_) == PQ_PIPELINE_ON || PQenterPipelineMode(connection_);
  const size_t controls = pending_.size();
  for (const char* control : pending_) {
    sent = sent &&
           PQsendQueryParams(connection_, control, 0, nullptr, nullptr, nullptr, nullptr, kBinary);
  }
  pending_.clear();

  std::string key;
  std::string name;
  bool preparing = false;
  if (!sql.empty()) {
    std::vector<Oid> types;
    std::vector<const char*> values;
    std::vector<int> lengths;
    std::vector<int> formats(parameters.size(), kBinary);
    absl::StrAppend(&key, sql, "|");
    for (const PostgresStatement::Parameter& parameter : parameters) {
      key.push_back(parameter.type);
      types.push_back(OidOf(parameter.type));
      values.push_back(parameter.type == 'n' ? nullptr : parameter.bytes.data());
      lengths.push_back(static_cast<int>(parameter.bytes.size()));
    }
    const int count = static_cast<int>(parameters.size());
    const auto known = prepared_.find(key);
    preparing = known == prepared_.end();
    name = preparing ? absl::StrCat("s", prepared_.size() + 1) : known->second;
    if (preparing) {
      sent = sent && PQsendPrepare(connection_, name.c_str(), WithNumberedParameters(sql).c_str(),
                                   count, types.data());
    }
    sent = sent && PQsendQueryPrepared(connection_, name.c_str(), count, values.data(),
                                       lengths.data(), formats.data(), kBinary);
  }
  begun_ = true;
  if (!sent || !PQpipelineSync(connection_)) return FailLost();

  pg_result* answer = nullptr;
  absl::Cleanup clear_answer = [&answer] { PQclear(answer); };
  absl::Status status;
  const size_t steps = controls + (preparing ? 1 : 0) + (sql.empty() ? 0 : 1);
  for (size_t step = 0; step < steps; ++step) {
    pg_result* const result = PQgetResult(connection_);
    if (result == nullptr) return FailLost();
    absl::Cleanup clear = [result] { PQclear(result); };
    switch (PQresultStatus(result)) {
      case PGRES_COMMAND_OK:
      case PGRES_TUPLES_OK:
        if (committing_ && step + 1 == controls &&
            absl::string_view(PQcmdStatus(result)) != "COMMIT") {
          status = Fail(Failure::kConflict,
                        absl::AbortedError("postgres: the transaction was given up"));
        }
        if (preparing && step == controls) prepared_.emplace(key, name);
        if (!sql.empty() && step + 1 == steps) {
          answer = result;
          std::move(clear).Cancel();
        }
        break;
      case PGRES_PIPELINE_ABORTED:
        break;  // after the step that failed
      default:
        if (status.ok()) status = FailFromResult(result);
        break;
    }
    // The end of this step.
    while (pg_result* const further = PQgetResult(connection_)) PQclear(further);
  }
  if (PQstatus(connection_) != CONNECTION_OK) return status.ok() ? FailLost() : status;
  pg_result* const end = PQgetResult(connection_);
  const bool synchronised = PQresultStatus(end) == PGRES_PIPELINE_SYNC;
  PQclear(end);
  if (!synchronised) return status.ok() ? FailLost() : status;
  if (!status.ok()) return status;
  if (answer != nullptr && PQresultStatus(answer) == PGRES_COMMAND_OK) {
    int64_t changed = 0;
    for (const char* digit = PQcmdTuples(answer); *digit != '\0'; ++digit) {
      changed = changed * 10 + (*digit - '0');
    }
    changes_ = changed;
  }
  std::move(clear_answer).Cancel();
  return answer;
}

absl::Status PostgresConnection::Fail(Failure failure, absl::Status status) {
  if (failure_ == Failure::kNone) {
    failure_ = failure;
    failed_ = std::move(status);
  }
  return failed_;
}

absl::Status PostgresConnection::FailLost() {
  usable_ = false;
  if (committing_) {
    return Fail(Failure::kCommitUnknown,
                absl::UnavailableError("postgres: the connection was lost during the commit, which "
                                       "may have happened or not"));
  }
  return Fail(Failure::kLost, absl::UnavailableError("postgres: the connection was lost"));
}

absl::Status PostgresConnection::FailFromResult(const pg_result* result) {
  const Judgement judgement = Judge(StateOf(result));
  if (judgement.failure == Failure::kLost || PQstatus(connection_) != CONNECTION_OK) {
    return FailLost();
  }
  if (!judgement.usable) usable_ = false;
  return Fail(judgement.failure, StatusOf(result, judgement.code));
}

absl::Status PostgresConnection::Commit() {
  if (!begun_) {  // Nothing has reached the server.
    pending_.clear();
    return absl::OkStatus();
  }
  pending_.push_back("COMMIT");
  committing_ = true;
  return Exchange("", {}).status();
}

void PostgresConnection::RollBack() {
  pending_.clear();
  if (!begun_ || !usable()) return;
  // On a way of its own: the failure of the transaction is what the caller has to hear of.
  const bool sent =
      PQsendQueryParams(connection_, "ROLLBACK", 0, nullptr, nullptr, nullptr, nullptr, kBinary) &&
      PQpipelineSync(connection_);
  if (!sent) {
    usable_ = false;
    return;
  }
  for (int ends = 0; ends < 2;) {
    pg_result* const result = PQgetResult(connection_);
    const ExecStatusType status = PQresultStatus(result);
    const bool ended = result == nullptr || status == PGRES_PIPELINE_SYNC;
    if (result != nullptr && status != PGRES_COMMAND_OK && status != PGRES_PIPELINE_SYNC) {
      usable_ = false;
    }
    PQclear(result);
    if (ended) ++ends;
    if (PQstatus(connection_) != CONNECTION_OK) {
      usable_ = false;
      return;
    }
  }
}

absl::Status PostgresConnection::RunBetween(const char* begin,
                                            absl::FunctionRef<absl::Status()> body) {
  if (in_transaction_) {
    return absl::FailedPreconditionError("a transaction inside another transaction");
  }
  failure_ = Failure::kNone;
  failed_ = absl::OkStatus();
  in_transaction_ = true;
  begun_ = false;
  committing_ = false;
  pending_ = {begin};
  absl::Status status = body();
  // A body that swallowed a failure would otherwise end in a COMMIT of nothing.
  if (failure_ != Failure::kNone) status = failed_;
  if (status.ok()) status = Commit();
  if (!status.ok()) RollBack();
  in_transaction_ = false;
  committing_ = false;
  return status;
}

absl::Status PostgresConnection::InTransaction(absl::FunctionRef<absl::Status()> body) {
  return RunBetween("BEGIN ISOLATION LEVEL SERIALIZABLE", body);
}

absl::Status PostgresConnection::InSnapshot(absl::FunctionRef<absl::Status()> body) {
  return RunBetween("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", body);
}

absl::Status PostgresConnection::InSavepoint(absl::FunctionRef<absl::Status()> body) {
  if (!in_transaction_) return absl::FailedPreconditionError("a savepoint outside a transaction");
  if (failure_ != Failure::kNone) return failed_;
  pending_.push_back("SAVEPOINT job");
  absl::Status status = body();
  if (failure_ != Failure::kNone) {
    if (status.ok()) status = failed_;
    if (failure_ != Failure::kRefused) return status;
  }
  // What is still pending was not needed.
  const bool sent = pending_.empty();
  if (!sent) {
    pending_.pop_back();
  } else {
    if (!status.ok()) pending_.push_back("ROLLBACK TO SAVEPOINT job");
    pending_.push_back("RELEASE SAVEPOINT job");
  }
  failure_ = Failure::kNone;
  failed_ = absl::OkStatus();
  return status;
}

}  // namespace blindcart::storage
