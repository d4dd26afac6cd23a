// Sending: what is queued is sealed once and sent under one id until the broker has confirmed it.
#include <chrono>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "crypto/secret_bytes.h"
#include "crypto/x25519.h"
#include "protocol/login_handshake.h"
#include "protocol/mail_content.h"
#include "services/agent/messenger_state.h"
#include "services/agent/messenger_words.h"

namespace blindcart::agent {
namespace {

using crypto::PublicIdentity;
using crypto::X25519KeyPair;
using protocol::MailSession;

int64_t MicrosecondsSince(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() -
                                                               begin)
      .count();
}

// Whether it is only now that nothing can be sent.
bool GoesOutLater(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsUnauthenticated(status) ||
         absl::IsResourceExhausted(status);
}

}  // namespace

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
    if (*blocked) return RecipientBlocked(outgoing.to);
    const auto contact = store.FindContact(outgoing.to);
    if (!contact.ok()) return contact.status();
    if (contact->has_value() && !(*contact)->offered_identity.empty()) {
      const absl::StatusOr<PublicIdentity> offered = KeptIdentity((*contact)->offered_identity);
      return offered.ok() ? IdentityChanged(outgoing.to, *offered) : offered.status();
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
        SayOfMessages("the broker stored the sealed message for its recipient; it cannot read it");
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
  SayOfMessages(
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
      const absl::StatusOr<PublicIdentity> offered = KeptIdentity((*contact)->offered_identity);
      return offered.ok() ? IdentityChanged(message.contact, *offered) : offered.status();
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
  if (changed) return IdentityChanged(message.contact, keys.identity);
  SayOfMessages(
      absl::StrCat("agreed on a fresh secret with the recipient by X3DH (",
                   keys.one_time_pre_key_id != 0 ? 4 : 3,
                   " X25519 exchanges), though it need not be online; session established"));
  if (first_contact) {
    SayOfMessages(
        "first contact: the recipient's identity is pinned, unverified until safety numbers are "
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
  SayOfMessages(
      absl::StrCat("padded and sealed the message under a key of its own, now forgotten (Double "
                   "Ratchet): ",
                   sealed->size(), " bytes"));
  return store.SetSealed(message.id, *sealed);
}

}  // namespace blindcart::agent
