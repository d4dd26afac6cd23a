// The broker's PostgreSQL schema as numbered migrations (see PostgresConnection::Migrate).
//
// It says in SQL what PostgreSQL and databases compatible with it can say without triggers: types,
// sizes, signs, the sums inside a row, references, uniqueness, and the kinds of the accounts that
// customers and merchants have. The rest of what sqlite_schema.h says by triggers, that history is
// never rewritten and an order takes only its steps, is held by sql_groups.h, where no statement
// does such a thing, by a database user that may not (docs/storage.md), and by the audit.
#ifndef SERVICES_STORAGE_POSTGRES_SCHEMA_H_
#define SERVICES_STORAGE_POSTGRES_SCHEMA_H_

#include "absl/types/span.h"

namespace blindcart::storage {

absl::Span<const char* const> PostgresMigrations();

// A column whose values are keys of another table's rows.
struct PostgresReference {
  const char* table;
  const char* column;
  const char* referred_table;
  const char* referred_column;
};
absl::Span<const PostgresReference> PostgresReferences();

}  // namespace blindcart::storage

#endif  // SERVICES_STORAGE_POSTGRES_SCHEMA_H_
