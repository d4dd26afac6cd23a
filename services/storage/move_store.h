// Moves a broker's whole store from a SQLite file to a PostgreSQL database, once and for all; and
// copies a store, whichever it is, into a SQLite file while a broker works on it.
//
// The move: everything is copied in one transaction into a database that holds nothing yet, read back and
// compared value by value, and committed; then the caller's check runs over the new store. Meanwhile
// nobody can write to the file. When all went well the file is closed for ever: every table refuses
// changes and kMovedMetaKey is set, so that a broker that still has it open cannot take payments
// into it.
//
// After an error the file is as it was. The database is empty, except when the error came after its
// commit, which the message says.
#ifndef SERVICES_STORAGE_MOVE_STORE_H_
#define SERVICES_STORAGE_MOVE_STORE_H_

#include <cstdint>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/types/span.h"

namespace blindcart::storage {

// In the meta table of a file that was moved.
inline constexpr char kMovedMetaKey[] = "moved_to_postgres";

// The tables in an order in which each refers only to those before it, but for orders and transfers.
absl::Span<const char* const> MovedTables();

// Calls `progress` with the steps done and their number now and then. `check` runs over the new
// store, after its commit. Errors beside those of both stores: kFailedPrecondition when the database
// is not empty, kDataLoss when what was read back differs.
absl::Status MoveSqliteToPostgres(const std::string& path, const std::string& url,
                                  absl::FunctionRef<absl::Status()> check,
                                  absl::FunctionRef<void(int64_t, int64_t)> progress);

// Both copy what a store holds at one moment into a new SQLite file `to` (mode 0600), while others go on
// reading and writing. OK means that all of it is in that one file, synced; after an error the file
// may be there and is worth nothing. What came from PostgreSQL was read back and compared.
absl::Status CopySqliteStore(const std::string& path, const std::string& to,
                             absl::FunctionRef<void(int64_t, int64_t)> progress);
absl::Status CopyPostgresStore(const std::string& url, const std::string& to,
                               absl::FunctionRef<void(int64_t, int64_t)> progress);

}  // namespace blindcart::storage

#endif  // SERVICES_STORAGE_MOVE_STORE_H_
