#include "services/storage/sqlite_schema.h"

namespace blindcart::storage {
namespace {

// Sizes of text are counted in bytes (the cast), and total - price cannot overflow where price +
// charge could: SQLite would turn that sum into a float.
constexpr char kFirst[] = R"sql(
CREATE TABLE accounts (
  id INTEGER PRIMARY KEY,
  number TEXT NOT NULL UNIQUE CHECK (length(CAST(number AS BLOB)) BETWEEN 1 AND 256),
  kind TEXT NOT NULL CHECK (kind IN ('customer', 'merchant', 'broker', 'external')),
  currency TEXT NOT NULL CHECK (currency GLOB '[A-Z][A-Z][A-Z]'),
  balance_minor INTEGER NOT NULL CHECK (kind = 'external' OR balance_minor >= 0),
  pin_record BLOB NOT NULL CHECK (length(pin_record) <= 65536),
  pin_failures INTEGER NOT NULL CHECK (pin_failures >= 0),
  pin_blocked_until_ms INTEGER NOT NULL CHECK (pin_blocked_until_ms >= 0)
) STRICT;
CREATE UNIQUE INDEX accounts_one_system_account ON accounts (kind, currency)
  WHERE kind IN ('broker', 'external');
CREATE TRIGGER accounts_start_empty BEFORE INSERT ON accounts WHEN NEW.balance_minor <> 0
  BEGIN SELECT RAISE(ABORT, 'an account starts empty'); END;
CREATE TRIGGER accounts_fixed BEFORE UPDATE OF id, number, kind, currency ON accounts
  BEGIN SELECT RAISE(ABORT, 'an account cannot be renamed'); END;
CREATE TRIGGER accounts_kept BEFORE DELETE ON accounts
  BEGIN SELECT RAISE(ABORT, 'an account cannot be deleted'); END;

CREATE TABLE customers (
  id INTEGER PRIMARY KEY,
  username TEXT NOT NULL UNIQUE CHECK (length(CAST(username AS BLOB)) BETWEEN 1 AND 256),
  identity BLOB NOT NULL CHECK (length(identity) BETWEEN 1 AND 65536),
  fingerprint BLOB NOT NULL UNIQUE CHECK (length(fingerprint) = 32),
  password_record BLOB NOT NULL CHECK (length(password_record) BETWEEN 1 AND 65536),
  account_id INTEGER NOT NULL UNIQUE REFERENCES accounts (id),
  login_failures INTEGER NOT NULL CHECK (login_failures >= 0),
  login_blocked_until_ms INTEGER NOT NULL CHECK (login_blocked_until_ms >= 0),
  created_at_ms INTEGER NOT NULL CHECK (created_at_ms >= 0)
) STRICT;
CREATE TRIGGER customers_account_kind BEFORE INSERT ON customers
  WHEN (SELECT kind FROM accounts WHERE id = NEW.account_id) IS NOT 'customer'
  BEGIN SELECT RAISE(ABORT, 'a customer needs a customer account'); END;

CREATE TABLE merchants (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE CHECK (length(CAST(name AS BLOB)) BETWEEN 1 AND 256),
  identity BLOB NOT NULL CHECK (length(identity) BETWEEN 1 AND 65536),
  fingerprint BLOB NOT NULL UNIQUE CHECK (length(fingerprint) = 32),
  account_id INTEGER NOT NULL UNIQUE REFERENCES accounts (id)
) STRICT;
CREATE TRIGGER merchants_account_kind BEFORE INSERT ON merchants
  WHEN (SELECT kind FROM accounts WHERE id = NEW.account_id) IS NOT 'merchant'
  BEGIN SELECT RAISE(ABORT, 'a merchant needs a merchant account'); END;

CREATE TABLE orders (
  order_id BLOB NOT NULL PRIMARY KEY CHECK (length(order_id) = 16),
  merchant_id INTEGER NOT NULL REFERENCES merchants (id),
  customer_id INTEGER NOT NULL REFERENCES customers (id),
  sid BLOB NOT NULL CHECK (length(sid) = 16),
  price_minor INTEGER NOT NULL CHECK (price_minor > 0),
  charge_minor INTEGER NOT NULL CHECK (charge_minor >= 0),
  total_minor INTEGER NOT NULL CHECK (total_minor > 0 AND total_minor - price_minor = charge_minor),
  currency TEXT NOT NULL CHECK (currency GLOB '[A-Z][A-Z][A-Z]'),
  commitment BLOB NOT NULL CHECK (length(commitment) = 32),
  merchant_signature BLOB NOT NULL CHECK (length(merchant_signature) BETWEEN 1 AND 65536),
  created_at_ms INTEGER NOT NULL CHECK (created_at_ms >= 0),
  expires_at_ms INTEGER NOT NULL CHECK (expires_at_ms >= 0),
  status TEXT NOT NULL
    CHECK (status IN ('created', 'declined', 'expired', 'paid', 'delivered', 'refunded')),
  paid_at_ms INTEGER CHECK (paid_at_ms >= 0),
  transfer_id BLOB REFERENCES transfers (transfer_id) CHECK (length(transfer_id) = 16),
  receipt BLOB CHECK (length(receipt) BETWEEN 1 AND 1048576),
  CHECK ((status IN ('paid', 'delivered', 'refunded')) = (transfer_id IS NOT NULL)),
  CHECK ((transfer_id IS NULL) = (paid_at_ms IS NULL)),
  CHECK ((transfer_id IS NULL) = (receipt IS NULL))
) STRICT;
CREATE INDEX orders_expirable ON orders (expires_at_ms) WHERE status = 'created';
CREATE TRIGGER orders_start_created BEFORE INSERT ON orders WHEN NEW.status <> 'created'
  BEGIN SELECT RAISE(ABORT, 'an order starts as created'); END;
CREATE TRIGGER orders_fixed BEFORE UPDATE OF order_id, merchant_id, customer_id, sid, price_minor,
    charge_minor, total_minor, currency, commitment, merchant_signature, created_at_ms, expires_at_ms
  ON orders
  BEGIN SELECT RAISE(ABORT, 'an order cannot be changed'); END;
CREATE TRIGGER orders_paid_once BEFORE UPDATE OF paid_at_ms, transfer_id, receipt ON orders
  WHEN OLD.transfer_id IS NOT NULL
  BEGIN SELECT RAISE(ABORT, 'an order is paid once'); END;
CREATE TRIGGER orders_steps BEFORE UPDATE OF status ON orders
  WHEN NOT (OLD.status = 'created' AND NEW.status IN ('declined', 'expired', 'paid')
            OR OLD.status = 'paid' AND NEW.status IN ('delivered', 'refunded')
            OR OLD.status = 'delivered' AND NEW.status = 'refunded')
  BEGIN SELECT RAISE(ABORT, 'an order does not take this step'); END;
CREATE TRIGGER orders_kept BEFORE DELETE ON orders
  BEGIN SELECT RAISE(ABORT, 'an order cannot be deleted'); END;

CREATE TABLE transfers (
  transfer_id BLOB NOT NULL PRIMARY KEY CHECK (length(transfer_id) = 16),
  kind TEXT NOT NULL CHECK (kind IN ('payment', 'deposit', 'withdrawal', 'refund')),
  order_id BLOB REFERENCES orders (order_id),
  created_at_ms INTEGER NOT NULL CHECK (created_at_ms >= 0),
  CHECK ((order_id IS NOT NULL) = (kind IN ('payment', 'refund')))
) STRICT;
CREATE UNIQUE INDEX transfers_one_of_a_kind_per_order ON transfers (order_id, kind)
  WHERE order_id IS NOT NULL;
CREATE TRIGGER transfers_fixed BEFORE UPDATE ON transfers
  BEGIN SELECT RAISE(ABORT, 'a transfer cannot be changed'); END;
CREATE TRIGGER transfers_kept BEFORE DELETE ON transfers
  BEGIN SELECT RAISE(ABORT, 'a transfer cannot be deleted'); END;

CREATE TABLE entries (
  entry_id INTEGER PRIMARY KEY,
  transfer_id BLOB NOT NULL REFERENCES transfers (transfer_id),
  account_id INTEGER NOT NULL REFERENCES accounts (id),
  amount_minor INTEGER NOT NULL CHECK (amount_minor <> 0),
  UNIQUE (transfer_id, account_id)
) STRICT;
CREATE TRIGGER entries_fixed BEFORE UPDATE ON entries
  BEGIN SELECT RAISE(ABORT, 'an entry cannot be changed'); END;
CREATE TRIGGER entries_kept BEFORE DELETE ON entries
  BEGIN SELECT RAISE(ABORT, 'an entry cannot be deleted'); END;

CREATE TABLE requests (
  customer_id INTEGER NOT NULL REFERENCES customers (id),
  request_id BLOB NOT NULL CHECK (length(request_id) = 16),
  request_digest BLOB NOT NULL CHECK (length(request_digest) = 32),
  answer BLOB NOT NULL CHECK (length(answer) <= 1048576),
  created_at_ms INTEGER NOT NULL CHECK (created_at_ms >= 0),
  PRIMARY KEY (customer_id, request_id)
) STRICT;
CREATE TRIGGER requests_fixed BEFORE UPDATE ON requests
  BEGIN SELECT RAISE(ABORT, 'an answer cannot be changed'); END;

CREATE TABLE notices (
  notice_id INTEGER PRIMARY KEY AUTOINCREMENT,
  merchant_id INTEGER NOT NULL REFERENCES merchants (id),
  payload BLOB NOT NULL CHECK (length(payload) BETWEEN 1 AND 1048576),
  created_at_ms INTEGER NOT NULL CHECK (created_at_ms >= 0)
) STRICT;
CREATE INDEX notices_of_merchant ON notices (merchant_id, notice_id);

CREATE TABLE meta (
  key TEXT NOT NULL PRIMARY KEY CHECK (length(CAST(key AS BLOB)) BETWEEN 1 AND 256),
  value BLOB NOT NULL CHECK (length(value) <= 1048576)
) STRICT, WITHOUT ROWID;
)sql";

constexpr char kMail[] = R"sql(
CREATE TABLE mail_keys (
  customer_id INTEGER PRIMARY KEY REFERENCES customers (id),
  identity_key BLOB NOT NULL CHECK (length(identity_key) = 32),
  identity_key_signature BLOB NOT NULL CHECK (length(identity_key_signature) = 64),
  signed_pre_key_id INTEGER NOT NULL CHECK (signed_pre_key_id BETWEEN 1 AND 4294967295),
  signed_pre_key BLOB NOT NULL CHECK (length(signed_pre_key) = 32),
  signed_pre_key_signature BLOB NOT NULL CHECK (length(signed_pre_key_signature) = 64),
  last_pre_key_id INTEGER NOT NULL CHECK (last_pre_key_id BETWEEN 0 AND 4294967295)
) STRICT;

CREATE TABLE mail_pre_keys (
  customer_id INTEGER NOT NULL REFERENCES mail_keys (customer_id),
  id INTEGER NOT NULL CHECK (id BETWEEN 1 AND 4294967295),
  pre_key BLOB NOT NULL CHECK (length(pre_key) = 32),
  PRIMARY KEY (customer_id, id)
) STRICT;
CREATE TRIGGER mail_pre_keys_fixed BEFORE UPDATE ON mail_pre_keys
  BEGIN SELECT RAISE(ABORT, 'a pre-key cannot be changed'); END;

-- Made with the first message to a customer; the counts are those of the rows in mail.
CREATE TABLE mailboxes (
  customer_id INTEGER PRIMARY KEY REFERENCES customers (id),
  last_mail_number INTEGER NOT NULL CHECK (last_mail_number > 0),
  items INTEGER NOT NULL CHECK (items >= 0),
  bytes INTEGER NOT NULL CHECK (bytes >= 0)
) STRICT;

CREATE TABLE mail (
  recipient_id INTEGER NOT NULL REFERENCES mailboxes (customer_id),
  mail_number INTEGER NOT NULL CHECK (mail_number > 0),
  sender_id INTEGER NOT NULL REFERENCES customers (id),
  message_id BLOB NOT NULL CHECK (length(message_id) = 16),
  sealed BLOB NOT NULL CHECK (length(sealed) BETWEEN 1 AND 1048576),
  stored_at_ms INTEGER NOT NULL CHECK (stored_at_ms >= 0),
  expires_at_ms INTEGER NOT NULL CHECK (expires_at_ms >= 0),
  PRIMARY KEY (recipient_id, mail_number)
) STRICT;
CREATE INDEX mail_expiring ON mail (expires_at_ms);
CREATE TRIGGER mail_fixed BEFORE UPDATE ON mail
  BEGIN SELECT RAISE(ABORT, 'mail cannot be changed'); END;

-- Outlives its mail, so that a sender who did not hear the answer cannot store it twice. Does not say
-- to whom it went.
CREATE TABLE mail_ids (
  sender_id INTEGER NOT NULL REFERENCES customers (id),
  message_id BLOB NOT NULL CHECK (length(message_id) = 16),
  expires_at_ms INTEGER NOT NULL CHECK (expires_at_ms >= 0),
  PRIMARY KEY (sender_id, message_id)
) STRICT;
CREATE INDEX mail_ids_expiring ON mail_ids (expires_at_ms);
)sql";

constexpr char kTokens[] = R"sql(
CREATE TABLE tokens (
  serial INTEGER PRIMARY KEY CHECK (serial > 0),
  hash BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;
CREATE TRIGGER tokens_fixed BEFORE UPDATE ON tokens
  BEGIN SELECT RAISE(ABORT, 'a token cannot be changed'); END;
CREATE TRIGGER tokens_kept BEFORE DELETE ON tokens
  BEGIN SELECT RAISE(ABORT, 'a token cannot be deleted'); END;
)sql";

// For statements: one account's entries in their order.
constexpr char kEntriesOfAccount[] = R"sql(
CREATE INDEX entries_of_account ON entries (account_id, entry_id);
)sql";

constexpr char kCertificates[] = R"sql(
CREATE TABLE certificates (
  certificate_id INTEGER PRIMARY KEY,
  serial BLOB NOT NULL UNIQUE CHECK (length(serial) = 16),
  customer_id INTEGER NOT NULL REFERENCES customers (id),
  kind TEXT NOT NULL CHECK (kind IN ('signing', 'encryption')),
  der BLOB NOT NULL CHECK (length(der) BETWEEN 1 AND 4096),
  issued_at_ms INTEGER NOT NULL CHECK (issued_at_ms >= 0),
  expires_at_ms INTEGER NOT NULL CHECK (expires_at_ms > issued_at_ms)
) STRICT;
CREATE INDEX certificates_of_customer ON certificates (customer_id, expires_at_ms);
CREATE TRIGGER certificates_fixed BEFORE UPDATE ON certificates
  BEGIN SELECT RAISE(ABORT, 'a certificate cannot be changed'); END;
CREATE TRIGGER certificates_kept BEFORE DELETE ON certificates
  BEGIN SELECT RAISE(ABORT, 'a certificate cannot be deleted'); END;

CREATE TABLE revocations (
  revocation_id INTEGER PRIMARY KEY,
  serial BLOB NOT NULL UNIQUE REFERENCES certificates (serial),
  revoked_at_ms INTEGER NOT NULL CHECK (revoked_at_ms > 0)
) STRICT;
CREATE TRIGGER revocations_fixed BEFORE UPDATE ON revocations
  BEGIN SELECT RAISE(ABORT, 'a revocation cannot be changed'); END;
CREATE TRIGGER revocations_kept BEFORE DELETE ON revocations
  BEGIN SELECT RAISE(ABORT, 'a revocation cannot be deleted'); END;

-- One row: the latest.
CREATE TABLE revocation_list (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  number INTEGER NOT NULL CHECK (number > 0),
  last_revocation_id INTEGER NOT NULL CHECK (last_revocation_id >= 0),
  made_at_ms INTEGER NOT NULL CHECK (made_at_ms >= 0),
  next_update_ms INTEGER NOT NULL CHECK (next_update_ms > made_at_ms),
  der BLOB NOT NULL CHECK (length(der) BETWEEN 1 AND 1048576)
) STRICT;
)sql";

// Who gets no new certificates; a customer's latest row counts.
constexpr char kCertificateBlocks[] = R"sql(
CREATE TABLE certificate_blocks (
  decision_id INTEGER PRIMARY KEY,
  customer_id INTEGER NOT NULL REFERENCES customers (id),
  blocked INTEGER NOT NULL CHECK (blocked IN (0, 1)),
  decided_at_ms INTEGER NOT NULL CHECK (decided_at_ms > 0)
) STRICT;
CREATE INDEX certificate_blocks_of_customer ON certificate_blocks (customer_id, decision_id);
CREATE TRIGGER certificate_blocks_fixed BEFORE UPDATE ON certificate_blocks
  BEGIN SELECT RAISE(ABORT, 'a decision cannot be changed'); END;
CREATE TRIGGER certificate_blocks_kept BEFORE DELETE ON certificate_blocks
  BEGIN SELECT RAISE(ABORT, 'a decision cannot be deleted'); END;
)sql";

// For several brokers: a customer is found at whichever of them the link is.
constexpr char kListeners[] = R"sql(
CREATE TABLE listeners (
  customer_id INTEGER PRIMARY KEY REFERENCES customers (id),
  address TEXT NOT NULL CHECK (length(CAST(address AS BLOB)) BETWEEN 1 AND 261),
  broker_run BLOB NOT NULL CHECK (length(broker_run) = 16),
  link_id INTEGER NOT NULL CHECK (link_id > 0),
  expires_at_ms INTEGER NOT NULL CHECK (expires_at_ms >= 0)
) STRICT;
CREATE INDEX listeners_of_link ON listeners (broker_run, link_id);
)sql";

constexpr const char* kMigrations[] = {
    kFirst, kMail, kTokens, kEntriesOfAccount, kCertificates, kCertificateBlocks, kListeners};

}  // namespace

absl::Span<const char* const> BrokerMigrations() { return kMigrations; }

}  // namespace blindcart::storage
