// Messages between users (docs/protocol.md, "Messages between users"): the use cases of the agent.
// Sessions begin by X3DH and go on by the Double Ratchet (protocol/mail_session.h); what the broker
// stores it cannot read.
//
// Sending: a message is in the database before the network hears of it, is sealed once, and is sent
// under one message_id until the broker has confirmed it. Receiving: the opened message and the
// session's next state are written in one transaction, then the broker is told to forget the mail; so
// a reader sees each message exactly once, wherever a crash falls.
//
// Trust: the first identity seen of a user is pinned, with a warning, until the two compare safety
// numbers. When another one shows up, nothing is sent, and nothing of the new identity is read, until
// the user has decided; such mail stays with the broker meanwhile, so much of it as
// kMaxHeldPerContact, and what goes beyond is dropped and counted. Mail of an identity that the user
// has rejected is dropped.
//
// What this agent cannot read (its state was lost, or the mail was damaged) becomes a notice to its
// own user and a control message to the sender, under a session that is made for it; the sender's
// message is then shown as undelivered. Beyond kMaxNoticesPerHour of both per contact, one notice says
// how much more there was, and the sender is told once for each of its sessions. Who has never been
// talked with is told once.
//
// Thread-safe. Everything but the listeners and the readers of the database blocks on the network, so
// never from a network thread: hand a push to a worker. Listeners must not call back.
//
// Errors, with words for people: InvalidArgument; Unauthenticated (not logged in); NotFound;
// FailedPrecondition (with what to do); Unavailable (the broker); those of AgentDatabase.
#ifndef BLINDCART_SERVICES_AGENT_MESSENGER_H_
#define BLINDCART_SERVICES_AGENT_MESSENGER_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "crypto/identity.h"
#include "crypto/random.h"
#include "proto/mail.pb.h"
#include "protocol/clock.h"
#include "services/agent/agent_database.h"
#include "services/agent/mail_transport.h"
#include "services/agent/message_types.h"

namespace blindcart::agent {

class Messenger {
 public:
  static constexpr int64_t kSignedPreKeyLifeMs = 7 * 24 * 3'600'000LL;
  static constexpr uint32_t kOneTimePreKeys = 100;    // Topped up to this many ...
  static constexpr uint32_t kFewOneTimePreKeys = 20;  // ... when fewer than these are left.
  // About one contact; what goes beyond is counted in one notice.
  static constexpr int64_t kMaxNoticesPerHour = 20;
  // Of one contact's, for which it is told what could not be read.
  static constexpr int64_t kMaxAnsweredSessionsPerHour = 2 * kMaxNoticesPerHour;
  static constexpr int64_t kMaxHeldPerContact = 20;  // Messages of changed identities.

  // What is kept of what others sent, notices apart. What would be more stays with the broker until
  // the user has deleted something; nothing is deleted by itself.
  struct Limits {
    int64_t messages_per_contact = 10'000;
    int64_t bytes_per_contact = 64 * 1'048'576;  // Of texts and files.
    int64_t messages = 50'000;
    int64_t bytes = 512 * 1'048'576;
  };
  // All that is pointed to must outlive the object.
  struct Dependencies {
    const crypto::Identity* identity = nullptr;
    MailTransport* transport = nullptr;
    AgentDatabase* database = nullptr;
    crypto::RandomSource* random = nullptr;
    const protocol::Clock* clock = nullptr;
    Limits limits;
  };
  explicit Messenger(const Dependencies& dependencies);
  ~Messenger();

  // ---- Sending

  struct Outgoing {
    std::string to;
    std::string text;
    // A file instead of a text, when it has a name.
    std::string file_name;
    std::string file_content;
    int64_t reply_to = 0;  // Id of the message that this answers; 0: none.
  };
  // How long the steps took, in microseconds; for `--timings`.
  struct Timings {
    bool key_exchange = false;    // False: a session was there already.
    int64_t key_exchange_us = 0;  // X3DH and the first ratchet step; not the fetching of keys.
    int64_t encryption_us = 0;    // Padding and sealing; 0 when nothing was sealed.
  };
  struct Sent {
    // `message.state` is the outcome: kSent, kQueued (the broker cannot be reached or takes no more
    // now; it goes out by itself later), kNoRecipient, kMailboxFull.
    MessageRecord message;
    bool beyond_allowance = false;  // Queued, since so much was sent that the broker has this wait.
    bool first_contact = false;     // The recipient's identity was pinned just now, unverified.
    Timings timings;
  };
  // FailedPrecondition when the recipient's identity changed and was not accepted, or the recipient is
  // blocked; nothing is sent.
  absl::StatusOr<Sent> Send(const Outgoing& outgoing);

  // ---- With the broker

  // After every login: EnsureKeysPublished, Receive, Flush; the first error, all three are tried.
  absl::Status OnConnected();
  // Makes keys where they are missing, rotates the signed pre-key, tops up one-time pre-keys.
  absl::Status EnsureKeysPublished();
  // Takes in all mail that the broker holds.
  absl::Status Receive();
  // Takes in one piece of mail that the broker pushed.
  absl::Status OnPush(const v1::MailItem& item);
  // Sends what waits.
  absl::Status Flush();

  // ---- Reading

  struct Filter {
    std::string contact;       // Empty: all.
    bool unread_only = false;  // Incoming ones.
    bool incoming_only = false;
    int64_t before_id = 0;  // 0: from the newest.
    size_t limit = 100;
  };
  // Newest first; of texts the first 500 characters, without files' content.
  absl::StatusOr<std::vector<MessageRecord>> List(const Filter& filter);
  // The whole message. NotFound.
  absl::StatusOr<MessageRecord> Read(int64_t id);
  // The oldest unread one, if there is one.
  absl::StatusOr<absl::optional<MessageRecord>> NextUnread();
  // Of one contact, oldest first: the first `limit` above `after_id`.
  absl::StatusOr<std::vector<int64_t>> UnreadOf(const std::string& contact, int64_t after_id,
                                                size_t limit);
  // These count as read from now on: they have been shown. Ids of nothing are passed over.
  absl::Status MarkRead(const std::vector<int64_t>& ids);

  // Deletes one message, or everything with a contact that came or was written before `before_ms` (0:
  // at any time); returns how many. What has not gone out yet is not deleted. Then takes in what found
  // no room before. NotFound; FailedPrecondition when the one message has not gone out yet.
  absl::StatusOr<int64_t> Delete(int64_t id);
  absl::StatusOr<int64_t> DeleteAll(const std::string& contact, int64_t before_ms);

  // Called for each incoming message and notice once it is durable, and for each outgoing one whose
  // state changed, on the thread that did it; must not block. After RemoveListener has returned, it
  // is not called again.
  using Listener = std::function<void(const MessageRecord& message)>;
  uint64_t AddListener(Listener listener);
  void RemoveListener(uint64_t id);

  // ---- Contacts

  absl::StatusOr<std::vector<ContactRecord>> Contacts();
  // A user who is no contact yet is looked up at the broker and pinned. NotFound.
  absl::StatusOr<ContactRecord> GetContact(const std::string& username);
  // Marks the contact as verified. FailedPrecondition when `safety_number`, as the other one reads it
  // out, is not the one with the pinned identity.
  absl::StatusOr<ContactRecord> MarkVerified(const std::string& username,
                                             absl::string_view safety_number);
  // Pins the offered identity, or one that was rejected, in place of the pinned one, unverified, drops
  // the sessions with the old one, and takes in and sends what waited. FailedPrecondition when no such
  // one has the `fingerprint`.
  absl::StatusOr<ContactRecord> AcceptIdentity(const std::string& username,
                                               absl::string_view fingerprint);
  // Keeps the pinned identity: the offered one is rejected, and its mail dropped from now on.
  absl::StatusOr<ContactRecord> KeepIdentity(const std::string& username);
  // From now on the user's mail is dropped unseen, and nothing is sent there. Need not be a contact.
  absl::StatusOr<ContactRecord> Block(const std::string& username);
  absl::StatusOr<ContactRecord> Unblock(const std::string& username);

 private:
  struct State;
  const std::unique_ptr<State> state_;
};

}  // namespace blindcart::agent

#endif  // BLINDCART_SERVICES_AGENT_MESSENGER_H_
