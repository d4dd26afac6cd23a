#include "services/agent/messages_service.h"

#include <algorithm>
#include <deque>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/types/optional.h"
#include "crypto/encoding.h"
#include "crypto/identity.h"
#include "services/agent/unary_call.h"
#include "services/common/status_conversion.h"

namespace blindcart::agent {
namespace {

constexpr uint32_t kDefaultPage = 100;
constexpr uint32_t kMaxPage = 1'000;

v1::MessageKind ToMessage(MessageKind kind) {
  switch (kind) {
    case MessageKind::kText:
      return v1::MESSAGE_KIND_TEXT;
    case MessageKind::kFile:
      return v1::MESSAGE_KIND_FILE;
    case MessageKind::kNotice:
      return v1::MESSAGE_KIND_NOTICE;
    case MessageKind::kUnreadable:
      break;
  }
  return v1::MESSAGE_KIND_UNSPECIFIED;
}

v1::MessageState ToMessage(MessageState state) {
  switch (state) {
    case MessageState::kReceived:
      return v1::MESSAGE_STATE_RECEIVED;
    case MessageState::kQueued:
      return v1::MESSAGE_STATE_QUEUED;
    case MessageState::kSent:
      return v1::MESSAGE_STATE_SENT;
    case MessageState::kUndelivered:
      return v1::MESSAGE_STATE_UNDELIVERED;
    case MessageState::kNoRecipient:
      return v1::MESSAGE_STATE_NO_RECIPIENT;
    case MessageState::kMailboxFull:
      return v1::MESSAGE_STATE_MAILBOX_FULL;
    case MessageState::kRefused:
      return v1::MESSAGE_STATE_REFUSED;
  }
  return v1::MESSAGE_STATE_UNSPECIFIED;
}

v1::UserMessage ToMessage(const MessageRecord& record) {
  v1::UserMessage message;
  message.set_id(record.id);
  message.set_contact(record.contact);
  message.set_outgoing(record.outgoing);
  message.set_kind(ToMessage(record.kind));
  message.set_state(ToMessage(record.state));
  if (record.kind != MessageKind::kFile) message.set_text(record.body);
  message.set_file_name(record.file_name);
  message.set_size_bytes(static_cast<uint64_t>(record.size_bytes));
  message.set_sent_at_ms(record.sent_at_ms);
  message.set_stored_at_ms(record.stored_at_ms);
  message.set_read(record.read);
  message.set_message_id_hex(crypto::HexEncode(record.message_id));
  message.set_reply_to_hex(crypto::HexEncode(record.reply_to));
  message.set_first_contact(record.first_contact);
  message.set_contact_verified(record.contact_verified);
  return message;
}

v1::Contact ToMessage(const ContactRecord& record) {
  v1::Contact contact;
  contact.set_username(record.username);
  contact.set_fingerprint_hex(crypto::HexEncode(record.fingerprint));
  contact.set_verified(record.verified);
  contact.set_first_seen_ms(record.first_seen_ms);
  contact.set_safety_number(record.safety_number);
  contact.set_key_changed(!record.offered_fingerprint.empty());
  contact.set_offered_fingerprint_hex(crypto::HexEncode(record.offered_fingerprint));
  contact.set_offered_safety_number(record.offered_safety_number);
  contact.set_first_contact_by_mail(record.by_mail);
  contact.set_blocked(record.blocked);
  contact.set_dropped_messages(record.dropped_messages);
  return contact;
}

absl::Status Fill(const absl::StatusOr<ContactRecord>& contact, v1::Contact* reply) {
  if (contact.ok()) *reply = ToMessage(*contact);
  return contact.status();
}

// One contact's messages on their way to one caller, in order. The messenger's listener only notes
// which; a worker, one at a time, reads them and hands them to the stream, so much ahead of the caller
// as kMaxQueuedBytes. Lives until the call is over and no worker holds it.
class Watching final : public grpc::ServerWriteReactor<v1::WatchMessagesEvent>,
                       public std::enable_shared_from_this<Watching> {
 public:
  // What may wait for a caller who does not read: noted messages, of which the agent keeps no copy
  // here, beyond which the call ends; and bytes ready to be written, beyond which the rest waits.
  static constexpr size_t kMaxNoted = 4'096;
  static constexpr size_t kMaxQueuedBytes = 1'048'576;

  Watching(Messenger& messenger, Executor& workers, std::string contact)
      : messenger_(messenger), workers_(workers), contact_(std::move(contact)) {}

  void Begin(const std::shared_ptr<Watching>& self) {
    self_ = self;
    listener_ = messenger_.AddListener(
        [weak = std::weak_ptr<Watching>(self)](const MessageRecord& message) {
          if (const auto watching = weak.lock()) watching->Note(message);
        });
    std::lock_guard<std::mutex> lock(mutex_);
    queue_.emplace_back();
    WriteNext();
    Work();
  }

  void OnWriteDone(bool ok) override {
    std::lock_guard<std::mutex> lock(mutex_);
    writing_ = false;
    if (!ok) End(absl::CancelledError("the caller is gone"));
    WriteNext();
    Work();
  }
  void OnCancel() override {
    std::lock_guard<std::mutex> lock(mutex_);
    End(absl::CancelledError("the caller is gone"));
    WriteNext();
  }
  void OnDone() override {
    messenger_.RemoveListener(listener_);
    self_.reset();
  }

 private:
  struct Noted {
    int64_t id = 0;
    MessageState state = MessageState::kReceived;  // As it was then.
  };

  void Note(const MessageRecord& message) {
    if (message.contact != contact_) return;
    std::lock_guard<std::mutex> lock(mutex_);
    if (noted_.size() >= kMaxNoted) {
      End(AgentBusy());
      return WriteNext();
    }
    noted_.push_back({message.id, message.state});
    Work();
  }

  // Under mutex_, as the three below: puts a worker to it unless one is there or nothing is to do.
  void Work() {
    if (working_ || !HasWork()) return;
    working_ = true;
    const absl::Status queued = workers_.Run([self = shared_from_this()] { self->HandOver(); });
    if (queued.ok()) return;
    working_ = false;
    End(AgentBusy());
    WriteNext();
  }
  bool HasWork() const {
    return !end_.has_value() && queued_bytes_ < kMaxQueuedBytes && (!caught_up_ || !noted_.empty());
  }
  void End(absl::Status status) {
    if (!end_.has_value()) end_ = std::move(status);
  }
  void WriteNext() {
    if (writing_ || finished_) return;
    if (end_.has_value()) {
      finished_ = true;
      Finish(ToGrpcStatus(*end_));
    } else if (!queue_.empty()) {
      current_ = std::move(queue_.front());
      queue_.pop_front();
      queued_bytes_ -= current_.ByteSizeLong();
      writing_ = true;
      StartWrite(&current_);
    }
  }

  // On a worker.
  void HandOver() {
    absl::Status status;
    while (true) {
      absl::optional<Noted> next;
      {
        std::lock_guard<std::mutex> lock(mutex_);
        if (!status.ok()) End(status);
        if (!HasWork()) {
          working_ = false;
          WriteNext();
          return;
        }
        // What was there before comes first.
        if (caught_up_) {
          next = noted_.front();
          noted_.pop_front();
        }
      }
      status = next.has_value() ? Add(*next) : AddUnread();
    }
  }

  // The next of those that were unread when the call began.
  absl::Status AddUnread() {
    const absl::StatusOr<std::vector<int64_t>> unread =
        messenger_.UnreadOf(contact_, last_unread_, 1);
    if (!unread.ok()) return unread.status();
    if (unread->empty()) {
      std::lock_guard<std::mutex> lock(mutex_);
      caught_up_ = true;
      return absl::OkStatus();
    }
    last_unread_ = unread->front();
    return Add({last_unread_, MessageState::kReceived});
  }

  absl::Status Add(const Noted& noted) {
    absl::StatusOr<MessageRecord> message = messenger_.Read(noted.id);
    if (absl::IsNotFound(message.status())) return absl::OkStatus();  // Deleted since.
    if (!message.ok()) return message.status();
    message->state = noted.state;
    // It may have been among the unread ones and come through the listener too.
    if (!message->outgoing && !shown_.insert(noted.id).second) return absl::OkStatus();
    v1::WatchMessagesEvent event;
    *event.mutable_message() = ToMessage(*message);
    std::lock_guard<std::mutex> lock(mutex_);
    queued_bytes_ += event.ByteSizeLong();
    queue_.push_back(std::move(event));
    WriteNext();
    return absl::OkStatus();
  }

  Messenger& messenger_;
  Executor& workers_;
  const std::string contact_;
  uint64_t listener_ = 0;
  std::shared_ptr<Watching> self_;  // Until the call is over.
  // The worker's, of which there is one at a time.
  int64_t last_unread_ = 0;
  std::set<int64_t> shown_;

  std::mutex mutex_;
  // The rest is used under mutex_.
  std::deque<Noted> noted_;
  bool caught_up_ = false;  // The unread ones of before are in the queue.
  std::deque<v1::WatchMessagesEvent> queue_;
  size_t queued_bytes_ = 0;  // Of queue_.
  v1::WatchMessagesEvent current_;
  absl::optional<absl::Status> end_;
  bool working_ = false;
  bool writing_ = false;
  bool finished_ = false;
};

}  // namespace

absl::Status MessagesService::SendNow(const v1::SendMessageRequest& request,
                                      v1::SendMessageReply* reply) {
  Messenger::Outgoing outgoing;
  outgoing.to = request.to();
  outgoing.text = request.text();
  outgoing.file_name = request.file_name();
  outgoing.file_content = request.file_content();
  outgoing.reply_to = request.reply_to();
  if (request.reply_to() != 0) {
    const absl::StatusOr<MessageRecord> answered = messenger_.Read(request.reply_to());
    if (!answered.ok()) return answered.status();
    if (outgoing.to.empty()) outgoing.to = answered->contact;
  }
  const absl::StatusOr<Messenger::Sent> sent = messenger_.Send(outgoing);
  if (!sent.ok()) return sent.status();
  if (sent->message.state == MessageState::kQueued) receiver_.RetrySoon();
  *reply->mutable_message() = ToMessage(sent->message);
  reply->set_first_contact(sent->first_contact);
  reply->set_key_exchange(sent->timings.key_exchange);
  reply->set_key_exchange_us(sent->timings.key_exchange_us);
  reply->set_encryption_us(sent->timings.encryption_us);
  reply->set_beyond_allowance(sent->beyond_allowance);
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* MessagesService::Send(grpc::CallbackServerContext* context,
                                                const v1::SendMessageRequest* request,
                                                v1::SendMessageReply* reply) {
  return RunUnaryCall(context, calls_, [this, request, reply] { return SendNow(*request, reply); });
}

grpc::ServerUnaryReactor* MessagesService::List(grpc::CallbackServerContext* context,
                                                const v1::ListMessagesRequest* request,
                                                v1::ListMessagesReply* reply) {
  return RunUnaryCall(context, calls_, [this, request, reply] {
    Messenger::Filter filter;
    filter.contact = request->contact();
    filter.unread_only = request->unread_only();
    filter.incoming_only = request->incoming_only();
    filter.before_id = request->before_id();
    filter.limit = request->limit() == 0 ? kDefaultPage : std::min(request->limit(), kMaxPage);
    const absl::StatusOr<std::vector<MessageRecord>> messages = messenger_.List(filter);
    if (!messages.ok()) return messages.status();
    for (const MessageRecord& message : *messages) *reply->add_messages() = ToMessage(message);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* MessagesService::Read(grpc::CallbackServerContext* context,
                                                const v1::ReadMessageRequest* request,
                                                v1::ReadMessageReply* reply) {
  return RunUnaryCall(context, calls_, [this, request, reply] {
    absl::optional<MessageRecord> message;
    if (request->id() == 0) {
      absl::StatusOr<absl::optional<MessageRecord>> next = messenger_.NextUnread();
      if (!next.ok()) return next.status();
      message = *std::move(next);
    } else {
      absl::StatusOr<MessageRecord> read = messenger_.Read(request->id());
      if (!read.ok()) return read.status();
      message = *std::move(read);
    }
    if (!message.has_value()) return absl::OkStatus();
    *reply->mutable_message() = ToMessage(*message);
    if (message->kind == MessageKind::kFile) reply->set_file_content(std::move(message->body));
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* MessagesService::MarkRead(grpc::CallbackServerContext* context,
                                                    const v1::MarkReadRequest* request,
                                                    v1::MarkReadReply* /*reply*/) {
  return RunUnaryCall(context, calls_, [this, request]() -> absl::Status {
    if (request->ids_size() > static_cast<int>(kMaxPage)) {
      return absl::InvalidArgumentError("too many messages at once");
    }
    return messenger_.MarkRead({request->ids().begin(), request->ids().end()});
  });
}

grpc::ServerWriteReactor<v1::WatchMessagesEvent>* MessagesService::Watch(
    grpc::CallbackServerContext* /*context*/, const v1::WatchMessagesRequest* request) {
  const auto watching = std::make_shared<Watching>(messenger_, calls_, request->contact());
  watching->Begin(watching);
  return watching.get();
}

grpc::ServerUnaryReactor* MessagesService::Delete(grpc::CallbackServerContext* context,
                                                  const v1::DeleteMessagesRequest* request,
                                                  v1::DeleteMessagesReply* reply) {
  return RunUnaryCall(context, calls_, [this, request, reply] {
    if ((request->id() == 0) == request->contact().empty() || request->id() < 0 ||
        request->before_ms() < 0 || (request->id() != 0 && request->before_ms() != 0)) {
      return absl::InvalidArgumentError("one message, or those with one contact");
    }
    const absl::StatusOr<int64_t> deleted =
        request->id() != 0 ? messenger_.Delete(request->id())
                           : messenger_.DeleteAll(request->contact(), request->before_ms());
    if (deleted.ok()) reply->set_deleted(*deleted);
    return deleted.status();
  });
}

grpc::ServerUnaryReactor* MessagesService::ListContacts(grpc::CallbackServerContext* context,
                                                        const v1::ListContactsRequest* /*request*/,
                                                        v1::ListContactsReply* reply) {
  return RunUnaryCall(context, calls_, [this, reply] {
    const absl::StatusOr<std::vector<ContactRecord>> contacts = messenger_.Contacts();
    if (!contacts.ok()) return contacts.status();
    for (const ContactRecord& contact : *contacts) *reply->add_contacts() = ToMessage(contact);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* MessagesService::GetContact(grpc::CallbackServerContext* context,
                                                      const v1::ContactRequest* request,
                                                      v1::Contact* reply) {
  return RunUnaryCall(context, calls_, [this, request, reply] {
    return Fill(messenger_.GetContact(request->username()), reply);
  });
}

grpc::ServerUnaryReactor* MessagesService::VerifyContact(grpc::CallbackServerContext* context,
                                                         const v1::VerifyContactRequest* request,
                                                         v1::Contact* reply) {
  return RunUnaryCall(context, calls_, [this, request, reply] {
    return Fill(messenger_.MarkVerified(request->username(), request->safety_number()), reply);
  });
}

grpc::ServerUnaryReactor* MessagesService::AcceptContact(grpc::CallbackServerContext* context,
                                                         const v1::AcceptContactRequest* request,
                                                         v1::Contact* reply) {
  return RunUnaryCall(context, calls_, [this, request, reply]() -> absl::Status {
    const absl::StatusOr<std::string> fingerprint = crypto::HexDecode(request->fingerprint_hex());
    if (!fingerprint.ok() || fingerprint->size() != crypto::kFingerprintBytes) {
      return absl::InvalidArgumentError("a fingerprint has 64 hexadecimal digits");
    }
    return Fill(messenger_.AcceptIdentity(request->username(), *fingerprint), reply);
  });
}

grpc::ServerUnaryReactor* MessagesService::KeepContact(grpc::CallbackServerContext* context,
                                                       const v1::ContactRequest* request,
                                                       v1::Contact* reply) {
  return RunUnaryCall(context, calls_, [this, request, reply] {
    return Fill(messenger_.KeepIdentity(request->username()), reply);
  });
}

grpc::ServerUnaryReactor* MessagesService::BlockContact(grpc::CallbackServerContext* context,
                                                        const v1::ContactRequest* request,
                                                        v1::Contact* reply) {
  return RunUnaryCall(context, calls_, [this, request, reply] {
    return Fill(messenger_.Block(request->username()), reply);
  });
}

grpc::ServerUnaryReactor* MessagesService::UnblockContact(grpc::CallbackServerContext* context,
                                                          const v1::ContactRequest* request,
                                                          v1::Contact* reply) {
  return RunUnaryCall(context, calls_, [this, request, reply] {
    return Fill(messenger_.Unblock(request->username()), reply);
  });
}

}  // namespace blindcart::agent
