#include "services/storage/sqlite_store.h"

#include <limits>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/storage/sqlite.h"
#include "services/storage/sqlite_mailboxes.h"
#include "services/storage/sqlite_schema.h"
#include "services/storage/sqlite_tokens.h"

namespace blindcart::storage {
namespace {

// Stored names to enums: the inverse of the ...Name functions, kInvalid for anything else.
AccountKind AccountKindOf(absl::string_view name) {
  for (AccountKind kind : {AccountKind::kCustomer, AccountKind::kMerchant, AccountKind::kBroker,
                           AccountKind::kExternal}) {
    if (AccountKindName(kind) == name) return kind;
  }
  return AccountKind::kInvalid;
}

OrderStatus OrderStatusOf(absl::string_view name) {
  for (OrderStatus status : {OrderStatus::kCreated, OrderStatus::kDeclined, OrderStatus::kExpired,
                             OrderStatus::kPaid, OrderStatus::kDelivered, OrderStatus::kRefunded}) {
    if (OrderStatusName(status) == name) return status;
  }
  return OrderStatus::kInvalid;
}

TransferKind TransferKindOf(absl::string_view name) {
  for (TransferKind kind : {TransferKind::kPayment, TransferKind::kDeposit,
                            TransferKind::kWithdrawal, TransferKind::kRefund}) {
    if (TransferKindName(kind) == name) return kind;
  }
  return TransferKind::kInvalid;
}

// Rows as structs, and whether every value of a row is one that this code could have written.
void ReadRow(const SqliteStatement& row, Account& account) {
  account.id = row.ColumnInt64(0);
  account.number = row.ColumnText(1);
  account.kind = AccountKindOf(row.ColumnText(2));
  account.currency = row.ColumnText(3);
  account.balance_minor = row.ColumnInt64(4);
  account.pin_record = row.ColumnBlob(5);
  account.pin_failures = row.ColumnInt64(6);
  account.pin_blocked_until_ms = row.ColumnInt64(7);
}
bool IsReadable(const Account& account) { return account.kind != AccountKind::kInvalid; }

void ReadRow(const SqliteStatement& row, Customer& customer) {
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
bool IsReadable(const Customer&) { return true; }

void ReadRow(const SqliteStatement& row, Merchant& merchant) {
  merchant.id = row.ColumnInt64(0);
  merchant.name = row.ColumnText(1);
  merchant.identity = row.ColumnBlob(2);
  merchant.fingerprint = row.ColumnBlob(3);
  merchant.account_id = row.ColumnInt64(4);
}
bool IsReadable(const Merchant&) { return true; }

void ReadRow(const SqliteStatement& row, Order& order) {
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
bool IsReadable(const Order& order) { return order.status != OrderStatus::kInvalid; }

void ReadRow(const SqliteStatement& row, Transfer& transfer) {
  transfer.transfer_id = row.ColumnBlob(0);
  transfer.kind = TransferKindOf(row.ColumnText(1));
  transfer.order_id = row.ColumnBlob(2);
  transfer.created_at_ms = row.ColumnInt64(3);
}
bool IsReadable(const Transfer& transfer) { return transfer.kind != TransferKind::kInvalid; }

void ReadRow(const SqliteStatement& row, Entry& entry) {
  entry.entry_id = row.ColumnInt64(0);
  entry.transfer_id = row.ColumnBlob(1);
  entry.account_id = row.ColumnInt64(2);
  entry.amount_minor = row.ColumnInt64(3);
}

bool IsReadable(const Entry&) { return true; }

void ReadRow(const SqliteStatement& row, AccountEntry& entry) {
  entry.entry_id = row.ColumnInt64(0);
  entry.transfer_id = row.ColumnBlob(1);
  entry.amount_minor = row.ColumnInt64(2);
  entry.kind = TransferKindOf(row.ColumnText(3));
  entry.order_id = row.ColumnBlob(4);
  entry.created_at_ms = row.ColumnInt64(5);
}

void ReadRow(const SqliteStatement& row, AccountPosition& position) {
  position.after_entry_id = row.ColumnInt64(0);
  position.balance_minor = row.ColumnInt64(1);
}
bool IsReadable(const AccountPosition&) { return true; }

void ReadRow(const SqliteStatement& row, RequestAnswer& answer) {
  answer.customer_id = row.ColumnInt64(0);
  answer.request_id = row.ColumnBlob(1);
  answer.request_digest = row.ColumnBlob(2);
  answer.answer = row.ColumnBlob(3);
  answer.created_at_ms = row.ColumnInt64(4);
}
bool IsReadable(const RequestAnswer&) { return true; }

void ReadRow(const SqliteStatement& row, Notice& notice) {
  notice.notice_id = row.ColumnInt64(0);
  notice.merchant_id = row.ColumnInt64(1);
  notice.payload = row.ColumnBlob(2);
  notice.created_at_ms = row.ColumnInt64(3);
}

void ReadRow(const SqliteStatement& row, std::string& blob) { blob = row.ColumnBlob(0); }
bool IsReadable(const std::string&) { return true; }

// The one row of a query; kNotFound without one. `what` names the kind of row.
template <typename Row>
absl::StatusOr<Row> ReadOne(SqliteStatement& query, absl::string_view what) {
  absl::StatusOr<bool> found = query.Step();
  if (!found.ok()) return found.status();
  if (!*found) return absl::NotFoundError(absl::StrCat("no such ", what));
  Row row;
  ReadRow(query, row);
  if (!IsReadable(row)) return absl::DataLossError(absl::StrCat("unreadable ", what));
  return row;
}

template <typename Row>
absl::StatusOr<std::vector<Row>> ReadAll(SqliteStatement& query) {
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
template <typename Row>
absl::StatusOr<std::vector<Row>> ReadPage(SqliteStatement& query, int64_t limit) {
  if (limit <= 0) return absl::InvalidArgumentError("a page needs a limit above zero");
  query.BindInt64(limit);
  return ReadAll<Row>(query);
}

// Runs an UPDATE that addresses one row by its key.
absl::Status UpdateOne(SqliteDatabase& database, SqliteStatement& update, absl::string_view what) {
  absl::Status status = update.Run();
  if (!status.ok()) return status;
  if (database.changes() == 0) return absl::NotFoundError(absl::StrCat("no such ", what));
  return absl::OkStatus();
}

// Runs an INSERT and returns the id that the row got.
absl::StatusOr<int64_t> InsertOne(SqliteDatabase& database, SqliteStatement& insert) {
  absl::Status status = insert.Run();
  if (!status.ok()) return status;
  return database.last_insert_rowid();
}

class SqliteAccounts : public Accounts {
 public:
  explicit SqliteAccounts(SqliteDatabase& database) : database_(database) {}

  absl::StatusOr<int64_t> Insert(const Account& account) override {
    SqliteStatement insert = database_.Prepare(
        "INSERT INTO accounts (number, kind, currency, balance_minor, pin_record, pin_failures,"
        " pin_blocked_until_ms) VALUES (?, ?, ?, 0, ?, ?, ?)");
    insert.BindText(account.number)
        .BindText(AccountKindName(account.kind))
        .BindText(account.currency)
        .BindBlob(account.pin_record)
        .BindInt64(account.pin_failures)
        .BindInt64(account.pin_blocked_until_ms);
    return InsertOne(database_, insert);
  }

  absl::StatusOr<Account> Get(int64_t id) override {
    SqliteStatement query = database_.Prepare("SELECT * FROM accounts WHERE id = ?");
    query.BindInt64(id);
    return ReadOne<Account>(query, "account");
  }

  absl::StatusOr<Account> FindByNumber(absl::string_view number) override {
    SqliteStatement query = database_.Prepare("SELECT * FROM accounts WHERE number = ?");
    query.BindText(number);
    return ReadOne<Account>(query, "account");
  }

  absl::StatusOr<Account> FindSystem(AccountKind kind, absl::string_view currency) override {
    if (kind != AccountKind::kBroker && kind != AccountKind::kExternal) {
      return absl::InvalidArgumentError("only broker and external accounts are one per currency");
    }
    // The first condition lets SQLite use the partial index.
    SqliteStatement query = database_.Prepare(
        "SELECT * FROM accounts WHERE kind IN ('broker', 'external') AND kind = ? AND currency = "
        "?");
    query.BindText(AccountKindName(kind)).BindText(currency);
    return ReadOne<Account>(query, "account");
  }

  absl::Status SetBalance(int64_t id, int64_t balance_minor) override {
    SqliteStatement update =
        database_.Prepare("UPDATE accounts SET balance_minor = ? WHERE id = ?");
    update.BindInt64(balance_minor).BindInt64(id);
    return UpdateOne(database_, update, "account");
  }

  absl::Status SetPinState(int64_t id, int64_t failures, int64_t blocked_until_ms) override {
    SqliteStatement update = database_.Prepare(
        "UPDATE accounts SET pin_failures = ?, pin_blocked_until_ms = ? WHERE id = ?");
    update.BindInt64(failures).BindInt64(blocked_until_ms).BindInt64(id);
    return UpdateOne(database_, update, "account");
  }

  absl::StatusOr<std::vector<Account>> List(int64_t after_id, int64_t limit) override {
    SqliteStatement query =
        database_.Prepare("SELECT * FROM accounts WHERE id > ? ORDER BY id LIMIT ?");
    query.BindInt64(after_id);
    return ReadPage<Account>(query, limit);
  }

 private:
  SqliteDatabase& database_;
};

class SqliteCustomers : public Customers {
 public:
  explicit SqliteCustomers(SqliteDatabase& database) : database_(database) {}

  absl::StatusOr<int64_t> Insert(const Customer& customer) override {
    SqliteStatement insert = database_.Prepare(
        "INSERT INTO customers (username, identity, fingerprint, password_record, account_id,"
        " login_failures, login_blocked_until_ms, created_at_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
    insert.BindText(customer.username)
        .BindBlob(customer.identity)
        .BindBlob(customer.fingerprint)
        .BindBlob(customer.password_record)
        .BindInt64(customer.account_id)
        .BindInt64(customer.login_failures)
        .BindInt64(customer.login_blocked_until_ms)
        .BindInt64(customer.created_at_ms);
    return InsertOne(database_, insert);
  }

  absl::StatusOr<Customer> Get(int64_t id) override {
    SqliteStatement query = database_.Prepare("SELECT * FROM customers WHERE id = ?");
    query.BindInt64(id);
    return ReadOne<Customer>(query, "customer");
  }

  absl::StatusOr<Customer> FindByUsername(absl::string_view username) override {
    SqliteStatement query = database_.Prepare("SELECT * FROM customers WHERE username = ?");
    query.BindText(username);
    return ReadOne<Customer>(query, "customer");
  }

  absl::StatusOr<Customer> FindByFingerprint(absl::string_view fingerprint) override {
    SqliteStatement query = database_.Prepare("SELECT * FROM customers WHERE fingerprint = ?");
    query.BindBlob(fingerprint);
    return ReadOne<Customer>(query, "customer");
  }

  absl::Status SetLoginState(int64_t id, int64_t failures, int64_t blocked_until_ms) override {
    SqliteStatement update = database_.Prepare(
        "UPDATE customers SET login_failures = ?, login_blocked_until_ms = ? WHERE id = ?");
    update.BindInt64(failures).BindInt64(blocked_until_ms).BindInt64(id);
    return UpdateOne(database_, update, "customer");
  }

  absl::StatusOr<std::vector<Customer>> List(int64_t after_id, int64_t limit) override {
    SqliteStatement query =
        database_.Prepare("SELECT * FROM customers WHERE id > ? ORDER BY id LIMIT ?");
    query.BindInt64(after_id);
    return ReadPage<Customer>(query, limit);
  }

 private:
  SqliteDatabase& database_;
};

class SqliteMerchants : public Merchants {
 public:
  explicit SqliteMerchants(SqliteDatabase& database) : database_(database) {}

  absl::StatusOr<int64_t> Insert(const Merchant& merchant) override {
    SqliteStatement insert = database_.Prepare(
        "INSERT INTO merchants (name, identity, fingerprint, account_id) VALUES (?, ?, ?, ?)");
    insert.BindText(merchant.name)
        .BindBlob(merchant.identity)
        .BindBlob(merchant.fingerprint)
        .BindInt64(merchant.account_id);
    return InsertOne(database_, insert);
  }

  absl::StatusOr<Merchant> Get(int64_t id) override {
    SqliteStatement query = database_.Prepare("SELECT * FROM merchants WHERE id = ?");
    query.BindInt64(id);
    return ReadOne<Merchant>(query, "merchant");
  }

  absl::StatusOr<Merchant> FindByName(absl::string_view name) override {
    SqliteStatement query = database_.Prepare("SELECT * FROM merchants WHERE name = ?");
    query.BindText(name);
    return ReadOne<Merchant>(query, "merchant");
  }

  absl::StatusOr<Merchant> FindByFingerprint(absl::string_view fingerprint) override {
    SqliteStatement query = database_.Prepare("SELECT * FROM merchants WHERE fingerprint = ?");
    query.BindBlob(fingerprint);
    return ReadOne<Merchant>(query, "merchant");
  }

  absl::StatusOr<std::vector<Merchant>> List(int64_t after_id, int64_t limit) override {
    SqliteStatement query =
        database_.Prepare("SELECT * FROM merchants WHERE id > ? ORDER BY id LIMIT ?");
    query.BindInt64(after_id);
    return ReadPage<Merchant>(query, limit);
  }

 private:
  SqliteDatabase& database_;
};

bool IsStepOfUpdateStatus(OrderStatus from, OrderStatus to) {
  switch (from) {
    case OrderStatus::kCreated:
      return to == OrderStatus::kDeclined || to == OrderStatus::kExpired;
    case OrderStatus::kPaid:
      return to == OrderStatus::kDelivered || to == OrderStatus::kRefunded;
    case OrderStatus::kDelivered:
      return to == OrderStatus::kRefunded;
    default:
      return false;
  }
}

class SqliteOrders : public Orders {
 public:
  explicit SqliteOrders(SqliteDatabase& database) : database_(database) {}

  absl::Status Insert(const Order& order) override {
    if (order.paid_at_ms != 0 || !order.transfer_id.empty() || !order.receipt.empty()) {
      return absl::InvalidArgumentError("an order starts unpaid");
    }
    SqliteStatement insert = database_.Prepare(
        "INSERT INTO orders (order_id, merchant_id, customer_id, sid, price_minor, charge_minor,"
        " total_minor, currency, commitment, merchant_signature, created_at_ms, expires_at_ms,"
        " status) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    insert.BindBlob(order.order_id)
        .BindInt64(order.merchant_id)
        .BindInt64(order.customer_id)
        .BindBlob(order.sid)
        .BindInt64(order.price_minor)
        .BindInt64(order.charge_minor)
        .BindInt64(order.total_minor)
        .BindText(order.currency)
        .BindBlob(order.commitment)
        .BindBlob(order.merchant_signature)
        .BindInt64(order.created_at_ms)
        .BindInt64(order.expires_at_ms)
        .BindText(OrderStatusName(order.status));
    return insert.Run();
  }

  absl::StatusOr<Order> Get(absl::string_view order_id) override {
    SqliteStatement query = database_.Prepare("SELECT * FROM orders WHERE order_id = ?");
    query.BindBlob(order_id);
    return ReadOne<Order>(query, "order");
  }

  absl::Status UpdateStatus(absl::string_view order_id, OrderStatus expected,
                            OrderStatus status) override {
    if (!IsStepOfUpdateStatus(expected, status)) {
      return absl::InvalidArgumentError("an order does not take this step");
    }
    SqliteStatement update =
        database_.Prepare("UPDATE orders SET status = ? WHERE order_id = ? AND status = ?");
    update.BindText(OrderStatusName(status)).BindBlob(order_id).BindText(OrderStatusName(expected));
    return CompareAndSet(update, order_id);
  }

  absl::Status MarkPaid(absl::string_view order_id, absl::string_view transfer_id,
                        absl::string_view receipt, int64_t paid_at_ms) override {
    SqliteStatement update = database_.Prepare(
        "UPDATE orders SET status = 'paid', transfer_id = ?, receipt = ?, paid_at_ms = ?"
        " WHERE order_id = ? AND status = 'created'");
    update.BindBlob(transfer_id).BindBlob(receipt).BindInt64(paid_at_ms).BindBlob(order_id);
    return CompareAndSet(update, order_id);
  }

  absl::StatusOr<std::vector<std::string>> ListExpirable(int64_t now_ms, int64_t limit) override {
    SqliteStatement query = database_.Prepare(
        "SELECT order_id FROM orders WHERE status = 'created' AND expires_at_ms <= ?"
        " ORDER BY expires_at_ms LIMIT ?");
    query.BindInt64(now_ms);
    return ReadPage<std::string>(query, limit);
  }

  absl::StatusOr<std::vector<Order>> List(absl::string_view after_order_id,
                                          int64_t limit) override {
    SqliteStatement query =
        database_.Prepare("SELECT * FROM orders WHERE order_id > ? ORDER BY order_id LIMIT ?");
    query.BindBlob(after_order_id);
    return ReadPage<Order>(query, limit);
  }

 private:
  absl::Status CompareAndSet(SqliteStatement& update, absl::string_view order_id) {
    absl::Status status = update.Run();
    if (!status.ok() || database_.changes() != 0) return status;
    absl::StatusOr<Order> order = Get(order_id);
    if (!order.ok()) return order.status();
    return absl::FailedPreconditionError(
        absl::StrCat("the order is ", OrderStatusName(order->status)));
  }

  SqliteDatabase& database_;
};

class SqliteTransfers : public Transfers {
 public:
  explicit SqliteTransfers(SqliteDatabase& database) : database_(database) {}

  absl::Status Insert(const Transfer& transfer, absl::Span<const Entry> entries) override {
    SqliteStatement insert = database_.Prepare(
        "INSERT INTO transfers (transfer_id, kind, order_id, created_at_ms) VALUES (?, ?, ?, ?)");
    insert.BindBlob(transfer.transfer_id).BindText(TransferKindName(transfer.kind));
    if (transfer.order_id.empty()) {
      insert.BindNull();
    } else {
      insert.BindBlob(transfer.order_id);
    }
    absl::Status status = insert.BindInt64(transfer.created_at_ms).Run();
    if (!status.ok()) return status;
    SqliteStatement insert_entry = database_.Prepare(
        "INSERT INTO entries (transfer_id, account_id, amount_minor) VALUES (?, ?, ?)");
    for (const Entry& entry : entries) {
      insert_entry.Reset();
      status = insert_entry.BindBlob(transfer.transfer_id)
                   .BindInt64(entry.account_id)
                   .BindInt64(entry.amount_minor)
                   .Run();
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  absl::StatusOr<Transfer> Get(absl::string_view transfer_id) override {
    SqliteStatement query = database_.Prepare("SELECT * FROM transfers WHERE transfer_id = ?");
    query.BindBlob(transfer_id);
    return ReadOne<Transfer>(query, "transfer");
  }

  absl::StatusOr<Transfer> FindByOrder(absl::string_view order_id, TransferKind kind) override {
    SqliteStatement query =
        database_.Prepare("SELECT * FROM transfers WHERE order_id = ? AND kind = ?");
    query.BindBlob(order_id).BindText(TransferKindName(kind));
    return ReadOne<Transfer>(query, "transfer");
  }

  absl::StatusOr<std::vector<Entry>> ListEntries(absl::string_view transfer_id) override {
    SqliteStatement query =
        database_.Prepare("SELECT * FROM entries WHERE transfer_id = ? ORDER BY entry_id");
    query.BindBlob(transfer_id);
    return ReadAll<Entry>(query);
  }

  absl::StatusOr<std::vector<Transfer>> List(absl::string_view after_transfer_id,
                                             int64_t limit) override {
    SqliteStatement query = database_.Prepare(
        "SELECT * FROM transfers WHERE transfer_id > ? ORDER BY transfer_id LIMIT ?");
    query.BindBlob(after_transfer_id);
    return ReadPage<Transfer>(query, limit);
  }

  absl::StatusOr<std::vector<Entry>> ListAllEntries(int64_t after_entry_id,
                                                    int64_t limit) override {
    SqliteStatement query =
        database_.Prepare("SELECT * FROM entries WHERE entry_id > ? ORDER BY entry_id LIMIT ?");
    query.BindInt64(after_entry_id);
    return ReadPage<Entry>(query, limit);
  }

  absl::StatusOr<std::vector<AccountEntry>> ListOfAccount(int64_t account_id,
                                                          int64_t after_entry_id,
                                                          int64_t limit) override {
    SqliteStatement query = database_.Prepare(
        "SELECT e.entry_id, e.transfer_id, e.amount_minor, t.kind, t.order_id, t.created_at_ms"
        " FROM entries AS e JOIN transfers AS t ON t.transfer_id = e.transfer_id"
        " WHERE e.account_id = ? AND e.entry_id > ? ORDER BY e.entry_id LIMIT ?");
    query.BindInt64(account_id).BindInt64(after_entry_id);
    return ReadPage<AccountEntry>(query, limit);
  }

  absl::StatusOr<Entry> FindEntry(int64_t account_id, absl::string_view transfer_id) override {
    SqliteStatement query =
        database_.Prepare("SELECT * FROM entries WHERE transfer_id = ? AND account_id = ?");
    query.BindBlob(transfer_id).BindInt64(account_id);
    return ReadOne<Entry>(query, "entry");
  }

  absl::StatusOr<AccountPosition> PositionBefore(int64_t account_id, int64_t since_ms) override {
    SqliteStatement first = database_.Prepare(
        "SELECT e.entry_id FROM entries AS e JOIN transfers AS t ON t.transfer_id = e.transfer_id"
        " WHERE e.account_id = ? AND t.created_at_ms >= ? ORDER BY e.entry_id LIMIT 1");
    first.BindInt64(account_id).BindInt64(since_ms);
    const absl::StatusOr<bool> found = first.Step();
    if (!found.ok()) return found.status();
    const int64_t before = *found ? first.ColumnInt64(0) : std::numeric_limits<int64_t>::max();
    SqliteStatement sum = database_.Prepare(
        "SELECT COALESCE(MAX(entry_id), 0), COALESCE(SUM(amount_minor), 0) FROM entries"
        " WHERE account_id = ? AND entry_id < ?");
    sum.BindInt64(account_id).BindInt64(before);
    return ReadOne<AccountPosition>(sum, "position");
  }

 private:
  SqliteDatabase& database_;
};

class SqliteRequests : public Requests {
 public:
  explicit SqliteRequests(SqliteDatabase& database) : database_(database) {}

  absl::Status Insert(const RequestAnswer& answer) override {
    SqliteStatement insert = database_.Prepare(
        "INSERT INTO requests (customer_id, request_id, request_digest, answer, created_at_ms)"
        " VALUES (?, ?, ?, ?, ?)");
    return insert.BindInt64(answer.customer_id)
        .BindBlob(answer.request_id)
        .BindBlob(answer.request_digest)
        .BindBlob(answer.answer)
        .BindInt64(answer.created_at_ms)
        .Run();
  }

  absl::StatusOr<RequestAnswer> Get(int64_t customer_id, absl::string_view request_id) override {
    SqliteStatement query =
        database_.Prepare("SELECT * FROM requests WHERE customer_id = ? AND request_id = ?");
    query.BindInt64(customer_id).BindBlob(request_id);
    return ReadOne<RequestAnswer>(query, "answer");
  }

 private:
  SqliteDatabase& database_;
};

class SqliteNotices : public Notices {
 public:
  explicit SqliteNotices(SqliteDatabase& database) : database_(database) {}

  absl::StatusOr<int64_t> Append(int64_t merchant_id, absl::string_view payload,
                                 int64_t created_at_ms) override {
    SqliteStatement insert = database_.Prepare(
        "INSERT INTO notices (merchant_id, payload, created_at_ms) VALUES (?, ?, ?)");
    insert.BindInt64(merchant_id).BindBlob(payload).BindInt64(created_at_ms);
    return InsertOne(database_, insert);
  }

  absl::StatusOr<std::vector<Notice>> List(int64_t merchant_id, int64_t after_id,
                                           int64_t limit) override {
    SqliteStatement query = database_.Prepare(
        "SELECT * FROM notices WHERE merchant_id = ? AND notice_id > ? ORDER BY notice_id LIMIT ?");
    query.BindInt64(merchant_id).BindInt64(after_id);
    return ReadPage<Notice>(query, limit);
  }

  absl::Status Acknowledge(int64_t merchant_id, int64_t notice_id) override {
    SqliteStatement removal =
        database_.Prepare("DELETE FROM notices WHERE notice_id = ? AND merchant_id = ?");
    return removal.BindInt64(notice_id).BindInt64(merchant_id).Run();
  }

 private:
  SqliteDatabase& database_;
};

class SqliteMeta : public Meta {
 public:
  explicit SqliteMeta(SqliteDatabase& database) : database_(database) {}

  absl::StatusOr<std::string> Get(absl::string_view key) override {
    SqliteStatement query = database_.Prepare("SELECT value FROM meta WHERE key = ?");
    query.BindText(key);
    return ReadOne<std::string>(query, "setting");
  }

  absl::Status Set(absl::string_view key, absl::string_view value) override {
    SqliteStatement upsert = database_.Prepare(
        "INSERT INTO meta (key, value) VALUES (?, ?)"
        " ON CONFLICT (key) DO UPDATE SET value = excluded.value");
    return upsert.BindText(key).BindBlob(value).Run();
  }

 private:
  SqliteDatabase& database_;
};

// The accessors of one connection; they live as long as it does.
class SqliteTransaction : public Transaction {
 public:
  explicit SqliteTransaction(SqliteDatabase& database)
      : accounts_(database),
        customers_(database),
        merchants_(database),
        orders_(database),
        transfers_(database),
        requests_(database),
        notices_(database),
        mailboxes_(database),
        meta_(database),
        tokens_(database) {}

  Accounts& accounts() override { return accounts_; }
  Customers& customers() override { return customers_; }
  Merchants& merchants() override { return merchants_; }
  Orders& orders() override { return orders_; }
  Transfers& transfers() override { return transfers_; }
  Requests& requests() override { return requests_; }
  Notices& notices() override { return notices_; }
  Mailboxes& mailboxes() override { return mailboxes_; }
  Meta& meta() override { return meta_; }
  Tokens& tokens() override { return tokens_; }

 private:
  SqliteAccounts accounts_;
  SqliteCustomers customers_;
  SqliteMerchants merchants_;
  SqliteOrders orders_;
  SqliteTransfers transfers_;
  SqliteRequests requests_;
  SqliteNotices notices_;
  SqliteMailboxes mailboxes_;
  SqliteMeta meta_;
  SqliteTokens tokens_;
};

class SqliteStore : public Store {
 public:
  SqliteStore(std::string path, std::unique_ptr<SqliteDatabase> writer,
              std::unique_ptr<SqliteDatabase> reader)
      : path_(std::move(path)),
        writer_(std::move(writer)),
        write_transaction_(*writer_),
        reader_(std::move(reader)),
        read_transaction_(*reader_) {}

  absl::Status Read(absl::FunctionRef<absl::Status(Transaction&)> body) override {
    std::lock_guard<std::mutex> lock(read_mutex_);
    return reader_->InSnapshot([&] { return body(read_transaction_); });
  }

  absl::Status Write(absl::FunctionRef<absl::Status(Transaction&)> body) override {
    std::lock_guard<std::mutex> lock(write_mutex_);
    return writer_->InTransaction([&] { return body(write_transaction_); });
  }

  absl::Status WriteBatch(absl::Span<WriteJob> jobs) override {
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
  const std::string path_;
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
