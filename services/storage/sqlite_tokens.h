// Tokens (store.h) in SQLite. Belongs to its connection, as sqlite_store.cc's other accessors do.
#ifndef SERVICES_STORAGE_SQLITE_TOKENS_H_
#define SERVICES_STORAGE_SQLITE_TOKENS_H_

#include "services/storage/sqlite.h"
#include "services/storage/store.h"

namespace blindcart::storage {

class SqliteTokens : public Tokens {
 public:
  explicit SqliteTokens(SqliteDatabase& database) : database_(database) {}

  absl::Status Insert(const Token& token) override;
  absl::StatusOr<Token> Get(int64_t serial) override;
  absl::StatusOr<int64_t> HighestSerial() override;

 private:
  SqliteDatabase& database_;
};

}  // namespace blindcart::storage

#endif  // SERVICES_STORAGE_SQLITE_TOKENS_H_
