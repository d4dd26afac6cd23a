#include "services/agent/peer_service.h"

#include <algorithm>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/types/optional.h"
#include "crypto/encoding.h"
#include "services/agent/unary_call.h"
#include "services/common/status_conversion.h"

namespace blindcart::agent {
namespace {

constexpr size_t kMaxQueuedNews = 1'024;
constexpr size_t kDefaultPage = 100;
constexpr size_t kMaxPage = 1'000;

// Whether some of the oldest were dropped for that.
template <typename Record>
bool KeepLatest(size_t limit, std::vector<Record>* records) {
  if (records->size() <= limit) return false;
  records->erase(records->begin(), records->end() - static_cast<std::ptrdiff_t>(limit));
  return true;
}

// Messages on their way to one caller. Lives until the call is over and nobody writes to it any more.
template <typename Message>
class StreamWriter : public grpc::ServerWriteReactor<Message> {
 public:
  void Hold(std::shared_ptr<StreamWriter> self) { self_ = std::move(self); }
  // What to do when the call is over.
  void AtEnd(std::function<void()> at_end) { at_end_ = std::move(at_end); }

  // Queues a message behind the others; the call ends when there are too many.
  void Push(Message message) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (gone_ || end_.has_value()) return;
    if (queue_.size() >= kMaxQueuedNews) {
      end_ = absl::ResourceExhaustedError("too much news for a reader who does not read");
    } else {
      queue_.push_back(std::move(message));
    }
    WriteNextLocked();
  }
  // The same in place of what waits: a slow reader sees fewer steps. False once the caller is gone.
  bool Replace(Message message) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (gone_) return false;
    queue_.clear();
    queue_.push_back(std::move(message));
    WriteNextLocked();
    return true;
  }
  void End(absl::Status status) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!end_.has_value()) end_ = std::move(status);
    WriteNextLocked();
  }

  void OnWriteDone(bool ok) override {
    std::lock_guard<std::mutex> lock(mutex_);
    writing_ = false;
    if (!ok) Leave();
    WriteNextLocked();
  }
  void OnCancel() override {
    std::lock_guard<std::mutex> lock(mutex_);
    Leave();
    if (ends_with_caller_ && !end_.has_value()) end_ = absl::CancelledError("the caller left");
    WriteNextLocked();
  }
  void OnDone() override {
    if (at_end_ != nullptr) at_end_();
    self_.reset();
  }
  // For a call that nobody but the caller ends.
  void EndWithCaller() { ends_with_caller_ = true; }

 private:
  void Leave() {
    gone_ = true;
    queue_.clear();
  }
  void WriteNextLocked() {
    if (writing_ || finished_) return;
    if (!queue_.empty()) {
      current_ = std::move(queue_.front());
      queue_.pop_front();
      writing_ = true;
      this->StartWrite(&current_);
    } else if (end_.has_value()) {
      finished_ = true;
      this->Finish(ToGrpcStatus(*end_));
    }
  }

  std::shared_ptr<StreamWriter> self_;  // Until the call is over.
  std::function<void()> at_end_;
  bool ends_with_caller_ = false;
  std::mutex mutex_;
  // The rest is used under mutex_.
  std::deque<Message> queue_;
  Message current_;
  absl::optional<absl::Status> end_;
  bool writing_ = false;
  bool finished_ = false;
  bool gone_ = false;
};

template <typename Message>
std::shared_ptr<StreamWriter<Message>> MakeWriter() {
  const auto writer = std::make_shared<StreamWriter<Message>>();
  writer->Hold(writer);
  return writer;
}

std::string ReasonOf(v1::PeerFileVerdict verdict) {
  switch (verdict) {
    case v1::PEER_FILE_VERDICT_NOT_WANTED:
      return "files from them, or files that large, are not taken in this session. Take them with: "
             "blindcart peer accept USER SIZE";
    case v1::PEER_FILE_VERDICT_NO_SPACE:
      return "the disk is full, or cannot be written to. Make room";
    case v1::PEER_FILE_VERDICT_OVER_QUOTA:
      return "what is kept of files from them, or from all, is full. Move files elsewhere, or "
             "raise "
             "received_per_user_bytes or received_total_bytes in agent.textproto";
    case v1::PEER_FILE_VERDICT_TOO_OFTEN:
      return "they offer files too often, and have to wait a few minutes";
    default:
      return "what came is not what they had offered. It was thrown away";
  }
}

void Fill(const std::string& name, uint64_t size_bytes, v1::PeerFileVerdict verdict,
          v1::PeerRefusedFile* message) {
  message->set_name(name);
  message->set_size_bytes(size_bytes);
  message->set_reason(ReasonOf(verdict));
}

v1::PeerSessionView ToMessage(const PeerSessions::View& view) {
  v1::PeerSessionView message;
  message.set_number(view.number);
  message.set_username(view.username);
  message.set_fingerprint_hex(crypto::HexEncode(view.fingerprint));
  message.set_address(view.address);
  message.set_first_contact(view.first_contact);
  message.set_established_at_ms(view.established_at_ms);
  message.set_max_file_bytes(view.max_file_bytes);
  if (view.receiving.has_value()) {
    message.mutable_incoming_file()->set_name(view.receiving->name);
    message.mutable_incoming_file()->set_received_bytes(view.receiving->received_bytes);
    message.mutable_incoming_file()->set_size_bytes(view.receiving->size_bytes);
  }
  if (view.refused.has_value()) {
    Fill(view.refused->name, view.refused->size_bytes, view.refused->verdict,
         message.mutable_refused_file());
  }
  return message;
}

v1::PeerNews ToMessage(const PeerEvent& event) {
  v1::PeerNews news;
  news.set_username(event.username);
  news.set_at_ms(event.at_ms);
  switch (event.kind) {
    case PeerEvent::Kind::kOpened:
      news.set_kind(v1::PEER_NEWS_KIND_OPENED);
      news.set_first_contact(event.first_contact);
      break;
    case PeerEvent::Kind::kClosed:
      news.set_kind(v1::PEER_NEWS_KIND_CLOSED);
      break;
    case PeerEvent::Kind::kText:
      news.set_kind(v1::PEER_NEWS_KIND_TEXT);
      news.set_text(event.text);
      break;
    case PeerEvent::Kind::kFile:
      news.set_kind(v1::PEER_NEWS_KIND_FILE);
      news.set_path(event.text);
      news.set_size_bytes(event.size_bytes);
      break;
    case PeerEvent::Kind::kFileRefused:
      news.set_kind(v1::PEER_NEWS_KIND_FILE_REFUSED);
      Fill(event.text, event.size_bytes, event.verdict, news.mutable_refused_file());
      break;
  }
  return news;
}

}  // namespace

grpc::ServerUnaryReactor* PeerApiService::Listen(grpc::CallbackServerContext* context,
                                                 const v1::PeerListenRequest* request,
                                                 v1::PeerListenReply* reply) {
  return RunUnaryCall(context, calls_, [this, request, reply] {
    const absl::StatusOr<PeerSessions::Listening> listening = sessions_.Listen(
        request->address(), request->announce(), request->plain_tcp(), request->max_file_bytes());
    if (!listening.ok()) return listening.status();
    reply->set_address(listening->address);
    reply->set_announced(listening->announced);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* PeerApiService::StopListening(
    grpc::CallbackServerContext* context, const v1::PeerStopListeningRequest* /*request*/,
    v1::PeerStopListeningReply* reply) {
  return RunUnaryCall(context, calls_, [this, reply] {
    reply->set_was_listening(sessions_.StopListening());
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* PeerApiService::Connect(grpc::CallbackServerContext* context,
                                                  const v1::PeerConnectRequest* request,
                                                  v1::PeerConnectReply* reply) {
  return RunUnaryCall(context, calls_, [this, request, reply] {
    const absl::StatusOr<PeerSessions::View> view = sessions_.Connect(
        request->peer(), request->address(), request->plain_tcp(), request->max_file_bytes());
    if (!view.ok()) return view.status();
    *reply->mutable_session() = ToMessage(*view);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* PeerApiService::Sessions(grpc::CallbackServerContext* context,
                                                   const v1::PeerSessionsRequest* /*request*/,
                                                   v1::PeerSessionsReply* reply) {
  return RunUnaryCall(context, calls_, [this, reply] {
    const absl::StatusOr<std::vector<std::string>> callers = sessions_.UncheckedCallers();
    if (!callers.ok()) return callers.status();
    for (const PeerSessions::View& view : sessions_.List()) {
      v1::PeerSessionView& session = *reply->add_sessions();
      session = ToMessage(view);
      if (std::find(callers->begin(), callers->end(), view.username) != callers->end()) {
        session.set_first_contact(true);
      }
    }
    const PeerSessions::Listening listening = sessions_.listening();
    reply->set_listening_on(listening.address);
    reply->set_announced(listening.announced);
    reply->set_max_file_bytes(listening.max_file_bytes);
    reply->set_received_dir(received_dir_);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* PeerApiService::AcceptFiles(grpc::CallbackServerContext* context,
                                                      const v1::PeerAcceptFilesRequest* request,
                                                      v1::PeerAcceptFilesReply* /*reply*/) {
  return RunUnaryCall(context, calls_, [this, request] {
    return sessions_.AcceptFiles(request->username(), request->max_file_bytes());
  });
}

grpc::ServerUnaryReactor* PeerApiService::Close(grpc::CallbackServerContext* context,
                                                const v1::PeerCloseRequest* request,
                                                v1::PeerCloseReply* /*reply*/) {
  return RunUnaryCall(context, calls_,
                      [this, request] { return sessions_.Close(request->username()); });
}

grpc::ServerUnaryReactor* PeerApiService::SendText(grpc::CallbackServerContext* context,
                                                   const v1::PeerSendTextRequest* request,
                                                   v1::PeerSendTextReply* /*reply*/) {
  return RunUnaryCall(context, calls_, [this, request] {
    return sessions_.SendText(request->username(), request->text());
  });
}

grpc::ServerWriteReactor<v1::PeerFileProgress>* PeerApiService::SendFile(
    grpc::CallbackServerContext* /*context*/, const v1::PeerSendFileRequest* request) {
  const auto writer = MakeWriter<v1::PeerFileProgress>();
  const absl::Status queued =
      transfers_.Run([this, writer, username = request->username(), path = request->path()] {
        const auto sent = sessions_.SendFile(
            username, path, [&writer](const PeerSession::FileProgress& progress) {
              v1::PeerFileProgress message;
              message.set_sent_bytes(progress.sent_bytes);
              message.set_total_bytes(progress.total_bytes);
              message.set_resumed_from_bytes(progress.resumed_from_bytes);
              return writer->Replace(std::move(message));
            });
        if (sent.ok()) {
          v1::PeerFileProgress message;
          message.set_sent_bytes(sent->file.size_bytes);
          message.set_total_bytes(sent->file.size_bytes);
          message.set_resumed_from_bytes(sent->resumed_from_bytes);
          message.set_done(true);
          message.set_name(sent->file.name);
          message.set_sha256_hex(crypto::HexEncode(sent->file.sha256));
          (void)writer->Replace(std::move(message));
        }
        writer->End(sent.status());
      });
  if (!queued.ok()) writer->End(AgentBusy());
  return writer.get();
}

grpc::ServerUnaryReactor* PeerApiService::Inbox(grpc::CallbackServerContext* context,
                                                const v1::PeerInboxRequest* request,
                                                v1::PeerInboxReply* reply) {
  return RunUnaryCall(context, calls_, [this, request, reply] {
    PeerFilter filter;
    filter.username = request->username();
    filter.since_ms = request->since_ms();
    if (request->before_number() != 0) filter.before_number = request->before_number();
    const size_t limit =
        request->limit() == 0 ? kDefaultPage : std::min<size_t>(request->limit(), kMaxPage);
    filter.limit = static_cast<int64_t>(limit) + 1;  // One more tells that there is more.
    absl::StatusOr<std::vector<PeerTextRecord>> texts = sessions_.Texts(filter);
    if (!texts.ok()) return texts.status();
    reply->set_more(KeepLatest(limit, &*texts));
    for (const PeerTextRecord& text : *texts) {
      v1::PeerTextView& view = *reply->add_texts();
      view.set_number(text.number);
      view.set_username(text.username);
      view.set_outgoing(text.outgoing);
      view.set_delivered(text.delivered);
      view.set_text(text.text);
      view.set_at_ms(text.at_ms);
    }
    absl::StatusOr<std::vector<PeerFileRecord>> files = sessions_.Files(filter);
    if (!files.ok()) return files.status();
    if (KeepLatest(limit, &*files)) reply->set_more(true);
    for (const PeerFileRecord& file : *files) {
      v1::PeerFileView& view = *reply->add_files();
      view.set_username(file.username);
      view.set_name(file.name);
      view.set_path(file.path);
      view.set_size_bytes(file.size_bytes);
      view.set_sha256_hex(crypto::HexEncode(file.sha256));
      view.set_signature_hex(crypto::HexEncode(file.signature));
      view.set_at_ms(file.at_ms);
    }
    const absl::StatusOr<std::vector<std::string>> callers = sessions_.UncheckedCallers();
    if (!callers.ok()) return callers.status();
    reply->mutable_unchecked_callers()->Assign(callers->begin(), callers->end());
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* PeerApiService::Callers(grpc::CallbackServerContext* context,
                                                  const v1::PeerCallersRequest* /*request*/,
                                                  v1::PeerCallersReply* reply) {
  return RunUnaryCall(context, calls_, [this, reply] {
    const absl::StatusOr<std::vector<std::string>> callers = sessions_.UncheckedCallers();
    if (callers.ok()) reply->mutable_usernames()->Assign(callers->begin(), callers->end());
    return callers.status();
  });
}

grpc::ServerWriteReactor<v1::PeerNews>* PeerApiService::Watch(
    grpc::CallbackServerContext* /*context*/, const v1::PeerWatchRequest* request) {
  const auto writer = MakeWriter<v1::PeerNews>();
  writer->EndWithCaller();
  v1::PeerNews watching;
  watching.set_kind(v1::PEER_NEWS_KIND_WATCHING);
  watching.set_username(request->username());
  const std::weak_ptr<StreamWriter<v1::PeerNews>> weak = writer;
  const uint64_t watch =
      sessions_.Watch([weak, username = request->username()](const PeerEvent& event) {
        if (!username.empty() && event.username != username) return;
        if (const auto listener = weak.lock()) listener->Push(ToMessage(event));
      });
  writer->AtEnd([this, watch] { sessions_.Unwatch(watch); });
  writer->Push(std::move(watching));
  return writer.get();
}

}  // namespace blindcart::agent
