// Store over one SQLite file (architecture.md, "Storage": WAL, full synchronisation, one writer).
//
// One connection writes, a second one reads snapshots, so reads never wait for a commit. Several
// processes may open one file; each waits for the other's write for up to SqliteOptions'
// busy_timeout_ms and then answers kUnavailable.
#ifndef SERVICES_STORAGE_SQLITE_STORE_H_
#define SERVICES_STORAGE_SQLITE_STORE_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "services/storage/store.h"

namespace blindcart::storage {

class SqliteStore : public Store {
 public:
  // Opens or creates the database file (mode 0600) and brings its schema up to date.
  // kFailedPrecondition when the file was written by a newer version of this program.
  static absl::StatusOr<std::unique_ptr<Store>> Open(const std::string& path);

  SqliteStore(const SqliteStore&) = delete;
  SqliteStore& operator=(const SqliteStore&) = delete;
};

}  // namespace blindcart::storage

#endif  // SERVICES_STORAGE_SQLITE_STORE_H_
