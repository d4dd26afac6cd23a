// The tokens of store.h in SQL, as sql_groups.h has the other groups.
#ifndef SERVICES_STORAGE_SQL_TOKENS_H_
#define SERVICES_STORAGE_SQL_TOKENS_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/storage/sql_rows.h"
#include "services/storage/store.h"

namespace blindcart::storage {

template <typename Database>
class SqlTokens : public Tokens {
 public:
  // `database` must outlive the object.
  explicit SqlTokens(Database& database) : database_(database) {}

  absl::Status Insert(const Token& token) override {
    auto insert =
        database_.Prepare("INSERT INTO tokens (serial, hash) VALUES (?, ?) ON CONFLICT DO NOTHING");
    insert.BindInt64(token.serial).BindBlob(token.hash);
    return InsertNew(database_, insert, "token");
  }

  absl::StatusOr<Token> Get(int64_t serial) override {
    auto query = database_.Prepare("SELECT hash FROM tokens WHERE serial = ?");
    query.BindInt64(serial);
    const absl::StatusOr<bool> found = query.Step();
    if (!found.ok()) return found.status();
    if (!*found) return absl::NotFoundError("no such token");
    return Token{serial, query.ColumnBlob(0)};
  }

  absl::StatusOr<int64_t> HighestSerial() override {
    auto query = database_.Prepare("SELECT max(serial) FROM tokens");
    const absl::StatusOr<bool> found = query.Step();
    if (!found.ok()) return found.status();
    return *found ? query.ColumnInt64(0) : 0;
  }

 private:
  Database& database_;
};

}  // namespace blindcart::storage

#endif  // SERVICES_STORAGE_SQL_TOKENS_H_
