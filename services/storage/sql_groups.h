// The groups of store.h in SQL that every backend's database takes, once for all backends.
//
// Statements keep to what SQLite, PostgreSQL and databases compatible with it have in common; a
// backend derives from a group where it needs something of its own. `Database` as in sql_rows.h.
//
// Thread safety: that of the database handed in.
#ifndef SERVICES_STORAGE_SQL_GROUPS_H_
#define SERVICES_STORAGE_SQL_GROUPS_H_

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "services/storage/sql_rows.h"
#include "services/storage/store.h"

namespace blindcart::storage {

template <typename Database>
class SqlAccounts : public Accounts {
 public:
  // `database` must outlive the object.
  explicit SqlAccounts(Database& database) : database_(database) {}

  absl::StatusOr<int64_t> Insert(const Account& account) override {
    auto insert = database_.Prepare(
        "INSERT INTO accounts (number, kind, currency, balance_minor, pin_record, pin_failures,"
        " pin_blocked_until_ms) VALUES (?, ?, ?, 0, ?, ?, ?)"
        " ON CONFLICT DO NOTHING RETURNING id");
    insert.BindText(account.number)
        .BindText(AccountKindName(account.kind))
        .BindText(account.currency)
        .BindBlob(account.pin_record)
        .BindInt64(account.pin_failures)
        .BindInt64(account.pin_blocked_until_ms);
    return InsertReturningId(insert, "account");
  }

  absl::StatusOr<Account> Get(int64_t id) override {
    auto query = database_.Prepare("SELECT * FROM accounts WHERE id = ?");
    query.BindInt64(id);
    return ReadOne<Account>(query, "account");
  }

  absl::StatusOr<std::vector<Account>> GetAll(absl::Span<const int64_t> ids) override {
    std::vector<Account> accounts;
    for (; !ids.empty(); ids.remove_prefix(std::min(ids.size(), kRowsPerStatement))) {
      const absl::Span<const int64_t> some = ids.subspan(0, kRowsPerStatement);
      auto query = database_.Prepare(absl::StrCat("SELECT * FROM accounts WHERE id IN (",
                                                  Repeat("?", some.size(), ", "), ") ORDER BY id"));
      for (const int64_t id : some) query.BindInt64(id);
      absl::StatusOr<std::vector<Account>> found = ReadAll<Account>(query);
      if (!found.ok()) return found.status();
      if (found->size() != some.size()) return absl::NotFoundError("no such account");
      std::move(found->begin(), found->end(), std::back_inserter(accounts));
    }
    return accounts;
  }

  absl::StatusOr<Account> FindByNumber(absl::string_view number) override {
    auto query = database_.Prepare("SELECT * FROM accounts WHERE number = ?");
    query.BindText(number);
    return ReadOne<Account>(query, "account");
  }

  absl::StatusOr<Account> FindSystem(AccountKind kind, absl::string_view currency) override {
    if (kind != AccountKind::kBroker && kind != AccountKind::kExternal) {
      return absl::InvalidArgumentError("only broker and external accounts are one per currency");
    }
    // The first condition lets SQLite use the partial index.
    auto query = database_.Prepare(
        "SELECT * FROM accounts WHERE kind IN ('broker', 'external') AND kind = ? AND currency = "
        "?");
    query.BindText(AccountKindName(kind)).BindText(currency);
    return ReadOne<Account>(query, "account");
  }

  absl::Status SetBalances(absl::Span<const AccountBalance> balances) override {
    for (; !balances.empty();
         balances.remove_prefix(std::min(balances.size(), kRowsPerStatement))) {
      const absl::Span<const AccountBalance> some = balances.subspan(0, kRowsPerStatement);
      auto update = database_.Prepare(
          absl::StrCat("UPDATE accounts SET balance_minor = CASE id",
                       Repeat(" WHEN ? THEN CAST(? AS BIGINT)", some.size(), ""),
                       " END WHERE id IN (", Repeat("?", some.size(), ", "), ")"));
      for (const AccountBalance& balance : some) {
        update.BindInt64(balance.id).BindInt64(balance.balance_minor);
      }
      for (const AccountBalance& balance : some) update.BindInt64(balance.id);
      const absl::Status status = update.RunExpecting(static_cast<int64_t>(some.size()));
      if (!status.ok()) return status;
      if (database_.changes() != static_cast<int64_t>(some.size())) {
        return absl::NotFoundError("no such account");
      }
    }
    return absl::OkStatus();
  }

  absl::Status SetPinState(int64_t id, int64_t failures, int64_t blocked_until_ms) override {
    auto update = database_.Prepare(
        "UPDATE accounts SET pin_failures = ?, pin_blocked_until_ms = ? WHERE id = ?");
    update.BindInt64(failures).BindInt64(blocked_until_ms).BindInt64(id);
    return UpdateOne(database_, update, "account");
  }

  absl::StatusOr<std::vector<Account>> List(int64_t after_id, int64_t limit) override {
    auto query = database_.Prepare("SELECT * FROM accounts WHERE id > ? ORDER BY id LIMIT ?");
    query.BindInt64(after_id);
    return ReadPage<Account>(query, limit);
  }

 private:
  Database& database_;
};

template <typename Database>
class SqlCustomers : public Customers {
 public:
  // `database` must outlive the object.
  explicit SqlCustomers(Database& database) : database_(database) {}

  absl::StatusOr<int64_t> Insert(const Customer& customer) override {
    auto insert = database_.Prepare(
        "INSERT INTO customers (username, identity, fingerprint, password_record, account_id,"
        " login_failures, login_blocked_until_ms, created_at_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT DO NOTHING RETURNING id");
    insert.BindText(customer.username)
        .BindBlob(customer.identity)
        .BindBlob(customer.fingerprint)
        .BindBlob(customer.password_record)
        .BindInt64(customer.account_id)
        .BindInt64(customer.login_failures)
        .BindInt64(customer.login_blocked_until_ms)
        .BindInt64(customer.created_at_ms);
    return InsertReturningId(insert, "customer");
  }

  absl::StatusOr<Customer> Get(int64_t id) override {
    auto query = database_.Prepare("SELECT * FROM customers WHERE id = ?");
    query.BindInt64(id);
    return ReadOne<Customer>(query, "customer");
  }

  absl::StatusOr<Customer> FindByUsername(absl::string_view username) override {
    auto query = database_.Prepare("SELECT * FROM customers WHERE username = ?");
    query.BindText(username);
    return ReadOne<Customer>(query, "customer");
  }

  absl::StatusOr<Customer> FindByFingerprint(absl::string_view fingerprint) override {
    auto query = database_.Prepare("SELECT * FROM customers WHERE fingerprint = ?");
    query.BindBlob(fingerprint);
    return ReadOne<Customer>(query, "customer");
  }

  absl::Status SetLoginState(int64_t id, int64_t failures, int64_t blocked_until_ms) override {
    auto update = database_.Prepare(
        "UPDATE customers SET login_failures = ?, login_blocked_until_ms = ? WHERE id = ?");
    update.BindInt64(failures).BindInt64(blocked_until_ms).BindInt64(id);
    return UpdateOne(database_, update, "customer");
  }

  absl::StatusOr<std::vector<Customer>> List(int64_t after_id, int64_t limit) override {
    auto query = database_.Prepare("SELECT * FROM customers WHERE id > ? ORDER BY id LIMIT ?");
    query.BindInt64(after_id);
    return ReadPage<Customer>(query, limit);
  }

 private:
  Database& database_;
};

template <typename Database>
class SqlMerchants : public Merchants {
 public:
  // `database` must outlive the object.
  explicit SqlMerchants(Database& database) : database_(database) {}

  absl::StatusOr<int64_t> Insert(const Merchant& merchant) override {
    auto insert = database_.Prepare(
        "INSERT INTO merchants (name, identity, fingerprint, account_id) VALUES (?, ?, ?, ?)"
        " ON CONFLICT DO NOTHING RETURNING id");
    insert.BindText(merchant.name)
        .BindBlob(merchant.identity)
        .BindBlob(merchant.fingerprint)
        .BindInt64(merchant.account_id);
    return InsertReturningId(insert, "merchant");
  }

  absl::StatusOr<Merchant> Get(int64_t id) override {
    auto query = database_.Prepare("SELECT * FROM merchants WHERE id = ?");
    query.BindInt64(id);
    return ReadOne<Merchant>(query, "merchant");
  }

  absl::StatusOr<Merchant> FindByName(absl::string_view name) override {
    auto query = database_.Prepare("SELECT * FROM merchants WHERE name = ?");
    query.BindText(name);
    return ReadOne<Merchant>(query, "merchant");
  }

  absl::StatusOr<Merchant> FindByFingerprint(absl::string_view fingerprint) override {
    auto query = database_.Prepare("SELECT * FROM merchants WHERE fingerprint = ?");
    query.BindBlob(fingerprint);
    return ReadOne<Merchant>(query, "merchant");
  }

  absl::StatusOr<std::vector<Merchant>> List(int64_t after_id, int64_t limit) override {
    auto query = database_.Prepare("SELECT * FROM merchants WHERE id > ? ORDER BY id LIMIT ?");
    query.BindInt64(after_id);
    return ReadPage<Merchant>(query, limit);
  }

 private:
  Database& database_;
};

inline bool IsStepOfUpdateStatus(OrderStatus from, OrderStatus to) {
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

template <typename Database>
class SqlOrders : public Orders {
 public:
  // `database` must outlive the object.
  explicit SqlOrders(Database& database) : database_(database) {}

  absl::Status Insert(const Order& order) override {
    if (order.status != OrderStatus::kCreated || order.paid_at_ms != 0 ||
        !order.transfer_id.empty() || !order.receipt.empty()) {
      return absl::InvalidArgumentError("an order starts as created and unpaid");
    }
    auto insert = database_.Prepare(
        "INSERT INTO orders (order_id, merchant_id, customer_id, sid, price_minor, charge_minor,"
        " total_minor, currency, commitment, merchant_signature, created_at_ms, expires_at_ms,"
        " status) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING");
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
    return InsertNew(database_, insert, "order");
  }

  absl::StatusOr<Order> Get(absl::string_view order_id) override {
    auto query = database_.Prepare("SELECT * FROM orders WHERE order_id = ?");
    query.BindBlob(order_id);
    return ReadOne<Order>(query, "order");
  }

  absl::Status UpdateStatus(absl::string_view order_id, OrderStatus expected,
                            OrderStatus status) override {
    if (!IsStepOfUpdateStatus(expected, status)) {
      return absl::InvalidArgumentError("an order does not take this step");
    }
    auto update =
        database_.Prepare("UPDATE orders SET status = ? WHERE order_id = ? AND status = ?");
    update.BindText(OrderStatusName(status)).BindBlob(order_id).BindText(OrderStatusName(expected));
    return CompareAndSet(update, order_id);
  }

  absl::Status MarkPaid(absl::string_view order_id, absl::string_view transfer_id,
                        absl::string_view receipt, int64_t paid_at_ms) override {
    auto update = database_.Prepare(
        "UPDATE orders SET status = 'paid', transfer_id = ?, receipt = ?, paid_at_ms = ?"
        " WHERE order_id = ? AND status = 'created'");
    update.BindBlob(transfer_id).BindBlob(receipt).BindInt64(paid_at_ms).BindBlob(order_id);
    return CompareAndSet(update, order_id);
  }

  absl::StatusOr<std::vector<std::string>> ListExpirable(int64_t now_ms, int64_t limit) override {
    auto query = database_.Prepare(
        "SELECT order_id FROM orders WHERE status = 'created' AND expires_at_ms <= ?"
        " ORDER BY expires_at_ms LIMIT ?");
    query.BindInt64(now_ms);
    return ReadPage<std::string>(query, limit);
  }

  absl::StatusOr<std::vector<Order>> List(absl::string_view after_order_id,
                                          int64_t limit) override {
    auto query =
        database_.Prepare("SELECT * FROM orders WHERE order_id > ? ORDER BY order_id LIMIT ?");
    query.BindBlob(after_order_id);
    return ReadPage<Order>(query, limit);
  }

 private:
  template <typename Statement>
  absl::Status CompareAndSet(Statement& update, absl::string_view order_id) {
    absl::Status status = update.RunExpecting(1);
    if (!status.ok() || database_.changes() != 0) return status;
    absl::StatusOr<Order> order = Get(order_id);
    if (!order.ok()) return order.status();
    return absl::FailedPreconditionError(
        absl::StrCat("the order is ", OrderStatusName(order->status)));
  }

  Database& database_;
};

template <typename Database>
class SqlTransfers : public Transfers {
 public:
  // `database` must outlive the object.
  explicit SqlTransfers(Database& database) : database_(database) {}

  absl::Status Insert(const Transfer& transfer, absl::Span<const Entry> entries) override {
    auto insert = database_.Prepare(
        "INSERT INTO transfers (transfer_id, kind, order_id, created_at_ms) VALUES (?, ?, ?, ?)"
        " ON CONFLICT DO NOTHING");
    insert.BindBlob(transfer.transfer_id).BindText(TransferKindName(transfer.kind));
    if (transfer.order_id.empty()) {
      insert.BindNull();
    } else {
      insert.BindBlob(transfer.order_id);
    }
    absl::Status status =
        InsertNew(database_, insert.BindInt64(transfer.created_at_ms), "transfer");
    if (!status.ok()) return status;
    for (; !entries.empty(); entries.remove_prefix(std::min(entries.size(), kRowsPerStatement))) {
      const absl::Span<const Entry> some = entries.subspan(0, kRowsPerStatement);
      auto insert_entries = database_.Prepare(
          absl::StrCat("INSERT INTO entries (transfer_id, account_id, amount_minor) VALUES ",
                       Repeat("(?, ?, ?)", some.size(), ", "), " ON CONFLICT DO NOTHING"));
      for (const Entry& entry : some) {
        insert_entries.BindBlob(transfer.transfer_id)
            .BindInt64(entry.account_id)
            .BindInt64(entry.amount_minor);
      }
      status = insert_entries.RunExpecting(static_cast<int64_t>(some.size()));
      if (!status.ok()) return status;
      if (database_.changes() != static_cast<int64_t>(some.size())) {
        return absl::AlreadyExistsError("there is such an entry already");
      }
    }
    return absl::OkStatus();
  }

  absl::StatusOr<Transfer> Get(absl::string_view transfer_id) override {
    auto query = database_.Prepare("SELECT * FROM transfers WHERE transfer_id = ?");
    query.BindBlob(transfer_id);
    return ReadOne<Transfer>(query, "transfer");
  }

  absl::StatusOr<Transfer> FindByOrder(absl::string_view order_id, TransferKind kind) override {
    auto query = database_.Prepare("SELECT * FROM transfers WHERE order_id = ? AND kind = ?");
    query.BindBlob(order_id).BindText(TransferKindName(kind));
    return ReadOne<Transfer>(query, "transfer");
  }

  absl::StatusOr<std::vector<Entry>> ListEntries(absl::string_view transfer_id) override {
    auto query = database_.Prepare("SELECT * FROM entries WHERE transfer_id = ? ORDER BY entry_id");
    query.BindBlob(transfer_id);
    return ReadAll<Entry>(query);
  }

  absl::StatusOr<std::vector<Transfer>> List(absl::string_view after_transfer_id,
                                             int64_t limit) override {
    auto query = database_.Prepare(
        "SELECT * FROM transfers WHERE transfer_id > ? ORDER BY transfer_id LIMIT ?");
    query.BindBlob(after_transfer_id);
    return ReadPage<Transfer>(query, limit);
  }

  absl::StatusOr<std::vector<Entry>> ListAllEntries(int64_t after_entry_id,
                                                    int64_t limit) override {
    auto query =
        database_.Prepare("SELECT * FROM entries WHERE entry_id > ? ORDER BY entry_id LIMIT ?");
    query.BindInt64(after_entry_id);
    return ReadPage<Entry>(query, limit);
  }

  absl::StatusOr<std::vector<AccountEntry>> ListOfAccount(int64_t account_id,
                                                          int64_t after_entry_id,
                                                          int64_t limit) override {
    auto query = database_.Prepare(
        "SELECT e.entry_id, e.transfer_id, e.amount_minor, t.kind, t.order_id, t.created_at_ms"
        " FROM entries AS e JOIN transfers AS t ON t.transfer_id = e.transfer_id"
        " WHERE e.account_id = ? AND e.entry_id > ? ORDER BY e.entry_id LIMIT ?");
    query.BindInt64(account_id).BindInt64(after_entry_id);
    return ReadPage<AccountEntry>(query, limit);
  }

  absl::StatusOr<Entry> FindEntry(int64_t account_id, absl::string_view transfer_id) override {
    auto query =
        database_.Prepare("SELECT * FROM entries WHERE transfer_id = ? AND account_id = ?");
    query.BindBlob(transfer_id).BindInt64(account_id);
    return ReadOne<Entry>(query, "entry");
  }

 private:
  Database& database_;
};

template <typename Database>
class SqlRequests : public Requests {
 public:
  // `database` must outlive the object.
  explicit SqlRequests(Database& database) : database_(database) {}

  absl::Status Insert(const RequestAnswer& answer) override {
    auto insert = database_.Prepare(
        "INSERT INTO requests (customer_id, request_id, request_digest, answer, created_at_ms)"
        " VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING");
    insert.BindInt64(answer.customer_id)
        .BindBlob(answer.request_id)
        .BindBlob(answer.request_digest)
        .BindBlob(answer.answer)
        .BindInt64(answer.created_at_ms);
    return InsertNew(database_, insert, "answer");
  }

  absl::StatusOr<RequestAnswer> Get(int64_t customer_id, absl::string_view request_id) override {
    auto query =
        database_.Prepare("SELECT * FROM requests WHERE customer_id = ? AND request_id = ?");
    query.BindInt64(customer_id).BindBlob(request_id);
    return ReadOne<RequestAnswer>(query, "answer");
  }

 private:
  Database& database_;
};

template <typename Database>
class SqlNotices : public Notices {
 public:
  // `database` must outlive the object.
  explicit SqlNotices(Database& database) : database_(database) {}

  absl::StatusOr<int64_t> Append(int64_t merchant_id, absl::string_view payload,
                                 int64_t created_at_ms) override {
    auto insert = database_.Prepare(
        "INSERT INTO notices (merchant_id, payload, created_at_ms) VALUES (?, ?, ?)"
        " RETURNING notice_id");
    insert.BindInt64(merchant_id).BindBlob(payload).BindInt64(created_at_ms);
    return InsertReturningId(insert, "notice");
  }

  absl::StatusOr<std::vector<Notice>> List(int64_t merchant_id, int64_t after_id,
                                           int64_t limit) override {
    auto query = database_.Prepare(
        "SELECT * FROM notices WHERE merchant_id = ? AND notice_id > ? ORDER BY notice_id LIMIT ?");
    query.BindInt64(merchant_id).BindInt64(after_id);
    return ReadPage<Notice>(query, limit);
  }

  absl::StatusOr<std::vector<NoticeKey>> ListKeys(int64_t after_id, int64_t limit) override {
    auto query = database_.Prepare(
        "SELECT notice_id, merchant_id FROM notices WHERE notice_id > ? ORDER BY notice_id LIMIT "
        "?");
    query.BindInt64(after_id);
    return ReadPage<NoticeKey>(query, limit);
  }

  absl::StatusOr<int64_t> HighestId() override {
    auto query = database_.Prepare("SELECT MAX(notice_id) FROM notices");
    const absl::StatusOr<bool> found = query.Step();
    if (!found.ok()) return found.status();
    return *found ? query.ColumnInt64(0) : 0;
  }

  absl::Status Acknowledge(int64_t merchant_id, int64_t notice_id) override {
    auto removal = database_.Prepare("DELETE FROM notices WHERE notice_id = ? AND merchant_id = ?");
    return removal.BindInt64(notice_id).BindInt64(merchant_id).Run();
  }

 private:
  Database& database_;
};

template <typename Database>
class SqlMeta : public Meta {
 public:
  // `database` must outlive the object.
  explicit SqlMeta(Database& database) : database_(database) {}

  absl::StatusOr<std::string> Get(absl::string_view key) override {
    auto query = database_.Prepare("SELECT value FROM meta WHERE key = ?");
    query.BindText(key);
    return ReadOne<std::string>(query, "setting");
  }

  absl::Status Set(absl::string_view key, absl::string_view value) override {
    auto upsert = database_.Prepare(
        "INSERT INTO meta (key, value) VALUES (?, ?)"
        " ON CONFLICT (key) DO UPDATE SET value = excluded.value");
    return upsert.BindText(key).BindBlob(value).Run();
  }

 private:
  Database& database_;
};

}  // namespace blindcart::storage

#endif  // SERVICES_STORAGE_SQL_GROUPS_H_
