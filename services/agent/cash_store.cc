#include "services/agent/cash_store.h"

namespace blindcart::agent {

absl::StatusOr<CashRequest> CashStore::Begin(const CashRequest& request) {
  CashRequest begun = request;
  const absl::Status noted =
      database_.Transact([&](storage::SqliteDatabase& database) -> absl::Status {
        begun = request;
        {
          storage::SqliteStatement select = database.Prepare(
              "SELECT request_id, begun_at_ms FROM cash_requests"
              " WHERE deposit = ? AND amount_minor = ?");
          select.BindInt64(request.deposit ? 1 : 0).BindInt64(request.amount_minor);
          const absl::StatusOr<bool> row = select.Step();
          if (!row.ok()) return row.status();
          if (*row) {
            begun.request_id = select.ColumnBlob(0);
            begun.begun_at_ms = select.ColumnInt64(1);
            begun.repeated = true;
            return absl::OkStatus();
          }
        }
        return database
            .Prepare(
                "INSERT INTO cash_requests (deposit, amount_minor, request_id, begun_at_ms)"
                " VALUES (?, ?, ?, ?)")
            .BindInt64(request.deposit ? 1 : 0)
            .BindInt64(request.amount_minor)
            .BindBlob(request.request_id)
            .BindInt64(request.begun_at_ms)
            .Run();
      });
  if (!noted.ok()) return noted;
  return begun;
}

absl::Status CashStore::Forget(absl::string_view request_id) {
  return database_.Transact([&](storage::SqliteDatabase& database) {
    return database.Prepare("DELETE FROM cash_requests WHERE request_id = ?")
        .BindBlob(request_id)
        .Run();
  });
}

}  // namespace blindcart::agent
