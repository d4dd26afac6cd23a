// Store over a PostgreSQL database (architecture.md, "Storage"), for several brokers at once.
//
// Write and WriteBatch are SERIALIZABLE transactions, Read is REPEATABLE READ READ ONLY. A
// transaction that conflicts with another, or whose connection breaks before its commit, is run
// again with growing, random pauses for as long as the patience lasts; accounts that it has changed
// by then are locked first, in the order of their ids, so that the same two cannot stop each other
// again. A connection that breaks during the commit leaves its outcome unknown: that is
// kUnavailable, as Store::Write says, and what was asked for under ids of its own may be asked for
// again.
//
// Guarantees that SQLite's schema gives and this one leaves to code: postgres_schema.h.
#ifndef SERVICES_STORAGE_POSTGRES_STORE_H_
#define SERVICES_STORAGE_POSTGRES_STORE_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "services/storage/store.h"

namespace blindcart::storage {

struct PostgresStoreOptions {
  std::string url;           // see CheckPostgresUrl in postgres.h
  int connections = 8;       // at most at once; at least 2
  int patience_ms = 10'000;  // how long to try, connecting anew included, before kUnavailable
  // The same for Read: who reads often waits on a thread that serves others, too.
  int read_patience_ms = 3'000;
};

// Connects and brings the schema up to date. Besides Store's errors: kInvalidArgument for a url that
// is wrong or not safe, kFailedPrecondition for a schema newer than this program.
absl::StatusOr<std::unique_ptr<Store>> OpenPostgresStore(const PostgresStoreOptions& options);

}  // namespace blindcart::storage

#endif  // SERVICES_STORAGE_POSTGRES_STORE_H_
