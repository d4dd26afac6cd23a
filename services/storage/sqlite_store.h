// Store over one SQLite file (architecture.md, "Storage": WAL, full synchronisation, one writer).
//
// One connection writes, a second one reads snapshots, so reads never wait for a commit. Several
// processes may open one file; a write that waits longer than five seconds for another process's
// write answers kUnavailable.
#ifndef SERVICES_STORAGE_SQLITE_STORE_H_
#define SERVICES_STORAGE_SQLITE_STORE_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "services/storage/store.h"

namespace blindcart::storage {

// Opens or creates the database file (mode 0600) and brings its schema up to date.
// kFailedPrecondition when the file was written by a newer version of this program.
absl::StatusOr<std::unique_ptr<Store>> OpenSqliteStore(const std::string& path);

}  // namespace blindcart::storage

#endif  // SERVICES_STORAGE_SQLITE_STORE_H_
