// Contacts: whose identity is pinned, verified, changed, rejected, and who is blocked.
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "protocol/login_handshake.h"
#include "protocol/mail_content.h"
#include "protocol/safety_number.h"
#include "services/agent/messenger_state.h"
#include "services/agent/messenger_words.h"

namespace blindcart::agent {
namespace {

using crypto::PublicIdentity;

}  // namespace

// Pinned identities were checked before they were kept.
absl::StatusOr<PublicIdentity> KeptIdentity(absl::string_view serialized) {
  absl::StatusOr<PublicIdentity> identity = PublicIdentity::Parse(serialized);
  if (!identity.ok()) return absl::DataLossError("a contact in the agent's database is damaged");
  return identity;
}

absl::Status Messenger::State::OfferIdentity(MessageStore& store, MessageStore::Contact contact,
                                             const PublicIdentity& offered,
                                             std::vector<MessageRecord>* shown) {
  if (contact.offered_identity == offered.Serialize()) return absl::OkStatus();
  contact.offered_identity = offered.Serialize();
  const absl::Status saved = store.SaveContact(contact);
  if (!saved.ok()) return saved;
  SayOfMessages("the identity is not the pinned one: nothing is accepted until the user decides");
  const absl::StatusOr<bool> room = RoomForNotice(store, contact.username);
  if (!room.ok()) return room.status();
  if (!*room) {
    return CountInNotice(store, contact.username, MailGuard::Topic::kChanged, Now() - kNoticeHourMs,
                         shown);
  }
  return AddNotice(store, contact.username, use.random->Bytes(protocol::kMessageIdBytes),
                   ChangedNotice(contact.username, offered), shown)
      .status();
}

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
