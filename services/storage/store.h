// The broker's durable state behind one small interface (architecture.md, "Storage").
//
// Purpose: everything the broker must remember: accounts, customers, merchants, orders, transfers
// with their entries, answers already given, notices still owed to merchants, mail, and a few settings.
// Sessions are never stored. SQLite implements this interface (sqlite_store.h); every further
// backend has to pass store_contract_test.h.
//
// Units: `*_minor` is int64 minor units of the row's currency, `*_ms` is milliseconds since the
// Unix epoch (0 = never), ids of type int64 are positive and given by the store, ids of type
// std::string are raw bytes of exactly the size named beside them.
//
// Thread safety: a Store may be used from any thread. A Transaction, and the accessors it hands
// out, belong to the callback that received them and must not outlive it.
//
// Isolation: Write and WriteBatch are serialisable. Read sees one committed snapshot. A backend
// may run a callback again after a conflict, so callbacks have no effect outside the transaction
// other than assigning (never appending to) their results.
//
// Errors, for every method here unless it says otherwise; after any but the first three the callback
// has to end with an error, since a backend may have given up the transaction:
//   kNotFound           no such row
//   kAlreadyExists      a unique value is taken
//   kFailedPrecondition a compare-and-set found something else
//   kInvalidArgument    a value breaks a rule of the schema (size, sign, sum, immutability)
//   kPermissionDenied   a write inside Read
//   kUnavailable        the store is busy or cannot be reached now; trying again later makes sense
//   kResourceExhausted  the disk is full
//   kDataLoss           a stored row cannot be what this code has written; or an I/O error
#ifndef SERVICES_STORAGE_STORE_H_
#define SERVICES_STORAGE_STORE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace blindcart::storage {

inline constexpr size_t kOrderIdBytes = 16;
inline constexpr size_t kTransferIdBytes = 16;
inline constexpr size_t kRequestIdBytes = 16;
inline constexpr size_t kSidBytes = 16;
inline constexpr size_t kFingerprintBytes = 32;
inline constexpr size_t kCommitmentBytes = 32;
inline constexpr size_t kRequestDigestBytes = 32;
inline constexpr size_t kMailKeyBytes = 32;
inline constexpr size_t kMailSignatureBytes = 64;
inline constexpr size_t kMessageIdBytes = 16;
inline constexpr size_t kTokenHashBytes = 32;
inline constexpr size_t kBrokerRunBytes = 16;
inline constexpr size_t kMaxListenerAddressBytes = 261;  // a DNS name, a colon and a port

// Upper bounds of what has no fixed size. The store refuses more; callers bound what comes from
// outside long before this.
inline constexpr size_t kMaxNameBytes = 256;  // usernames, merchants' names, account numbers
inline constexpr size_t kMaxRecordBytes =
    64 * 1024;  // identities, signatures, password and PIN records
inline constexpr size_t kMaxPayloadBytes = 1024 * 1024;  // answers, receipts, notices, meta values

// In every enum below kInvalid is never written. Get and Find answer kDataLoss for a stored value
// outside the enum; List, which serves audits, reports it as kInvalid so that the row can be named.
enum class AccountKind { kInvalid, kCustomer, kMerchant, kBroker, kExternal };
enum class OrderStatus { kInvalid, kCreated, kDeclined, kExpired, kPaid, kDelivered, kRefunded };
enum class TransferKind { kInvalid, kPayment, kDeposit, kWithdrawal, kRefund };

absl::string_view AccountKindName(AccountKind kind);
absl::string_view OrderStatusName(OrderStatus status);
absl::string_view TransferKindName(TransferKind kind);

// The inverse; kInvalid for anything else.
AccountKind AccountKindOf(absl::string_view name);
OrderStatus OrderStatusOf(absl::string_view name);
TransferKind TransferKindOf(absl::string_view name);

struct Account {
  int64_t id = 0;
  std::string number;  // what people write; unique
  AccountKind kind = AccountKind::kInvalid;
  std::string currency;  // ISO 4217, three capital letters
  int64_t balance_minor = 0;
  std::string pin_record;  // Argon2id record; empty where nobody pays by PIN
  int64_t pin_failures = 0;
  int64_t pin_blocked_until_ms = 0;
};

struct AccountBalance {
  int64_t id = 0;
  int64_t balance_minor = 0;
};

struct Customer {
  int64_t id = 0;
  std::string username;         // unique
  std::string identity;         // serialised public identity
  std::string fingerprint;      // kFingerprintBytes; unique
  std::string password_record;  // Argon2id record
  int64_t account_id = 0;       // a customer account; unique
  int64_t login_failures = 0;
  int64_t login_blocked_until_ms = 0;
  int64_t created_at_ms = 0;
};

struct Merchant {
  int64_t id = 0;
  std::string name;         // unique
  std::string identity;     // serialised public identity
  std::string fingerprint;  // kFingerprintBytes; unique
  int64_t account_id = 0;   // a merchant account; unique
};

struct Order {
  std::string order_id;  // kOrderIdBytes
  int64_t merchant_id = 0;
  int64_t customer_id = 0;  // the only customer who may pay it
  std::string sid;          // kSidBytes, the shop session it was made in
  int64_t price_minor = 0;  // > 0
  int64_t charge_minor = 0;
  int64_t total_minor = 0;  // price + charge
  std::string currency;
  std::string commitment;  // kCommitmentBytes
  std::string merchant_signature;
  int64_t created_at_ms = 0;
  int64_t expires_at_ms = 0;
  OrderStatus status = OrderStatus::kCreated;
  // The following three are set exactly when the order has been paid.
  int64_t paid_at_ms = 0;
  std::string transfer_id;  // kTransferIdBytes
  std::string receipt;      // serialised signed receipt
};

struct Transfer {
  std::string transfer_id;  // kTransferIdBytes, made by whoever asks for the transfer
  TransferKind kind = TransferKind::kInvalid;
  std::string order_id;  // kOrderIdBytes for payments and refunds, otherwise empty
  int64_t created_at_ms = 0;
};

struct Entry {
  int64_t entry_id = 0;  // given by the store, ascending
  std::string transfer_id;
  int64_t account_id = 0;
  int64_t amount_minor = 0;  // signed, never zero
};

// An entry of one account, and what its transfer says of it.
struct AccountEntry {
  int64_t entry_id = 0;
  std::string transfer_id;
  int64_t amount_minor = 0;
  TransferKind kind = TransferKind::kInvalid;
  std::string order_id;  // as in Transfer
  int64_t created_at_ms = 0;
};

struct RequestAnswer {
  int64_t customer_id = 0;
  std::string request_id;      // kRequestIdBytes, made by the customer's agent
  std::string request_digest;  // kRequestDigestBytes of the request answered
  std::string answer;
  int64_t created_at_ms = 0;
};

struct Notice {
  int64_t notice_id = 0;  // given by the store, ascending, never used twice
  int64_t merchant_id = 0;
  std::string payload;
  int64_t created_at_ms = 0;
};

// Which notice is whose.
struct NoticeKey {
  int64_t notice_id = 0;
  int64_t merchant_id = 0;
};

// What a customer has published so that others can begin to write to them.
struct MailKeys {
  int64_t customer_id = 0;
  std::string identity_key;              // kMailKeyBytes
  std::string identity_key_signature;    // kMailSignatureBytes
  int64_t signed_pre_key_id = 0;         // 1 to 2^32 - 1
  std::string signed_pre_key;            // kMailKeyBytes
  std::string signed_pre_key_signature;  // kMailSignatureBytes
};

struct MailPreKey {
  int64_t id = 0;   // 1 to 2^32 - 1
  std::string key;  // kMailKeyBytes
};

// A message that waits for its recipient.
struct Mail {
  int64_t recipient_id = 0;
  int64_t mail_number = 0;  // given by the store, ascending within a mailbox, never used twice
  int64_t sender_id = 0;
  std::string message_id;  // kMessageIdBytes, made by the sender
  std::string sealed;      // 1 to kMaxPayloadBytes
  int64_t stored_at_ms = 0;
  int64_t expires_at_ms = 0;
};

struct LastMailNumber {
  int64_t customer_id = 0;
  int64_t mail_number = 0;
};

struct MailboxUse {
  int64_t items = 0;
  int64_t bytes = 0;  // of `sealed`
};

// Where a customer's agent waits for direct sessions, for as long as the link stands over which it said
// so.
struct Listener {
  int64_t customer_id = 0;
  std::string address;     // 1 to kMaxListenerAddressBytes
  std::string broker_run;  // kBrokerRunBytes: the run of the broker that has the link
  int64_t link_id = 0;     // that run's
  int64_t expires_at_ms = 0;
};

// A time-stamp token that the notary gave out; not of which document, nor to whom.
struct Token {
  int64_t serial = 0;  // > 0
  std::string hash;    // kTokenHashBytes, of the token
};

enum class CertificateKind { kInvalid, kSigning, kEncryption };
absl::string_view CertificateKindName(CertificateKind kind);
CertificateKind CertificateKindOf(absl::string_view name);

inline constexpr size_t kCertificateSerialBytes = 16;
inline constexpr size_t kMaxCertificateBytes = 4096;

// A customer's certificate as the broker's authority issued it.
struct IssuedCertificate {
  int64_t certificate_id = 0;  // given by the store, ascending
  std::string serial;          // kCertificateSerialBytes; unique
  int64_t customer_id = 0;
  CertificateKind kind = CertificateKind::kInvalid;
  std::string der;
  int64_t issued_at_ms = 0;
  int64_t expires_at_ms = 0;
  int64_t revoked_at_ms = 0;  // out; 0: it is not
};

struct Revocation {
  int64_t revocation_id = 0;  // given by the store, ascending, never used twice
  std::string serial;
  int64_t revoked_at_ms = 0;
};

// The authority's latest revocation list.
struct StoredRevocationList {
  int64_t number = 0;              // > 0, grows with each list
  int64_t last_revocation_id = 0;  // the latest that it knows; 0: none
  int64_t made_at_ms = 0;
  int64_t next_update_ms = 0;
  std::string der;
};

class Accounts {
 public:
  virtual ~Accounts() = default;
  // `id` is ignored and the new one returned. At most one broker and one external account per
  // currency can exist. The balance starts at zero whatever the struct says: money enters an
  // account only by a transfer.
  virtual absl::StatusOr<int64_t> Insert(const Account& account) = 0;
  virtual absl::StatusOr<Account> Get(int64_t id) = 0;
  // In the order of `ids`, which differ and go up; kNotFound when one of them is missing.
  virtual absl::StatusOr<std::vector<Account>> GetAll(absl::Span<const int64_t> ids) = 0;
  virtual absl::StatusOr<Account> FindByNumber(absl::string_view number) = 0;
  // The broker's or the external account of a currency.
  virtual absl::StatusOr<Account> FindSystem(AccountKind kind, absl::string_view currency) = 0;
  // For the ledger alone, beside the entries that justify the changes. The accounts differ.
  virtual absl::Status SetBalances(absl::Span<const AccountBalance> balances) = 0;
  virtual absl::Status SetPinState(int64_t id, int64_t failures, int64_t blocked_until_ms) = 0;
  // In id order, at most `limit` rows with an id above `after_id`.
  virtual absl::StatusOr<std::vector<Account>> List(int64_t after_id, int64_t limit) = 0;
};

class Customers {
 public:
  virtual ~Customers() = default;
  virtual absl::StatusOr<int64_t> Insert(const Customer& customer) = 0;
  virtual absl::StatusOr<Customer> Get(int64_t id) = 0;
  virtual absl::StatusOr<Customer> FindByUsername(absl::string_view username) = 0;
  virtual absl::StatusOr<Customer> FindByFingerprint(absl::string_view fingerprint) = 0;
  virtual absl::Status SetLoginState(int64_t id, int64_t failures, int64_t blocked_until_ms) = 0;
  virtual absl::StatusOr<std::vector<Customer>> List(int64_t after_id, int64_t limit) = 0;
};

class Merchants {
 public:
  virtual ~Merchants() = default;
  virtual absl::StatusOr<int64_t> Insert(const Merchant& merchant) = 0;
  virtual absl::StatusOr<Merchant> Get(int64_t id) = 0;
  virtual absl::StatusOr<Merchant> FindByName(absl::string_view name) = 0;
  virtual absl::StatusOr<Merchant> FindByFingerprint(absl::string_view fingerprint) = 0;
  virtual absl::StatusOr<std::vector<Merchant>> List(int64_t after_id, int64_t limit) = 0;
};

class Orders {
 public:
  virtual ~Orders() = default;
  // Only an order with status kCreated and nothing paid can be inserted.
  virtual absl::Status Insert(const Order& order) = 0;
  virtual absl::StatusOr<Order> Get(absl::string_view order_id) = 0;
  // Compare-and-set: kFailedPrecondition when the status is not `expected`. Allowed steps: created
  // to declined or expired, paid to delivered or refunded, delivered to refunded; any other pair is
  // kInvalidArgument (payment goes through MarkPaid).
  virtual absl::Status UpdateStatus(absl::string_view order_id, OrderStatus expected,
                                    OrderStatus status) = 0;
  // Compare-and-set from kCreated to kPaid; kFailedPrecondition when the order is not kCreated.
  virtual absl::Status MarkPaid(absl::string_view order_id, absl::string_view transfer_id,
                                absl::string_view receipt, int64_t paid_at_ms) = 0;
  // Orders still kCreated whose expiry is at or before `now_ms`, the longest expired first.
  virtual absl::StatusOr<std::vector<std::string>> ListExpirable(int64_t now_ms, int64_t limit) = 0;
  // In order_id order, at most `limit` rows with an order_id above `after_order_id` ("" = all).
  virtual absl::StatusOr<std::vector<Order>> List(absl::string_view after_order_id,
                                                  int64_t limit) = 0;
};

// Transfers and entries are immutable: there is no update and no delete, and the store itself
// refuses both. Use ledger::PostTransfer, which keeps the rules of double entry.
class Transfers {
 public:
  virtual ~Transfers() = default;
  virtual absl::Status Insert(const Transfer& transfer, absl::Span<const Entry> entries) = 0;
  virtual absl::StatusOr<Transfer> Get(absl::string_view transfer_id) = 0;
  // The payment or the refund of an order; an order has at most one of each.
  virtual absl::StatusOr<Transfer> FindByOrder(absl::string_view order_id, TransferKind kind) = 0;
  // The entries of one transfer, in entry_id order; empty for an unknown transfer.
  virtual absl::StatusOr<std::vector<Entry>> ListEntries(absl::string_view transfer_id) = 0;
  // In transfer_id order, at most `limit` rows with a transfer_id above `after_transfer_id`.
  virtual absl::StatusOr<std::vector<Transfer>> List(absl::string_view after_transfer_id,
                                                     int64_t limit) = 0;
  // All entries of all accounts in entry_id order, at most `limit` with an id above the given one.
  virtual absl::StatusOr<std::vector<Entry>> ListAllEntries(int64_t after_entry_id,
                                                            int64_t limit) = 0;
  // One account's entries in entry_id order, at most `limit` with an id above the given one.
  virtual absl::StatusOr<std::vector<AccountEntry>> ListOfAccount(int64_t account_id,
                                                                  int64_t after_entry_id,
                                                                  int64_t limit) = 0;
  // The account's entry of that transfer.
  virtual absl::StatusOr<Entry> FindEntry(int64_t account_id, absl::string_view transfer_id) = 0;
};

class Requests {
 public:
  virtual ~Requests() = default;
  virtual absl::Status Insert(const RequestAnswer& answer) = 0;
  virtual absl::StatusOr<RequestAnswer> Get(int64_t customer_id, absl::string_view request_id) = 0;
};

// The outbox: what a merchant must still be told, kept until the merchant says that it has it.
class Notices {
 public:
  virtual ~Notices() = default;
  virtual absl::StatusOr<int64_t> Append(int64_t merchant_id, absl::string_view payload,
                                         int64_t created_at_ms) = 0;
  // One merchant's notices in notice_id order, at most `limit` with an id above `after_id`.
  virtual absl::StatusOr<std::vector<Notice>> List(int64_t merchant_id, int64_t after_id,
                                                   int64_t limit) = 0;
  // Everybody's in notice_id order, likewise. Ids ascend in the order of commits, so one that was not
  // there yet comes above all that were.
  virtual absl::StatusOr<std::vector<NoticeKey>> ListKeys(int64_t after_id, int64_t limit) = 0;
  // The highest notice_id there is; 0 when there is none.
  virtual absl::StatusOr<int64_t> HighestId() = 0;
  // Deletes the notice. OK when it is gone already (acknowledgements repeat), and when it belongs
  // to another merchant, whose notice stays.
  virtual absl::Status Acknowledge(int64_t merchant_id, int64_t notice_id) = 0;
};

class Mailboxes {
 public:
  virtual ~Mailboxes() = default;
  // Inserts or replaces. With another identity key than before, every one-time pre-key of the old one
  // is gone too, and their ids may be used anew.
  virtual absl::Status SetKeys(const MailKeys& keys) = 0;
  virtual absl::StatusOr<MailKeys> GetKeys(int64_t customer_id) = 0;
  // For a customer who has keys (kNotFound). Ids ascend: kAlreadyExists for an id at or below one
  // that was added before, also when that one has been taken since.
  virtual absl::Status AddPreKey(int64_t customer_id, const MailPreKey& pre_key) = 0;
  // Removes and returns the one with the lowest id; kNotFound when none is left.
  virtual absl::StatusOr<MailPreKey> TakePreKey(int64_t customer_id) = 0;
  virtual absl::StatusOr<int64_t> CountPreKeys(int64_t customer_id) = 0;

  // `mail_number` is ignored and the new one returned. kAlreadyExists when the sender has appended
  // this message_id before, to whomever, and it has not expired: also when it has been removed.
  virtual absl::StatusOr<int64_t> Append(const Mail& mail) = 0;
  // Of one mailbox in mail_number order, at most `limit` with a number above `after_number`.
  virtual absl::StatusOr<std::vector<Mail>> List(int64_t recipient_id, int64_t after_number,
                                                 int64_t limit) = 0;
  // The highest mail_number that each of these customers has ever had, without those who never had any;
  // in no order.
  virtual absl::StatusOr<std::vector<LastMailNumber>> LastNumbers(
      absl::Span<const int64_t> customer_ids) = 0;
  // OK when it is gone already.
  virtual absl::Status Remove(int64_t recipient_id, int64_t mail_number) = 0;
  virtual absl::StatusOr<MailboxUse> Use(int64_t recipient_id) = 0;
  // Removes mail, and forgets message ids, whose expiry is at or before `now_ms`, at most `limit` of
  // each; returns how many of both.
  virtual absl::StatusOr<int64_t> RemoveExpired(int64_t now_ms, int64_t limit) = 0;
};

class Listeners {
 public:
  virtual ~Listeners() = default;
  // Inserts or replaces: a customer has one.
  virtual absl::Status Set(const Listener& listener) = 0;
  virtual absl::StatusOr<Listener> Get(int64_t customer_id) = 0;
  // Those of that broker's links. OK when they are gone already, or are other links' by now, which stay.
  virtual absl::Status Remove(absl::string_view broker_run, absl::Span<const int64_t> link_ids) = 0;
  // All of that broker's.
  virtual absl::Status Prolong(absl::string_view broker_run, int64_t expires_at_ms) = 0;
  // Those whose expiry is at or before `now_ms`.
  virtual absl::Status RemoveExpired(int64_t now_ms) = 0;
};

class Meta {
 public:
  virtual ~Meta() = default;
  virtual absl::StatusOr<std::string> Get(absl::string_view key) = 0;
  virtual absl::Status Set(absl::string_view key, absl::string_view value) = 0;
};

// Immutable: there is no update and no delete, and the store itself refuses both.
class Tokens {
 public:
  virtual ~Tokens() = default;
  virtual absl::Status Insert(const Token& token) = 0;
  virtual absl::StatusOr<Token> Get(int64_t serial) = 0;
  // 0 when there is none.
  virtual absl::StatusOr<int64_t> HighestSerial() = 0;
};

// Certificates, revocations and decisions are immutable: there is no update and no delete.
class Certificates {
 public:
  virtual ~Certificates() = default;
  // `certificate_id` and `revoked_at_ms` are ignored and the new id returned.
  virtual absl::StatusOr<int64_t> Insert(const IssuedCertificate& certificate) = 0;
  // One customer's that expire after `time_ms`, in certificate_id order.
  virtual absl::StatusOr<std::vector<IssuedCertificate>> ListOfCustomer(int64_t customer_id,
                                                                        int64_t time_ms) = 0;
  // All of them in certificate_id order, at most `limit` with an id above `after_id`.
  virtual absl::StatusOr<std::vector<IssuedCertificate>> List(int64_t after_id, int64_t limit) = 0;

  // kNotFound for an unknown serial, kAlreadyExists when it is revoked already.
  virtual absl::Status Revoke(absl::string_view serial, int64_t revoked_at_ms) = 0;
  // Those of certificates that expire after `time_ms`, in revocation_id order, at most `limit` with an
  // id above `after_id`.
  virtual absl::StatusOr<std::vector<Revocation>> ListRevocations(int64_t time_ms, int64_t after_id,
                                                                  int64_t limit) = 0;
  // The highest revocation_id; 0 when nothing was ever revoked.
  virtual absl::StatusOr<int64_t> LastRevocationId() = 0;

  // Whether the customer gets new certificates: as was decided last, kept with all decisions before.
  virtual absl::Status SetBlocked(int64_t customer_id, bool blocked, int64_t decided_at_ms) = 0;
  virtual absl::StatusOr<bool> IsBlocked(int64_t customer_id) = 0;

  virtual absl::StatusOr<StoredRevocationList> GetRevocationList() = 0;
  // Replaces the one that is there; kFailedPrecondition unless the number is above its.
  virtual absl::Status SetRevocationList(const StoredRevocationList& list) = 0;
};

class Transaction {
 public:
  virtual ~Transaction() = default;
  virtual Accounts& accounts() = 0;
  virtual Customers& customers() = 0;
  virtual Merchants& merchants() = 0;
  virtual Orders& orders() = 0;
  virtual Transfers& transfers() = 0;
  virtual Requests& requests() = 0;
  virtual Notices& notices() = 0;
  virtual Mailboxes& mailboxes() = 0;
  virtual Listeners& listeners() = 0;
  virtual Meta& meta() = 0;
  virtual Tokens& tokens() = 0;
  virtual Certificates& certificates() = 0;

  // The two below make work with a store over a network quick; where nothing is gained by them they
  // do nothing.

  // Asks for the answers of all that `reads` reads in one round trip. Whoever reads the same before
  // the next write finds them here. Inside `reads` itself every read answers that there is nothing.
  virtual void ReadAhead(absl::FunctionRef<void(Transaction&)> /*reads*/) {}

  // From here to the end of this unit of work a write may answer that it has succeeded before it has.
  // For work that has read that it will; should one then not, all of the transaction is run
  // once more, with every write answered in its time.
  virtual void DeferWrites() {}
};

// One unit of work inside a batch: all or nothing by itself.
struct WriteJob {
  std::function<absl::Status(Transaction&)> run;
  absl::Status status;  // out, see Store::WriteBatch
};

// The connections to the backend at this moment.
struct StoreConnections {
  int limit = 0;
  int open = 0;
  int in_use = 0;
  int waiting = 0;  // callers, for one
};

class Store {
 public:
  virtual ~Store() = default;

  // Runs `body` over one committed snapshot, without waiting for a writer. Returns its status. Must
  // not be called from inside another callback of the same store.
  virtual absl::Status Read(absl::FunctionRef<absl::Status(Transaction&)> body) = 0;

  // Runs `body` in one serialisable transaction. OK means that it is durable; on any other status,
  // the body's own included, nothing of it has happened. One case needs care: when the medium fails
  // during the commit itself (kUnavailable, kResourceExhausted, kDataLoss) and the machine then
  // crashes, the commit may turn out to have reached the disk. Repeating the same work under the
  // same client-made ids is right in either case.
  virtual absl::Status Write(absl::FunctionRef<absl::Status(Transaction&)> body) = 0;

  // Runs the jobs one after the other in one transaction with one durable commit. A job that fails
  // rolls back alone; the ones after it do not see its changes. On return with OK the commit is
  // durable and each `status` is its own job's. When the commit or the transaction as a whole
  // fails, nothing of any job has happened, the error is returned, and every job's status is that
  // error: also a job's own refusal may rest on an earlier job that did not happen after all.
  virtual absl::Status WriteBatch(absl::Span<WriteJob> jobs) = 0;

  // What the backend itself can say about the health of its files: one line per finding, empty when
  // all is well. Reads everything; for audits.
  virtual absl::StatusOr<std::vector<std::string>> CheckIntegrity() = 0;

  // For metrics; all zero where a backend has nothing to say.
  virtual StoreConnections Connections() { return {}; }
};

}  // namespace blindcart::storage

#endif  // SERVICES_STORAGE_STORE_H_
