// The listeners of store.h in SQL, as sql_groups.h has the other groups.
#ifndef SERVICES_STORAGE_SQL_LISTENERS_H_
#define SERVICES_STORAGE_SQL_LISTENERS_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "services/storage/store.h"

namespace blindcart::storage {

template <typename Database>
class SqlListeners : public Listeners {
 public:
  // `database` must outlive the object.
  explicit SqlListeners(Database& database) : database_(database) {}

  absl::Status Set(const Listener& listener) override {
    return database_
        .Prepare(
            "INSERT INTO listeners (customer_id, address, broker_run, link_id, expires_at_ms)"
            " VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (customer_id) DO UPDATE SET address = excluded.address,"
            " broker_run = excluded.broker_run, link_id = excluded.link_id,"
            " expires_at_ms = excluded.expires_at_ms")
        .BindInt64(listener.customer_id)
        .BindText(listener.address)
        .BindBlob(listener.broker_run)
        .BindInt64(listener.link_id)
        .BindInt64(listener.expires_at_ms)
        .Run();
  }

  absl::StatusOr<Listener> Get(int64_t customer_id) override {
    auto query = database_.Prepare(
        "SELECT address, broker_run, link_id, expires_at_ms FROM listeners WHERE customer_id = ?");
    const absl::StatusOr<bool> found = query.BindInt64(customer_id).Step();
    if (!found.ok()) return found.status();
    if (!*found) return absl::NotFoundError("no such listener");
    Listener listener;
    listener.customer_id = customer_id;
    listener.address = query.ColumnText(0);
    listener.broker_run = query.ColumnBlob(1);
    listener.link_id = query.ColumnInt64(2);
    listener.expires_at_ms = query.ColumnInt64(3);
    return listener;
  }

  absl::Status Remove(absl::string_view broker_run, absl::Span<const int64_t> link_ids) override {
    return database_
        .Prepare(absl::StrCat("DELETE FROM listeners WHERE broker_run = ? AND link_id ",
                              Database::kInIds))
        .BindBlob(broker_run)
        .BindText(Database::Ids(link_ids))
        .Run();
  }

  absl::Status Prolong(absl::string_view broker_run, int64_t expires_at_ms) override {
    return database_.Prepare("UPDATE listeners SET expires_at_ms = ? WHERE broker_run = ?")
        .BindInt64(expires_at_ms)
        .BindBlob(broker_run)
        .Run();
  }

  absl::Status RemoveExpired(int64_t now_ms) override {
    return database_.Prepare("DELETE FROM listeners WHERE expires_at_ms <= ?")
        .BindInt64(now_ms)
        .Run();
  }

 private:
  Database& database_;
};

}  // namespace blindcart::storage

#endif  // SERVICES_STORAGE_SQL_LISTENERS_H_
