#include "services/agent/messenger.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "crypto/x25519.h"
#include "protocol/login_handshake.h"
#include "protocol/x3dh.h"
#include "services/agent/messenger_state.h"

namespace blindcart::agent {
namespace {

using crypto::X25519KeyPair;

constexpr size_t kMostListed = 1'000;

}  // namespace

Messenger::Messenger(const Dependencies& dependencies)
    : state_(std::make_unique<State>(dependencies)) {}

Messenger::~Messenger() = default;

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
  SayOfMessages(rotated ? "published the identity key and a new signed pre-key"
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
    SayOfMessages(absl::StrCat("published ", more.one_time_pre_keys_size(), " one-time pre-keys"));
  }
  return rotated ? s.use.database->Scrub() : absl::OkStatus();
}

// ---- Reading and deleting

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

absl::StatusOr<int64_t> Messenger::State::DeleteBy(
    absl::FunctionRef<absl::StatusOr<int64_t>(MessageStore&)> body) {
  int64_t count = 0;
  const absl::Status done = Transact([&](MessageStore& store) -> absl::Status {
    const absl::StatusOr<int64_t> deleted = body(store);
    if (!deleted.ok()) return deleted.status();
    count = *deleted;
    // What still finds no room is told anew.
    return store.guard().ForgetCountedOfAll(MailGuard::Topic::kNoRoom);
  });
  if (!done.ok()) return done;
  const absl::Status scrubbed = use.database->Scrub();
  if (!scrubbed.ok()) return scrubbed;
  return count;
}

absl::StatusOr<int64_t> Messenger::Delete(int64_t id) {
  const absl::StatusOr<int64_t> deleted =
      state_->DeleteBy([&](MessageStore& store) -> absl::StatusOr<int64_t> {
        const auto message = store.Get(id);
        if (!message.ok()) return message.status();
        if (!message->has_value() || !ForPeople(**message)) {
          return absl::NotFoundError("there is no such message");
        }
        if ((*message)->state == MessageState::kQueued) {
          return absl::FailedPreconditionError("that message has not gone out yet");
        }
        return store.Delete(id);
      });
  // What found no room comes in now, or after the next login.
  if (deleted.ok()) Receive().IgnoreError();
  return deleted;
}

absl::StatusOr<int64_t> Messenger::DeleteAll(const std::string& contact, int64_t before_ms) {
  if (!protocol::IsValidUsername(contact)) {
    return absl::InvalidArgumentError("that is no valid username");
  }
  const absl::StatusOr<int64_t> deleted =
      state_->DeleteBy([&](MessageStore& store) { return store.DeleteAll(contact, before_ms); });
  if (deleted.ok()) Receive().IgnoreError();
  return deleted;
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

}  // namespace blindcart::agent
