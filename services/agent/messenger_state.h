// The inside of the messenger, for the files that each do one of its jobs (messenger*.cc) and nobody
// else: what they share, and what each does for the others.
//
// Thread safety and errors: as messenger.h. What takes a MessageStore belongs to the transaction that
// it was made in.
#ifndef BLINDCART_SERVICES_AGENT_MESSENGER_STATE_H_
#define BLINDCART_SERVICES_AGENT_MESSENGER_STATE_H_

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "crypto/identity.h"
#include "proto/mail.pb.h"
#include "proto/message.pb.h"
#include "protocol/mail_session.h"
#include "protocol/x3dh.h"
#include "services/agent/mail_guard.h"
#include "services/agent/message_store.h"
#include "services/agent/messenger.h"
#include "services/agent/narrator.h"

namespace blindcart::agent {

inline constexpr int64_t kNoticeHourMs = 3'600'000;

inline void SayOfMessages(absl::string_view step) { Narration().Say("messages", step); }

inline bool ForPeople(const MessageRecord& message) {
  return message.kind != MessageKind::kUnreadable;
}

// An identity as a contact's row has it.
absl::StatusOr<crypto::PublicIdentity> KeptIdentity(absl::string_view serialized);

struct Messenger::State {
  explicit State(const Dependencies& dependencies) : use(dependencies) {}

  const Dependencies use;
  std::mutex publish_mutex;  // One thread publishes keys at a time.
  std::mutex send_mutex;     // One thread sends what is queued at a time.
  std::mutex listeners_mutex;
  uint64_t next_listener_id = 1;           // Under listeners_mutex.
  std::map<uint64_t, Listener> listeners;  // Under listeners_mutex.

  // How one piece of mail ended.
  enum class Taken {
    kRead,        // A message for people is in the database.
    kDone,        // Nothing further to do: a duplicate, or what is only counted.
    kUnreadable,  // A notice is in the database, and an answer to the sender is queued.
    kHeld,        // Stays with the broker for now.
  };
  // What one piece of mail brought, filled by its transaction.
  struct Arrival {
    std::vector<MessageRecord> shown;  // New messages and notices, and own ones that changed.
    bool new_contact = false;
    absl::optional<crypto::PublicIdentity>
        offered;             // Set: the sender's identity is not the pinned one.
    bool duplicate = false;  // Set: sealed by its sender, and taken in before.
    bool no_room = false;    // Set: it would go beyond the limits.
    std::string sealed_digest;
  };

  int64_t Now() const { return use.clock->NowUnixMs(); }

  absl::Status Transact(absl::FunctionRef<absl::Status(MessageStore&)> body) {
    return use.database->Transact([&](storage::SqliteDatabase& database) {
      MessageStore store(database);
      return body(store);
    });
  }
  absl::Status Query(absl::FunctionRef<absl::Status(MessageStore&)> body) {
    return use.database->Read([&](storage::SqliteDatabase& database) {
      MessageStore store(database);
      return body(store);
    });
  }

  void Tell(const std::vector<MessageRecord>& messages) {
    std::lock_guard<std::mutex> lock(listeners_mutex);
    for (const MessageRecord& message : messages) {
      if (!ForPeople(message)) continue;
      for (const auto& [id, listener] : listeners) listener(message);
    }
  }

  absl::StatusOr<std::string> LoggedInAs() const {
    std::string username = use.transport->username();
    if (username.empty()) return absl::UnauthenticatedError("log in first: blindcart login");
    return username;
  }

  absl::StatusOr<MessageRecord> Load(int64_t id);
  // Runs `body`, which deletes and returns how much, and leaves nothing of it in the files.
  absl::StatusOr<int64_t> DeleteBy(absl::FunctionRef<absl::StatusOr<int64_t>(MessageStore&)> body);

  // ---- Contacts (messenger_contacts.cc)
  absl::StatusOr<ContactRecord> Describe(const MessageStore::Contact& contact) const;
  // Of a contact, or of another one who is or was blocked.
  absl::StatusOr<ContactRecord> DescribeUser(const std::string& username);
  absl::Status OfferIdentity(MessageStore& store, MessageStore::Contact contact,
                             const crypto::PublicIdentity& offered,
                             std::vector<MessageRecord>* shown);
  absl::Status Decided(MessageStore& store, const std::string& username);

  // ---- Sending (messenger_sending.cc)
  absl::Status SendQueued(const std::string& contact, int64_t watched, Sent* sent);
  absl::Status SealQueued(const std::string& own_name, const MessageRecord& message, Sent* sent,
                          std::string* sealed);
  absl::Status SealUnder(MessageStore& store, protocol::MailSession& session, int64_t id,
                         Timings* timings, std::string* sealed);
  absl::StatusOr<bool> SealUnderKnown(const MessageRecord& message, Timings* timings,
                                      std::string* sealed);
  absl::Status SealUnderNew(const std::string& own_name, const MessageRecord& message,
                            const protocol::PreKeyBundle& keys, Sent* sent, std::string* sealed);
  absl::Status Leave(int64_t id, MessageState state);

  // ---- Notices (messenger_notices.cc)
  absl::StatusOr<bool> RoomForNotice(MessageStore& store, const std::string& contact);
  absl::StatusOr<int64_t> AddNotice(MessageStore& store, const std::string& contact,
                                    const std::string& message_id, std::string body,
                                    std::vector<MessageRecord>* shown);
  absl::Status CountInNotice(MessageStore& store, const std::string& contact,
                             MailGuard::Topic topic, int64_t not_before_ms,
                             std::vector<MessageRecord>* shown);

  // ---- Receiving (messenger_receiving.cc)
  absl::StatusOr<Taken> Take(const v1::MailItem& item);
  absl::StatusOr<Taken> LeaveForRoom(const v1::MailItem& item);
  absl::StatusOr<bool> HasRoom(MessageStore& store, const std::string& contact, int64_t bytes);
  absl::StatusOr<bool> IsKnown(MessageStore& store, const v1::MailItem& item,
                               const std::string& digest);
  absl::StatusOr<Taken> HoldBack(const v1::MailItem& item, const crypto::PublicIdentity& offered);
  absl::Status Open(MessageStore& store, const std::string& own_name, const v1::MailItem& item,
                    Arrival* arrival);
  absl::StatusOr<std::string> OpenUnderKnown(MessageStore& store, const MessageStore::Session& kept,
                                             const v1::MailEnvelope& envelope);
  absl::StatusOr<std::string> OpenUnderNew(MessageStore& store, const std::string& own_name,
                                           const v1::MailItem& item,
                                           const v1::MailEnvelope& envelope, Arrival* arrival);
  absl::Status Keep(MessageStore& store, const v1::MailItem& item, const v1::MailContent& content,
                    Arrival* arrival);
  absl::Status KeepUnreadable(MessageStore& store, const v1::MailItem& item,
                              const v1::MailContent& content, Arrival* arrival);
  absl::StatusOr<Taken> NoteUnreadable(const v1::MailItem& item, const std::string& digest);
  absl::StatusOr<bool> AnswerUnreadable(MessageStore& store, const v1::MailItem& item, bool room);
};

}  // namespace blindcart::agent

#endif  // BLINDCART_SERVICES_AGENT_MESSENGER_STATE_H_
