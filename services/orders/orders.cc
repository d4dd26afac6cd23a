#include "services/orders/orders.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "protocol/order.h"

namespace blindcart::orders {
namespace {

// The columns that ReadOrder reads, in its order.
#define BLINDCART_ORDER_COLUMNS                                                                 \
  "number, order_id, request_id, order_key_hash, superseded, product_id, title, content_hash, " \
  "size_bytes, format, price_minor, currency, salt, created_at_ms, expires_at_ms, "             \
  "broker_fingerprint, charge_minor, total_minor, status, paid_at_ms, receipt"

Order ReadOrder(const storage::SqliteStatement& row) {
  Order order;
  order.number = row.ColumnInt64(0);
  order.order_id = row.ColumnBlob(1);
  order.request_id = row.ColumnBlob(2);
  order.order_key_hash = row.ColumnBlob(3);
  order.superseded = row.ColumnInt64(4) != 0;
  order.product_id = row.ColumnBlob(5);
  order.title = row.ColumnText(6);
  order.content_hash = row.ColumnBlob(7);
  order.size_bytes = static_cast<uint64_t>(row.ColumnInt64(8));
  order.format = row.ColumnText(9);
  order.price_minor = row.ColumnInt64(10);
  order.currency = row.ColumnText(11);
  order.salt = row.ColumnBlob(12);
  order.created_at_ms = row.ColumnInt64(13);
  order.expires_at_ms = row.ColumnInt64(14);
  order.broker_fingerprint = row.ColumnBlob(15);
  if (!row.ColumnIsNull(16)) order.charge_minor = row.ColumnInt64(16);
  if (!row.ColumnIsNull(17)) order.total_minor = row.ColumnInt64(17);
  order.status = static_cast<v1::OrderStatus>(row.ColumnInt64(18));
  order.paid_at_ms = row.ColumnInt64(19);
  order.receipt = row.ColumnBlob(20);
  return order;
}

absl::StatusOr<Order> One(storage::SqliteStatement& query) {
  absl::StatusOr<bool> row = query.Step();
  if (!row.ok()) return row.status();
  if (!*row) return absl::NotFoundError("there is no such order");
  return ReadOrder(query);
}

}  // namespace

bool IsPaid(const Order& order) {
  return order.status == v1::ORDER_STATUS_PAID || order.status == v1::ORDER_STATUS_DELIVERED;
}

v1::OrderTerms UnsignedTermsOf(const Order& order) {
  protocol::CommitmentInput committed;
  committed.salt = order.salt;
  committed.product_id = order.product_id;
  committed.title = order.title;
  committed.content_hash = order.content_hash;
  committed.price_minor = order.price_minor;
  committed.order_key_hash = order.order_key_hash;

  v1::OrderTerms terms;
  terms.set_order_id(order.order_id);
  terms.set_price_minor(order.price_minor);
  terms.set_currency(order.currency);
  terms.set_expires_at_ms(order.expires_at_ms);
  terms.set_commitment(protocol::OrderCommitment(committed));
  return terms;
}

v1::OrderTerms TermsOf(const Order& order, absl::string_view sid,
                       const crypto::Identity& merchant) {
  v1::OrderTerms terms = UnsignedTermsOf(order);
  terms.set_sid(std::string(sid));
  protocol::SignTerms(merchant, &terms);
  return terms;
}

absl::Status Orders::Insert(const Order& order) {
  storage::SqliteStatement insert = database_.Prepare(
      "INSERT INTO orders (order_id, request_id, order_key_hash, superseded, product_id, title, "
      "content_hash, size_bytes, format, price_minor, currency, salt, created_at_ms, "
      "expires_at_ms, broker_fingerprint, status) "
      "VALUES (?, ?, ?, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1)");
  return insert.BindBlob(order.order_id)
      .BindBlob(order.request_id)
      .BindBlob(order.order_key_hash)
      .BindBlob(order.product_id)
      .BindText(order.title)
      .BindBlob(order.content_hash)
      .BindInt64(static_cast<int64_t>(order.size_bytes))
      .BindText(order.format)
      .BindInt64(order.price_minor)
      .BindText(order.currency)
      .BindBlob(order.salt)
      .BindInt64(order.created_at_ms)
      .BindInt64(order.expires_at_ms)
      .BindBlob(order.broker_fingerprint)
      .Run();
}

absl::StatusOr<Order> Orders::Get(absl::string_view order_id) {
  storage::SqliteStatement query =
      database_.Prepare("SELECT " BLINDCART_ORDER_COLUMNS " FROM orders WHERE order_id = ?");
  query.BindBlob(order_id);
  return One(query);
}

absl::StatusOr<Order> Orders::FindByRequest(absl::string_view request_id) {
  storage::SqliteStatement query = database_.Prepare(
      "SELECT " BLINDCART_ORDER_COLUMNS " FROM orders WHERE request_id = ? AND superseded = 0");
  query.BindBlob(request_id);
  return One(query);
}

absl::StatusOr<Order> Orders::FindByOrderKeyHash(absl::string_view order_key_hash) {
  storage::SqliteStatement query = database_.Prepare(
      "SELECT " BLINDCART_ORDER_COLUMNS " FROM orders WHERE order_key_hash = ? AND superseded = 0");
  query.BindBlob(order_key_hash);
  return One(query);
}

absl::Status Orders::Supersede(absl::string_view order_id) {
  storage::SqliteStatement update =
      database_.Prepare("UPDATE orders SET superseded = 1 WHERE order_id = ? AND superseded = 0");
  const absl::Status done = update.BindBlob(order_id).Run();
  if (!done.ok()) return done;
  if (database_.changes() == 0) return absl::NotFoundError("there is no such order");
  return absl::OkStatus();
}

absl::Status Orders::Confirm(absl::string_view order_id, int64_t charge_minor,
                             int64_t total_minor) {
  storage::SqliteStatement update = database_.Prepare(
      "UPDATE orders SET charge_minor = ?, total_minor = ? WHERE order_id = ? AND status = 1 AND "
      "superseded = 0 AND total_minor IS NULL");
  const absl::Status done =
      update.BindInt64(charge_minor).BindInt64(total_minor).BindBlob(order_id).Run();
  if (!done.ok()) return done;
  if (database_.changes() == 0) {
    return absl::FailedPreconditionError("the order is not waiting for the broker's answer");
  }
  return absl::OkStatus();
}

absl::Status Orders::Step(absl::string_view order_id, v1::OrderStatus from, v1::OrderStatus to) {
  storage::SqliteStatement update =
      database_.Prepare("UPDATE orders SET status = ? WHERE order_id = ? AND status = ?");
  const absl::Status done = update.BindInt64(to).BindBlob(order_id).BindInt64(from).Run();
  if (!done.ok()) return done;
  if (database_.changes() == 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("the order is not in state ", v1::OrderStatus_Name(from)));
  }
  return absl::OkStatus();
}

absl::Status Orders::MarkDeclined(absl::string_view order_id) {
  return Step(order_id, v1::ORDER_STATUS_CREATED, v1::ORDER_STATUS_DECLINED);
}

absl::Status Orders::MarkExpired(absl::string_view order_id) {
  return Step(order_id, v1::ORDER_STATUS_CREATED, v1::ORDER_STATUS_EXPIRED);
}

absl::Status Orders::MarkPaid(absl::string_view order_id, const v1::Receipt& receipt) {
  storage::SqliteStatement update = database_.Prepare(
      "UPDATE orders SET status = 4, paid_at_ms = ?, receipt = ? WHERE order_id = ? AND "
      "status IN (1, 3)");
  const absl::Status done = update.BindInt64(receipt.paid_at_ms())
                                .BindBlob(receipt.SerializeAsString())
                                .BindBlob(order_id)
                                .Run();
  if (!done.ok()) return done;
  if (database_.changes() == 0) {
    return absl::FailedPreconditionError("the order is not open for payment");
  }
  return absl::OkStatus();
}

absl::Status Orders::MarkDelivered(absl::string_view order_id) {
  return Step(order_id, v1::ORDER_STATUS_PAID, v1::ORDER_STATUS_DELIVERED);
}

absl::StatusOr<std::vector<std::string>> Orders::ListUnconfirmed(int64_t before_ms, int64_t limit) {
  storage::SqliteStatement query = database_.Prepare(
      "SELECT order_id FROM orders WHERE status = 1 AND total_minor IS NULL AND "
      "expires_at_ms < ? ORDER BY expires_at_ms LIMIT ?");
  query.BindInt64(before_ms).BindInt64(limit);
  std::vector<std::string> order_ids;
  while (true) {
    absl::StatusOr<bool> row = query.Step();
    if (!row.ok()) return row.status();
    if (!*row) return order_ids;
    order_ids.push_back(query.ColumnBlob(0));
  }
}

absl::StatusOr<std::vector<Order>> Orders::List(int64_t below_number, int64_t limit) {
  storage::SqliteStatement query =
      database_.Prepare("SELECT " BLINDCART_ORDER_COLUMNS
                        " FROM orders WHERE number < ? ORDER BY number DESC LIMIT ?");
  query.BindInt64(below_number > 0 ? below_number : INT64_MAX).BindInt64(limit);
  std::vector<Order> orders;
  while (true) {
    absl::StatusOr<bool> row = query.Step();
    if (!row.ok()) return row.status();
    if (!*row) return orders;
    orders.push_back(ReadOrder(query));
  }
}

#undef BLINDCART_ORDER_COLUMNS

}  // namespace blindcart::orders
