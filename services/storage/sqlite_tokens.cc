#include "services/storage/sqlite_tokens.h"

namespace blindcart::storage {

absl::Status SqliteTokens::Insert(const Token& token) {
  return database_.Prepare("INSERT INTO tokens (serial, hash) VALUES (?, ?)")
      .BindInt64(token.serial)
      .BindBlob(token.hash)
      .Run();
}

absl::StatusOr<Token> SqliteTokens::Get(int64_t serial) {
  SqliteStatement query = database_.Prepare("SELECT hash FROM tokens WHERE serial = ?");
  query.BindInt64(serial);
  const absl::StatusOr<bool> found = query.Step();
  if (!found.ok()) return found.status();
  if (!*found) return absl::NotFoundError("no such token");
  return Token{serial, query.ColumnBlob(0)};
}

absl::StatusOr<int64_t> SqliteTokens::HighestSerial() {
  SqliteStatement query = database_.Prepare("SELECT max(serial) FROM tokens");
  const absl::StatusOr<bool> found = query.Step();
  if (!found.ok()) return found.status();
  return *found ? query.ColumnInt64(0) : 0;
}

}  // namespace blindcart::storage
