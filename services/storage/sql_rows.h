// Rows and the shapes of statements that the groups of store.h share over any SQL database.
//
// `Database` and `Statement` are those of a backend's thin layer: SqliteDatabase and
// SqliteStatement (sqlite.h), PostgresConnection and PostgresStatement (postgres.h), which offer the
// same calls.
#ifndef SERVICES_STORAGE_SQL_ROWS_H_
#define SERVICES_STORAGE_SQL_ROWS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "services/storage/store.h"

namespace blindcart::storage {

// Rows as structs, and whether every value of a row is one that this code could have written.
template <typename Statement>
void ReadRow(const Statement& row, Account& account) {
  account.id = row.ColumnInt64(0);
  account.number = row.ColumnText(1);
  account.kind = AccountKindOf(row.ColumnText(2));
  account.currency = row.ColumnText(3);
  account.balance_minor = row.ColumnInt64(4);
  account.pin_record = row.ColumnBlob(5);
  account.pin_failures = row.ColumnInt64(6);
  account.pin_blocked_until_ms = row.ColumnInt64(7);
}
inline bool IsReadable(const Account& account) { return account.kind != AccountKind::kInvalid; }

template <typename Statement>
void ReadRow(const Statement& row, Customer& customer) {
  customer.id = row.ColumnInt64(0);
  customer.username = row.ColumnText(1);
  customer.identity = row.ColumnBlob(2);
  customer.fingerprint = row.ColumnBlob(3);
  customer.password_record = row.ColumnBlob(4);
  customer.account_id = row.ColumnInt64(5);
  customer.login_failures = row.ColumnInt64(6);
  customer.login_blocked_until_ms = row.ColumnInt64(7);
  customer.created_at_ms = row.ColumnInt64(8);
}
inline bool IsReadable(const Customer&) { return true; }

template <typename Statement>
void ReadRow(const Statement& row, Merchant& merchant) {
  merchant.id = row.ColumnInt64(0);
  merchant.name = row.ColumnText(1);
  merchant.identity = row.ColumnBlob(2);
  merchant.fingerprint = row.ColumnBlob(3);
  merchant.account_id = row.ColumnInt64(4);
}
inline bool IsReadable(const Merchant&) { return true; }

template <typename Statement>
void ReadRow(const Statement& row, Order& order) {
  order.order_id = row.ColumnBlob(0);
  order.merchant_id = row.ColumnInt64(1);
  order.customer_id = row.ColumnInt64(2);
  order.sid = row.ColumnBlob(3);
  order.price_minor = row.ColumnInt64(4);
  order.charge_minor = row.ColumnInt64(5);
  order.total_minor = row.ColumnInt64(6);
  order.currency = row.ColumnText(7);
  order.commitment = row.ColumnBlob(8);
  order.merchant_signature = row.ColumnBlob(9);
  order.created_at_ms = row.ColumnInt64(10);
  order.expires_at_ms = row.ColumnInt64(11);
  order.status = OrderStatusOf(row.ColumnText(12));
  order.paid_at_ms = row.ColumnInt64(13);
  order.transfer_id = row.ColumnBlob(14);
  order.receipt = row.ColumnBlob(15);
}
inline bool IsReadable(const Order& order) { return order.status != OrderStatus::kInvalid; }

template <typename Statement>
void ReadRow(const Statement& row, Transfer& transfer) {
  transfer.transfer_id = row.ColumnBlob(0);
  transfer.kind = TransferKindOf(row.ColumnText(1));
  transfer.order_id = row.ColumnBlob(2);
  transfer.created_at_ms = row.ColumnInt64(3);
}
inline bool IsReadable(const Transfer& transfer) { return transfer.kind != TransferKind::kInvalid; }

template <typename Statement>
void ReadRow(const Statement& row, Entry& entry) {
  entry.entry_id = row.ColumnInt64(0);
  entry.transfer_id = row.ColumnBlob(1);
  entry.account_id = row.ColumnInt64(2);
  entry.amount_minor = row.ColumnInt64(3);
}
inline bool IsReadable(const Entry&) { return true; }

template <typename Statement>
void ReadRow(const Statement& row, AccountEntry& entry) {
  entry.entry_id = row.ColumnInt64(0);
  entry.transfer_id = row.ColumnBlob(1);
  entry.amount_minor = row.ColumnInt64(2);
  entry.kind = TransferKindOf(row.ColumnText(3));
  entry.order_id = row.ColumnBlob(4);
  entry.created_at_ms = row.ColumnInt64(5);
}

template <typename Statement>
void ReadRow(const Statement& row, RequestAnswer& answer) {
  answer.customer_id = row.ColumnInt64(0);
  answer.request_id = row.ColumnBlob(1);
  answer.request_digest = row.ColumnBlob(2);
  answer.answer = row.ColumnBlob(3);
  answer.created_at_ms = row.ColumnInt64(4);
}
inline bool IsReadable(const RequestAnswer&) { return true; }

template <typename Statement>
void ReadRow(const Statement& row, Notice& notice) {
  notice.notice_id = row.ColumnInt64(0);
  notice.merchant_id = row.ColumnInt64(1);
  notice.payload = row.ColumnBlob(2);
  notice.created_at_ms = row.ColumnInt64(3);
}

template <typename Statement>
void ReadRow(const Statement& row, NoticeKey& key) {
  key.notice_id = row.ColumnInt64(0);
  key.merchant_id = row.ColumnInt64(1);
}

template <typename Statement>
void ReadRow(const Statement& row, LastMailNumber& last) {
  last.customer_id = row.ColumnInt64(0);
  last.mail_number = row.ColumnInt64(1);
}

template <typename Statement>
void ReadRow(const Statement& row, std::string& blob) {
  blob = row.ColumnBlob(0);
}
inline bool IsReadable(const std::string&) { return true; }

// The one row of a query; kNotFound without one. `what` names the kind of row.
template <typename Row, typename Statement>
absl::StatusOr<Row> ReadOne(Statement& query, absl::string_view what) {
  absl::StatusOr<bool> found = query.Step();
  if (!found.ok()) return found.status();
  if (!*found) return absl::NotFoundError(absl::StrCat("no such ", what));
  Row row;
  ReadRow(query, row);
  if (!IsReadable(row)) return absl::DataLossError(absl::StrCat("unreadable ", what));
  return row;
}

template <typename Row, typename Statement>
absl::StatusOr<std::vector<Row>> ReadAll(Statement& query) {
  std::vector<Row> rows;
  for (;;) {
    absl::StatusOr<bool> more = query.Step();
    if (!more.ok()) return more.status();
    if (!*more) return rows;
    rows.emplace_back();
    ReadRow(query, rows.back());
  }
}

// For a query that ends in LIMIT ?, which this binds: SQLite would take a negative limit as none.
template <typename Row, typename Statement>
absl::StatusOr<std::vector<Row>> ReadPage(Statement& query, int64_t limit) {
  if (limit <= 0) return absl::InvalidArgumentError("a page needs a limit above zero");
  query.BindInt64(limit);
  return ReadAll<Row>(query);
}

// Statements over several rows take at most this many at once, so that few texts have to be prepared.
constexpr size_t kRowsPerStatement = 4;

// `text` `count` times, with `separator` between.
inline std::string Repeat(absl::string_view text, size_t count, absl::string_view separator) {
  return absl::StrJoin(std::vector<absl::string_view>(count, text), separator);
}

// Runs an UPDATE that addresses one row by its key.
template <typename Database, typename Statement>
absl::Status UpdateOne(Database& database, Statement& update, absl::string_view what) {
  absl::Status status = update.RunExpecting(1);
  if (!status.ok()) return status;
  if (database.changes() == 0) return absl::NotFoundError(absl::StrCat("no such ", what));
  return absl::OkStatus();
}

// For an INSERT that ends in ON CONFLICT DO NOTHING: a row that is there already fails the caller and
// not the transaction, which some databases would give up on an error.
template <typename Database, typename Statement>
absl::Status InsertNew(Database& database, Statement&& insert, absl::string_view what) {
  const absl::Status status = insert.RunExpecting(1);
  if (!status.ok()) return status;
  if (database.changes() == 0) {
    return absl::AlreadyExistsError(absl::StrCat("there is such a ", what, " already"));
  }
  return absl::OkStatus();
}

// The same for one that ends in ON CONFLICT DO NOTHING RETURNING id: the id that the row got.
template <typename Statement>
absl::StatusOr<int64_t> InsertReturningId(Statement&& insert, absl::string_view what) {
  const absl::StatusOr<bool> inserted = insert.Step();
  if (!inserted.ok()) return inserted.status();
  if (!*inserted)
    return absl::AlreadyExistsError(absl::StrCat("there is such a ", what, " already"));
  return insert.ColumnInt64(0);
}

}  // namespace blindcart::storage

#endif  // SERVICES_STORAGE_SQL_ROWS_H_
