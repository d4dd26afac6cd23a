#include "services/agent/peer_store.h"

#include <utility>

#include "services/agent/message_store.h"

namespace blindcart::agent {
namespace {

using storage::SqliteDatabase;
using storage::SqliteStatement;

PeerFileRecord ReadFileRow(const SqliteStatement& row) {
  PeerFileRecord file;
  file.username = row.ColumnText(0);
  file.fingerprint = row.ColumnBlob(1);
  file.name = row.ColumnText(2);
  file.path = row.ColumnText(3);
  file.size_bytes = static_cast<uint64_t>(row.ColumnInt64(4));
  file.sha256 = row.ColumnBlob(5);
  file.signature = row.ColumnBlob(6);
  file.at_ms = row.ColumnInt64(7);
  return file;
}

// Runs a select to its end.
template <typename Row>
absl::Status Collect(SqliteStatement& select, Row (*read)(const SqliteStatement&),
                     std::vector<Row>* rows) {
  while (true) {
    const absl::StatusOr<bool> row = select.Step();
    if (!row.ok()) return row.status();
    if (!*row) return absl::OkStatus();
    rows->push_back(read(select));
  }
}

std::string ReadFirst(const SqliteStatement& row) { return row.ColumnText(0); }

PeerTextRecord ReadText(const SqliteStatement& row) {
  PeerTextRecord text;
  text.number = row.ColumnInt64(0);
  text.username = row.ColumnText(1);
  text.fingerprint = row.ColumnBlob(2);
  text.message_id = row.ColumnBlob(3);
  text.outgoing = row.ColumnInt64(4) != 0;
  text.delivered = row.ColumnInt64(5) != 0;
  text.text = row.ColumnText(6);
  text.at_ms = row.ColumnInt64(7);
  return text;
}

}  // namespace

absl::StatusOr<PeerContact> PeerStore::FindContact(absl::string_view username) {
  PeerContact found;
  found.username = std::string(username);
  const absl::Status status = database_.Read([&](SqliteDatabase& database) -> absl::Status {
    const auto contact = MessageStore(database).FindContact(username);
    if (!contact.ok()) return contact.status();
    if (contact->has_value()) {
      const absl::StatusOr<crypto::PublicIdentity> identity =
          crypto::PublicIdentity::Parse((*contact)->identity);
      if (!identity.ok()) {
        return absl::DataLossError("a contact's identity in the agent's database is damaged");
      }
      found.fingerprint = identity->fingerprint();
      found.verified = (*contact)->verified;
    }
    SqliteStatement select =
        database.Prepare("SELECT address, plain_tcp FROM peer_addresses WHERE username = ?");
    select.BindText(username);
    const absl::StatusOr<bool> row = select.Step();
    if (!row.ok()) return row.status();
    if (*row) {
      found.address = select.ColumnText(0);
      found.plain_tcp = select.ColumnInt64(1) != 0;
    }
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return found;
}

absl::StatusOr<PeerStore::Pinned> PeerStore::Pin(absl::string_view username,
                                                 const crypto::PublicIdentity& identity,
                                                 bool they_called, int64_t now_ms) {
  Pinned pinned = Pinned::kBefore;
  const absl::Status status = database_.Transact([&](SqliteDatabase& database) -> absl::Status {
    MessageStore contacts(database);
    auto contact = contacts.FindContact(username);
    if (!contact.ok()) return contact.status();
    if (!contact->has_value()) {
      pinned = Pinned::kNow;
      const absl::Status saved =
          contacts.SaveContact({std::string(username), identity.Serialize(), /*verified=*/false,
                                now_ms, /*offered_identity=*/""});
      if (!saved.ok() || !they_called) return saved;
      return database
          .Prepare(
              "INSERT INTO peer_callers (username, identity) VALUES (?, ?) "
              "ON CONFLICT (username) DO UPDATE SET identity = excluded.identity")
          .BindText(username)
          .BindBlob(identity.Serialize())
          .Run();
    }
    if ((*contact)->identity == identity.Serialize()) return absl::OkStatus();
    pinned = Pinned::kChanged;
    (*contact)->offered_identity = identity.Serialize();
    return contacts.SaveContact(**contact);
  });
  if (!status.ok()) return status;
  return pinned;
}

absl::StatusOr<std::vector<std::string>> PeerStore::UncheckedCallers() {
  std::vector<std::string> usernames;
  const absl::Status status = database_.Read([&](SqliteDatabase& database) {
    SqliteStatement select = database.Prepare(
        "SELECT p.username FROM peer_callers p JOIN contacts c ON c.username = p.username "
        "AND c.identity = p.identity WHERE c.verified = 0 ORDER BY p.username");
    return Collect(select, ReadFirst, &usernames);
  });
  if (!status.ok()) return status;
  return usernames;
}

absl::Status PeerStore::SetAddress(absl::string_view username, absl::string_view address,
                                   bool plain_tcp) {
  return database_.Transact([&](SqliteDatabase& database) {
    return database
        .Prepare(
            "INSERT INTO peer_addresses (username, address, plain_tcp) VALUES (?, ?, ?) "
            "ON CONFLICT (username) DO UPDATE SET address = excluded.address, "
            "plain_tcp = excluded.plain_tcp")
        .BindText(username)
        .BindText(address)
        .BindInt64(plain_tcp ? 1 : 0)
        .Run();
  });
}

absl::StatusOr<bool> PeerStore::SaveText(const PeerTextRecord& text) {
  bool saved = false;
  const absl::Status status = database_.Transact([&](SqliteDatabase& database) -> absl::Status {
    const absl::Status inserted =
        database
            .Prepare(
                "INSERT INTO peer_texts (username, fingerprint, message_id, outgoing, "
                "delivered, text, at_ms) VALUES (?, ?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (fingerprint, outgoing, message_id) DO NOTHING")
            .BindText(text.username)
            .BindBlob(text.fingerprint)
            .BindBlob(text.message_id)
            .BindInt64(text.outgoing ? 1 : 0)
            .BindInt64(text.delivered ? 1 : 0)
            .BindText(text.text)
            .BindInt64(text.at_ms)
            .Run();
    if (!inserted.ok()) return inserted;
    saved = database.changes() > 0;
    return database
        .Prepare(
            "DELETE FROM peer_texts WHERE fingerprint = ? AND number <= "
            "(SELECT number FROM peer_texts WHERE fingerprint = ? "
            "ORDER BY number DESC LIMIT 1 OFFSET ?)")
        .BindBlob(text.fingerprint)
        .BindBlob(text.fingerprint)
        .BindInt64(kMaxKept)
        .Run();
  });
  if (!status.ok()) return status;
  return saved;
}

absl::Status PeerStore::MarkDelivered(absl::string_view fingerprint, absl::string_view message_id) {
  return database_.Transact([&](SqliteDatabase& database) {
    return database
        .Prepare(
            "UPDATE peer_texts SET delivered = 1 WHERE fingerprint = ? AND outgoing = 1 AND "
            "message_id = ?")
        .BindBlob(fingerprint)
        .BindBlob(message_id)
        .Run();
  });
}

absl::StatusOr<std::vector<PeerTextRecord>> PeerStore::Texts(const PeerFilter& filter) {
  std::vector<PeerTextRecord> texts;
  const absl::Status status = database_.Read([&](SqliteDatabase& database) {
    SqliteStatement select = database.Prepare(
        "SELECT * FROM (SELECT number, username, fingerprint, message_id, outgoing, delivered, "
        "text, "
        "at_ms FROM peer_texts WHERE number < ? AND at_ms >= ? AND (? = '' OR username = ?) "
        "ORDER BY number DESC LIMIT ?) ORDER BY number");
    select.BindInt64(filter.before_number)
        .BindInt64(filter.since_ms)
        .BindText(filter.username)
        .BindText(filter.username)
        .BindInt64(filter.limit);
    return Collect(select, ReadText, &texts);
  });
  if (!status.ok()) return status;
  return texts;
}

absl::Status PeerStore::SaveFile(const PeerFileRecord& file) {
  return database_.Transact([&](SqliteDatabase& database) -> absl::Status {
    const absl::Status inserted =
        database
            .Prepare(
                "INSERT INTO peer_files (username, fingerprint, name, path, size_bytes, "
                "sha256, signature, at_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?)")
            .BindText(file.username)
            .BindBlob(file.fingerprint)
            .BindText(file.name)
            .BindText(file.path)
            .BindInt64(static_cast<int64_t>(file.size_bytes))
            .BindBlob(file.sha256)
            .BindBlob(file.signature)
            .BindInt64(file.at_ms)
            .Run();
    if (!inserted.ok()) return inserted;
    return database
        .Prepare(
            "DELETE FROM peer_files WHERE fingerprint = ? AND number <= "
            "(SELECT number FROM peer_files WHERE fingerprint = ? "
            "ORDER BY number DESC LIMIT 1 OFFSET ?)")
        .BindBlob(file.fingerprint)
        .BindBlob(file.fingerprint)
        .BindInt64(kMaxKept)
        .Run();
  });
}

absl::StatusOr<absl::optional<PeerFileRecord>> PeerStore::FindFile(absl::string_view fingerprint,
                                                                   absl::string_view sha256) {
  std::vector<PeerFileRecord> found;
  const absl::Status status = database_.Read([&](SqliteDatabase& database) {
    SqliteStatement select = database.Prepare(
        "SELECT username, fingerprint, name, path, size_bytes, sha256, signature, at_ms "
        "FROM peer_files WHERE fingerprint = ? AND sha256 = ? ORDER BY number DESC LIMIT 1");
    select.BindBlob(fingerprint).BindBlob(sha256);
    return Collect(select, ReadFileRow, &found);
  });
  if (!status.ok()) return status;
  if (found.empty()) return absl::optional<PeerFileRecord>();
  return absl::optional<PeerFileRecord>(std::move(found.front()));
}

absl::StatusOr<std::vector<std::string>> PeerStore::FilePaths(absl::string_view fingerprint) {
  std::vector<std::string> paths;
  const absl::Status status = database_.Read([&](SqliteDatabase& database) {
    SqliteStatement select =
        database.Prepare("SELECT DISTINCT path FROM peer_files WHERE fingerprint = ?");
    select.BindBlob(fingerprint);
    return Collect(select, ReadFirst, &paths);
  });
  if (!status.ok()) return status;
  return paths;
}

absl::StatusOr<std::vector<PeerFileRecord>> PeerStore::Files(const PeerFilter& filter) {
  std::vector<PeerFileRecord> files;
  const absl::Status status = database_.Read([&](SqliteDatabase& database) {
    SqliteStatement select = database.Prepare(
        "SELECT username, fingerprint, name, path, size_bytes, sha256, signature, at_ms FROM "
        "(SELECT * FROM peer_files WHERE at_ms >= ? AND (? = '' OR username = ?) "
        "ORDER BY number DESC LIMIT ?) ORDER BY number");
    select.BindInt64(filter.since_ms)
        .BindText(filter.username)
        .BindText(filter.username)
        .BindInt64(filter.limit);
    return Collect(select, ReadFileRow, &files);
  });
  if (!status.ok()) return status;
  return files;
}

}  // namespace blindcart::agent
