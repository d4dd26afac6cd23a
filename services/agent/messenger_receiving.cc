// Receiving: mail is opened and kept in one transaction; what cannot be opened is noted and answered,
// what may not be is held back.
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "crypto/hash.h"
#include "crypto/x25519.h"
#include "protocol/login_handshake.h"
#include "protocol/mail_content.h"
#include "services/agent/messenger_state.h"
#include "services/agent/messenger_words.h"
#include "services/common/log.h"

namespace blindcart::agent {
namespace {

using crypto::PublicIdentity;
using crypto::X25519KeyPair;
using protocol::MailSession;

}  // namespace

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
    SayOfMessages(
        "first contact: the sender's identity is pinned, unverified until safety numbers are "
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
  SayOfMessages(
      "opened a message under a key of its own, now forgotten; sender and bytes are authentic");
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
  SayOfMessages(
      "the sender began a session: its signature verified, the same secret derived by X3DH, the "
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
                                Now() - kNoticeHourMs, &shown);
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
    SayOfMessages("a message cannot be read here: its sender is told so, under a new session");
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
    const int64_t since_ms = Now() - kNoticeHourMs;
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

}  // namespace blindcart::agent
