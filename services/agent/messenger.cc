#include "services/agent/messenger.h"

#include <algorithm>
#include <chrono>
#include <set>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "crypto/encoding.h"
#include "crypto/hash.h"
#include "crypto/secret_bytes.h"
#include "crypto/x25519.h"
#include "proto/message.pb.h"
#include "protocol/login_handshake.h"
#include "protocol/mail_content.h"
#include "protocol/mail_session.h"
#include "protocol/safety_number.h"
#include "protocol/x3dh.h"
#include "services/agent/mail_guard.h"
#include "services/agent/message_store.h"
#include "services/agent/narrator.h"
#include "services/common/log.h"

namespace blindcart::agent {
namespace {

using crypto::PublicIdentity;
using crypto::X25519KeyPair;
using protocol::MailSession;
using storage::SqliteDatabase;

constexpr int64_t kHourMs = 3'600'000;
constexpr size_t kMostListed = 1'000;

void Say(absl::string_view step) { Narration().Say("messages", step); }

int64_t MicrosecondsSince(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() -
                                                               begin)
      .count();
}

// Pinned identities were checked before they were kept.
absl::StatusOr<PublicIdentity> KeptIdentity(absl::string_view serialized) {
  absl::StatusOr<PublicIdentity> identity = PublicIdentity::Parse(serialized);
  if (!identity.ok()) return absl::DataLossError("a contact in the agent's database is damaged");
  return identity;
}

// What to do about an identity in place of the pinned one.
std::string HowToDecide(absl::string_view username, const PublicIdentity& offered) {
  return absl::StrCat("Compare safety numbers over another way (blindcart contacts verify ",
                      username, "). If the new one is theirs: blindcart contacts accept ", username,
                      " --fingerprint ", crypto::HexEncode(offered.fingerprint()),
                      ". If not: blindcart contacts accept ", username, " --keep");
}

absl::Status IdentityChanged(absl::string_view username, absl::string_view offered_identity) {
  const absl::StatusOr<PublicIdentity> offered = KeptIdentity(offered_identity);
  if (!offered.ok()) return offered.status();
  return absl::FailedPreconditionError(absl::StrCat(
      "the identity of ", username,
      " has changed since you first met it. That is so after a new installation, and also when "
      "somebody stands in between. Nothing was sent. ",
      HowToDecide(username, *offered)));
}

absl::Status IdentityRejected(absl::string_view username, const PublicIdentity& rejected) {
  return absl::FailedPreconditionError(
      absl::StrCat("the broker hands out for ", username,
                   " the identity that you have rejected. Nothing was sent. If it is theirs after "
                   "all: blindcart contacts accept ",
                   username, " --fingerprint ", crypto::HexEncode(rejected.fingerprint())));
}

absl::Status Nonsense() {
  return absl::DataLossError("the broker's answer about mail makes no sense. Nothing was accepted");
}

absl::Status KeysNotAuthentic(absl::string_view username) {
  return absl::DataLossError(
      absl::StrCat("the keys that the broker handed out for ", username,
                   " are not signed by the identity that came with them. Nothing was sent"));
}

std::string UnreadableHere(absl::string_view username) {
  return absl::StrCat("A message from ", username,
                      " could not be read: this agent has lost the keys for it, or it was damaged "
                      "on its way. The agent of ",
                      username, " is told so; ask for the message again.");
}

std::string UnreadableThere(absl::string_view username, size_t count) {
  return absl::StrCat("The agent of ", username, " could not read ",
                      count == 1 ? std::string("a message") : absl::StrCat(count, " messages"),
                      " of yours: it has lost its keys, or the mail was damaged on its way. Marked "
                      "as undelivered; send again what still matters.");
}

std::string ChangedNotice(absl::string_view username, const PublicIdentity& offered) {
  return absl::StrCat(
      "The identity of ", username,
      " has changed. Nothing is sent to the new one and nothing of it is read until "
      "you decide. ",
      HowToDecide(username, offered));
}

std::string CountedNotice(absl::string_view username, MailGuard::Topic topic, int64_t count) {
  const std::string messages =
      count == 1 ? std::string("1 more message") : absl::StrCat(count, " more messages");
  switch (topic) {
    case MailGuard::Topic::kUnreadable:
      return absl::StrCat(messages, " from ", username, " could not be read, beyond the ",
                          Messenger::kMaxNoticesPerHour, " notices of an hour.");
    case MailGuard::Topic::kChanged:
      return absl::StrCat("The identity of ", username, " has changed ", count,
                          " more times, beyond the ", Messenger::kMaxNoticesPerHour,
                          " notices of an hour. Which one shows now: blindcart contacts verify ",
                          username);
    case MailGuard::Topic::kNoRoom:
      return absl::StrCat(
          "There is no room for more of ", username,
          ": this agent keeps so much of one contact, and of all, and deletes nothing by itself. "
          "What comes waits at the broker until it expires. To make room: blindcart message delete "
          "--contact ",
          username, " --before DATE. To have no more of it: blindcart contacts block ", username);
    case MailGuard::Topic::kNotHeld:
      return absl::StrCat(messages, " under a changed identity of ", username, " came than the ",
                          Messenger::kMaxHeldPerContact,
                          " that wait for you to decide about it, and went unread. To decide: "
                          "blindcart contacts verify ",
                          username);
  }
  return "";
}

absl::Status Blocked(absl::string_view username) {
  return absl::FailedPreconditionError(absl::StrCat(
      "you have blocked ", username,
      ". Nothing was sent. To write to each other again: blindcart contacts unblock ", username));
}

// Whether it is only now that nothing can be sent.
bool GoesOutLater(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsUnauthenticated(status) ||
         absl::IsResourceExhausted(status);
}

bool ForPeople(const MessageRecord& message) { return message.kind != MessageKind::kUnreadable; }

}  // namespace

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
    absl::optional<PublicIdentity> offered;  // Set: the sender's identity is not the pinned one.
    bool duplicate = false;                  // Set: sealed by its sender, and taken in before.
    bool no_room = false;                    // Set: it would go beyond the limits.
    std::string sealed_digest;
  };

  int64_t Now() const { return use.clock->NowUnixMs(); }

  absl::Status Transact(absl::FunctionRef<absl::Status(MessageStore&)> body) {
    return use.database->Transact([&](SqliteDatabase& database) {
      MessageStore store(database);
      return body(store);
    });
  }
  absl::Status Query(absl::FunctionRef<absl::Status(MessageStore&)> body) {
    return use.database->Read([&](SqliteDatabase& database) {
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

  absl::StatusOr<ContactRecord> Describe(const MessageStore::Contact& contact) const;
  // Of a contact, or of another one who is or was blocked.
  absl::StatusOr<ContactRecord> DescribeUser(const std::string& username);
  absl::StatusOr<MessageRecord> Load(int64_t id);
  absl::Status Decided(MessageStore& store, const std::string& username);

  // ---- Sending
  absl::Status SendQueued(const std::string& contact, int64_t watched, Sent* sent);
  absl::Status SealQueued(const std::string& own_name, const MessageRecord& message, Sent* sent,
                          std::string* sealed);
  absl::Status SealUnder(MessageStore& store, MailSession& session, int64_t id, Timings* timings,
                         std::string* sealed);
  absl::StatusOr<bool> SealUnderKnown(const MessageRecord& message, Timings* timings,
                                      std::string* sealed);
  absl::Status SealUnderNew(const std::string& own_name, const MessageRecord& message,
                            const protocol::PreKeyBundle& keys, Sent* sent, std::string* sealed);
  absl::Status OfferIdentity(MessageStore& store, MessageStore::Contact contact,
                             const PublicIdentity& offered, std::vector<MessageRecord>* shown);
  absl::Status Leave(int64_t id, MessageState state);

  // ---- Notices
  absl::StatusOr<bool> RoomForNotice(MessageStore& store, const std::string& contact);
  absl::StatusOr<int64_t> AddNotice(MessageStore& store, const std::string& contact,
                                    const std::string& message_id, std::string body,
                                    std::vector<MessageRecord>* shown);
  absl::Status CountInNotice(MessageStore& store, const std::string& contact,
                             MailGuard::Topic topic, int64_t not_before_ms,
                             std::vector<MessageRecord>* shown);

  // ---- Receiving
  absl::StatusOr<Taken> Take(const v1::MailItem& item);
  absl::StatusOr<Taken> LeaveForRoom(const v1::MailItem& item);
  absl::StatusOr<bool> HasRoom(MessageStore& store, const std::string& contact, int64_t bytes);
  absl::StatusOr<bool> IsKnown(MessageStore& store, const v1::MailItem& item,
                               const std::string& digest);
  absl::StatusOr<Taken> HoldBack(const v1::MailItem& item, const PublicIdentity& offered);
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

Messenger::Messenger(const Dependencies& dependencies)
    : state_(std::make_unique<State>(dependencies)) {}

Messenger::~Messenger() = default;

// ---- Sending

absl::StatusOr<Messenger::Sent> Messenger::Send(const Outgoing& outgoing) {
  State& s = *state_;
  const absl::StatusOr<std::string> own_name = s.LoggedInAs();
  if (!own_name.ok()) return own_name.status();
  if (!protocol::IsValidUsername(outgoing.to)) {
    return absl::InvalidArgumentError("that is no valid username");
  }
  if (outgoing.to == *own_name) {
    return absl::InvalidArgumentError("a message to yourself: that is you");
  }
  MessageRecord message;
  message.contact = outgoing.to;
  message.outgoing = true;
  message.message_id = s.use.random->Bytes(protocol::kMessageIdBytes);
  message.kind = outgoing.file_name.empty() ? MessageKind::kText : MessageKind::kFile;
  message.state = MessageState::kQueued;
  message.body = outgoing.file_name.empty() ? outgoing.text : outgoing.file_content;
  message.file_name = outgoing.file_name;
  message.sent_at_ms = s.Now();
  message.stored_at_ms = message.sent_at_ms;
  message.read = true;

  v1::MailContent content;
  content.set_message_id(message.message_id);
  content.set_sent_at_ms(message.sent_at_ms);
  if (message.kind == MessageKind::kFile) {
    content.mutable_file()->set_name(message.file_name);
    content.mutable_file()->set_content(message.body);
  } else {
    content.set_text(message.body);
  }
  const absl::Status valid = protocol::ValidateContent(content);
  if (!valid.ok()) return valid;

  const absl::Status queued = s.Transact([&](MessageStore& store) -> absl::Status {
    const absl::StatusOr<bool> blocked = store.guard().IsBlocked(outgoing.to);
    if (!blocked.ok()) return blocked.status();
    if (*blocked) return Blocked(outgoing.to);
    const auto contact = store.FindContact(outgoing.to);
    if (!contact.ok()) return contact.status();
    if (contact->has_value() && !(*contact)->offered_identity.empty()) {
      return IdentityChanged(outgoing.to, (*contact)->offered_identity);
    }
    if (outgoing.reply_to != 0) {
      const auto answered = store.Get(outgoing.reply_to);
      if (!answered.ok()) return answered.status();
      if (!answered->has_value() || (*answered)->contact != outgoing.to || (*answered)->outgoing) {
        return absl::NotFoundError("there is no such message to reply to");
      }
      // A notice never travelled: the contact knows nothing of its id.
      if ((*answered)->kind != MessageKind::kNotice) message.reply_to = (*answered)->message_id;
    }
    const absl::StatusOr<int64_t> id = store.AddMessage(message);
    if (!id.ok()) return id.status();
    message.id = *id;
    return absl::OkStatus();
  });
  if (!queued.ok()) return queued;

  Sent sent;
  const absl::Status sending = s.SendQueued(outgoing.to, message.id, &sent);
  absl::StatusOr<MessageRecord> now = s.Load(message.id);
  if (!now.ok()) return now.status();
  // Who cannot be reached now is reached later, by Flush. Of everything else the sender hears now, so
  // it must not go out later by itself.
  sent.beyond_allowance = absl::IsResourceExhausted(sending);
  if (!sending.ok() && !GoesOutLater(sending)) {
    const absl::Status left = s.Leave(message.id, MessageState::kRefused);
    return left.ok() ? sending : left;
  }
  sent.message = *std::move(now);
  return sent;
}

absl::Status Messenger::Flush() {
  State& s = *state_;
  std::vector<std::string> contacts;
  const absl::Status found = s.Query([&](MessageStore& store) -> absl::Status {
    absl::StatusOr<std::vector<std::string>> queued = store.ContactsWithQueued();
    if (!queued.ok()) return queued.status();
    contacts = *std::move(queued);
    return absl::OkStatus();
  });
  if (!found.ok()) return found;
  absl::Status first = absl::OkStatus();
  for (const std::string& contact : contacts) {
    const absl::Status sent = s.SendQueued(contact, 0, nullptr);
    // What waits for the user's decision is not in the others' way, nor an error.
    if (!absl::IsFailedPrecondition(sent)) first.Update(sent);
    if (GoesOutLater(sent)) break;
  }
  return first;
}

// Everything that is queued for the contact, in order. What happens to the message `watched` is noted
// in `sent`.
absl::Status Messenger::State::SendQueued(const std::string& contact, int64_t watched, Sent* sent) {
  const absl::StatusOr<std::string> own_name = LoggedInAs();
  if (!own_name.ok()) return own_name.status();
  std::lock_guard<std::mutex> lock(send_mutex);
  bool sealed_any = false;
  for (;;) {
    absl::optional<MessageStore::Queued> next;
    const absl::Status found = Query([&](MessageStore& store) -> absl::Status {
      absl::StatusOr<absl::optional<MessageStore::Queued>> queued = store.OldestQueued(contact);
      if (!queued.ok()) return queued.status();
      next = *std::move(queued);
      return absl::OkStatus();
    });
    if (!found.ok()) return found;
    if (!next.has_value()) break;
    const MessageRecord& message = next->message;
    std::string sealed = std::move(next->sealed);
    if (sealed.empty()) {
      Sent unwatched;
      const absl::Status done =
          SealQueued(*own_name, message, message.id == watched ? sent : &unwatched, &sealed);
      if (absl::IsNotFound(done)) {
        const absl::Status left = Leave(message.id, MessageState::kNoRecipient);
        if (!left.ok()) return left;
        continue;
      }
      if (!done.ok()) return done;
      if (sealed.empty()) continue;  // It is in the queue no more.
      // The first contact is made by whichever message goes first.
      if (sent != nullptr && unwatched.first_contact) sent->first_contact = true;
      sealed_any = true;
    }
    v1::SendMailCall call;
    call.set_message_id(message.message_id);
    call.set_recipient(contact);
    call.set_sealed(std::move(sealed));
    const absl::StatusOr<v1::SendMailResult> result = use.transport->Send(call);
    if (!result.ok()) return result.status();
    MessageState state = MessageState::kSent;
    switch (result->outcome()) {
      case v1::SEND_MAIL_OUTCOME_STORED:
        Say("the broker stored the sealed message for its recipient; it cannot read it");
        break;
      case v1::SEND_MAIL_OUTCOME_NO_RECIPIENT:
        state = MessageState::kNoRecipient;
        break;
      case v1::SEND_MAIL_OUTCOME_QUOTA:
        state = MessageState::kMailboxFull;
        break;
      case v1::SEND_MAIL_OUTCOME_ALLOWANCE:
        return absl::ResourceExhaustedError(
            "so much was sent that the broker has this wait. It goes out later by itself");
      case v1::SEND_MAIL_OUTCOME_BUSY:
        return absl::UnavailableError("the broker is busy. The message goes out later by itself");
      default:
        return Nonsense();
    }
    const absl::Status left = Leave(message.id, state);
    if (!left.ok()) return left;
  }
  return sealed_any ? use.database->Scrub() : absl::OkStatus();
}

// Out of the queue, and listeners hear of it.
absl::Status Messenger::State::Leave(int64_t id, MessageState state) {
  bool moved = false;
  const absl::Status done = Transact([&](MessageStore& store) -> absl::Status {
    const absl::StatusOr<bool> dequeued = store.Dequeue(id, state);
    if (!dequeued.ok()) return dequeued.status();
    moved = *dequeued;
    return absl::OkStatus();
  });
  if (!done.ok()) return done;
  if (!moved) return absl::OkStatus();
  const absl::StatusOr<MessageRecord> message = Load(id);
  if (!message.ok()) return message.status();
  Tell({*message});
  return absl::OkStatus();
}

// NotFound: no such recipient. FailedPrecondition: the recipient's identity changed.
absl::Status Messenger::State::SealQueued(const std::string& own_name, const MessageRecord& message,
                                          Sent* sent, std::string* sealed) {
  const absl::StatusOr<bool> known = SealUnderKnown(message, &sent->timings, sealed);
  if (!known.ok()) return known.status();
  if (*known) return absl::OkStatus();

  v1::FetchKeysCall call;
  call.set_username(message.contact);
  const absl::StatusOr<v1::FetchKeysResult> keys = use.transport->FetchKeys(call);
  if (!keys.ok()) return keys.status();
  if (!keys->found()) return absl::NotFoundError("no such user, or one who has published no keys");
  const absl::StatusOr<protocol::PreKeyBundle> bundle = protocol::CheckBundle(*keys);
  if (!bundle.ok() ||
      bundle->identity.fingerprint() == use.identity->public_identity().fingerprint()) {
    return KeysNotAuthentic(message.contact);
  }
  Say(
      absl::StrCat("fetched the recipient's identity key and signed pre-key, both signatures "
                   "verified; ",
                   bundle->one_time_pre_key_id != 0 ? "with a one-time pre-key"
                                                    : "no one-time pre-key was left"));
  return SealUnderNew(own_name, message, *bundle, sent, sealed);
}

// False when a session has to be made first.
absl::StatusOr<bool> Messenger::State::SealUnderKnown(const MessageRecord& message,
                                                      Timings* timings, std::string* sealed) {
  bool known = false;
  const absl::Status done = Transact([&](MessageStore& store) -> absl::Status {
    const auto contact = store.FindContact(message.contact);
    if (!contact.ok()) return contact.status();
    if (contact->has_value() && !(*contact)->offered_identity.empty()) {
      return IdentityChanged(message.contact, (*contact)->offered_identity);
    }
    const auto kept = store.LatestSession(message.contact);
    if (!kept.ok()) return kept.status();
    if (!kept->has_value()) return absl::OkStatus();
    absl::StatusOr<MailSession> session = MailSession::Parse((*kept)->state.view());
    if (!session.ok()) return absl::DataLossError("a session in the agent's database is damaged");
    // What says that a session does not work goes under another one, which was made for that. (Not a
    // new one each time: they would drive out the sessions that work.)
    if (message.kind == MessageKind::kUnreadable && !session->unanswered()) return absl::OkStatus();
    known = true;
    return SealUnder(store, *session, message.id, timings, sealed);
  });
  if (!done.ok()) return done;
  return known;
}

absl::Status Messenger::State::SealUnderNew(const std::string& own_name,
                                            const MessageRecord& message,
                                            const protocol::PreKeyBundle& keys, Sent* sent,
                                            std::string* sealed) {
  bool changed = false;
  bool first_contact = false;
  Timings timings;
  std::vector<MessageRecord> shown;
  const absl::Status done = Transact([&](MessageStore& store) -> absl::Status {
    const auto pinned = store.FindContact(message.contact);
    if (!pinned.ok()) return pinned.status();
    if (!pinned->has_value()) {
      first_contact = true;
      // What answers mail by itself is not the user's doing.
      const bool by_mail = message.kind == MessageKind::kUnreadable;
      const absl::Status saved = store.SaveContact(
          {message.contact, keys.identity.Serialize(), /*verified=*/false, Now(), "", by_mail});
      if (!saved.ok()) return saved;
    } else if ((*pinned)->identity != keys.identity.Serialize()) {
      const auto rejected =
          store.guard().FindRejected(message.contact, keys.identity.fingerprint());
      if (!rejected.ok()) return rejected.status();
      if (rejected->has_value()) return IdentityRejected(message.contact, keys.identity);
      changed = true;
      return OfferIdentity(store, **pinned, keys.identity, &shown);
    }
    const absl::StatusOr<X25519KeyPair> identity_key = store.IdentityKey(*use.random);
    if (!identity_key.ok()) return identity_key.status();
    const auto begin = std::chrono::steady_clock::now();
    absl::StatusOr<MailSession> session = MailSession::Initiate(
        {own_name, use.identity, &*identity_key}, message.contact, keys, *use.random);
    timings.key_exchange_us = MicrosecondsSince(begin);
    timings.key_exchange = true;
    if (!session.ok()) return KeysNotAuthentic(message.contact);
    return SealUnder(store, *session, message.id, &timings, sealed);
  });
  if (!done.ok()) return done;
  Tell(shown);
  if (changed) return IdentityChanged(message.contact, keys.identity.Serialize());
  Say(absl::StrCat("agreed on a fresh secret with the recipient by X3DH (",
                   keys.one_time_pre_key_id != 0 ? 4 : 3,
                   " X25519 exchanges), though it need not be online; session established"));
  if (first_contact) {
    Say("first contact: the recipient's identity is pinned, unverified until safety numbers are "
        "compared");
  }
  sent->timings = timings;
  sent->first_contact = first_contact;
  return absl::OkStatus();
}

// Seals the message as it is in this transaction and writes down the session's next state with it.
// `sealed` stays empty when the message has left the queue meanwhile.
absl::Status Messenger::State::SealUnder(MessageStore& store, MailSession& session, int64_t id,
                                         Timings* timings, std::string* sealed) {
  const auto row = store.Get(id);
  if (!row.ok()) return row.status();
  if (!row->has_value() || (*row)->state != MessageState::kQueued) return absl::OkStatus();
  const MessageRecord& message = **row;
  v1::MailContent content;
  content.set_message_id(message.message_id);
  content.set_sent_at_ms(message.sent_at_ms);
  content.set_reply_to(message.reply_to);
  switch (message.kind) {
    case MessageKind::kText:
      content.set_text(message.body);
      break;
    case MessageKind::kFile:
      content.mutable_file()->set_name(message.file_name);
      content.mutable_file()->set_content(message.body);
      break;
    default:
      if (!content.mutable_unreadable()->ParseFromString(message.body)) {
        return absl::DataLossError("a message in the agent's database is damaged");
      }
  }
  std::string plaintext = content.SerializeAsString();
  const auto begin = std::chrono::steady_clock::now();
  absl::StatusOr<std::string> done = session.Seal(plaintext);
  timings->encryption_us = MicrosecondsSince(begin);
  crypto::Wipe(plaintext);
  if (!done.ok()) return done.status();
  const absl::Status saved =
      store.SaveSession({session.id(), message.contact, session.Serialize()}, /*latest=*/true);
  if (!saved.ok()) return saved;
  *sealed = *std::move(done);
  Say(
      absl::StrCat("padded and sealed the message under a key of its own, now forgotten (Double "
                   "Ratchet): ",
                   sealed->size(), " bytes"));
  return store.SetSealed(message.id, *sealed);
}

absl::Status Messenger::State::OfferIdentity(MessageStore& store, MessageStore::Contact contact,
                                             const PublicIdentity& offered,
                                             std::vector<MessageRecord>* shown) {
  if (contact.offered_identity == offered.Serialize()) return absl::OkStatus();
  contact.offered_identity = offered.Serialize();
  const absl::Status saved = store.SaveContact(contact);
  if (!saved.ok()) return saved;
  Say("the identity is not the pinned one: nothing is accepted until the user decides");
  const absl::StatusOr<bool> room = RoomForNotice(store, contact.username);
  if (!room.ok()) return room.status();
  if (!*room) {
    return CountInNotice(store, contact.username, MailGuard::Topic::kChanged, Now() - kHourMs,
                         shown);
  }
  return AddNotice(store, contact.username, use.random->Bytes(protocol::kMessageIdBytes),
                   ChangedNotice(contact.username, offered), shown)
      .status();
}

// ---- Notices

// Whether another notice about the contact may be made within the hour.
absl::StatusOr<bool> Messenger::State::RoomForNotice(MessageStore& store,
                                                     const std::string& contact) {
  const absl::StatusOr<int64_t> noticed = store.CountNotices(contact, Now() - kHourMs);
  if (!noticed.ok()) return noticed.status();
  return *noticed < kMaxNoticesPerHour;
}

absl::StatusOr<int64_t> Messenger::State::AddNotice(MessageStore& store, const std::string& contact,
                                                    const std::string& message_id, std::string body,
                                                    std::vector<MessageRecord>* shown) {
  MessageRecord notice;
  notice.contact = contact;
  notice.message_id = message_id;
  notice.kind = MessageKind::kNotice;
  notice.body = std::move(body);
  notice.size_bytes = static_cast<int64_t>(notice.body.size());
  notice.sent_at_ms = Now();
  notice.stored_at_ms = notice.sent_at_ms;
  const absl::StatusOr<int64_t> id = store.AddMessage(notice);
  if (!id.ok()) return id.status();
  notice.id = *id;
  shown->push_back(std::move(notice));
  return id;
}

// One more event, in a notice that says how many there were since it was begun; in a new one when that
// was before `not_before_ms`, or the user has deleted it.
absl::Status Messenger::State::CountInNotice(MessageStore& store, const std::string& contact,
                                             MailGuard::Topic topic, int64_t not_before_ms,
                                             std::vector<MessageRecord>* shown) {
  const auto counted = store.guard().FindCounted(contact, topic);
  if (!counted.ok()) return counted.status();
  if (counted->has_value() && (*counted)->begun_at_ms >= not_before_ms) {
    MailGuard::CountedNotice more = **counted;
    ++more.count;
    const absl::StatusOr<bool> renewed =
        store.RenewNotice(more.message, CountedNotice(contact, topic, more.count));
    if (!renewed.ok()) return renewed.status();
    if (*renewed) return store.guard().SaveCounted(contact, topic, more);
  }
  const absl::StatusOr<int64_t> id =
      AddNotice(store, contact, use.random->Bytes(protocol::kMessageIdBytes),
                CountedNotice(contact, topic, 1), shown);
  if (!id.ok()) return id.status();
  return store.guard().SaveCounted(contact, topic, {*id, 1, Now()});
}

// ---- With the broker

absl::Status Messenger::OnConnected() {
  absl::Status first = EnsureKeysPublished();
  first.Update(Receive());
  first.Update(Flush());
  return first;
}

absl::Status Messenger::EnsureKeysPublished() {
  State& s = *state_;
  const absl::StatusOr<std::string> own_name = s.LoggedInAs();
  if (!own_name.ok()) return own_name.status();
  std::lock_guard<std::mutex> lock(s.publish_mutex);
  v1::PublishKeysCall call;
  bool rotated = false;
  const absl::Status made = s.Transact([&](MessageStore& store) -> absl::Status {
    const absl::StatusOr<X25519KeyPair> identity_key = store.IdentityKey(*s.use.random);
    if (!identity_key.ok()) return identity_key.status();
    const auto newest = store.NewestSignedPreKey();
    if (!newest.ok()) return newest.status();
    const int64_t now_ms = s.Now();
    uint32_t id = 0;
    std::string key;
    // One from the future was made before the clock was put right: it would never age.
    if (newest->has_value() && (*newest)->created_at_ms <= now_ms &&
        now_ms - (*newest)->created_at_ms < kSignedPreKeyLifeMs) {
      id = (*newest)->id;
      key = (*newest)->key.public_key();
    } else {
      const auto added = store.AddSignedPreKey(*s.use.random, now_ms);
      if (!added.ok()) return added.status();
      id = added->id;
      key = added->key.public_key();
      rotated = true;
    }
    call.set_identity_key(identity_key->public_key());
    call.set_identity_key_signature(
        protocol::SignIdentityKey(*s.use.identity, identity_key->public_key()));
    *call.mutable_signed_pre_key() = protocol::SignPreKey(*s.use.identity, id, key);
    return absl::OkStatus();
  });
  if (!made.ok()) return made;
  const absl::StatusOr<v1::PublishKeysResult> published = s.use.transport->PublishKeys(call);
  if (!published.ok()) return published.status();
  Say(rotated ? "published the identity key and a new signed pre-key"
              : "published the identity key and the signed pre-key");
  const uint32_t left = published->one_time_pre_keys_left();
  if (left < kFewOneTimePreKeys) {
    // New ones, also when an earlier answer was lost: the broker may have given those out already.
    v1::PublishKeysCall more;
    const absl::Status added = s.Transact([&](MessageStore& store) -> absl::Status {
      const auto keys = store.AddOneTimePreKeys(*s.use.random, kOneTimePreKeys - left);
      if (!keys.ok()) return keys.status();
      for (const MessageStore::OneTimePreKey& key : *keys) {
        v1::OneTimePreKey& entry = *more.add_one_time_pre_keys();
        entry.set_id(key.id);
        entry.set_key(key.key);
      }
      return absl::OkStatus();
    });
    if (!added.ok()) return added;
    const absl::StatusOr<v1::PublishKeysResult> done = s.use.transport->PublishKeys(more);
    if (!done.ok()) return done.status();
    Say(absl::StrCat("published ", more.one_time_pre_keys_size(), " one-time pre-keys"));
  }
  return rotated ? s.use.database->Scrub() : absl::OkStatus();
}

absl::Status Messenger::Receive() {
  State& s = *state_;
  const absl::StatusOr<std::string> own_name = s.LoggedInAs();
  if (!own_name.ok()) return own_name.status();
  bool more = true;
  bool answer = false;
  bool taken_any = false;
  uint64_t after = 0;
  int64_t last_held = 0;
  const absl::Status looked = s.Query([&](MessageStore& store) -> absl::Status {
    const absl::StatusOr<int64_t> last = store.guard().LastHeld();
    if (!last.ok()) return last.status();
    last_held = *last;
    return absl::OkStatus();
  });
  if (!looked.ok()) return looked;
  std::set<std::pair<std::string, std::string>> held;
  while (more) {
    v1::FetchMailCall call;
    call.set_after_number(after);
    const absl::StatusOr<v1::FetchMailResult> page = s.use.transport->Fetch(call);
    if (!page.ok()) return page.status();
    v1::AcknowledgeMailCall done;
    for (const v1::MailItem& item : page->items()) {
      // Ascending, or a hostile broker could keep the agent at it for ever.
      if (item.mail_number() <= after) return Nonsense();
      after = item.mail_number();
      const absl::StatusOr<State::Taken> taken = s.Take(item);
      if (!taken.ok()) return taken.status();
      if (*taken == State::Taken::kUnreadable) answer = true;
      if (*taken != State::Taken::kHeld) {
        done.add_mail_numbers(item.mail_number());
      } else {
        held.emplace(item.sender(), item.message_id());
      }
    }
    if (done.mail_numbers_size() > 0) {
      taken_any = true;
      const absl::Status acknowledged = s.use.transport->Acknowledge(done);
      if (!acknowledged.ok()) return acknowledged;
    }
    more = page->more() && page->items_size() > 0;
  }
  if (last_held > 0) {
    // What the broker has removed by now makes room.
    const absl::Status retained =
        s.Transact([&](MessageStore& store) { return store.guard().RetainHeld(last_held, held); });
    if (!retained.ok()) return retained;
  }
  if (answer) {
    const absl::Status sent = Flush();
    if (!sent.ok()) return sent;
  }
  return taken_any ? s.use.database->Scrub() : absl::OkStatus();
}

absl::Status Messenger::OnPush(const v1::MailItem& item) {
  State& s = *state_;
  const absl::StatusOr<State::Taken> taken = s.Take(item);
  if (!taken.ok()) return taken.status();
  if (*taken == State::Taken::kHeld) return absl::OkStatus();
  v1::AcknowledgeMailCall done;
  done.add_mail_numbers(item.mail_number());
  const absl::Status acknowledged = s.use.transport->Acknowledge(done);
  if (!acknowledged.ok()) return acknowledged;
  if (*taken == State::Taken::kUnreadable) {
    const absl::Status sent = s.SendQueued(item.sender(), 0, nullptr);
    if (!sent.ok() && !absl::IsFailedPrecondition(sent)) return sent;
  }
  return s.use.database->Scrub();
}

// ---- Receiving

absl::StatusOr<Messenger::State::Taken> Messenger::State::Take(const v1::MailItem& item) {
  const absl::StatusOr<std::string> own_name = LoggedInAs();
  if (!own_name.ok()) return own_name.status();
  if (!protocol::IsValidUsername(item.sender()) || item.sender() == *own_name ||
      item.message_id().size() != protocol::kMessageIdBytes) {
    LogWarning("mail.malformed");
    return Taken::kDone;
  }
  const std::string digest = crypto::Sha256(item.sealed());
  Arrival arrival;
  const absl::Status opened = Transact([&](MessageStore& store) -> absl::Status {
    arrival = Arrival();
    arrival.sealed_digest = digest;
    const absl::StatusOr<bool> known = IsKnown(store, item, digest);
    if (!known.ok()) return known.status();
    if (*known) return absl::OkStatus();
    const absl::StatusOr<bool> blocked = store.guard().IsBlocked(item.sender());
    if (!blocked.ok()) return blocked.status();
    if (*blocked) {
      const absl::Status counted = store.guard().CountBlocked(item.sender());
      return counted.ok() ? store.guard().AddDropped(item.sender(), item.message_id()) : counted;
    }
    return Open(store, *own_name, item, &arrival);
  });
  if (arrival.offered.has_value()) return HoldBack(item, *arrival.offered);
  if (arrival.duplicate) return Taken::kDone;
  if (arrival.no_room) return LeaveForRoom(item);
  if (absl::IsUnauthenticated(opened)) return NoteUnreadable(item, digest);
  if (!opened.ok()) return opened;
  if (arrival.new_contact) {
    Say("first contact: the sender's identity is pinned, unverified until safety numbers are "
        "compared");
  }
  Tell(arrival.shown);
  return arrival.shown.empty() ? Taken::kDone : Taken::kRead;
}

// The limits are reached: the mail stays with the broker, and the user is told once.
absl::StatusOr<Messenger::State::Taken> Messenger::State::LeaveForRoom(const v1::MailItem& item) {
  LogWarning("mail.no_room");
  constexpr MailGuard::Topic kTopic = MailGuard::Topic::kNoRoom;
  std::vector<MessageRecord> shown;
  const absl::Status done = Transact([&](MessageStore& store) -> absl::Status {
    const auto told = store.guard().FindCounted(item.sender(), kTopic);
    if (!told.ok()) return told.status();
    if (told->has_value()) return absl::OkStatus();
    const absl::StatusOr<bool> room = RoomForNotice(store, item.sender());
    if (!room.ok()) return room.status();
    if (!*room) return absl::OkStatus();
    return CountInNotice(store, item.sender(), kTopic, 0, &shown);
  });
  if (!done.ok()) return done;
  Tell(shown);
  return Taken::kHeld;
}

// Whether one more body of this size is within the limits.
absl::StatusOr<bool> Messenger::State::HasRoom(MessageStore& store, const std::string& contact,
                                               int64_t bytes) {
  const absl::StatusOr<MailGuard::Use> of_contact = store.guard().UseOf(contact);
  if (!of_contact.ok()) return of_contact.status();
  const absl::StatusOr<MailGuard::Use> total = store.guard().TotalUse();
  if (!total.ok()) return total.status();
  const Limits& limits = use.limits;
  return of_contact->items < limits.messages_per_contact &&
         of_contact->bytes + bytes <= limits.bytes_per_contact && total->items < limits.messages &&
         total->bytes + bytes <= limits.bytes;
}

// Whether this mail has been taken in or dropped before.
absl::StatusOr<bool> Messenger::State::IsKnown(MessageStore& store, const v1::MailItem& item,
                                               const std::string& digest) {
  absl::StatusOr<bool> known = store.Knows(item.sender(), false, item.message_id());
  if (!known.ok() || *known) return known;
  // Under another id, which is only the broker's word, it is what it was.
  known = store.KnowsSealed(item.sender(), digest);
  if (!known.ok() || *known) return known;
  return store.guard().Dropped(item.sender(), item.message_id());
}

// Mail of an identity other than the pinned one.
absl::StatusOr<Messenger::State::Taken> Messenger::State::HoldBack(const v1::MailItem& item,
                                                                   const PublicIdentity& offered) {
  Taken taken = Taken::kHeld;
  std::vector<MessageRecord> shown;
  const absl::Status done = Transact([&](MessageStore& store) -> absl::Status {
    MailGuard guard = store.guard();
    const auto contact = store.FindContact(item.sender());
    if (!contact.ok()) return contact.status();
    // The user has just accepted it: the next round reads the mail.
    if (!contact->has_value() || (*contact)->identity == offered.Serialize()) {
      return absl::OkStatus();
    }
    const auto rejected = guard.FindRejected(item.sender(), offered.fingerprint());
    if (!rejected.ok()) return rejected.status();
    if (rejected->has_value()) {
      taken = Taken::kDone;
      return absl::OkStatus();
    }
    const absl::StatusOr<bool> held = guard.IsHeld(item.sender(), item.message_id());
    if (!held.ok()) return held.status();
    if (*held) return absl::OkStatus();
    const absl::StatusOr<int64_t> count = guard.CountHeld(item.sender());
    if (!count.ok()) return count.status();
    if (*count < kMaxHeldPerContact) {
      const absl::Status kept = guard.Hold(item.sender(), item.message_id());
      if (!kept.ok()) return kept;
      return OfferIdentity(store, **contact, offered, &shown);
    }
    taken = Taken::kDone;
    const absl::Status dropped = guard.AddDropped(item.sender(), item.message_id());
    if (!dropped.ok()) return dropped;
    return CountInNotice(store, item.sender(), MailGuard::Topic::kNotHeld, 0, &shown);
  });
  if (!done.ok()) return done;
  if (taken == Taken::kDone) LogWarning("mail.not_held");
  Tell(shown);
  return taken;
}

// Unauthenticated: this mail cannot be read. Whatever fails, the transaction takes it all back.
absl::Status Messenger::State::Open(MessageStore& store, const std::string& own_name,
                                    const v1::MailItem& item, Arrival* arrival) {
  const absl::StatusOr<v1::MailEnvelope> envelope = protocol::ParseEnvelope(item.sealed());
  if (!envelope.ok()) return absl::UnauthenticatedError("no envelope");
  const auto session = store.FindSession(envelope->session_id());
  if (!session.ok()) return session.status();
  const absl::StatusOr<std::string> plaintext =
      session->has_value() && (*session)->contact == item.sender()
          ? OpenUnderKnown(store, **session, *envelope)
          : OpenUnderNew(store, own_name, item, *envelope, arrival);
  if (!plaintext.ok()) return plaintext.status();
  const absl::StatusOr<v1::MailContent> content = protocol::ParseContent(*plaintext);
  if (!content.ok()) return absl::UnauthenticatedError("content not valid");
  Say("opened a message under a key of its own, now forgotten; sender and bytes are authentic");
  return Keep(store, item, *content, arrival);
}

absl::StatusOr<std::string> Messenger::State::OpenUnderKnown(MessageStore& store,
                                                             const MessageStore::Session& kept,
                                                             const v1::MailEnvelope& envelope) {
  absl::StatusOr<MailSession> session = MailSession::Parse(kept.state.view());
  if (!session.ok()) return absl::UnauthenticatedError("session damaged");
  absl::StatusOr<std::string> plaintext = session->Open(envelope, *use.random);
  if (!plaintext.ok()) return absl::UnauthenticatedError("does not open");
  const absl::Status saved =
      store.SaveSession({session->id(), kept.contact, session->Serialize()}, /*latest=*/true);
  if (!saved.ok()) return saved;
  return plaintext;
}

absl::StatusOr<std::string> Messenger::State::OpenUnderNew(MessageStore& store,
                                                           const std::string& own_name,
                                                           const v1::MailItem& item,
                                                           const v1::MailEnvelope& envelope,
                                                           Arrival* arrival) {
  if (!envelope.has_initial()) return absl::UnauthenticatedError("no such session");
  const v1::X3dhInitial& initial = envelope.initial();
  const absl::StatusOr<PublicIdentity> identity = protocol::CheckInitial(initial);
  if (!identity.ok()) return absl::UnauthenticatedError("sender's identity not valid");
  const auto contact = store.FindContact(item.sender());
  if (!contact.ok()) return contact.status();
  if (!contact->has_value()) {
    arrival->new_contact = true;
    const absl::Status saved =
        store.SaveContact({item.sender(), identity->Serialize(), /*verified=*/false, Now(), "",
                           /*by_mail=*/true});
    if (!saved.ok()) return saved;
  } else if ((*contact)->identity != identity->Serialize()) {
    arrival->offered = *identity;
    return absl::UnauthenticatedError("sender's identity changed");
  }
  const auto signed_pre_key = store.FindSignedPreKey(initial.signed_pre_key_id());
  if (!signed_pre_key.ok()) return signed_pre_key.status();
  if (!signed_pre_key->has_value()) return absl::UnauthenticatedError("no such signed pre-key");
  const uint32_t one_time_id = initial.one_time_pre_key_id();
  const auto one_time = store.FindOneTimePreKey(one_time_id);
  if (!one_time.ok()) return one_time.status();
  if (one_time_id != 0 && !one_time->has_value()) {
    return absl::UnauthenticatedError("no such one-time pre-key");
  }
  const absl::StatusOr<X25519KeyPair> identity_key = store.IdentityKey(*use.random);
  if (!identity_key.ok()) return identity_key.status();
  absl::StatusOr<MailSession> session = MailSession::Respond(
      {own_name, use.identity, &*identity_key}, item.sender(), *identity, envelope,
      **signed_pre_key, one_time->has_value() ? &**one_time : nullptr);
  if (!session.ok()) return absl::UnauthenticatedError("key exchange failed");
  absl::StatusOr<std::string> plaintext = session->Open(envelope, *use.random);
  if (!plaintext.ok()) return absl::UnauthenticatedError("does not open");
  Say("the sender began a session: its signature verified, the same secret derived by X3DH, the "
      "one-time pre-key used up");
  if (one_time_id != 0) {
    const absl::Status dropped = store.DropOneTimePreKey(one_time_id);
    if (!dropped.ok()) return dropped;
  }
  const absl::Status saved =
      store.SaveSession({session->id(), item.sender(), session->Serialize()}, /*latest=*/true);
  if (!saved.ok()) return saved;
  return plaintext;
}

absl::Status Messenger::State::Keep(MessageStore& store, const v1::MailItem& item,
                                    const v1::MailContent& content, Arrival* arrival) {
  // The id inside the seal is the sender's word; the one outside is only the broker's.
  const absl::StatusOr<bool> known = store.Knows(item.sender(), false, content.message_id());
  if (!known.ok()) return known.status();
  if (*known) {
    arrival->duplicate = true;
    return absl::UnauthenticatedError("taken in before");
  }
  const absl::StatusOr<bool> room =
      HasRoom(store, item.sender(),
              static_cast<int64_t>(content.text().size() + content.file().content().size()));
  if (!room.ok()) return room.status();
  if (!*room) {
    arrival->no_room = true;
    return absl::ResourceExhaustedError("no room");
  }
  const absl::Status told_anew =
      store.guard().ForgetCounted(item.sender(), MailGuard::Topic::kNoRoom);
  if (!told_anew.ok()) return told_anew;
  if (content.has_unreadable()) return KeepUnreadable(store, item, content, arrival);
  MessageRecord message;
  message.contact = item.sender();
  message.message_id = content.message_id();
  message.kind = content.has_file() ? MessageKind::kFile : MessageKind::kText;
  message.body = content.has_file() ? content.file().content() : content.text();
  message.file_name = content.file().name();
  message.size_bytes = static_cast<int64_t>(message.body.size());
  message.reply_to = content.reply_to();
  message.sent_at_ms = content.sent_at_ms();
  message.stored_at_ms = Now();
  message.first_contact = arrival->new_contact;
  const absl::StatusOr<int64_t> id = store.AddMessage(message, arrival->sealed_digest);
  if (!id.ok()) return id.status();
  message.id = *id;
  arrival->shown.push_back(std::move(message));
  return absl::OkStatus();
}

// The contact's agent could not read what was sent to it.
absl::Status Messenger::State::KeepUnreadable(MessageStore& store, const v1::MailItem& item,
                                              const v1::MailContent& content, Arrival* arrival) {
  size_t count = 0;
  for (const std::string& message_id : content.unreadable().message_ids()) {
    const absl::StatusOr<int64_t> marked = store.MarkUndelivered(item.sender(), message_id);
    if (!marked.ok()) return marked.status();
    if (*marked == 0) continue;
    ++count;
    const auto message = store.Get(*marked);
    if (!message.ok()) return message.status();
    if (message->has_value()) arrival->shown.push_back(**message);
  }
  // What is on its way is sealed anew, under the session that this came by.
  const absl::Status cleared = store.ClearSealed(item.sender());
  if (!cleared.ok()) return cleared;
  MessageRecord notice;
  notice.contact = item.sender();
  notice.message_id = content.message_id();
  notice.kind = count > 0 ? MessageKind::kNotice : MessageKind::kUnreadable;
  if (count > 0) notice.body = UnreadableThere(item.sender(), count);
  notice.size_bytes = static_cast<int64_t>(notice.body.size());
  notice.sent_at_ms = content.sent_at_ms();
  notice.stored_at_ms = Now();
  const absl::StatusOr<int64_t> id = store.AddMessage(notice, arrival->sealed_digest);
  if (!id.ok()) return id.status();
  notice.id = *id;
  arrival->shown.push_back(std::move(notice));
  return absl::OkStatus();
}

absl::StatusOr<Messenger::State::Taken> Messenger::State::NoteUnreadable(
    const v1::MailItem& item, const std::string& digest) {
  LogWarning("mail.unreadable");
  bool answering = false;
  std::vector<MessageRecord> shown;
  const absl::Status noted = Transact([&](MessageStore& store) -> absl::Status {
    // Another thread may have been given the same mail.
    const absl::StatusOr<bool> known = IsKnown(store, item, digest);
    if (!known.ok()) return known.status();
    if (*known) return absl::OkStatus();
    const absl::StatusOr<bool> room = RoomForNotice(store, item.sender());
    if (!room.ok()) return room.status();
    absl::Status noticed;
    if (*room) {
      noticed =
          AddNotice(store, item.sender(), item.message_id(), UnreadableHere(item.sender()), &shown)
              .status();
    } else {
      noticed = store.guard().AddDropped(item.sender(), item.message_id());
      if (noticed.ok()) {
        noticed = CountInNotice(store, item.sender(), MailGuard::Topic::kUnreadable,
                                Now() - kHourMs, &shown);
      }
    }
    if (!noticed.ok()) return noticed;
    const absl::StatusOr<bool> answered = AnswerUnreadable(store, item, *room);
    if (!answered.ok()) return answered.status();
    answering = *answered;
    return absl::OkStatus();
  });
  if (!noted.ok()) return noted;
  if (answering) {
    Say("a message cannot be read here: its sender is told so, under a new session");
  }
  Tell(shown);
  return answering ? Taken::kUnreadable : Taken::kDone;
}

// Has the sender told that this mail could not be read: in an answer that still waits here, in one of
// its own while there is room in the hour, and beyond that once for each session; a stranger once. False:
// not at all.
absl::StatusOr<bool> Messenger::State::AnswerUnreadable(MessageStore& store,
                                                        const v1::MailItem& item, bool room) {
  MailGuard guard = store.guard();
  const absl::StatusOr<v1::MailEnvelope> envelope = protocol::ParseEnvelope(item.sealed());
  const std::string session_id = envelope.ok() ? envelope->session_id() : "";
  v1::MailUnreadable unreadable;
  const auto open = store.OpenUnreadable(item.sender());
  if (!open.ok()) return open.status();
  const bool joins =
      open->has_value() && unreadable.ParseFromString((*open)->body) &&
      static_cast<size_t>(unreadable.message_ids_size()) < protocol::kMaxUnreadableIds;
  const absl::StatusOr<bool> talked = store.HasTalkedWith(item.sender());
  if (!talked.ok()) return talked.status();
  if (!joins && !*talked) {
    const absl::StatusOr<int64_t> count = guard.CountAnswered(item.sender(), 0);
    if (!count.ok()) return count.status();
    if (*count > 0) return false;
  }
  if (!joins && !room) {
    const int64_t since_ms = Now() - kHourMs;
    const absl::StatusOr<bool> told = guard.Answered(item.sender(), session_id, since_ms);
    if (!told.ok()) return told.status();
    const absl::StatusOr<int64_t> count = guard.CountAnswered(item.sender(), since_ms);
    if (!count.ok()) return count.status();
    if (*told || *count >= kMaxAnsweredSessionsPerHour) return false;
  }
  const absl::Status noted = guard.AddAnswered(item.sender(), session_id, Now());
  if (!noted.ok()) return noted;
  if (joins) {
    unreadable.add_message_ids(item.message_id());
    const absl::Status joined = store.SetBody((*open)->id, unreadable.SerializeAsString());
    if (!joined.ok()) return joined;
    return true;
  }
  unreadable.Clear();
  unreadable.add_message_ids(item.message_id());
  MessageRecord answer;
  answer.contact = item.sender();
  answer.outgoing = true;
  answer.message_id = use.random->Bytes(protocol::kMessageIdBytes);
  answer.kind = MessageKind::kUnreadable;
  answer.state = MessageState::kQueued;
  answer.body = unreadable.SerializeAsString();
  answer.sent_at_ms = Now();
  answer.stored_at_ms = answer.sent_at_ms;
  answer.read = true;
  const absl::StatusOr<int64_t> id = store.AddMessage(answer);
  if (!id.ok()) return id.status();
  return true;
}

// ---- Reading

absl::StatusOr<MessageRecord> Messenger::State::Load(int64_t id) {
  absl::optional<MessageRecord> message;
  const absl::Status found = Query([&](MessageStore& store) -> absl::Status {
    absl::StatusOr<absl::optional<MessageRecord>> row = store.Get(id);
    if (!row.ok()) return row.status();
    message = *std::move(row);
    return absl::OkStatus();
  });
  if (!found.ok()) return found;
  if (!message.has_value()) return absl::NotFoundError("there is no such message");
  return *std::move(message);
}

absl::StatusOr<std::vector<MessageRecord>> Messenger::List(const Filter& filter) {
  std::vector<MessageRecord> messages;
  const absl::Status found = state_->Query([&](MessageStore& store) -> absl::Status {
    absl::StatusOr<std::vector<MessageRecord>> rows =
        store.List({filter.contact, filter.unread_only, filter.incoming_only, filter.before_id,
                    static_cast<int64_t>(std::min(filter.limit, kMostListed))});
    if (!rows.ok()) return rows.status();
    messages = *std::move(rows);
    return absl::OkStatus();
  });
  if (!found.ok()) return found;
  return messages;
}

absl::StatusOr<MessageRecord> Messenger::Read(int64_t id) {
  absl::StatusOr<MessageRecord> message = state_->Load(id);
  if (message.ok() && !ForPeople(*message)) return absl::NotFoundError("there is no such message");
  return message;
}

absl::StatusOr<absl::optional<MessageRecord>> Messenger::NextUnread() {
  absl::optional<MessageRecord> message;
  const absl::Status done = state_->Query([&](MessageStore& store) -> absl::Status {
    const absl::StatusOr<absl::optional<int64_t>> id = store.OldestUnread();
    if (!id.ok()) return id.status();
    if (!id->has_value()) return absl::OkStatus();
    absl::StatusOr<absl::optional<MessageRecord>> row = store.Get(**id);
    if (!row.ok()) return row.status();
    message = *std::move(row);
    return absl::OkStatus();
  });
  if (!done.ok()) return done;
  return message;
}

absl::StatusOr<std::vector<int64_t>> Messenger::UnreadOf(const std::string& contact,
                                                         int64_t after_id, size_t limit) {
  std::vector<int64_t> ids;
  const absl::Status found = state_->Query([&](MessageStore& store) -> absl::Status {
    absl::StatusOr<std::vector<int64_t>> unread =
        store.UnreadOf(contact, after_id, static_cast<int64_t>(std::min(limit, kMostListed)));
    if (!unread.ok()) return unread.status();
    ids = *std::move(unread);
    return absl::OkStatus();
  });
  if (!found.ok()) return found;
  return ids;
}

absl::Status Messenger::MarkRead(const std::vector<int64_t>& ids) {
  return state_->Transact([&](MessageStore& store) -> absl::Status {
    for (const int64_t id : ids) {
      const absl::Status marked = store.MarkRead(id);
      if (!marked.ok()) return marked;
    }
    return absl::OkStatus();
  });
}

absl::StatusOr<int64_t> Messenger::Delete(int64_t id) {
  int64_t count = 0;
  const absl::Status done = state_->Transact([&](MessageStore& store) -> absl::Status {
    const auto message = store.Get(id);
    if (!message.ok()) return message.status();
    if (!message->has_value() || !ForPeople(**message)) {
      return absl::NotFoundError("there is no such message");
    }
    if ((*message)->state == MessageState::kQueued) {
      return absl::FailedPreconditionError("that message has not gone out yet");
    }
    const absl::StatusOr<int64_t> deleted = store.Delete(id);
    if (!deleted.ok()) return deleted.status();
    count = *deleted;
    return store.guard().ForgetCountedOfAll(MailGuard::Topic::kNoRoom);
  });
  if (!done.ok()) return done;
  const absl::Status scrubbed = state_->use.database->Scrub();
  if (!scrubbed.ok()) return scrubbed;
  // What found no room comes in now, or after the next login.
  Receive().IgnoreError();
  return count;
}

absl::StatusOr<int64_t> Messenger::DeleteAll(const std::string& contact, int64_t before_ms) {
  if (!protocol::IsValidUsername(contact)) {
    return absl::InvalidArgumentError("that is no valid username");
  }
  int64_t count = 0;
  const absl::Status done = state_->Transact([&](MessageStore& store) -> absl::Status {
    const absl::StatusOr<int64_t> deleted = store.DeleteAll(contact, before_ms);
    if (!deleted.ok()) return deleted.status();
    count = *deleted;
    return store.guard().ForgetCountedOfAll(MailGuard::Topic::kNoRoom);
  });
  if (!done.ok()) return done;
  const absl::Status scrubbed = state_->use.database->Scrub();
  if (!scrubbed.ok()) return scrubbed;
  // What found no room comes in now, or after the next login.
  Receive().IgnoreError();
  return count;
}

uint64_t Messenger::AddListener(Listener listener) {
  std::lock_guard<std::mutex> lock(state_->listeners_mutex);
  const uint64_t id = state_->next_listener_id++;
  state_->listeners.emplace(id, std::move(listener));
  return id;
}

void Messenger::RemoveListener(uint64_t id) {
  std::lock_guard<std::mutex> lock(state_->listeners_mutex);
  state_->listeners.erase(id);
}

// ---- Contacts

absl::StatusOr<ContactRecord> Messenger::State::Describe(
    const MessageStore::Contact& contact) const {
  const std::string& own = use.identity->public_identity().fingerprint();
  ContactRecord record;
  record.username = contact.username;
  record.verified = contact.verified;
  record.first_seen_ms = contact.first_seen_ms;
  record.by_mail = contact.by_mail;
  record.blocked = contact.blocked;
  record.dropped_messages = contact.dropped_messages;
  if (contact.identity.empty()) return record;
  const absl::StatusOr<PublicIdentity> pinned = KeptIdentity(contact.identity);
  if (!pinned.ok()) return pinned.status();
  record.fingerprint = pinned->fingerprint();
  absl::StatusOr<std::string> number = protocol::SafetyNumber(own, record.fingerprint);
  if (!number.ok()) return number.status();
  record.safety_number = *std::move(number);
  if (contact.offered_identity.empty()) return record;
  const absl::StatusOr<PublicIdentity> offered = KeptIdentity(contact.offered_identity);
  if (!offered.ok()) return offered.status();
  record.offered_fingerprint = offered->fingerprint();
  number = protocol::SafetyNumber(own, record.offered_fingerprint);
  if (!number.ok()) return number.status();
  record.offered_safety_number = *std::move(number);
  return record;
}

absl::StatusOr<ContactRecord> Messenger::State::DescribeUser(const std::string& username) {
  MessageStore::Contact user;
  const absl::Status found = Query([&](MessageStore& store) -> absl::Status {
    const auto contacts = store.ListContacts();
    if (!contacts.ok()) return contacts.status();
    user.username = username;
    for (const MessageStore::Contact& contact : *contacts) {
      if (contact.username == username) user = contact;
    }
    return absl::OkStatus();
  });
  if (!found.ok()) return found;
  return Describe(user);
}

absl::StatusOr<std::vector<ContactRecord>> Messenger::Contacts() {
  std::vector<MessageStore::Contact> rows;
  const absl::Status found = state_->Query([&](MessageStore& store) -> absl::Status {
    auto all = store.ListContacts();
    if (!all.ok()) return all.status();
    rows = *std::move(all);
    return absl::OkStatus();
  });
  if (!found.ok()) return found;
  // Outside, since a safety number takes its time.
  std::vector<ContactRecord> contacts;
  for (const MessageStore::Contact& row : rows) {
    absl::StatusOr<ContactRecord> contact = state_->Describe(row);
    if (!contact.ok()) return contact.status();
    contacts.push_back(*std::move(contact));
  }
  return contacts;
}

absl::StatusOr<ContactRecord> Messenger::GetContact(const std::string& username) {
  State& s = *state_;
  if (!protocol::IsValidUsername(username)) {
    return absl::InvalidArgumentError("that is no valid username");
  }
  absl::optional<MessageStore::Contact> contact;
  const auto find = [&](MessageStore& store) -> absl::Status {
    auto row = store.FindContact(username);
    if (!row.ok()) return row.status();
    contact = *std::move(row);
    return absl::OkStatus();
  };
  const absl::Status found = s.Query(find);
  if (!found.ok()) return found;
  if (contact.has_value()) return s.Describe(*contact);

  const absl::StatusOr<std::string> own_name = s.LoggedInAs();
  if (!own_name.ok()) return own_name.status();
  v1::FetchKeysCall call;
  call.set_username(username);
  call.set_identity_only(true);
  const absl::StatusOr<v1::FetchKeysResult> keys = s.use.transport->FetchKeys(call);
  if (!keys.ok()) return keys.status();
  if (!keys->found()) {
    return absl::NotFoundError(
        absl::StrCat("there is no user ", username, ", or one who has never used messages"));
  }
  const absl::StatusOr<PublicIdentity> identity = PublicIdentity::Parse(keys->public_identity());
  if (!identity.ok()) return Nonsense();
  if (identity->fingerprint() == s.use.identity->public_identity().fingerprint()) {
    return absl::InvalidArgumentError("that is you");
  }
  const absl::Status pinned = s.Transact([&](MessageStore& store) -> absl::Status {
    const absl::Status again = find(store);
    if (!again.ok() || contact.has_value()) return again;
    contact = MessageStore::Contact{username, identity->Serialize(), false, s.Now(), ""};
    return store.SaveContact(*contact);
  });
  if (!pinned.ok()) return pinned;
  return s.Describe(*contact);
}

absl::StatusOr<ContactRecord> Messenger::MarkVerified(const std::string& username,
                                                      absl::string_view safety_number) {
  State& s = *state_;
  absl::optional<MessageStore::Contact> contact;
  const auto find = [&](MessageStore& store) -> absl::Status {
    auto row = store.FindContact(username);
    if (!row.ok()) return row.status();
    contact = *std::move(row);
    if (!contact.has_value()) return absl::NotFoundError("there is no such contact");
    return absl::OkStatus();
  };
  const absl::Status found = s.Query(find);
  if (!found.ok()) return found;
  const std::string compared = contact->identity;
  absl::StatusOr<ContactRecord> record = s.Describe(*contact);
  if (!record.ok()) return record;
  if (!protocol::SafetyNumbersMatch(record->safety_number, safety_number)) {
    return absl::FailedPreconditionError(
        "the safety numbers differ. Either one of you reads the number of another contact, or "
        "somebody stands in between: do not send secrets");
  }
  const absl::Status done = s.Transact([&](MessageStore& store) -> absl::Status {
    const absl::Status again = find(store);
    if (!again.ok()) return again;
    if (contact->identity != compared) {
      return absl::FailedPreconditionError("the contact's key was changed meanwhile. Look again");
    }
    contact->verified = true;
    return store.SaveContact(*contact);
  });
  if (!done.ok()) return done;
  record->verified = true;
  return record;
}

// What waited for the user's decision about the contact's identity waits no more.
absl::Status Messenger::State::Decided(MessageStore& store, const std::string& username) {
  const absl::Status forgotten = store.guard().ForgetHeld(username);
  if (!forgotten.ok()) return forgotten;
  return store.guard().ForgetCounted(username, MailGuard::Topic::kNotHeld);
}

absl::StatusOr<ContactRecord> Messenger::AcceptIdentity(const std::string& username,
                                                        absl::string_view fingerprint) {
  State& s = *state_;
  if (fingerprint.size() != crypto::kFingerprintBytes) {
    return absl::InvalidArgumentError("name the identity to accept by its fingerprint");
  }
  MessageStore::Contact row;
  const absl::Status done = s.Transact([&](MessageStore& store) -> absl::Status {
    auto contact = store.FindContact(username);
    if (!contact.ok()) return contact.status();
    if (!contact->has_value()) return absl::NotFoundError("there is no such contact");
    std::string accepted;
    if (!(*contact)->offered_identity.empty()) {
      const absl::StatusOr<PublicIdentity> offered = KeptIdentity((*contact)->offered_identity);
      if (!offered.ok()) return offered.status();
      if (offered->fingerprint() == fingerprint) accepted = (*contact)->offered_identity;
    }
    if (accepted.empty()) {
      const auto rejected = store.guard().FindRejected(username, fingerprint);
      if (!rejected.ok()) return rejected.status();
      if (rejected->has_value()) accepted = **rejected;
    }
    if (accepted.empty()) {
      return absl::FailedPreconditionError(
          (*contact)->offered_identity.empty()
              ? "that contact's identity has not changed"
              : absl::StrCat("that is not the identity which waits for your decision. Look again: "
                             "blindcart contacts verify ",
                             username));
    }
    (*contact)->identity = accepted;
    (*contact)->offered_identity.clear();
    (*contact)->verified = false;
    (*contact)->by_mail = false;
    absl::Status saved = store.SaveContact(**contact);
    if (saved.ok()) saved = store.DropSessions(username);
    if (saved.ok()) saved = store.ClearSealed(username);
    if (saved.ok()) saved = store.guard().ForgetRejected(username, fingerprint);
    if (saved.ok()) saved = s.Decided(store, username);
    row = **contact;
    return saved;
  });
  if (!done.ok()) return done;
  // What waits comes in and goes out now, or after the next login.
  Receive().IgnoreError();
  s.SendQueued(username, 0, nullptr).IgnoreError();
  return s.Describe(row);
}

absl::StatusOr<ContactRecord> Messenger::KeepIdentity(const std::string& username) {
  State& s = *state_;
  MessageStore::Contact row;
  const absl::Status done = s.Transact([&](MessageStore& store) -> absl::Status {
    auto contact = store.FindContact(username);
    if (!contact.ok()) return contact.status();
    if (!contact->has_value()) return absl::NotFoundError("there is no such contact");
    if (!(*contact)->offered_identity.empty()) {
      const absl::StatusOr<PublicIdentity> offered = KeptIdentity((*contact)->offered_identity);
      if (!offered.ok()) return offered.status();
      absl::Status saved =
          store.guard().Reject(username, offered->fingerprint(), (*contact)->offered_identity);
      (*contact)->offered_identity.clear();
      if (saved.ok()) saved = store.SaveContact(**contact);
      if (saved.ok()) saved = s.Decided(store, username);
      if (!saved.ok()) return saved;
    }
    row = **contact;
    return absl::OkStatus();
  });
  if (!done.ok()) return done;
  // The broker may forget now what waited under the other identity, or after the next login.
  Receive().IgnoreError();
  return s.Describe(row);
}

absl::StatusOr<ContactRecord> Messenger::Block(const std::string& username) {
  if (!protocol::IsValidUsername(username)) {
    return absl::InvalidArgumentError("that is no valid username");
  }
  if (username == state_->use.transport->username()) {
    return absl::InvalidArgumentError("that is you");
  }
  const absl::Status done =
      state_->Transact([&](MessageStore& store) { return store.guard().Block(username); });
  if (!done.ok()) return done;
  // What waits at the broker is dropped now, or after the next login.
  Receive().IgnoreError();
  return state_->DescribeUser(username);
}

absl::StatusOr<ContactRecord> Messenger::Unblock(const std::string& username) {
  const absl::Status done = state_->Transact([&](MessageStore& store) -> absl::Status {
    const absl::StatusOr<bool> blocked = store.guard().IsBlocked(username);
    if (!blocked.ok()) return blocked.status();
    if (!*blocked) return absl::FailedPreconditionError("that user is not blocked");
    return store.guard().Unblock(username);
  });
  if (!done.ok()) return done;
  return state_->DescribeUser(username);
}

}  // namespace blindcart::agent
