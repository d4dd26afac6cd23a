#include "services/broker/mail.h"

#include <limits>
#include <vector>

#include "crypto/identity.h"
#include "protocol/login_handshake.h"
#include "protocol/mail_content.h"
#include "protocol/mail_session.h"
#include "protocol/refusal.h"
#include "protocol/x3dh.h"
#include "services/common/log.h"

namespace blindcart::broker {
namespace {

constexpr int64_t kMailPerRead = 8;
constexpr int64_t kExpiredPerSweep = 256;

bool IsNumber(uint64_t value) {
  return value <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
}

void SetSignedPreKey(const v1::SignedPreKey& pre_key, storage::MailKeys* keys) {
  keys->signed_pre_key_id = pre_key.id();
  keys->signed_pre_key = pre_key.key();
  keys->signed_pre_key_signature = pre_key.signature();
}

// Bounds and signatures of what is given.
absl::Status CheckKeys(const crypto::PublicIdentity& owner, const v1::PublishKeysCall& call) {
  if (call.identity_key().empty() != call.identity_key_signature().empty()) {
    return protocol::Refused();
  }
  if (!call.identity_key().empty() &&
      !protocol::VerifyIdentityKey(owner, call.identity_key(), call.identity_key_signature())
           .ok()) {
    return protocol::Refused();
  }
  if (call.has_signed_pre_key() && (call.signed_pre_key().id() == 0 ||
                                    !protocol::VerifyPreKey(owner, call.signed_pre_key()).ok())) {
    return protocol::Refused();
  }
  // Alone it would stand beside a pre-key of the agent that was.
  if (!call.identity_key().empty() && !call.has_signed_pre_key()) return protocol::Refused();
  for (const v1::OneTimePreKey& pre_key : call.one_time_pre_keys()) {
    if (pre_key.id() == 0 || pre_key.key().size() != storage::kMailKeyBytes) {
      return protocol::Refused();
    }
  }
  return absl::OkStatus();
}

// Fills in all but the one-time pre-key; leaves `found` false where there are no keys.
absl::Status ReadKeys(storage::Transaction& transaction, const storage::Customer& owner,
                      v1::FetchKeysResult* result) {
  const absl::StatusOr<storage::MailKeys> keys = transaction.mailboxes().GetKeys(owner.id);
  if (absl::IsNotFound(keys.status())) return absl::OkStatus();
  if (!keys.ok()) return keys.status();
  result->set_found(true);
  result->set_public_identity(owner.identity);
  result->set_identity_key(keys->identity_key);
  result->set_identity_key_signature(keys->identity_key_signature);
  result->mutable_signed_pre_key()->set_id(static_cast<uint32_t>(keys->signed_pre_key_id));
  result->mutable_signed_pre_key()->set_key(keys->signed_pre_key);
  result->mutable_signed_pre_key()->set_signature(keys->signed_pre_key_signature);
  return absl::OkStatus();
}

absl::Status MailboxFull() { return absl::ResourceExhaustedError("the mailbox is full"); }

v1::MailResult Sent(v1::SendMailOutcome outcome) {
  v1::MailResult result;
  result.mutable_send()->set_outcome(outcome);
  return result;
}

}  // namespace

Mail::Mail(const Options& options, storage::Store& store, storage::CommitQueue& commits,
           const protocol::Clock& clock)
    : options_(options),
      store_(store),
      commits_(commits),
      clock_(clock),
      pre_keys_(clock),
      allowance_(options.sender, clock),
      pushes_(store, clock) {}

absl::Status Mail::Handle(int64_t customer_id, v1::MailCall call, Answer answer) {
  switch (call.kind_case()) {
    case v1::MailCall::kPublishKeys:
      return PublishKeys(customer_id, call.publish_keys(), std::move(answer));
    case v1::MailCall::kFetchKeys:
      return FetchKeys(customer_id, call.fetch_keys(), std::move(answer));
    case v1::MailCall::kSend:
      return Send(customer_id, std::move(*call.mutable_send()), std::move(answer));
    case v1::MailCall::kFetch:
      return Fetch(customer_id, call.fetch(), std::move(answer));
    case v1::MailCall::kAcknowledge:
      return Acknowledge(customer_id, call.acknowledge(), std::move(answer));
    case v1::MailCall::KIND_NOT_SET:
      break;
  }
  return protocol::Refused();
}

absl::Status Mail::Commit(int64_t customer_id,
                          std::function<absl::Status(storage::Transaction&, v1::MailResult&)> job,
                          Answer answer) {
  // One writer serves everybody: nobody fills its queue.
  if (!Begin(customer_id, 0)) return absl::ResourceExhaustedError("too much is under way");
  auto result = std::make_shared<v1::MailResult>();
  const absl::Status submitted = commits_.Submit(
      [job = std::move(job), result](storage::Transaction& transaction) {
        result->Clear();
        return job(transaction, *result);
      },
      [this, customer_id, result, answer = std::move(answer)](const absl::Status& status) {
        End(customer_id, 0);
        if (!status.ok()) {
          LogWarning("mail.commit_failed", {{"code", static_cast<int>(status.code())}});
          return answer(status);
        }
        answer(std::move(*result));
      });
  if (!submitted.ok()) End(customer_id, 0);
  return submitted;
}

absl::Status Mail::PublishKeys(int64_t customer_id, const v1::PublishKeysCall& call,
                               Answer answer) {
  if (call.one_time_pre_keys_size() > kMaxPreKeys) return protocol::Refused();
  std::string identity;
  const absl::Status read = store_.Read([&](storage::Transaction& transaction) {
    absl::StatusOr<storage::Customer> customer = transaction.customers().Get(customer_id);
    if (customer.ok()) identity = std::move(customer->identity);
    return customer.status();
  });
  if (!read.ok()) return read;
  const absl::StatusOr<crypto::PublicIdentity> owner = crypto::PublicIdentity::Parse(identity);
  if (!owner.ok()) return owner.status();
  const absl::Status checked = CheckKeys(*owner, call);
  if (!checked.ok()) return checked;

  return Commit(
      customer_id,
      [customer_id, call](storage::Transaction& transaction, v1::MailResult& result) {
        storage::Mailboxes& mailboxes = transaction.mailboxes();
        v1::PublishKeysResult& published = *result.mutable_publish_keys();
        absl::StatusOr<storage::MailKeys> keys = mailboxes.GetKeys(customer_id);
        if (!keys.ok() && !absl::IsNotFound(keys.status())) return keys.status();
        // Pre-keys without the keys that they belong to serve nobody; the answer says that none is
        // kept.
        if (!keys.ok() && call.identity_key().empty()) return absl::OkStatus();
        if (!keys.ok()) keys = storage::MailKeys();
        keys->customer_id = customer_id;
        if (!call.identity_key().empty()) {
          keys->identity_key = call.identity_key();
          keys->identity_key_signature = call.identity_key_signature();
        }
        if (call.has_signed_pre_key()) SetSignedPreKey(call.signed_pre_key(), &*keys);
        const absl::Status set = mailboxes.SetKeys(*keys);
        if (!set.ok()) return set;
        absl::StatusOr<int64_t> count = mailboxes.CountPreKeys(customer_id);
        if (!count.ok()) return count.status();
        for (const v1::OneTimePreKey& pre_key : call.one_time_pre_keys()) {
          if (*count >= kMaxPreKeys) break;
          const absl::Status added =
              mailboxes.AddPreKey(customer_id, {pre_key.id(), pre_key.key()});
          if (absl::IsAlreadyExists(added)) continue;  // The call came before.
          if (!added.ok()) return added;
          ++*count;
        }
        published.set_one_time_pre_keys_left(static_cast<uint32_t>(*count));
        return absl::OkStatus();
      },
      std::move(answer));
}

absl::Status Mail::FetchKeys(int64_t customer_id, const v1::FetchKeysCall& call, Answer answer) {
  if (!protocol::IsValidUsername(call.username())) return protocol::Refused();
  v1::MailResult result;
  storage::Customer owner;
  const absl::Status read = store_.Read([&](storage::Transaction& transaction) {
    v1::FetchKeysResult* const keys = result.mutable_fetch_keys();
    keys->Clear();
    absl::StatusOr<storage::Customer> found =
        transaction.customers().FindByUsername(call.username());
    if (absl::IsNotFound(found.status())) return absl::OkStatus();
    if (!found.ok()) return found.status();
    owner = *std::move(found);
    return ReadKeys(transaction, owner, keys);
  });
  if (!read.ok()) return read;
  if (call.identity_only() || !result.fetch_keys().found() ||
      !pre_keys_.MayTake(customer_id, owner.id)) {
    answer(std::move(result));
    return absl::OkStatus();
  }
  // Everything once more in the transaction that takes the pre-key, so that all of it is one agent's.
  return Commit(
      customer_id,
      [owner = std::move(owner)](storage::Transaction& transaction, v1::MailResult& taken) {
        v1::FetchKeysResult* const keys = taken.mutable_fetch_keys();
        const absl::Status reread = ReadKeys(transaction, owner, keys);
        if (!reread.ok()) return reread;
        const absl::StatusOr<storage::MailPreKey> pre_key =
            transaction.mailboxes().TakePreKey(owner.id);
        if (absl::IsNotFound(pre_key.status())) return absl::OkStatus();
        if (!pre_key.ok()) return pre_key.status();
        keys->mutable_one_time_pre_key()->set_id(static_cast<uint32_t>(pre_key->id));
        keys->mutable_one_time_pre_key()->set_key(pre_key->key);
        return absl::OkStatus();
      },
      std::move(answer));
}

bool Mail::Begin(int64_t customer_id, size_t bytes) {
  std::lock_guard<std::mutex> lock(mutex_);
  int& count = under_way_[customer_id];
  if (count >= kMaxUnderWay || bytes_under_way_ + bytes > kMaxBytesUnderWay) {
    if (count == 0) under_way_.erase(customer_id);
    return false;
  }
  ++count;
  bytes_under_way_ += bytes;
  return true;
}

void Mail::End(int64_t customer_id, size_t bytes) {
  std::lock_guard<std::mutex> lock(mutex_);
  bytes_under_way_ -= bytes;
  const auto found = under_way_.find(customer_id);
  if (--found->second == 0) under_way_.erase(found);
}

absl::Status Mail::CheckEnvelope(int64_t sender_id, absl::string_view sealed) {
  const absl::StatusOr<v1::MailEnvelope> envelope = protocol::ParseEnvelope(sealed);
  if (!envelope.ok()) return protocol::Refused();
  if (!envelope->has_initial()) return absl::OkStatus();
  bool own = false;
  const absl::Status read = store_.Read([&](storage::Transaction& transaction) {
    const absl::StatusOr<storage::Customer> sender = transaction.customers().Get(sender_id);
    own = sender.ok() && sender->identity == envelope->initial().identity();
    return sender.status();
  });
  if (!read.ok()) return read;
  return own ? absl::OkStatus() : protocol::Refused();
}

absl::Status Mail::Send(int64_t customer_id, v1::SendMailCall call, Answer answer) {
  if (call.message_id().size() != storage::kMessageIdBytes || call.sealed().empty() ||
      call.sealed().size() > protocol::kMaxSealedBytes ||
      !protocol::IsValidUsername(call.recipient())) {
    return protocol::Refused();
  }
  const absl::Status outer = CheckEnvelope(customer_id, call.sealed());
  if (!outer.ok()) return outer;
  const size_t bytes = call.sealed().size();
  if (!Begin(customer_id, bytes)) {
    answer(Sent(v1::SEND_MAIL_OUTCOME_BUSY));
    return absl::OkStatus();
  }
  if (!allowance_.Take(customer_id, static_cast<int64_t>(bytes))) {
    End(customer_id, bytes);
    answer(Sent(v1::SEND_MAIL_OUTCOME_ALLOWANCE));
    return absl::OkStatus();
  }
  struct Outcome {
    v1::SendMailOutcome outcome = v1::SEND_MAIL_OUTCOME_BUSY;
    int64_t recipient_id = 0;
    v1::MailItem item;  // Without a number: nothing to push.
  };
  auto sent = std::make_shared<Outcome>();
  auto letter = std::make_shared<const v1::SendMailCall>(std::move(call));
  const absl::Status submitted = commits_.Submit(
      [this, customer_id, letter, sent](storage::Transaction& transaction) -> absl::Status {
        *sent = Outcome();
        storage::Mailboxes& mailboxes = transaction.mailboxes();
        const absl::StatusOr<storage::Customer> recipient =
            transaction.customers().FindByUsername(letter->recipient());
        if (absl::IsNotFound(recipient.status())) {
          sent->outcome = v1::SEND_MAIL_OUTCOME_NO_RECIPIENT;
          return absl::OkStatus();
        }
        if (!recipient.ok()) return recipient.status();
        sent->recipient_id = recipient->id;
        storage::Mail mail;
        mail.recipient_id = recipient->id;
        mail.sender_id = customer_id;
        mail.message_id = letter->message_id();
        mail.sealed = letter->sealed();
        mail.stored_at_ms = clock_.NowUnixMs();
        mail.expires_at_ms = mail.stored_at_ms + options_.lifetime_ms;
        const absl::StatusOr<int64_t> number = mailboxes.Append(mail);
        if (absl::IsAlreadyExists(number.status())) {
          sent->outcome = v1::SEND_MAIL_OUTCOME_STORED;
          return absl::OkStatus();
        }
        if (!number.ok()) return number.status();
        // A message that was stored before is answered so even when the mailbox is full, so this comes
        // after; an error undoes the above.
        const absl::StatusOr<storage::MailboxUse> use = mailboxes.Use(recipient->id);
        if (!use.ok()) return use.status();
        if (use->items > options_.max_items || use->bytes > options_.max_bytes) {
          sent->outcome = v1::SEND_MAIL_OUTCOME_QUOTA;
          return MailboxFull();
        }
        mail.mail_number = *number;
        absl::StatusOr<v1::MailItem> item = ToMailItem(transaction, std::move(mail));
        if (!item.ok()) return item.status();
        sent->item = *std::move(item);
        sent->outcome = v1::SEND_MAIL_OUTCOME_STORED;
        return absl::OkStatus();
      },
      [this, customer_id, bytes, sent, answer](const absl::Status& status) {
        End(customer_id, bytes);
        // Nothing is said of a mailbox when the commit failed as a whole.
        if (!status.ok() && status != MailboxFull()) {
          LogWarning("mail.commit_failed", {{"code", static_cast<int>(status.code())}});
          return answer(Sent(v1::SEND_MAIL_OUTCOME_BUSY));
        }
        answer(Sent(sent->outcome));
        if (status.ok() && sent->item.mail_number() != 0) {
          pushes_.Push(sent->recipient_id, std::move(sent->item));
        }
      });
  if (!submitted.ok()) {
    End(customer_id, bytes);
    answer(Sent(v1::SEND_MAIL_OUTCOME_BUSY));
  }
  return absl::OkStatus();
}

absl::Status Mail::Fetch(int64_t customer_id, const v1::FetchMailCall& call, Answer answer) {
  if (!IsNumber(call.after_number())) return protocol::Refused();
  v1::MailResult result;
  const absl::Status read = store_.Read([&](storage::Transaction& transaction) -> absl::Status {
    v1::FetchMailResult* const page = result.mutable_fetch();
    page->Clear();
    const int64_t now_ms = clock_.NowUnixMs();
    size_t bytes = 0;
    int64_t after = static_cast<int64_t>(call.after_number());
    while (true) {
      absl::StatusOr<std::vector<storage::Mail>> mails =
          transaction.mailboxes().List(customer_id, after, kMailPerRead);
      if (!mails.ok()) return mails.status();
      if (mails->empty()) return absl::OkStatus();
      for (storage::Mail& mail : *mails) {
        after = mail.mail_number;
        if (mail.expires_at_ms <= now_ms) continue;
        if (page->items_size() >= kMaxItemsPerPage ||
            (page->items_size() > 0 && bytes + mail.sealed.size() > kMaxBytesPerPage)) {
          page->set_more(true);
          return absl::OkStatus();
        }
        bytes += mail.sealed.size();
        absl::StatusOr<v1::MailItem> item = ToMailItem(transaction, std::move(mail));
        if (!item.ok()) return item.status();
        *page->add_items() = *std::move(item);
      }
    }
  });
  if (!read.ok()) return read;
  answer(std::move(result));
  return absl::OkStatus();
}

absl::Status Mail::Acknowledge(int64_t customer_id, const v1::AcknowledgeMailCall& call,
                               Answer answer) {
  if (call.mail_numbers_size() > kMaxNumbersAcknowledged) return protocol::Refused();
  std::vector<int64_t> numbers;
  for (const uint64_t number : call.mail_numbers()) {
    if (!IsNumber(number)) return protocol::Refused();
    numbers.push_back(static_cast<int64_t>(number));
  }
  return Commit(
      customer_id,
      [customer_id, numbers](storage::Transaction& transaction, v1::MailResult& result) {
        result.mutable_acknowledge();
        for (const int64_t number : numbers) {
          const absl::Status removed = transaction.mailboxes().Remove(customer_id, number);
          if (!removed.ok()) return removed;
        }
        return absl::OkStatus();
      },
      std::move(answer));
}

size_t Mail::under_way_count() const {
  size_t count = 0;
  std::lock_guard<std::mutex> lock(mutex_);
  for (const auto& [customer_id, calls] : under_way_) count += static_cast<size_t>(calls);
  return count;
}

size_t Mail::bytes_under_way() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return bytes_under_way_;
}

void Mail::Sweep() {
  const int64_t now_ms = clock_.NowMonotonicMs();
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (sweeping_ || now_ms - last_sweep_ms_ < kSweepIntervalMs) return;
    sweeping_ = true;
    last_sweep_ms_ = now_ms;
  }
  pre_keys_.Sweep();
  allowance_.Sweep();
  auto removed = std::make_shared<int64_t>(0);
  const absl::Status submitted = commits_.Submit(
      [removed, unix_ms = clock_.NowUnixMs()](storage::Transaction& transaction) {
        const absl::StatusOr<int64_t> count =
            transaction.mailboxes().RemoveExpired(unix_ms, kExpiredPerSweep);
        if (count.ok()) *removed = *count;
        return count.status();
      },
      [this, removed](const absl::Status& status) {
        if (!status.ok()) {
          LogWarning("mail.sweep_failed", {{"code", static_cast<int>(status.code())}});
        }
        std::lock_guard<std::mutex> lock(mutex_);
        sweeping_ = false;
        // There may be more: the next call goes on.
        if (status.ok() && *removed >= kExpiredPerSweep) last_sweep_ms_ -= kSweepIntervalMs;
      });
  if (!submitted.ok()) {
    std::lock_guard<std::mutex> lock(mutex_);
    sweeping_ = false;
  }
}

}  // namespace blindcart::broker
