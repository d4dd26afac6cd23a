// The broker's SQLite schema as numbered migrations (see SqliteDatabase::Migrate). What SQL can
// guarantee by itself, it guarantees: types, sizes, signs, the sums inside a row, references, the
// steps of an order, and that transfers and entries never change.
#ifndef SERVICES_STORAGE_SQLITE_SCHEMA_H_
#define SERVICES_STORAGE_SQLITE_SCHEMA_H_

#include "absl/types/span.h"

namespace blindcart::storage {

absl::Span<const char* const> BrokerMigrations();

}  // namespace blindcart::storage

#endif  // SERVICES_STORAGE_SQLITE_SCHEMA_H_
