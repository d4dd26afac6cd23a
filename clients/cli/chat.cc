#include "clients/cli/chat.h"

#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <memory>
#include <mutex>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/types/optional.h"
#include "clients/cli/format.h"
#include "clients/cli/message_view.h"
#include "proto/agent_messages.grpc.pb.h"

namespace blindcart::cli {
namespace {

constexpr int kLookMs = 200;  // How often a waiting reader looks whether it is over.
constexpr size_t kMaxLineBytes = 1024 * 1024;  // The agent refuses less; this bounds memory.

// "18:30" of "2026-05-01 18:30:00+02:00".
std::string TimeOfDay(int64_t unix_ms) {
  const std::string time = FormatTime(unix_ms);
  return time.size() < 16 ? time : time.substr(11, 5);
}

// Lines of standard input, given up when `over` becomes true.
class LineReader {
 public:
  explicit LineReader(const std::atomic<bool>& over) : over_(over) {}

  // Nothing at the end of the input.
  absl::optional<std::string> Next() {
    while (true) {
      const size_t end = buffer_.find('\n');
      if (end != std::string::npos) {
        std::string line = buffer_.substr(0, end);
        buffer_.erase(0, end + 1);
        return line;
      }
      if (ended_ || over_ || buffer_.size() > kMaxLineBytes) {
        if (buffer_.empty() || over_) return absl::nullopt;
        std::string last;
        last.swap(buffer_);
        return last;
      }
      pollfd input = {STDIN_FILENO, POLLIN, 0};
      if (poll(&input, 1, kLookMs) <= 0) continue;
      char bytes[4096];
      const ssize_t count = read(STDIN_FILENO, bytes, sizeof(bytes));
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) {
        ended_ = true;
      } else {
        buffer_.append(bytes, static_cast<size_t>(count));
      }
    }
  }

 private:
  const std::atomic<bool>& over_;
  std::string buffer_;
  bool ended_ = false;
};

class ChatRoom {
 public:
  ChatRoom(Context& context, AgentClient& agent, std::string username)
      : context_(context), agent_(agent), username_(std::move(username)) {}

  ExitCode Run() {
    const auto stub = agent_.Stub<v1::AgentMessages>();
    grpc::ClientContext call;
    v1::WatchMessagesRequest request;
    request.set_contact(username_);
    const auto events = stub->Watch(&call, request);
    v1::WatchMessagesEvent first;
    if (!events->Read(&first)) return context_.Fail(agent_.InWords(events->Finish()));
    if (!context_.json()) {
      context_.console().WriteRaw(
          absl::StrCat("Each line goes to ", username_, ". Ctrl-D or /quit ends the chat.\n"));
    }
    std::thread reader([&] {
      v1::WatchMessagesEvent event;
      while (events->Read(&event)) {
        Show(event.message());
        if (!event.message().outgoing()) MarkRead(event.message().id());
      }
      over_ = true;
    });
    const ExitCode sent = SendLines();
    const bool by_agent = over_;
    call.TryCancel();
    reader.join();
    const grpc::Status end = events->Finish();
    return by_agent ? context_.Fail(agent_.InWords(end)) : sent;
  }

 private:
  ExitCode SendLines() {
    LineReader lines(over_);
    while (absl::optional<std::string> line = lines.Next()) {
      if (*line == "/quit") return ExitCode::kOk;
      if (line->empty()) continue;
      const ExitCode code = Send(*line);
      // A line that was not sent is said so; the chat goes on, but for what no further line will mend.
      if (code == ExitCode::kLogin || code == ExitCode::kFailure) return code;
      if (code != ExitCode::kOk) last_failure_ = code;
    }
    return last_failure_;
  }

  ExitCode Send(const std::string& line) {
    v1::SendMessageRequest request;
    request.set_to(username_);
    request.set_text(line);
    const auto reply = context_.Ask<v1::AgentMessages>(&v1::AgentMessages::StubInterface::Send,
                                                       request, AgentClient::kNetworkTimeoutMs);
    std::lock_guard<std::mutex> lock(mutex_);
    if (!reply.ok()) return context_.Fail(reply.status());
    if (context_.json()) context_.console().PrintJson(*reply, /*one_line=*/true);
    if (reply->first_contact()) context_.console().Complain(FirstContactWarning(username_));
    const ExitCode code = ExitCodeOfSent(reply->message().state());
    if (code != ExitCode::kOk) return context_.Refuse(code, WhyNotSent(reply->message()));
    if (reply->message().state() == v1::MESSAGE_STATE_QUEUED) {
      context_.console().Complain(WhyQueued(*reply));
    }
    return code;
  }

  // Once it has been shown. What cannot be marked now is shown again by the next chat.
  void MarkRead(int64_t id) {
    if (!context_.console().Written()) return;
    v1::MarkReadRequest shown;
    shown.add_ids(id);
    agent_
        .Call<v1::AgentMessages>(&v1::AgentMessages::StubInterface::MarkRead, shown,
                                 AgentClient::kLocalTimeoutMs)
        .status()
        .IgnoreError();
  }

  void Show(const v1::UserMessage& message) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (context_.json()) {
      // What becomes of one's own lines is in the answers to them, unless it changes later.
      if (!message.outgoing() || message.state() == v1::MESSAGE_STATE_UNDELIVERED) {
        context_.console().PrintJson(message, /*one_line=*/true);
      }
      return;
    }
    if (message.outgoing()) {
      if (message.state() == v1::MESSAGE_STATE_UNDELIVERED) {
        context_.console().Complain(WhyNotSent(message));
      }
      return;
    }
    if (message.first_contact() && !message.contact_verified()) {
      context_.console().Complain(FirstContactWarning(username_));
    }
    const std::string time = TimeOfDay(message.stored_at_ms());
    switch (message.kind()) {
      case v1::MESSAGE_KIND_FILE:
        context_.console().Print(
            absl::StrCat(time, " ", username_, " sent a file of ", FormatSize(message.size_bytes()),
                         ": blindcart message read ", message.id(), " --save FILE"));
        break;
      case v1::MESSAGE_KIND_NOTICE:
        context_.console().Print(absl::StrCat(time, " * ", message.text()));
        break;
      default:
        // Each line under the name, so that no text can pass for another's.
        for (absl::string_view line : absl::StrSplit(message.text(), '\n')) {
          context_.console().Print(absl::StrCat(time, " ", username_, ": ", line));
        }
    }
  }

  Context& context_;
  AgentClient& agent_;
  const std::string username_;
  std::atomic<bool> over_{false};  // The agent ended the stream.
  ExitCode last_failure_ = ExitCode::kOk;
  std::mutex mutex_;  // Over the console.
};

}  // namespace

ExitCode RunChat(Context& context, const std::string& username) {
  const absl::StatusOr<AgentClient*> agent = context.Agent();
  if (!agent.ok()) return context.Fail(agent.status());
  return ChatRoom(context, **agent, username).Run();
}

}  // namespace blindcart::cli
