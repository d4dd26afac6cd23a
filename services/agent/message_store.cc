#include "services/agent/message_store.h"

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace blindcart::agent {
namespace {

using crypto::SecretBytes;
using crypto::X25519KeyPair;
using storage::SqliteStatement;

constexpr absl::string_view kSelectMessage =
    "SELECT id, contact, outgoing, message_id, kind, state, body, file_name, length(body), "
    "reply_to, sent_at_ms, stored_at_ms, read, sealed, first_contact, "
    "(SELECT verified FROM contacts WHERE username = contact) FROM messages ";
constexpr absl::string_view kSelectMessageLine =
    "SELECT id, contact, outgoing, message_id, kind, state, "
    "CASE kind WHEN 1 THEN CAST(substr(CAST(body AS TEXT), 1, 500) AS BLOB) WHEN 2 THEN X'' "
    "ELSE body END, file_name, length(body), "
    "reply_to, sent_at_ms, stored_at_ms, read, NULL, first_contact, "
    "(SELECT verified FROM contacts WHERE username = contact) FROM messages ";

SecretBytes ColumnSecret(const SqliteStatement& row, int column) {
  std::string bytes = row.ColumnBlob(column);
  return SecretBytes::TakeFrom(bytes);
}

MessageRecord ReadMessage(const SqliteStatement& row) {
  MessageRecord message;
  message.id = row.ColumnInt64(0);
  message.contact = row.ColumnText(1);
  message.outgoing = row.ColumnInt64(2) != 0;
  message.message_id = row.ColumnBlob(3);
  message.kind = static_cast<MessageKind>(row.ColumnInt64(4));
  message.state = static_cast<MessageState>(row.ColumnInt64(5));
  message.body = row.ColumnBlob(6);
  message.file_name = row.ColumnText(7);
  message.size_bytes = row.ColumnInt64(8);
  message.reply_to = row.ColumnBlob(9);
  message.sent_at_ms = row.ColumnInt64(10);
  message.stored_at_ms = row.ColumnInt64(11);
  message.read = row.ColumnInt64(12) != 0;
  message.first_contact = row.ColumnInt64(14) != 0;
  message.contact_verified = row.ColumnInt64(15) != 0;
  return message;
}

absl::StatusOr<absl::optional<X25519KeyPair>> ReadKey(SqliteStatement select) {
  const absl::StatusOr<bool> row = select.Step();
  if (!row.ok()) return row.status();
  if (!*row) return absl::optional<X25519KeyPair>();
  absl::StatusOr<X25519KeyPair> key = X25519KeyPair::FromPrivate(ColumnSecret(select, 0).view());
  if (!key.ok()) return absl::DataLossError("a key in the agent's database is damaged");
  return absl::optional<X25519KeyPair>(*std::move(key));
}

MessageStore::Contact ReadContact(const SqliteStatement& row) {
  return {row.ColumnText(0), row.ColumnBlob(1),       row.ColumnInt64(2) != 0, row.ColumnInt64(3),
          row.ColumnBlob(4), row.ColumnInt64(5) != 0, !row.ColumnIsNull(6),    row.ColumnInt64(6)};
}

absl::StatusOr<absl::optional<MessageStore::Session>> ReadSession(SqliteStatement select) {
  const absl::StatusOr<bool> row = select.Step();
  if (!row.ok()) return row.status();
  if (!*row) return absl::optional<MessageStore::Session>();
  return absl::optional<MessageStore::Session>(
      MessageStore::Session{select.ColumnBlob(0), select.ColumnText(1), ColumnSecret(select, 2)});
}

absl::StatusOr<absl::optional<MessageRecord>> ReadOneMessage(SqliteStatement select) {
  const absl::StatusOr<bool> row = select.Step();
  if (!row.ok()) return row.status();
  if (!*row) return absl::optional<MessageRecord>();
  return absl::optional<MessageRecord>(ReadMessage(select));
}

}  // namespace

// ---- Own keys

absl::StatusOr<X25519KeyPair> MessageStore::IdentityKey(crypto::RandomSource& random) {
  absl::StatusOr<absl::optional<X25519KeyPair>> kept =
      ReadKey(database_.Prepare("SELECT private_key FROM mail_identity WHERE id = 1"));
  if (!kept.ok()) return kept.status();
  if (kept->has_value()) return **std::move(kept);
  X25519KeyPair key = X25519KeyPair::Generate(random);
  // Ids begin anywhere: after a lost database a message for an old key meets no new one of its id.
  const std::string chance = random.Bytes(sizeof(uint32_t));
  uint32_t first_id = 0;
  std::memcpy(&first_id, chance.data(), sizeof first_id);
  const absl::Status added =
      database_
          .Prepare("INSERT INTO mail_identity (id, private_key, next_pre_key_id) VALUES (1, ?, ?)")
          .BindBlob(key.private_key().view())
          .BindInt64(1 + first_id / 2)
          .Run();
  if (!added.ok()) return added;
  return key;
}

absl::StatusOr<uint32_t> MessageStore::TakePreKeyIds(crypto::RandomSource& random, uint32_t count) {
  const absl::StatusOr<X25519KeyPair> made = IdentityKey(random);
  if (!made.ok()) return made.status();
  int64_t first = 0;
  {
    SqliteStatement select =
        database_.Prepare("SELECT next_pre_key_id FROM mail_identity WHERE id = 1");
    const absl::StatusOr<bool> row = select.Step();
    if (!row.ok()) return row.status();
    first = select.ColumnInt64(0);
  }
  const absl::Status moved =
      database_.Prepare("UPDATE mail_identity SET next_pre_key_id = ? WHERE id = 1")
          .BindInt64(first + count)
          .Run();
  if (!moved.ok()) return moved;
  return static_cast<uint32_t>(first);
}

absl::StatusOr<absl::optional<MessageStore::SignedPreKey>> MessageStore::NewestSignedPreKey() {
  SqliteStatement select = database_.Prepare(
      "SELECT private_key, id, created_at_ms FROM mail_signed_pre_keys ORDER BY id DESC LIMIT 1");
  const absl::StatusOr<bool> row = select.Step();
  if (!row.ok()) return row.status();
  if (!*row) return absl::optional<SignedPreKey>();
  absl::StatusOr<X25519KeyPair> key = X25519KeyPair::FromPrivate(ColumnSecret(select, 0).view());
  if (!key.ok()) return absl::DataLossError("a key in the agent's database is damaged");
  return absl::optional<SignedPreKey>(SignedPreKey{static_cast<uint32_t>(select.ColumnInt64(1)),
                                                   *std::move(key), select.ColumnInt64(2)});
}

absl::StatusOr<absl::optional<X25519KeyPair>> MessageStore::FindSignedPreKey(uint32_t id) {
  SqliteStatement select =
      database_.Prepare("SELECT private_key FROM mail_signed_pre_keys WHERE id = ?");
  select.BindInt64(id);
  return ReadKey(std::move(select));
}

absl::StatusOr<MessageStore::SignedPreKey> MessageStore::AddSignedPreKey(
    crypto::RandomSource& random, int64_t now_ms) {
  const absl::StatusOr<uint32_t> id = TakePreKeyIds(random, 1);
  if (!id.ok()) return id.status();
  SignedPreKey added{*id, X25519KeyPair::Generate(random), now_ms};
  absl::Status status =
      database_
          .Prepare(
              "INSERT INTO mail_signed_pre_keys (id, private_key, created_at_ms) VALUES (?, ?, ?)")
          .BindInt64(added.id)
          .BindBlob(added.key.private_key().view())
          .BindInt64(now_ms)
          .Run();
  if (!status.ok()) return status;
  status = database_
               .Prepare(
                   "DELETE FROM mail_signed_pre_keys WHERE id NOT IN "
                   "(SELECT id FROM mail_signed_pre_keys ORDER BY id DESC LIMIT 2)")
               .Run();
  if (!status.ok()) return status;
  return added;
}

absl::StatusOr<std::vector<MessageStore::OneTimePreKey>> MessageStore::AddOneTimePreKeys(
    crypto::RandomSource& random, size_t count) {
  const absl::StatusOr<uint32_t> first = TakePreKeyIds(random, static_cast<uint32_t>(count));
  if (!first.ok()) return first.status();
  std::vector<OneTimePreKey> added;
  for (size_t i = 0; i < count; ++i) {
    const X25519KeyPair key = X25519KeyPair::Generate(random);
    added.push_back({*first + static_cast<uint32_t>(i), key.public_key()});
    const absl::Status status =
        database_.Prepare("INSERT INTO mail_one_time_pre_keys (id, private_key) VALUES (?, ?)")
            .BindInt64(added.back().id)
            .BindBlob(key.private_key().view())
            .Run();
    if (!status.ok()) return status;
  }
  const absl::Status pruned = database_
                                  .Prepare(
                                      "DELETE FROM mail_one_time_pre_keys WHERE id NOT IN "
                                      "(SELECT id FROM mail_one_time_pre_keys ORDER BY id DESC "
                                      "LIMIT ?)")
                                  .BindInt64(kMaxOneTimePreKeys)
                                  .Run();
  if (!pruned.ok()) return pruned;
  return added;
}

absl::StatusOr<absl::optional<X25519KeyPair>> MessageStore::FindOneTimePreKey(uint32_t id) {
  SqliteStatement select =
      database_.Prepare("SELECT private_key FROM mail_one_time_pre_keys WHERE id = ?");
  select.BindInt64(id);
  return ReadKey(std::move(select));
}

absl::Status MessageStore::DropOneTimePreKey(uint32_t id) {
  return database_.Prepare("DELETE FROM mail_one_time_pre_keys WHERE id = ?").BindInt64(id).Run();
}

// ---- Contacts

absl::StatusOr<absl::optional<MessageStore::Contact>> MessageStore::FindContact(
    absl::string_view username) {
  SqliteStatement select = database_.Prepare(
      "SELECT username, identity, verified, first_seen_ms, offered_identity, by_mail, dropped "
      "FROM contacts "
      "LEFT JOIN mail_blocked ON contact = username WHERE username = ?");
  select.BindText(username);
  const absl::StatusOr<bool> row = select.Step();
  if (!row.ok()) return row.status();
  if (!*row) return absl::optional<Contact>();
  return absl::optional<Contact>(ReadContact(select));
}

absl::StatusOr<std::vector<MessageStore::Contact>> MessageStore::ListContacts() {
  SqliteStatement select = database_.Prepare(
      "SELECT username, identity, verified, first_seen_ms, offered_identity, by_mail, dropped "
      "FROM contacts "
      "LEFT JOIN mail_blocked ON contact = username UNION ALL "
      "SELECT contact, NULL, 0, 0, NULL, 0, dropped FROM mail_blocked "
      "WHERE contact NOT IN (SELECT username FROM contacts) ORDER BY 1");
  std::vector<Contact> contacts;
  for (;;) {
    const absl::StatusOr<bool> row = select.Step();
    if (!row.ok()) return row.status();
    if (!*row) return contacts;
    contacts.push_back(ReadContact(select));
  }
}

absl::Status MessageStore::SaveContact(const Contact& contact) {
  SqliteStatement save = database_.Prepare(
      "INSERT INTO contacts (username, identity, verified, first_seen_ms, by_mail, "
      "offered_identity) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (username) DO UPDATE SET "
      "identity = excluded.identity, verified = excluded.verified, by_mail = excluded.by_mail, "
      "offered_identity = excluded.offered_identity");
  save.BindText(contact.username)
      .BindBlob(contact.identity)
      .BindInt64(contact.verified)
      .BindInt64(contact.first_seen_ms)
      .BindInt64(contact.by_mail);
  if (contact.offered_identity.empty()) {
    save.BindNull();
  } else {
    save.BindBlob(contact.offered_identity);
  }
  return save.Run();
}

// ---- Sessions

absl::StatusOr<absl::optional<MessageStore::Session>> MessageStore::FindSession(
    absl::string_view session_id) {
  SqliteStatement select = database_.Prepare(
      "SELECT session_id, contact, state FROM mail_sessions WHERE session_id = ?");
  select.BindBlob(session_id);
  return ReadSession(std::move(select));
}

absl::StatusOr<absl::optional<MessageStore::Session>> MessageStore::LatestSession(
    absl::string_view contact) {
  SqliteStatement select = database_.Prepare(
      "SELECT session_id, contact, state FROM mail_sessions WHERE contact = ? "
      "ORDER BY last_used DESC LIMIT 1");
  select.BindText(contact);
  return ReadSession(std::move(select));
}

absl::Status MessageStore::SaveSession(const Session& session, bool latest) {
  SqliteStatement save = database_.Prepare(
      "INSERT INTO mail_sessions (session_id, contact, state, last_used) "
      "VALUES (?, ?, ?, (SELECT coalesce(max(last_used), 0) + 1 FROM mail_sessions)) "
      "ON CONFLICT (session_id) DO UPDATE SET state = excluded.state, "
      "last_used = CASE WHEN ? THEN excluded.last_used ELSE mail_sessions.last_used END");
  save.BindBlob(session.session_id)
      .BindText(session.contact)
      .BindBlob(session.state.view())
      .BindInt64(latest);
  const absl::Status saved = save.Run();
  if (!saved.ok()) return saved;
  return database_
      .Prepare(
          "DELETE FROM mail_sessions WHERE contact = ? AND session_id NOT IN "
          "(SELECT session_id FROM mail_sessions WHERE contact = ? ORDER BY last_used DESC LIMIT "
          "?)")
      .BindText(session.contact)
      .BindText(session.contact)
      .BindInt64(kSessionsPerContact)
      .Run();
}

absl::Status MessageStore::DropSessions(absl::string_view contact) {
  return database_.Prepare("DELETE FROM mail_sessions WHERE contact = ?").BindText(contact).Run();
}

// ---- Messages

absl::StatusOr<int64_t> MessageStore::AddMessage(const MessageRecord& message,
                                                 absl::string_view sealed_digest) {
  SqliteStatement add = database_.Prepare(
      "INSERT INTO messages (id, contact, outgoing, message_id, kind, state, body, file_name, "
      "reply_to, sent_at_ms, stored_at_ms, read, first_contact, sealed_digest) VALUES (1 + "
      "max((SELECT last_deleted FROM message_numbers), (SELECT coalesce(max(id), 0) FROM "
      "messages)), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
  add.BindText(message.contact)
      .BindInt64(message.outgoing)
      .BindBlob(message.message_id)
      .BindInt64(static_cast<int64_t>(message.kind))
      .BindInt64(static_cast<int64_t>(message.state))
      .BindBlob(message.body)
      .BindText(message.file_name)
      .BindBlob(message.reply_to)
      .BindInt64(message.sent_at_ms)
      .BindInt64(message.stored_at_ms)
      .BindInt64(message.read)
      .BindInt64(message.first_contact);
  if (sealed_digest.empty()) {
    add.BindNull();
  } else {
    add.BindBlob(sealed_digest);
  }
  const absl::Status added = add.Run();
  if (!added.ok()) return added;
  return database_.last_insert_rowid();
}

absl::StatusOr<bool> MessageStore::Knows(absl::string_view contact, bool outgoing,
                                         absl::string_view message_id) {
  SqliteStatement select = database_.Prepare(
      "SELECT 1 FROM messages WHERE contact = ? AND outgoing = ? AND message_id = ? UNION ALL "
      "SELECT 1 FROM mail_deleted WHERE contact = ? AND 0 = ? AND message_id = ?");
  select.BindText(contact)
      .BindInt64(outgoing)
      .BindBlob(message_id)
      .BindText(contact)
      .BindInt64(outgoing)
      .BindBlob(message_id);
  return select.Step();
}

absl::StatusOr<bool> MessageStore::KnowsSealed(absl::string_view contact,
                                               absl::string_view sealed_digest) {
  SqliteStatement select = database_.Prepare(
      "SELECT 1 FROM messages WHERE contact = ? AND sealed_digest = ? UNION ALL "
      "SELECT 1 FROM mail_deleted WHERE contact = ? AND sealed_digest = ?");
  select.BindText(contact).BindBlob(sealed_digest).BindText(contact).BindBlob(sealed_digest);
  return select.Step();
}

absl::StatusOr<bool> MessageStore::HasTalkedWith(absl::string_view contact) {
  SqliteStatement select = database_.Prepare(
      "SELECT 1 FROM messages WHERE contact = ? AND kind IN (1, 2) UNION ALL "
      "SELECT 1 FROM mail_deleted WHERE contact = ?");
  select.BindText(contact).BindText(contact);
  return select.Step();
}

absl::StatusOr<absl::optional<MessageRecord>> MessageStore::Get(int64_t id) {
  SqliteStatement select = database_.Prepare(absl::StrCat(kSelectMessage, "WHERE id = ?"));
  select.BindInt64(id);
  return ReadOneMessage(std::move(select));
}

absl::StatusOr<std::vector<MessageRecord>> MessageStore::List(const Filter& filter) {
  SqliteStatement select = database_.Prepare(absl::StrCat(
      kSelectMessageLine,
      "WHERE kind != 4 AND (? = '' OR contact = ?) AND (? = 0 OR (read = 0 AND outgoing = 0)) "
      "AND (? = 0 OR outgoing = 0) AND (? = 0 OR id < ?) ORDER BY id DESC LIMIT ?"));
  select.BindText(filter.contact)
      .BindText(filter.contact)
      .BindInt64(filter.unread_only)
      .BindInt64(filter.incoming_only)
      .BindInt64(filter.before_id)
      .BindInt64(filter.before_id)
      .BindInt64(filter.limit);
  std::vector<MessageRecord> messages;
  for (;;) {
    const absl::StatusOr<bool> row = select.Step();
    if (!row.ok()) return row.status();
    if (!*row) return messages;
    messages.push_back(ReadMessage(select));
  }
}

absl::StatusOr<absl::optional<int64_t>> MessageStore::OldestUnread() {
  SqliteStatement select = database_.Prepare(
      "SELECT id FROM messages WHERE read = 0 AND outgoing = 0 AND kind != 4 ORDER BY id LIMIT 1");
  const absl::StatusOr<bool> row = select.Step();
  if (!row.ok()) return row.status();
  return *row ? absl::optional<int64_t>(select.ColumnInt64(0)) : absl::nullopt;
}

absl::StatusOr<std::vector<int64_t>> MessageStore::UnreadOf(absl::string_view contact,
                                                            int64_t after_id, int64_t limit) {
  SqliteStatement select = database_.Prepare(
      "SELECT id FROM messages WHERE read = 0 AND outgoing = 0 AND kind != 4 AND contact = ? "
      "AND id > ? ORDER BY id LIMIT ?");
  select.BindText(contact).BindInt64(after_id).BindInt64(limit);
  std::vector<int64_t> ids;
  for (;;) {
    const absl::StatusOr<bool> row = select.Step();
    if (!row.ok()) return row.status();
    if (!*row) return ids;
    ids.push_back(select.ColumnInt64(0));
  }
}

absl::Status MessageStore::MarkRead(int64_t id) {
  return database_.Prepare("UPDATE messages SET read = 1 WHERE id = ?").BindInt64(id).Run();
}

absl::StatusOr<int64_t> MessageStore::Delete(int64_t id) {
  const absl::Status noted =
      database_
          .Prepare(
              "INSERT INTO mail_deleted (contact, message_id, sealed_digest) SELECT contact, "
              "message_id, sealed_digest FROM messages WHERE id = ? AND outgoing = 0 AND kind IN "
              "(1, 2) ON CONFLICT DO NOTHING")
          .BindInt64(id)
          .Run();
  if (!noted.ok()) return noted;
  const absl::Status deleted =
      database_.Prepare("DELETE FROM messages WHERE id = ? AND state != 2 AND kind != 4")
          .BindInt64(id)
          .Run();
  if (!deleted.ok()) return deleted;
  return database_.changes();
}

absl::StatusOr<int64_t> MessageStore::DeleteAll(absl::string_view contact, int64_t before_ms) {
  const auto run = [&](absl::string_view sql) {
    return database_.Prepare(sql).BindText(contact).BindInt64(before_ms).BindInt64(before_ms).Run();
  };
  absl::Status done = run(
      "INSERT INTO mail_deleted (contact, message_id, sealed_digest) SELECT contact, message_id, "
      "sealed_digest FROM messages WHERE contact = ? AND (? = 0 OR stored_at_ms < ?) AND outgoing "
      "= 0 AND kind != 3 "
      "ON CONFLICT DO NOTHING");
  if (!done.ok()) return done;
  done =
      run("DELETE FROM messages WHERE contact = ? AND (? = 0 OR stored_at_ms < ?) AND state != 2 "
          "AND kind = 4");
  if (!done.ok()) return done;
  done =
      run("DELETE FROM messages WHERE contact = ? AND (? = 0 OR stored_at_ms < ?) AND state != 2");
  if (!done.ok()) return done;
  return database_.changes();
}

absl::StatusOr<std::vector<std::string>> MessageStore::ContactsWithQueued() {
  SqliteStatement select =
      database_.Prepare("SELECT DISTINCT contact FROM messages WHERE state = 2 ORDER BY contact");
  std::vector<std::string> contacts;
  for (;;) {
    const absl::StatusOr<bool> row = select.Step();
    if (!row.ok()) return row.status();
    if (!*row) return contacts;
    contacts.push_back(select.ColumnText(0));
  }
}

absl::StatusOr<absl::optional<MessageStore::Queued>> MessageStore::OldestQueued(
    absl::string_view contact) {
  SqliteStatement select = database_.Prepare(
      absl::StrCat(kSelectMessage, "WHERE state = 2 AND contact = ? ORDER BY id LIMIT 1"));
  select.BindText(contact);
  const absl::StatusOr<bool> row = select.Step();
  if (!row.ok()) return row.status();
  if (!*row) return absl::optional<Queued>();
  return absl::optional<Queued>(Queued{ReadMessage(select), select.ColumnBlob(13)});
}

absl::Status MessageStore::SetSealed(int64_t id, absl::string_view sealed) {
  return database_.Prepare("UPDATE messages SET sealed = ? WHERE id = ? AND state = 2")
      .BindBlob(sealed)
      .BindInt64(id)
      .Run();
}

absl::Status MessageStore::ClearSealed(absl::string_view contact) {
  return database_.Prepare("UPDATE messages SET sealed = NULL WHERE contact = ? AND state = 2")
      .BindText(contact)
      .Run();
}

absl::StatusOr<bool> MessageStore::Dequeue(int64_t id, MessageState state) {
  const absl::Status moved =
      database_.Prepare("UPDATE messages SET state = ?, sealed = NULL WHERE id = ? AND state = 2")
          .BindInt64(static_cast<int64_t>(state))
          .BindInt64(id)
          .Run();
  if (!moved.ok()) return moved;
  return database_.changes() > 0;
}

absl::StatusOr<int64_t> MessageStore::MarkUndelivered(absl::string_view contact,
                                                      absl::string_view message_id) {
  int64_t id = 0;
  {
    SqliteStatement select = database_.Prepare(
        "SELECT id FROM messages WHERE contact = ? AND outgoing = 1 AND message_id = ? "
        "AND kind IN (1, 2) AND state IN (2, 3)");
    select.BindText(contact).BindBlob(message_id);
    const absl::StatusOr<bool> row = select.Step();
    if (!row.ok()) return row.status();
    if (!*row) return 0;
    id = select.ColumnInt64(0);
  }
  const absl::Status marked =
      database_.Prepare("UPDATE messages SET state = ?, sealed = NULL WHERE id = ?")
          .BindInt64(static_cast<int64_t>(MessageState::kUndelivered))
          .BindInt64(id)
          .Run();
  if (!marked.ok()) return marked;
  return id;
}

absl::StatusOr<absl::optional<MessageRecord>> MessageStore::OpenUnreadable(
    absl::string_view contact) {
  SqliteStatement select = database_.Prepare(absl::StrCat(
      kSelectMessage, "WHERE state = 2 AND contact = ? AND kind = 4 AND sealed IS NULL LIMIT 1"));
  select.BindText(contact);
  return ReadOneMessage(std::move(select));
}

absl::Status MessageStore::SetBody(int64_t id, absl::string_view body) {
  return database_.Prepare("UPDATE messages SET body = ? WHERE id = ?")
      .BindBlob(body)
      .BindInt64(id)
      .Run();
}

absl::StatusOr<bool> MessageStore::RenewNotice(int64_t id, absl::string_view body) {
  const absl::Status renewed =
      database_.Prepare("UPDATE messages SET body = ?, read = 0 WHERE id = ? AND kind = 3")
          .BindBlob(body)
          .BindInt64(id)
          .Run();
  if (!renewed.ok()) return renewed;
  return database_.changes() > 0;
}

absl::StatusOr<int64_t> MessageStore::CountNotices(absl::string_view contact, int64_t since_ms) {
  SqliteStatement select = database_.Prepare(
      "SELECT count(*) FROM messages WHERE contact = ? AND kind = 3 AND stored_at_ms >= ?");
  select.BindText(contact).BindInt64(since_ms);
  const absl::StatusOr<bool> row = select.Step();
  if (!row.ok()) return row.status();
  return select.ColumnInt64(0);
}

}  // namespace blindcart::agent
