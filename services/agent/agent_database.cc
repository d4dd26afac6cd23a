#include "services/agent/agent_database.h"

#include <algorithm>
#include <utility>

namespace blindcart::agent {
namespace {

// Released migrations never change; new ones are added at the end.
constexpr const char* kMigrations[] = {
    R"sql(
CREATE TABLE broker (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  fingerprint BLOB NOT NULL CHECK (length(fingerprint) = 32)
) STRICT;

-- Public identities by fingerprint. Kept also when a shop changes its key: earlier purchases are
-- verified and fetched with the key they were bought under.
CREATE TABLE identities (
  fingerprint BLOB PRIMARY KEY CHECK (length(fingerprint) = 32),
  identity BLOB NOT NULL CHECK (length(identity) BETWEEN 1 AND 640)
) STRICT;

CREATE TABLE shops (
  name TEXT PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 64),
  fingerprint BLOB NOT NULL CHECK (length(fingerprint) = 32),
  pinned_on_first_use INTEGER NOT NULL CHECK (pinned_on_first_use IN (0, 1)),
  catalogue_version INTEGER NOT NULL DEFAULT 0 CHECK (catalogue_version >= 0)
) STRICT;

CREATE TABLE products (
  shop TEXT NOT NULL REFERENCES shops (name) ON DELETE CASCADE,
  product_id BLOB NOT NULL CHECK (length(product_id) = 16),
  entry BLOB NOT NULL,
  picture BLOB,
  PRIMARY KEY (shop, product_id)
) STRICT;
CREATE INDEX products_by_id ON products (product_id);

-- A row is written before its request is sent; order_id and what follows arrive with the answer.
CREATE TABLE purchases (
  id INTEGER PRIMARY KEY,
  request_id BLOB NOT NULL UNIQUE CHECK (length(request_id) = 16),
  order_key BLOB NOT NULL UNIQUE CHECK (length(order_key) = 32),
  sids BLOB NOT NULL DEFAULT X'' CHECK (length(sids) % 16 = 0 AND length(sids) <= 128),
  shop TEXT NOT NULL,
  shop_fingerprint BLOB NOT NULL REFERENCES identities (fingerprint),
  product_id BLOB NOT NULL CHECK (length(product_id) = 16),
  title TEXT NOT NULL,
  created_at_ms INTEGER NOT NULL,

  order_id BLOB UNIQUE CHECK (length(order_id) = 16),
  terms BLOB,
  salt BLOB CHECK (length(salt) = 32),
  content_hash BLOB CHECK (length(content_hash) = 32),
  price_minor INTEGER CHECK (price_minor > 0),
  charge_minor INTEGER CHECK (charge_minor >= 0),
  total_minor INTEGER CHECK (total_minor >= price_minor),
  size_bytes INTEGER CHECK (size_bytes >= 0),
  format TEXT,
  status INTEGER NOT NULL DEFAULT 0,

  pay_request_id BLOB CHECK (length(pay_request_id) = 16),
  receipt BLOB,
  delivery_signature BLOB CHECK (length(delivery_signature) = 64),
  pieces_done INTEGER NOT NULL DEFAULT 0 CHECK (pieces_done >= 0),
  file_path TEXT NOT NULL DEFAULT '',

  CHECK (order_id IS NULL
         OR (terms IS NOT NULL AND salt IS NOT NULL AND content_hash IS NOT NULL
             AND price_minor IS NOT NULL AND charge_minor IS NOT NULL AND total_minor IS NOT NULL
             AND size_bytes IS NOT NULL AND format IS NOT NULL)),
  CHECK (receipt IS NULL OR order_id IS NOT NULL)
) STRICT;
CREATE INDEX purchases_without_order ON purchases (shop_fingerprint, product_id)
  WHERE order_id IS NULL;
)sql",
    R"sql(
-- Messages between users (services/agent/message_store.h). Ids of pre-keys count on for ever.
CREATE TABLE mail_identity (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  private_key BLOB NOT NULL CHECK (length(private_key) = 32),
  next_pre_key_id INTEGER NOT NULL CHECK (next_pre_key_id BETWEEN 1 AND 4294967295)
) STRICT;

CREATE TABLE mail_signed_pre_keys (
  id INTEGER PRIMARY KEY,
  private_key BLOB NOT NULL CHECK (length(private_key) = 32),
  created_at_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE mail_one_time_pre_keys (
  id INTEGER PRIMARY KEY,
  private_key BLOB NOT NULL CHECK (length(private_key) = 32)
) STRICT;

-- The pinned identity, and the one that showed up in its place and waits for a decision.
CREATE TABLE contacts (
  username TEXT PRIMARY KEY CHECK (length(username) BETWEEN 1 AND 64),
  identity BLOB NOT NULL CHECK (length(identity) BETWEEN 1 AND 640),
  verified INTEGER NOT NULL CHECK (verified IN (0, 1)),
  first_seen_ms INTEGER NOT NULL,
  offered_identity BLOB CHECK (length(offered_identity) BETWEEN 1 AND 640)
) STRICT;

CREATE TABLE mail_sessions (
  session_id BLOB PRIMARY KEY CHECK (length(session_id) = 16),
  contact TEXT NOT NULL REFERENCES contacts (username),
  state BLOB NOT NULL,
  last_used INTEGER NOT NULL UNIQUE
) STRICT;
CREATE INDEX mail_sessions_by_contact ON mail_sessions (contact, last_used);

-- Kinds and states: services/agent/message_types.h.
CREATE TABLE messages (
  id INTEGER PRIMARY KEY,
  contact TEXT NOT NULL CHECK (length(contact) BETWEEN 1 AND 64),
  outgoing INTEGER NOT NULL CHECK (outgoing IN (0, 1)),
  message_id BLOB NOT NULL CHECK (length(message_id) = 16),
  kind INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 4),
  state INTEGER NOT NULL CHECK (state BETWEEN 1 AND 7),
  body BLOB NOT NULL CHECK (length(body) <= 262144),
  file_name TEXT NOT NULL,
  reply_to BLOB NOT NULL CHECK (length(reply_to) IN (0, 16)),
  sent_at_ms INTEGER NOT NULL,
  stored_at_ms INTEGER NOT NULL,
  read INTEGER NOT NULL CHECK (read IN (0, 1)),
  sealed BLOB,
  UNIQUE (contact, outgoing, message_id),
  CHECK ((state = 1) = (outgoing = 0)),
  CHECK (sealed IS NULL OR state = 2)
) STRICT;
CREATE INDEX messages_queued ON messages (contact, id) WHERE state = 2;
CREATE INDEX messages_unread ON messages (id) WHERE read = 0 AND outgoing = 0;
CREATE INDEX messages_notices ON messages (contact, stored_at_ms) WHERE kind = 3;
)sql",
    R"sql(
-- One row: the broker's authority, this customer's certificates, the latest revocation list; all DER.
CREATE TABLE certificates (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  authority BLOB NOT NULL CHECK (length(authority) BETWEEN 1 AND 4096),
  signing BLOB CHECK (length(signing) BETWEEN 1 AND 4096),
  encryption BLOB CHECK (length(encryption) BETWEEN 1 AND 4096),
  revocation_list BLOB CHECK (length(revocation_list) BETWEEN 1 AND 983040),
  CHECK ((signing IS NULL) = (encryption IS NULL))
) STRICT;
)sql",
    // Direct sessions (peer_store.h).
    R"sql(
-- Where a user's agent was last reached.
CREATE TABLE peer_addresses (
  username TEXT PRIMARY KEY CHECK (length(username) BETWEEN 1 AND 64),
  address TEXT NOT NULL CHECK (length(address) BETWEEN 1 AND 300),
  plain_tcp INTEGER NOT NULL CHECK (plain_tcp IN (0, 1))
) STRICT;

CREATE TABLE peer_texts (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  username TEXT NOT NULL,
  fingerprint BLOB NOT NULL CHECK (length(fingerprint) = 32),
  message_id BLOB NOT NULL CHECK (length(message_id) = 16),
  outgoing INTEGER NOT NULL CHECK (outgoing IN (0, 1)),
  delivered INTEGER NOT NULL CHECK (delivered IN (0, 1)),
  text TEXT NOT NULL,
  at_ms INTEGER NOT NULL,
  UNIQUE (fingerprint, outgoing, message_id)
) STRICT;
CREATE INDEX peer_texts_by_user ON peer_texts (fingerprint, number);

CREATE TABLE peer_files (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  username TEXT NOT NULL,
  fingerprint BLOB NOT NULL CHECK (length(fingerprint) = 32),
  name TEXT NOT NULL,
  path TEXT NOT NULL,
  size_bytes INTEGER NOT NULL CHECK (size_bytes >= 0),
  sha256 BLOB NOT NULL CHECK (length(sha256) = 32),
  signature BLOB NOT NULL CHECK (length(signature) = 64),
  at_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX peer_files_by_content ON peer_files (fingerprint, sha256);
)sql",
    R"sql(
-- Deposits and withdrawals without an answer yet (services/agent/cash_store.h).
CREATE TABLE cash_requests (
  deposit INTEGER NOT NULL CHECK (deposit IN (0, 1)),
  amount_minor INTEGER NOT NULL CHECK (amount_minor > 0),
  request_id BLOB NOT NULL UNIQUE CHECK (length(request_id) = 16),
  begun_at_ms INTEGER NOT NULL,
  PRIMARY KEY (deposit, amount_minor)
) STRICT;
)sql",
    R"sql(
-- Mail that is held back or only counted (services/agent/mail_guard.h).
CREATE TABLE mail_dropped (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  contact TEXT NOT NULL CHECK (length(contact) BETWEEN 1 AND 64),
  message_id BLOB NOT NULL CHECK (length(message_id) = 16),
  UNIQUE (contact, message_id)
) STRICT;

CREATE TABLE mail_held (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  contact TEXT NOT NULL CHECK (length(contact) BETWEEN 1 AND 64),
  message_id BLOB NOT NULL CHECK (length(message_id) = 16),
  UNIQUE (contact, message_id)
) STRICT;

CREATE TABLE mail_rejected (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  contact TEXT NOT NULL CHECK (length(contact) BETWEEN 1 AND 64),
  fingerprint BLOB NOT NULL CHECK (length(fingerprint) = 32),
  identity BLOB NOT NULL CHECK (length(identity) BETWEEN 1 AND 640),
  UNIQUE (contact, fingerprint)
) STRICT;

CREATE TABLE mail_counted_notices (
  contact TEXT NOT NULL CHECK (length(contact) BETWEEN 1 AND 64),
  topic INTEGER NOT NULL,
  message INTEGER NOT NULL,
  count INTEGER NOT NULL CHECK (count > 0),
  begun_at_ms INTEGER NOT NULL,
  PRIMARY KEY (contact, topic)
) STRICT;
)sql",
    R"sql(
-- When a contact was last told of what could not be read (services/agent/mail_guard.h).
CREATE TABLE mail_answered (
  contact TEXT NOT NULL CHECK (length(contact) BETWEEN 1 AND 64),
  session_id BLOB NOT NULL CHECK (length(session_id) IN (0, 16)),
  answered_at_ms INTEGER NOT NULL,
  PRIMARY KEY (contact, session_id)
) STRICT;
)sql",
    R"sql(
-- Senders whose mail is dropped unseen, and how much of it.
CREATE TABLE mail_blocked (
  contact TEXT PRIMARY KEY CHECK (length(contact) BETWEEN 1 AND 64),
  dropped INTEGER NOT NULL CHECK (dropped >= 0)
) STRICT;

-- Received messages that the user has deleted: they are not taken in again.
CREATE TABLE mail_deleted (
  contact TEXT NOT NULL CHECK (length(contact) BETWEEN 1 AND 64),
  message_id BLOB NOT NULL CHECK (length(message_id) = 16),
  PRIMARY KEY (contact, message_id)
) STRICT;

-- The highest number of a message that was deleted: numbers are given once.
CREATE TABLE message_numbers (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  last_deleted INTEGER NOT NULL
) STRICT;
INSERT INTO message_numbers (id, last_deleted) VALUES (1, 0);

-- What is kept of what each contact sent; notices are none of it.
CREATE TABLE mail_use (
  contact TEXT PRIMARY KEY CHECK (length(contact) BETWEEN 1 AND 64),
  items INTEGER NOT NULL CHECK (items >= 0),
  bytes INTEGER NOT NULL CHECK (bytes >= 0)
) STRICT;
INSERT INTO mail_use (contact, items, bytes)
  SELECT contact, count(*), sum(length(body)) FROM messages
  WHERE outgoing = 0 AND kind != 3 GROUP BY contact;

CREATE TRIGGER messages_added AFTER INSERT ON messages
WHEN NEW.outgoing = 0 AND NEW.kind != 3
BEGIN
  INSERT INTO mail_use (contact, items, bytes) VALUES (NEW.contact, 1, length(NEW.body))
    ON CONFLICT (contact) DO UPDATE SET items = items + 1, bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER messages_deleted AFTER DELETE ON messages
BEGIN
  UPDATE message_numbers SET last_deleted = max(last_deleted, OLD.id);
  UPDATE mail_use SET items = items - 1, bytes = bytes - length(OLD.body)
    WHERE contact = OLD.contact AND OLD.outgoing = 0 AND OLD.kind != 3;
END;
)sql",
    R"sql(
-- Whose identity was pinned because mail of theirs came, and which message it came with.
ALTER TABLE contacts ADD COLUMN by_mail INTEGER NOT NULL DEFAULT 0 CHECK (by_mail IN (0, 1));
ALTER TABLE messages ADD COLUMN first_contact INTEGER NOT NULL DEFAULT 0
  CHECK (first_contact IN (0, 1));
)sql",
    R"sql(
-- SHA-256 of what a message came in: the same under another id is known, though it opens no more.
ALTER TABLE messages ADD COLUMN sealed_digest BLOB CHECK (length(sealed_digest) = 32);
ALTER TABLE mail_deleted ADD COLUMN sealed_digest BLOB CHECK (length(sealed_digest) = 32);
CREATE INDEX messages_by_digest ON messages (contact, sealed_digest)
  WHERE sealed_digest IS NOT NULL;
CREATE INDEX mail_deleted_by_digest ON mail_deleted (contact, sealed_digest)
  WHERE sealed_digest IS NOT NULL;
)sql",
    R"sql(
-- Identities that were pinned because their users called directly (services/agent/peer_store.h).
CREATE TABLE peer_callers (
  username TEXT PRIMARY KEY CHECK (length(username) BETWEEN 1 AND 64),
  identity BLOB NOT NULL CHECK (length(identity) BETWEEN 1 AND 640)
) STRICT;
)sql",
};

}  // namespace

absl::StatusOr<std::unique_ptr<AgentDatabase>> AgentDatabase::Open(const std::string& path) {
  absl::StatusOr<std::unique_ptr<storage::SqliteDatabase>> database =
      storage::SqliteDatabase::Open(path, storage::SqliteOptions());
  if (!database.ok()) return database.status();
  absl::Status status = (*database)->Migrate(kMigrations);
  if (!status.ok()) return status;
  // What is deleted is overwritten: keys that are used up must not rest in free pages.
  status = (*database)->Execute("PRAGMA secure_delete = ON");
  if (!status.ok()) return status;
  return std::unique_ptr<AgentDatabase>(new AgentDatabase(*std::move(database)));
}

absl::Status AgentDatabase::PinBroker(absl::string_view fingerprint,
                                      const std::vector<std::string>& former) {
  return Transact([&](storage::SqliteDatabase& database) -> absl::Status {
    {
      storage::SqliteStatement select =
          database.Prepare("SELECT fingerprint FROM broker WHERE id = 1");
      absl::StatusOr<bool> row = select.Step();
      if (!row.ok()) return row.status();
      if (*row) {
        const std::string kept = select.ColumnBlob(0);
        if (kept == fingerprint) return absl::OkStatus();
        if (std::find(former.begin(), former.end(), kept) == former.end()) {
          return absl::FailedPreconditionError(
              "the broker's card shows another key than the one that this agent pinned. If the "
              "broker really has a new key, ask its operator for the new card, which tells how it "
              "followed from the old one; without that, make a new agent with `agent init`");
        }
      }
    }
    return database.Prepare("INSERT OR REPLACE INTO broker (id, fingerprint) VALUES (1, ?)")
        .BindBlob(fingerprint)
        .Run();
  });
}

absl::Status AgentDatabase::Transact(
    absl::FunctionRef<absl::Status(storage::SqliteDatabase&)> body) {
  std::lock_guard<std::mutex> lock(mutex_);
  return database_->InTransaction([&] { return body(*database_); });
}

absl::Status AgentDatabase::Scrub() {
  std::lock_guard<std::mutex> lock(mutex_);
  return database_->Execute("PRAGMA wal_checkpoint(TRUNCATE)");
}

absl::Status AgentDatabase::Read(absl::FunctionRef<absl::Status(storage::SqliteDatabase&)> body) {
  std::lock_guard<std::mutex> lock(mutex_);
  return database_->InSnapshot([&] { return body(*database_); });
}

}  // namespace blindcart::agent
