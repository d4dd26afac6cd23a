#include "services/storage/move_store.h"

#include <algorithm>
#include <memory>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "services/storage/postgres.h"
#include "services/storage/postgres_schema.h"
#include "services/storage/sqlite.h"
#include "services/storage/sqlite_schema.h"

namespace blindcart::storage {
namespace {

constexpr const char* kTables[] = {
    "accounts",
    "customers",
    "merchants",
    "orders",
    "transfers",
    "entries",
    "requests",
    "notices",
    "meta",
    "mail_keys",
    "mail_pre_keys",
    "mailboxes",
    "mail",
    "mail_ids",
    "tokens",
    "certificates",
    "revocations",
    "revocation_list",
    "certificate_blocks",
    "listeners",
};

// Rows may hold a megabyte each.
constexpr int64_t kPageRows = 64;
// So often is progress told.
constexpr int64_t kProgressRows = 256;

enum class Type { kInteger, kText, kBlob };

struct Column {
  std::string name;
  Type type = Type::kInteger;
};

struct Table {
  std::string name;
  std::vector<Column> columns;
  std::vector<size_t> key;  // positions in columns
};

struct Value {
  bool null = false;
  int64_t integer = 0;
  std::string bytes;  // of text and blobs

  auto AsTuple() const { return std::tie(null, integer, bytes); }
  bool operator==(const Value& other) const { return AsTuple() == other.AsTuple(); }
  bool operator<(const Value& other) const { return AsTuple() < other.AsTuple(); }
};

using Row = std::vector<Value>;

template <typename Statement>
void Bind(Statement& statement, const Value& value, Type type) {
  if (value.null) {
    statement.BindNull();
  } else if (type == Type::kInteger) {
    statement.BindInt64(value.integer);
  } else if (type == Type::kText) {
    statement.BindText(value.bytes);
  } else {
    statement.BindBlob(value.bytes);
  }
}

template <typename Statement>
Value ReadValue(const Statement& statement, int column, Type type) {
  Value value;
  value.null = statement.ColumnIsNull(column);
  if (value.null) return value;
  if (type == Type::kInteger) {
    value.integer = statement.ColumnInt64(column);
  } else {
    value.bytes = type == Type::kText ? statement.ColumnText(column) : statement.ColumnBlob(column);
  }
  return value;
}

std::string Names(const Table& table) {
  return absl::StrJoin(table.columns, ", ", [](std::string* out, const Column& column) {
    absl::StrAppend(out, column.name);
  });
}

std::string KeyNames(const Table& table) {
  return absl::StrJoin(table.key, ", ", [&](std::string* out, size_t position) {
    absl::StrAppend(out, table.columns[position].name);
  });
}

Row KeyOf(const Table& table, const Row& row) {
  Row key;
  for (size_t position : table.key) key.push_back(row[position]);
  return key;
}

template <typename Database>
absl::StatusOr<int64_t> Count(Database& database, absl::string_view table) {
  auto query = database.Prepare(absl::StrCat("SELECT COUNT(*) FROM ", table));
  const absl::StatusOr<bool> row = query.Step();
  if (!row.ok()) return row.status();
  return query.ColumnInt64(0);
}

// The rows of a table in the order of its key, `visit`ed page by page. What sorts differently in the
// two databases, which is text, is read whole; there is little of it.
template <typename Database>
class Pages {
 public:
  Pages(Database& database, const Table& table) : database_(database), table_(table) {
    for (size_t position : table.key) sorted_here_ |= table.columns[position].type == Type::kText;
  }

  // Empty at the end.
  absl::StatusOr<std::vector<Row>> Next() {
    std::vector<Row> page;
    if (at_end_) return page;
    std::string sql = absl::StrCat("SELECT ", Names(table_), " FROM ", table_.name);
    if (!after_.empty()) {
      absl::StrAppend(&sql, " WHERE (", KeyNames(table_), ") > (",
                      absl::StrJoin(std::vector<const char*>(after_.size(), "?"), ", "), ")");
    }
    if (!sorted_here_) absl::StrAppend(&sql, " ORDER BY ", KeyNames(table_), " LIMIT ", kPageRows);
    auto query = database_.Prepare(sql);
    for (size_t i = 0; i < after_.size(); ++i) {
      Bind(query, after_[i], table_.columns[table_.key[i]].type);
    }
    for (;;) {
      const absl::StatusOr<bool> more = query.Step();
      if (!more.ok()) return more.status();
      if (!*more) break;
      Row& row = page.emplace_back();
      for (size_t i = 0; i < table_.columns.size(); ++i) {
        row.push_back(ReadValue(query, static_cast<int>(i), table_.columns[i].type));
      }
    }
    if (sorted_here_) {
      std::sort(page.begin(), page.end());
      at_end_ = true;
    } else if (!page.empty()) {
      after_ = KeyOf(table_, page.back());
    }
    return page;
  }

 private:
  Database& database_;
  const Table& table_;
  bool sorted_here_ = false;
  bool at_end_ = false;
  Row after_;  // a key; empty at the beginning
};

// What is in `kTables`, from the SQLite side: it tells columns, types and keys.
absl::StatusOr<std::vector<Table>> ReadTables(SqliteDatabase& database) {
  std::vector<Table> tables;
  for (const char* name : kTables) {
    Table table;
    table.name = name;
    std::vector<std::pair<int64_t, size_t>> key;
    SqliteStatement columns =
        database.Prepare("SELECT name, type, pk FROM pragma_table_info(?) ORDER BY cid");
    columns.BindText(name);
    for (;;) {
      const absl::StatusOr<bool> more = columns.Step();
      if (!more.ok()) return more.status();
      if (!*more) break;
      const std::string type = columns.ColumnText(1);
      if (columns.ColumnInt64(2) > 0) {
        key.emplace_back(columns.ColumnInt64(2), table.columns.size());
      }
      table.columns.push_back({columns.ColumnText(0), type == "INTEGER" ? Type::kInteger
                                                      : type == "TEXT"  ? Type::kText
                                                                        : Type::kBlob});
    }
    std::sort(key.begin(), key.end());
    for (const auto& [rank, position] : key) table.key.push_back(position);
    if (table.key.empty()) return absl::InternalError(absl::StrCat("no key in table ", name));
    tables.push_back(std::move(table));
  }
  return tables;
}

// Copies all tables from one database to another, which holds nothing yet, and compares.
template <typename Source, typename Target>
class Copier {
 public:
  Copier(Source& source, Target& target, absl::FunctionRef<void(int64_t, int64_t)> progress)
      : source_(source), target_(target), progress_(progress) {}

  // Inside the transactions of both.
  absl::Status Copy(std::vector<Table> tables) {
    tables_ = std::move(tables);
    absl::Status status = CountSteps();
    if (status.ok()) status = CheckEmpty();
    for (const Table& table : tables_) {
      if (status.ok()) status = CopyTable(table);
      if (status.ok() && table.name == "transfers") status = FinishOrders();
    }
    for (const Table& table : tables_) {
      if (status.ok()) status = Compare(table);
    }
    progress_(steps_, steps_);
    return status;
  }

 private:
  absl::Status CountSteps() {
    for (const Table& table : tables_) {
      const absl::StatusOr<int64_t> rows = Count(source_, table.name);
      if (!rows.ok()) return rows.status();
      // Written and read back; orders are written twice.
      steps_ += *rows * (table.name == "orders" ? 3 : 2);
    }
    return absl::OkStatus();
  }

  absl::Status CheckEmpty() {
    for (const Table& table : tables_) {
      const absl::StatusOr<int64_t> rows = Count(target_, table.name);
      if (!rows.ok()) return rows.status();
      if (*rows != 0) {
        return absl::FailedPreconditionError(
            absl::StrCat("the database is not empty (there are rows in ", table.name,
                         "); nothing was changed. Give an empty one: nothing is ever overwritten"));
      }
    }
    return absl::OkStatus();
  }

  // Orders and transfers refer to each other: first all orders as they were before their payment,
  // then the transfers, then what the payments made of the orders.
  absl::Status CopyTable(const Table& table) {
    const bool orders = table.name == "orders";
    const std::string sql =
        absl::StrCat("INSERT INTO ", table.name, " (", Names(table), ") VALUES (",
                     absl::StrJoin(std::vector<const char*>(table.columns.size(), "?"), ", "), ")");
    return ForEachRow(table, [&](const Row& row) {
      auto insert = target_.Prepare(sql);
      for (size_t i = 0; i < row.size(); ++i) {
        const Column& column = table.columns[i];
        if (orders && column.name == "status") {
          insert.BindText("created");
        } else if (orders && IsOfPayment(column.name)) {
          insert.BindNull();
        } else {
          Bind(insert, row[i], column.type);
        }
      }
      return insert.Run();
    });
  }

  absl::Status FinishOrders() {
    const Table& orders = *std::find_if(tables_.begin(), tables_.end(),
                                        [](const Table& table) { return table.name == "orders"; });
    std::vector<size_t> changed;
    std::string settings;
    for (size_t i = 0; i < orders.columns.size(); ++i) {
      const std::string& name = orders.columns[i].name;
      if (name != "status" && !IsOfPayment(name)) continue;
      absl::StrAppend(&settings, changed.empty() ? "" : ", ", name, " = ?");
      changed.push_back(i);
    }
    const std::string sql = absl::StrCat("UPDATE orders SET ", settings, " WHERE order_id = ?");
    return ForEachRow(orders, [&](const Row& row) {
      auto update = target_.Prepare(sql);
      for (size_t position : changed) {
        Bind(update, row[position], orders.columns[position].type);
      }
      Bind(update, row[orders.key.front()], Type::kBlob);
      return update.Run();
    });
  }

  static bool IsOfPayment(absl::string_view column) {
    return column == "paid_at_ms" || column == "transfer_id" || column == "receipt";
  }

  absl::Status Compare(const Table& table) {
    Pages<Source> expected(source_, table);
    Pages<Target> actual(target_, table);
    for (;;) {
      const absl::StatusOr<std::vector<Row>> left = expected.Next();
      if (!left.ok()) return left.status();
      const absl::StatusOr<std::vector<Row>> right = actual.Next();
      if (!right.ok()) return right.status();
      if (*left != *right) {
        return absl::DataLossError(
            absl::StrCat("what was read back from table ", table.name, " differs"));
      }
      if (left->empty()) return absl::OkStatus();
      Advance(static_cast<int64_t>(left->size()));
    }
  }

  absl::Status ForEachRow(const Table& table,
                          absl::FunctionRef<absl::Status(const Row& row)> visit) {
    Pages<Source> pages(source_, table);
    for (;;) {
      const absl::StatusOr<std::vector<Row>> page = pages.Next();
      if (!page.ok()) return page.status();
      if (page->empty()) return absl::OkStatus();
      for (const Row& row : *page) {
        const absl::Status visited = visit(row);
        if (!visited.ok()) return visited;
      }
      Advance(static_cast<int64_t>(page->size()));
    }
  }

  void Advance(int64_t rows) {
    done_ += rows;
    if (done_ - told_ < kProgressRows) return;
    told_ = done_;
    progress_(done_, steps_);
  }

  Source& source_;
  Target& target_;
  const absl::FunctionRef<void(int64_t, int64_t)> progress_;
  std::vector<Table> tables_;
  int64_t steps_ = 0;
  int64_t done_ = 0;
  int64_t told_ = 0;
};

// New rows are to get ids above those that were copied, and above notices long acknowledged.
absl::Status CopyIdentities(SqliteDatabase& source, PostgresConnection& target) {
  std::vector<std::pair<std::string, std::string>> identities;
  {
    PostgresStatement query = target.Prepare(
        "SELECT CAST(table_name AS TEXT), CAST(column_name AS TEXT)"
        " FROM information_schema.columns"
        " WHERE table_schema = current_schema() AND is_identity = 'YES'");
    for (;;) {
      const absl::StatusOr<bool> more = query.Step();
      if (!more.ok()) return more.status();
      if (!*more) break;
      identities.emplace_back(query.ColumnText(0), query.ColumnText(1));
    }
  }
  for (const auto& [table, column] : identities) {
    const absl::StatusOr<bool> set =
        target
            .Prepare(absl::StrCat("SELECT setval(pg_get_serial_sequence('", table, "', '", column,
                                  "'), COALESCE(MAX(", column, "), 0) + 1, FALSE) FROM ", table))
            .Step();
    if (!set.ok()) return set.status();
  }
  SqliteStatement last =
      source.Prepare("SELECT COALESCE(MAX(seq), 0) FROM sqlite_sequence WHERE name = 'notices'");
  const absl::StatusOr<bool> found = last.Step();
  if (!found.ok()) return found.status();
  return target.Prepare("UPDATE counters SET last_id = ? WHERE name = 'notices'")
      .BindInt64(last.ColumnInt64(0))
      .Run();
}

// The same in the other direction; SQLite goes on by itself above what its tables hold, but for notices.
absl::Status CopyIdentities(PostgresConnection& source, SqliteDatabase& target) {
  PostgresStatement last = source.Prepare("SELECT last_id FROM counters WHERE name = 'notices'");
  const absl::StatusOr<bool> found = last.Step();
  if (!found.ok()) return found.status();
  if (!*found) return absl::DataLossError("the counter of notices is not there");
  const absl::Status removed =
      target.Prepare("DELETE FROM sqlite_sequence WHERE name = 'notices'").Run();
  if (!removed.ok()) return removed;
  return target.Prepare("INSERT INTO sqlite_sequence (name, seq) VALUES ('notices', ?)")
      .BindInt64(last.ColumnInt64(0))
      .Run();
}

// Inside its transaction: runs `body` without the triggers of the schema, which allow only the steps of
// a broker at work, and brings them back.
absl::Status WithoutTriggers(SqliteDatabase& database, absl::FunctionRef<absl::Status()> body) {
  std::vector<std::pair<std::string, std::string>> triggers;
  {
    SqliteStatement query =
        database.Prepare("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'");
    for (;;) {
      const absl::StatusOr<bool> more = query.Step();
      if (!more.ok()) return more.status();
      if (!*more) break;
      triggers.emplace_back(query.ColumnText(0), query.ColumnText(1));
    }
  }
  absl::Status status;
  for (const auto& [name, sql] : triggers) {
    if (status.ok()) status = database.Execute(absl::StrCat("DROP TRIGGER ", name).c_str());
  }
  if (status.ok()) status = body();
  for (const auto& [name, sql] : triggers) {
    if (status.ok()) status = database.Execute(sql.c_str());
  }
  return status;
}

// Inside its transaction.
absl::Status CloseForEver(SqliteDatabase& source) {
  const absl::Status marked = source.Prepare("INSERT INTO meta (key, value) VALUES (?, ?)")
                                  .BindText(kMovedMetaKey)
                                  .BindBlob("")
                                  .Run();
  if (!marked.ok()) return marked;
  for (const char* table : kTables) {
    for (const char* change : {"INSERT", "UPDATE", "DELETE"}) {
      const absl::Status closed = source.Execute(
          absl::StrCat("CREATE TRIGGER moved_", table, "_", change, " BEFORE ", change, " ON ",
                       table, " BEGIN SELECT RAISE(ABORT, 'this store has moved'); ", "END")
              .c_str());
      if (!closed.ok()) return closed;
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Span<const char* const> MovedTables() { return kTables; }

absl::Status MoveSqliteToPostgres(const std::string& path, const std::string& url,
                                  absl::FunctionRef<absl::Status()> check,
                                  absl::FunctionRef<void(int64_t, int64_t)> progress) {
  absl::StatusOr<std::unique_ptr<SqliteDatabase>> source =
      SqliteDatabase::Open(path, SqliteOptions());
  if (!source.ok()) return source.status();
  absl::Status status = (*source)->Migrate(BrokerMigrations());
  if (!status.ok()) return status;
  absl::StatusOr<std::unique_ptr<PostgresConnection>> target = PostgresConnection::Open(url);
  if (!target.ok()) return target.status();
  status = (*target)->Migrate(PostgresMigrations());
  if (!status.ok()) return status;

  bool committed = false;
  status = (*source)->InTransaction([&]() -> absl::Status {
    absl::StatusOr<std::vector<Table>> tables = ReadTables(**source);
    if (!tables.ok()) return tables.status();
    const absl::Status copied = (*target)->InTransaction([&] {
      Copier<SqliteDatabase, PostgresConnection> copier(**source, **target, progress);
      const absl::Status done = copier.Copy(*std::move(tables));
      return done.ok() ? CopyIdentities(**source, **target) : done;
    });
    committed = copied.ok() || (*target)->failure() == PostgresConnection::Failure::kCommitUnknown;
    if (!copied.ok()) return copied;
    const absl::Status checked = check();
    return checked.ok() ? CloseForEver(**source) : checked;
  });
  if (!status.ok() && committed) {
    return absl::Status(
        status.code(),
        absl::StrCat(status.message(),
                     "; the SQLite file is still the one to use. The new database may hold the "
                     "copy by now: empty it before another attempt"));
  }
  return status;
}

absl::Status CopySqliteStore(const std::string& path, const std::string& to,
                             absl::FunctionRef<void(int64_t, int64_t)> progress) {
  absl::StatusOr<std::unique_ptr<SqliteDatabase>> source =
      SqliteDatabase::Open(path, SqliteOptions());
  if (!source.ok()) return source.status();
  return (*source)->CopyTo(to, progress);
}

absl::Status CopyPostgresStore(const std::string& url, const std::string& to,
                               absl::FunctionRef<void(int64_t, int64_t)> progress) {
  absl::StatusOr<std::unique_ptr<PostgresConnection>> source = PostgresConnection::Open(url);
  if (!source.ok()) return source.status();
  absl::Status status = (*source)->Migrate(PostgresMigrations());
  if (!status.ok()) return status;
  absl::StatusOr<std::unique_ptr<SqliteDatabase>> target =
      SqliteDatabase::Open(to, SqliteOptions());
  if (!target.ok()) return target.status();
  status = (*target)->Migrate(BrokerMigrations());
  if (!status.ok()) return status;
  status = (*source)->InSnapshot([&]() -> absl::Status {
    // Reads whole tables.
    const absl::Status unhurried = (*source)->Prepare("SET LOCAL statement_timeout = 0").Run();
    if (!unhurried.ok()) return unhurried;
    return (*target)->InTransaction([&] {
      return WithoutTriggers(**target, [&]() -> absl::Status {
        absl::StatusOr<std::vector<Table>> tables = ReadTables(**target);
        if (!tables.ok()) return tables.status();
        Copier<PostgresConnection, SqliteDatabase> copier(**source, **target, progress);
        const absl::Status copied = copier.Copy(*std::move(tables));
        return copied.ok() ? CopyIdentities(**source, **target) : copied;
      });
    });
  });
  return status.ok() ? (*target)->CloseLog() : status;
}

}  // namespace blindcart::storage
