#include "services/storage/postgres.h"

#include <endian.h>
#include <postgresql/libpq-fe.h>

#include <algorithm>
#include <cstring>
#include <iterator>

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
constexpr char kCommit[] = "COMMIT";

constexpr char kLocalSocketFolder[] = "/var/run/postgresql";
constexpr int kMaxMigrationAttempts = 20;

// A statement never runs long here, and a transaction never waits long for its program; the limits
// are for servers and networks that hang, and for a broker that stopped in the middle: what it has
// locked has to be free again before others, who wait for it, run out of patience.
constexpr char kSessionSettings[] =
    "SET statement_timeout = 60000; SET lock_timeout = 10000;"
    " SET idle_in_transaction_session_timeout = 5000";

// So that neither side ever waits for the other to read: a write's answer is a few bytes.
constexpr size_t kMaxPending = 64;

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

// Rows that an INSERT, UPDATE or DELETE changed.
int64_t ChangesOf(const pg_result* result) {
  int64_t changes = 0;
  for (const char* digit = PQcmdTuples(const_cast<pg_result*>(result)); *digit != '\0'; ++digit) {
    changes = changes * 10 + (*digit - '0');
  }
  return changes;
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

  // libpq would split a password at a character that had to be written as %XX, and then repeat the
  // rest of it in its messages.
  const std::string* const named_hosts = options.Find("host");
  bool plain = true;
  if (named_hosts != nullptr) {
    for (absl::string_view host : absl::StrSplit(*named_hosts, ',')) {
      plain = plain && !absl::StrContains(host.substr(std::min<size_t>(1, host.size())), '@');
    }
  }
  const std::string* const database = options.Find("dbname");
  plain = plain && (database == nullptr || database->find_first_of("@/") == std::string::npos);
  const std::string* const port = options.Find("port");
  plain = plain && (port == nullptr || port->find_first_not_of("0123456789,") == std::string::npos);
  if (!plain) {
    return absl::InvalidArgumentError(
        "the database's address has a host, a port or a database that cannot be one. In a password "
        "write @ as "
        "%40, : as %3A and / as %2F, or better, put it into a file (passfile=)");
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

absl::Status PostgresStatement::CheckTexts() const {
  if (!impossible_text_) return absl::OkStatus();
  return connection_.Fail(
      PostgresConnection::Failure::kRefused,
      absl::InvalidArgumentError("postgres: a text has to be UTF-8 without NUL"));
}

absl::Status PostgresStatement::Execute() {
  executed_ = true;
  const bool is_query = absl::StartsWith(sql_, "SELECT");
  if (is_query && impossible_text_) return absl::OkStatus();
  const absl::Status texts = CheckTexts();
  if (!texts.ok()) return texts;
  if (connection_.is_reading_ahead_) {
    if (!is_query) {
      return connection_.Fail(PostgresConnection::Failure::kRefused,
                              absl::InternalError("postgres: a write inside ReadAhead"));
    }
    connection_.reading_ahead_.push_back({sql_, parameters_});
    return absl::OkStatus();
  }
  if (is_query) {
    const auto known =
        connection_.read_ahead_.find(PostgresConnection::QueryKey(sql_, parameters_));
    if (known != connection_.read_ahead_.end()) {
      result_ = known->second.release();
      connection_.read_ahead_.erase(known);
      return absl::OkStatus();
    }
  } else {
    connection_.ForgetReadAhead();
  }
  absl::StatusOr<std::vector<PostgresConnection::Result>> results =
      connection_.Exchange({{sql_, parameters_}});
  if (!results.ok()) return results.status();
  result_ = results->front().release();
  return absl::OkStatus();
}

absl::Status PostgresStatement::RunExpecting(int64_t changes) {
  if (!connection_.deferring_ || connection_.is_reading_ahead_) return Run();
  const absl::Status texts = CheckTexts();
  if (!texts.ok()) return texts;
  if (connection_.failure_ != PostgresConnection::Failure::kNone) return connection_.failed_;
  if (connection_.pending_.size() >= kMaxPending) {
    const absl::Status flushed = connection_.FlushPending();
    if (!flushed.ok()) return flushed;
  }
  executed_ = true;
  connection_.ForgetReadAhead();
  PostgresConnection::Sent write = {sql_, parameters_};
  write.expected_changes = changes;
  connection_.pending_.push_back(std::move(write));
  connection_.changes_ = changes;
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

absl::StatusOr<bool> PostgresConnection::HasTable(absl::string_view table) {
  PostgresStatement query = Prepare(
      "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = current_schema()"
      " AND table_name = ?");
  const absl::StatusOr<bool> row = query.BindText(table).Step();
  if (!row.ok()) return row.status();
  return query.ColumnInt64(0) != 0;
}

absl::StatusOr<int64_t> PostgresConnection::SchemaVersion() {
  int64_t version = 0;
  const absl::Status status = InSnapshot([&]() -> absl::Status {
    const absl::StatusOr<bool> exists = HasTable("schema_migrations");
    if (!exists.ok() || !*exists) return exists.status();
    PostgresStatement latest = Prepare("SELECT MAX(version) FROM schema_migrations");
    const absl::StatusOr<bool> row = latest.Step();
    if (row.ok()) version = latest.ColumnInt64(0);
    return row.status();
  });
  if (!status.ok()) return status;
  return version;
}

absl::Status PostgresConnection::Migrate(absl::Span<const char* const> migrations) {
  const int64_t newest = static_cast<int64_t>(migrations.size());
  absl::Status status;
  for (int attempt = 0; attempt < kMaxMigrationAttempts;) {
    const absl::StatusOr<int64_t> version = SchemaVersion();
    if (!version.ok()) return version.status();
    if (*version > newest) {
      return absl::FailedPreconditionError(absl::StrCat("database has schema version ", *version,
                                                        ", this program knows up to ", newest));
    }
    if (*version == newest) return absl::OkStatus();
    // Whoever comes second waits at the version's row, and then finds it taken.
    const std::string script = absl::StrCat(
        "BEGIN;",
        *version == 0 ? "CREATE TABLE schema_migrations (version BIGINT PRIMARY KEY);" : "",
        "INSERT INTO schema_migrations (version) VALUES (", *version + 1, ");",
        migrations[static_cast<size_t>(*version)], ";COMMIT");
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

void PostgresConnection::ResultDeleter::operator()(pg_result* result) const { PQclear(result); }

PostgresConnection::Sent PostgresConnection::Control(const char* sql) {
  Sent control;
  control.sql = sql;
  control.is_control = true;
  return control;
}

std::string PostgresConnection::PreparedKey(const Sent& statement) {
  std::string key = absl::StrCat(statement.sql, "|");
  for (const PostgresStatement::Parameter& parameter : statement.parameters) {
    key.push_back(parameter.type);
  }
  return key;
}

std::string PostgresConnection::QueryKey(
    absl::string_view sql, const std::vector<PostgresStatement::Parameter>& parameters) {
  std::string key(sql);
  for (const PostgresStatement::Parameter& parameter : parameters) {
    absl::StrAppend(&key, "|", absl::string_view(&parameter.type, 1), parameter.bytes.size(), ":",
                    parameter.bytes);
  }
  return key;
}

bool PostgresConnection::Send(Sent& statement,
                              absl::flat_hash_map<std::string, std::string>& preparing,
                              bool* prepares) {
  *prepares = false;
  if (statement.is_control) {
    return PQsendQueryParams(connection_, statement.sql.c_str(), 0, nullptr, nullptr, nullptr,
                             nullptr, kBinary) != 0;
  }
  std::vector<Oid> types;
  std::vector<const char*> values;
  std::vector<int> lengths;
  std::vector<int> formats(statement.parameters.size(), kBinary);
  for (const PostgresStatement::Parameter& parameter : statement.parameters) {
    types.push_back(OidOf(parameter.type));
    values.push_back(parameter.type == 'n' ? nullptr : parameter.bytes.data());
    lengths.push_back(static_cast<int>(parameter.bytes.size()));
  }
  const int count = static_cast<int>(statement.parameters.size());
  const std::string key = PreparedKey(statement);
  const auto known = prepared_.find(key);
  const auto under_way = preparing.find(key);
  if (known != prepared_.end()) {
    statement.name = known->second;
  } else if (under_way != preparing.end()) {
    statement.name = under_way->second;
  } else {
    *prepares = true;
    statement.name = absl::StrCat("s", ++last_name_);
    preparing.emplace(key, statement.name);
    if (!PQsendPrepare(connection_, statement.name.c_str(),
                       WithNumberedParameters(statement.sql).c_str(), count, types.data())) {
      return false;
    }
  }
  return PQsendQueryPrepared(connection_, statement.name.c_str(), count, values.data(),
                             lengths.data(), formats.data(), kBinary) != 0;
}

absl::Status PostgresConnection::Note(const Sent& statement, const pg_result* result) {
  switch (PQresultStatus(result)) {
    case PGRES_COMMAND_OK:
    case PGRES_TUPLES_OK:
      break;
    case PGRES_PIPELINE_ABORTED:
      return absl::OkStatus();  // after the one that failed
    default:
      if (statement.expected_changes != kAnyChanges) return FailSurprised(result);
      return FailFromResult(result);
  }
  if (statement.expected_changes != kAnyChanges &&
      ChangesOf(result) != statement.expected_changes) {
    return FailSurprised(result);
  }
  if (statement.is_control && statement.sql == kCommit &&
      absl::string_view(PQcmdStatus(const_cast<pg_result*>(result))) != kCommit) {
    return Fail(Failure::kConflict, absl::AbortedError("postgres: the transaction was given up"));
  }
  for (int column = 0; column < PQnfields(result); ++column) {
    if (!IsReadable(PQftype(result, column))) {
      return Fail(Failure::kRefused,
                  absl::InternalError("postgres: a column's type is not supported"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<PostgresConnection::Result>> PostgresConnection::Exchange(
    std::vector<Sent> statements) {
  if (!in_transaction_) return absl::FailedPreconditionError("a statement outside a transaction");
  if (failure_ != Failure::kNone) return failed_;
  bool sent = PQpipelineStatus(connection_) == PQ_PIPELINE_ON || PQenterPipelineMode(connection_);
  std::vector<Sent> all = std::exchange(pending_, {});
  const size_t pending_count = all.size();
  std::move(statements.begin(), statements.end(), std::back_inserter(all));
  absl::flat_hash_map<std::string, std::string> preparing;
  std::vector<bool> prepares(all.size());
  for (size_t i = 0; i < all.size(); ++i) {
    bool prepares_this = false;
    sent = sent && Send(all[i], preparing, &prepares_this);
    prepares[i] = prepares_this;
  }
  begun_ = true;
  ++round_trips_;
  if (!sent || !PQpipelineSync(connection_)) return FailLost();

  std::vector<Result> answers;
  absl::Status status;
  for (size_t i = 0; i < all.size(); ++i) {
    for (int step = prepares[i] ? 0 : 1; step < 2; ++step) {
      Result result(PQgetResult(connection_));
      if (result == nullptr) return FailLost();
      const bool is_prepared = step == 0 && PQresultStatus(result.get()) == PGRES_COMMAND_OK;
      if (is_prepared) {
        prepared_.emplace(PreparedKey(all[i]), all[i].name);
      } else if (status.ok()) {
        status = Note(all[i], result.get());
      }
      if (step == 1 && i >= pending_count) answers.push_back(std::move(result));
      // The end of this step.
      while (pg_result* const further = PQgetResult(connection_)) PQclear(further);
    }
  }
  if (PQstatus(connection_) != CONNECTION_OK) return status.ok() ? FailLost() : status;
  const Result end(PQgetResult(connection_));
  if (PQresultStatus(end.get()) != PGRES_PIPELINE_SYNC) return status.ok() ? FailLost() : status;
  if (!status.ok()) return status;
  if (!answers.empty() && PQresultStatus(answers.back().get()) == PGRES_COMMAND_OK) {
    changes_ = ChangesOf(answers.back().get());
  }
  return answers;
}

absl::Status PostgresConnection::FlushPending() {
  return pending_.empty() ? absl::OkStatus() : Exchange({}).status();
}

void PostgresConnection::ReadAhead(absl::FunctionRef<void()> body) {
  if (is_reading_ahead_ || failure_ != Failure::kNone) return;
  is_reading_ahead_ = true;
  body();
  is_reading_ahead_ = false;
  std::vector<Sent> queries = std::exchange(reading_ahead_, {});
  if (queries.empty() || failure_ != Failure::kNone) return;
  std::vector<std::string> keys;
  for (const Sent& query : queries) keys.push_back(QueryKey(query.sql, query.parameters));
  absl::StatusOr<std::vector<Result>> results = Exchange(std::move(queries));
  if (!results.ok()) return;  // The transaction has failed.
  for (size_t i = 0; i < keys.size(); ++i) {
    read_ahead_.insert_or_assign(std::move(keys[i]), std::move((*results)[i]));
  }
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

absl::Status PostgresConnection::FailSurprised(const pg_result* result) {
  const absl::Status judged = PQresultErrorField(result, PG_DIAG_SQLSTATE) == nullptr
                                  ? absl::OkStatus()
                                  : FailFromResult(result);
  // A conflict or a loss is what it is, whoever met it; everything else has to be met again by the
  // caller who can make something of it.
  if (failure_ == Failure::kConflict || failure_ == Failure::kLost) return judged;
  failure_ = Failure::kNone;
  surprised_ = true;
  return Fail(Failure::kConflict,
              judged.ok()
                  ? absl::AbortedError("postgres: a deferred write did not do what was expected")
                  : judged);
}

absl::Status PostgresConnection::Commit() {
  // A write that changed other rows than expected must not be committed.
  const bool deferred = std::any_of(pending_.begin(), pending_.end(), [](const Sent& pending) {
    return pending.expected_changes != kAnyChanges;
  });
  if (deferred) {
    const absl::Status flushed = FlushPending();
    if (!flushed.ok()) return flushed;
  }
  if (!begun_) {  // Nothing has reached the server.
    pending_.clear();
    return absl::OkStatus();
  }
  pending_.push_back(Control(kCommit));
  committing_ = true;
  return FlushPending();
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
  deferring_ = false;
  surprised_ = false;
  pending_.clear();
  pending_.push_back(Control(begin));
  absl::Status status = body();
  // A body that swallowed a failure would otherwise end in a COMMIT of nothing.
  if (failure_ != Failure::kNone) status = failed_;
  if (status.ok()) status = Commit();
  if (!status.ok()) RollBack();
  ForgetReadAhead();
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
  const size_t waiting_before = pending_.size();
  const int64_t round_trips_before = round_trips_;
  pending_.push_back(Control("SAVEPOINT job"));
  absl::Status status = body();
  deferring_ = false;
  if (failure_ != Failure::kNone) {
    if (status.ok()) status = failed_;
    if (failure_ != Failure::kRefused) return status;
  }
  ForgetReadAhead();
  if (round_trips_ == round_trips_before) {
    // What is undone need not be sent, nor what was not needed.
    const bool wrote = pending_.size() > waiting_before + 1;
    if (!status.ok() || !wrote) {
      pending_.resize(waiting_before);
    } else {
      pending_.push_back(Control("RELEASE SAVEPOINT job"));
    }
  } else {
    if (!status.ok()) {
      pending_.clear();
      pending_.push_back(Control("ROLLBACK TO SAVEPOINT job"));
    }
    pending_.push_back(Control("RELEASE SAVEPOINT job"));
  }
  failure_ = Failure::kNone;
  failed_ = absl::OkStatus();
  return status;
}

}  // namespace blindcart::storage
