// The messenger's rows in the agent's database: own keys, contacts, sessions, messages. Used within one
// AgentDatabase::Transact or Read, so that what belongs together is written together.
//
// Private keys and sessions are secret (AgentDatabase, mode 0600); a row that is deleted or replaced is
// overwritten in the file (secure_delete, AgentDatabase::Scrub).
//
// Thread safety: that of the transaction. Errors: as services/storage/sqlite.h.
#ifndef BLINDCART_SERVICES_AGENT_MESSAGE_STORE_H_
#define BLINDCART_SERVICES_AGENT_MESSAGE_STORE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "crypto/random.h"
#include "crypto/secret_bytes.h"
#include "crypto/x25519.h"
#include "services/agent/mail_guard.h"
#include "services/agent/message_types.h"
#include "services/storage/sqlite.h"

namespace blindcart::agent {

class MessageStore {
 public:
  // Sessions of one contact that are kept; beyond it the ones longest unused go.
  static constexpr int64_t kSessionsPerContact = 5;
  // Private one-time pre-keys that are kept; beyond it the oldest go.
  static constexpr int64_t kMaxOneTimePreKeys = 400;

  explicit MessageStore(storage::SqliteDatabase& database) : database_(database) {}

  MailGuard guard() { return MailGuard(database_); }

  // ---- Own keys

  struct SignedPreKey {
    uint32_t id = 0;
    crypto::X25519KeyPair key;
    int64_t created_at_ms = 0;
  };
  // Made now if there is none yet.
  absl::StatusOr<crypto::X25519KeyPair> IdentityKey(crypto::RandomSource& random);
  // The newest one.
  absl::StatusOr<absl::optional<SignedPreKey>> NewestSignedPreKey();
  absl::StatusOr<absl::optional<crypto::X25519KeyPair>> FindSignedPreKey(uint32_t id);
  // Makes one; only it and the one before it are kept.
  absl::StatusOr<SignedPreKey> AddSignedPreKey(crypto::RandomSource& random, int64_t now_ms);
  struct OneTimePreKey {
    uint32_t id = 0;
    std::string key;  // The public one.
  };
  absl::StatusOr<std::vector<OneTimePreKey>> AddOneTimePreKeys(crypto::RandomSource& random,
                                                               size_t count);
  absl::StatusOr<absl::optional<crypto::X25519KeyPair>> FindOneTimePreKey(uint32_t id);
  absl::Status DropOneTimePreKey(uint32_t id);

  // ---- Contacts

  struct Contact {
    std::string username;
    std::string identity;  // Serialised.
    bool verified = false;
    int64_t first_seen_ms = 0;
    std::string offered_identity;  // Or empty.
    bool by_mail = false;          // Pinned because mail came.
    // Of MailGuard; not saved with the rest.
    bool blocked = false;
    int64_t dropped_messages = 0;
  };
  absl::StatusOr<absl::optional<Contact>> FindContact(absl::string_view username);
  // With those who are blocked and no contacts, whose `identity` is empty.
  absl::StatusOr<std::vector<Contact>> ListContacts();
  // Adds or replaces the row.
  absl::Status SaveContact(const Contact& contact);

  // ---- Sessions

  struct Session {
    std::string session_id;
    std::string contact;
    crypto::SecretBytes state;
  };
  absl::StatusOr<absl::optional<Session>> FindSession(absl::string_view session_id);
  // The one to send with: that on which something was received, or which was made, last.
  absl::StatusOr<absl::optional<Session>> LatestSession(absl::string_view contact);
  // Adds or replaces the state; `latest` makes it the one to send with.
  absl::Status SaveSession(const Session& session, bool latest);
  absl::Status DropSessions(absl::string_view contact);

  // ---- Messages

  // Returns the row's id, above every earlier one. AlreadyExists when the contact's message id is known
  // in that direction. `sealed_digest`: SHA-256 of what it came in, or empty.
  absl::StatusOr<int64_t> AddMessage(const MessageRecord& message,
                                     absl::string_view sealed_digest = "");
  // Also when it has been deleted, if it came from the contact.
  absl::StatusOr<bool> Knows(absl::string_view contact, bool outgoing,
                             absl::string_view message_id);
  // Whether a message of the contact came in this, also when it has been deleted.
  absl::StatusOr<bool> KnowsSealed(absl::string_view contact, absl::string_view sealed_digest);
  absl::StatusOr<absl::optional<MessageRecord>> Get(int64_t id);
  struct Filter {
    std::string contact;
    bool unread_only = false;
    bool incoming_only = false;
    int64_t before_id = 0;
    int64_t limit = 0;
  };
  // Newest first, without what is not for people; of texts the first 500 characters, of files nothing:
  // a full page fits one answer, whatever others have sent.
  absl::StatusOr<std::vector<MessageRecord>> List(const Filter& filter);
  absl::StatusOr<absl::optional<int64_t>> OldestUnread();
  // Of one contact, oldest first: the first `limit` above `after_id`.
  absl::StatusOr<std::vector<int64_t>> UnreadOf(absl::string_view contact, int64_t after_id,
                                                int64_t limit);
  absl::Status MarkRead(int64_t id);
  // Deletes what is not on its way out; returns how much of it was for people. The first: one message.
  // The second: everything with the contact that was stored before `before_ms` (0: at any time).
  absl::StatusOr<int64_t> Delete(int64_t id);
  absl::StatusOr<int64_t> DeleteAll(absl::string_view contact, int64_t before_ms);

  struct Queued {
    MessageRecord message;
    std::string sealed;  // Empty: not sealed yet.
  };
  absl::StatusOr<std::vector<std::string>> ContactsWithQueued();
  absl::StatusOr<absl::optional<Queued>> OldestQueued(absl::string_view contact);
  absl::Status SetSealed(int64_t id, absl::string_view sealed);
  // What is queued for the contact is sealed anew.
  absl::Status ClearSealed(absl::string_view contact);
  // Out of the queue. False when it is not in it any more.
  absl::StatusOr<bool> Dequeue(int64_t id, MessageState state);
  // An outgoing text or file that was queued or sent becomes undelivered; its id, or 0.
  absl::StatusOr<int64_t> MarkUndelivered(absl::string_view contact, absl::string_view message_id);

  // Whether a text or file has come from the contact or was written to it, also when it has been
  // deleted here.
  absl::StatusOr<bool> HasTalkedWith(absl::string_view contact);

  // A queued and unsealed kUnreadable for the contact, if there is one.
  absl::StatusOr<absl::optional<MessageRecord>> OpenUnreadable(absl::string_view contact);
  absl::Status SetBody(int64_t id, absl::string_view body);
  // Other words for a notice, which is unread again. False when it is not there any more.
  absl::StatusOr<bool> RenewNotice(int64_t id, absl::string_view body);
  // Notices about the contact since then.
  absl::StatusOr<int64_t> CountNotices(absl::string_view contact, int64_t since_ms);

 private:
  absl::StatusOr<uint32_t> TakePreKeyIds(crypto::RandomSource& random, uint32_t count);

  storage::SqliteDatabase& database_;
};

}  // namespace blindcart::agent

#endif  // BLINDCART_SERVICES_AGENT_MESSAGE_STORE_H_
