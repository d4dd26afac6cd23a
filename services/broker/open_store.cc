#include "services/broker/open_store.h"

#include <utility>

#include "services/broker/config.h"
#include "services/storage/move_store.h"
#include "services/storage/postgres_store.h"
#include "services/storage/sqlite_store.h"

namespace blindcart::broker {

absl::StatusOr<std::unique_ptr<storage::Store>> OpenStore(const v1::BrokerConfig& config) {
  if (!config.store().url().empty()) {
    storage::PostgresStoreOptions options;
    options.url = config.store().url();
    options.connections = config.store().connections();
    return storage::OpenPostgresStore(options);
  }
  absl::StatusOr<std::unique_ptr<storage::Store>> store =
      storage::OpenSqliteStore(DataPaths(config.data_dir()).database);
  if (!store.ok()) return store;
  const absl::Status moved = (*store)->Read([](storage::Transaction& transaction) {
    return transaction.meta().Get(storage::kMovedMetaKey).status();
  });
  if (absl::IsNotFound(moved)) return store;
  if (!moved.ok()) return moved;
  return absl::FailedPreconditionError(
      "what was in this broker's SQLite file has been moved to PostgreSQL: write that database's "
      "address into store { url: \"postgres://...\" } in broker.textproto");
}

absl::Status CheckUnused(storage::Store& store) {
  return store.Read([](storage::Transaction& transaction) -> absl::Status {
    const absl::StatusOr<std::vector<storage::Account>> accounts =
        transaction.accounts().List(/*after_id=*/0, /*limit=*/1);
    if (!accounts.ok()) return accounts.status();
    if (accounts->empty()) return absl::OkStatus();
    return absl::AlreadyExistsError(
        "there is a broker in that database already; nothing was changed. Give an empty one");
  });
}

}  // namespace blindcart::broker
