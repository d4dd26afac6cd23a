#include "services/agent/purchase_store.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "protocol/key_schedule.h"

namespace blindcart::agent {
namespace {

using storage::SqliteDatabase;
using storage::SqliteStatement;

constexpr absl::string_view kSelect =
    "SELECT id, request_id, order_key, sids, shop, shop_fingerprint, product_id, title, "
    "created_at_ms, order_id, terms, salt, content_hash, charge_minor, total_minor, size_bytes, "
    "format, status, pay_request_id, receipt, delivery_signature, pieces_done, file_path "
    "FROM purchases ";

absl::StatusOr<PurchaseRecord> ReadPurchase(const SqliteStatement& row) {
  PurchaseRecord purchase;
  purchase.id = row.ColumnInt64(0);
  purchase.request_id = row.ColumnBlob(1);
  purchase.order_key = row.ColumnBlob(2);
  const std::string sids = row.ColumnBlob(3);
  for (size_t i = 0; i + protocol::kSessionIdBytes <= sids.size(); i += protocol::kSessionIdBytes) {
    purchase.sids.push_back(sids.substr(i, protocol::kSessionIdBytes));
  }
  purchase.shop = row.ColumnText(4);
  purchase.shop_fingerprint = row.ColumnBlob(5);
  purchase.product_id = row.ColumnBlob(6);
  purchase.title = row.ColumnText(7);
  purchase.created_at_ms = row.ColumnInt64(8);
  purchase.order_id = row.ColumnBlob(9);
  bool parsed = purchase.terms.ParseFromString(row.ColumnBlob(10));
  purchase.salt = row.ColumnBlob(11);
  purchase.content_hash = row.ColumnBlob(12);
  purchase.charge_minor = row.ColumnInt64(13);
  purchase.total_minor = row.ColumnInt64(14);
  purchase.size_bytes = static_cast<uint64_t>(row.ColumnInt64(15));
  purchase.format = row.ColumnText(16);
  purchase.status = static_cast<v1::OrderStatus>(row.ColumnInt64(17));
  purchase.pay_request_id = row.ColumnBlob(18);
  if (!row.ColumnIsNull(19)) {
    purchase.receipt.emplace();
    parsed = parsed && purchase.receipt->ParseFromString(row.ColumnBlob(19));
  }
  purchase.delivery_signature = row.ColumnBlob(20);
  purchase.pieces_done = static_cast<uint64_t>(row.ColumnInt64(21));
  purchase.file_path = row.ColumnText(22);
  if (!parsed) return absl::DataLossError("a purchase in the agent's database is damaged");
  return purchase;
}

absl::Status Collect(SqliteStatement& select, std::vector<PurchaseRecord>* purchases) {
  while (true) {
    absl::StatusOr<bool> row = select.Step();
    if (!row.ok()) return row.status();
    if (!*row) return absl::OkStatus();
    absl::StatusOr<PurchaseRecord> purchase = ReadPurchase(select);
    if (!purchase.ok()) return purchase.status();
    purchases->push_back(*std::move(purchase));
  }
}

absl::StatusOr<PurchaseRecord> GetIn(SqliteDatabase& database, int64_t id) {
  SqliteStatement select = database.Prepare(absl::StrCat(kSelect, "WHERE id = ?"));
  select.BindInt64(id);
  std::vector<PurchaseRecord> found;
  const absl::Status status = Collect(select, &found);
  if (!status.ok()) return status;
  if (found.empty()) return absl::NotFoundError("no such purchase");
  return std::move(found.front());
}

}  // namespace

absl::StatusOr<int64_t> PurchaseStore::Add(const PurchaseRecord& purchase) {
  int64_t id = 0;
  const absl::Status status = database_.Transact([&](SqliteDatabase& database) -> absl::Status {
    const absl::Status added =
        database
            .Prepare(
                "INSERT INTO purchases (request_id, order_key, shop, shop_fingerprint, "
                "product_id, title, created_at_ms) VALUES (?, ?, ?, ?, ?, ?, ?)")
            .BindBlob(purchase.request_id)
            .BindBlob(purchase.order_key)
            .BindText(purchase.shop)
            .BindBlob(purchase.shop_fingerprint)
            .BindBlob(purchase.product_id)
            .BindText(purchase.title)
            .BindInt64(purchase.created_at_ms)
            .Run();
    id = database.last_insert_rowid();
    return added;
  });
  if (!status.ok()) return status;
  return id;
}

absl::StatusOr<absl::optional<PurchaseRecord>> PurchaseStore::FindUnanswered(
    absl::string_view shop_fingerprint, absl::string_view product_id) {
  std::vector<PurchaseRecord> found;
  const absl::Status status = database_.Read([&](SqliteDatabase& database) {
    SqliteStatement select = database.Prepare(
        absl::StrCat(kSelect,
                     "WHERE order_id IS NULL AND shop_fingerprint = ? AND product_id = ? "
                     "ORDER BY id DESC LIMIT 1"));
    select.BindBlob(shop_fingerprint).BindBlob(product_id);
    return Collect(select, &found);
  });
  if (!status.ok()) return status;
  absl::optional<PurchaseRecord> purchase;
  if (!found.empty()) purchase = std::move(found.front());
  return purchase;
}

absl::Status PurchaseStore::AddSid(int64_t id, absl::string_view sid) {
  return database_.Transact([&](SqliteDatabase& database) -> absl::Status {
    absl::StatusOr<PurchaseRecord> purchase = GetIn(database, id);
    if (!purchase.ok()) return purchase.status();
    purchase->sids.emplace_back(sid);
    if (purchase->sids.size() > kMaxSids) purchase->sids.erase(purchase->sids.begin());
    return database.Prepare("UPDATE purchases SET sids = ? WHERE id = ?")
        .BindBlob(absl::StrJoin(purchase->sids, ""))
        .BindInt64(id)
        .Run();
  });
}

absl::Status PurchaseStore::DropUnanswered(int64_t id) {
  return database_.Transact([&](SqliteDatabase& database) {
    return database.Prepare("DELETE FROM purchases WHERE id = ? AND order_id IS NULL")
        .BindInt64(id)
        .Run();
  });
}

absl::Status PurchaseStore::SaveOrder(const PurchaseRecord& purchase) {
  return database_.Transact([&](SqliteDatabase& database) {
    return database
        .Prepare(
            "UPDATE purchases SET order_id = ?, terms = ?, title = ?, salt = ?, content_hash = ?, "
            "price_minor = ?, charge_minor = ?, total_minor = ?, size_bytes = ?, format = ?, "
            "status = ? WHERE id = ? AND order_id IS NULL")
        .BindBlob(purchase.order_id)
        .BindBlob(purchase.terms.SerializeAsString())
        .BindText(purchase.title)
        .BindBlob(purchase.salt)
        .BindBlob(purchase.content_hash)
        .BindInt64(purchase.terms.price_minor())
        .BindInt64(purchase.charge_minor)
        .BindInt64(purchase.total_minor)
        .BindInt64(static_cast<int64_t>(purchase.size_bytes))
        .BindText(purchase.format)
        .BindInt64(purchase.status)
        .BindInt64(purchase.id)
        .Run();
  });
}

absl::StatusOr<PurchaseRecord> PurchaseStore::Get(int64_t id) {
  absl::StatusOr<PurchaseRecord> purchase = absl::NotFoundError("no such purchase");
  const absl::Status status = database_.Read([&](SqliteDatabase& database) {
    purchase = GetIn(database, id);
    return purchase.status();
  });
  if (!status.ok()) return status;
  return purchase;
}

absl::StatusOr<std::vector<PurchaseRecord>> PurchaseStore::FindByPrefix(
    absl::string_view hex_prefix, size_t limit) {
  std::vector<PurchaseRecord> found;
  const absl::Status status = database_.Read([&](SqliteDatabase& database) {
    SqliteStatement select =
        database.Prepare(absl::StrCat(kSelect,
                                      "WHERE order_id IS NOT NULL AND substr(lower(hex(order_id)), "
                                      "1, length(?1)) = ?1 LIMIT ?2"));
    select.BindText(hex_prefix).BindInt64(static_cast<int64_t>(limit));
    return Collect(select, &found);
  });
  if (!status.ok()) return status;
  return found;
}

absl::StatusOr<std::vector<PurchaseRecord>> PurchaseStore::List() {
  std::vector<PurchaseRecord> found;
  const absl::Status status = database_.Read([&](SqliteDatabase& database) {
    SqliteStatement select =
        database.Prepare(absl::StrCat(kSelect, "WHERE order_id IS NOT NULL ORDER BY id DESC"));
    return Collect(select, &found);
  });
  if (!status.ok()) return status;
  return found;
}

absl::Status PurchaseStore::SetPayRequest(int64_t id, absl::string_view pay_request_id) {
  return database_.Transact([&](SqliteDatabase& database) {
    SqliteStatement update =
        database.Prepare("UPDATE purchases SET pay_request_id = ? WHERE id = ?");
    if (pay_request_id.empty()) {
      update.BindNull();
    } else {
      update.BindBlob(pay_request_id);
    }
    return update.BindInt64(id).Run();
  });
}

absl::Status PurchaseStore::SaveReceipt(int64_t id, const v1::Receipt& receipt) {
  return database_.Transact([&](SqliteDatabase& database) {
    return database
        .Prepare(
            "UPDATE purchases SET receipt = ?, status = ?, pay_request_id = NULL "
            "WHERE id = ? AND receipt IS NULL")
        .BindBlob(receipt.SerializeAsString())
        .BindInt64(v1::ORDER_STATUS_PAID)
        .BindInt64(id)
        .Run();
  });
}

absl::Status PurchaseStore::SetUnpaidStatus(int64_t id, v1::OrderStatus status) {
  return database_.Transact([&](SqliteDatabase& database) -> absl::Status {
    const absl::Status updated =
        database.Prepare("UPDATE purchases SET status = ? WHERE id = ? AND receipt IS NULL")
            .BindInt64(status)
            .BindInt64(id)
            .Run();
    if (!updated.ok()) return updated;
    if (database.changes() == 0) return absl::FailedPreconditionError("the order is paid");
    return absl::OkStatus();
  });
}

absl::Status PurchaseStore::SetPiecesDone(int64_t id, uint64_t pieces_done) {
  return database_.Transact([&](SqliteDatabase& database) {
    return database.Prepare("UPDATE purchases SET pieces_done = ? WHERE id = ?")
        .BindInt64(static_cast<int64_t>(pieces_done))
        .BindInt64(id)
        .Run();
  });
}

absl::Status PurchaseStore::SaveDelivery(int64_t id, absl::string_view file_path,
                                         absl::string_view delivery_signature) {
  return database_.Transact([&](SqliteDatabase& database) {
    return database
        .Prepare(
            "UPDATE purchases SET file_path = ?, delivery_signature = ?, status = ?, "
            "pieces_done = 0 WHERE id = ?")
        .BindText(file_path)
        .BindBlob(delivery_signature)
        .BindInt64(v1::ORDER_STATUS_DELIVERED)
        .BindInt64(id)
        .Run();
  });
}

}  // namespace blindcart::agent
