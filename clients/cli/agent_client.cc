#include "clients/cli/agent_client.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "services/common/status_conversion.h"
#include "services/common/transport.h"

namespace blindcart::cli {
namespace {

constexpr char kDefaultSocket[] = "agent/agent.sock";
constexpr int kConnectTimeoutMs = 20'000;

absl::Status NotRunning(const std::string& socket_path, absl::string_view why) {
  return absl::UnavailableError(absl::StrCat(
      "no agent answers on ", socket_path, why,
      ". Start it with: agent serve, or name its socket with --socket or BLINDCART_AGENT_SOCKET"));
}

std::chrono::system_clock::time_point FromNow(int timeout_ms) {
  return std::chrono::system_clock::now() + std::chrono::milliseconds(timeout_ms);
}

// Whether anybody listens on the socket. gRPC would go on trying, and not say why it fails.
absl::Status Probe(const std::string& socket_path) {
  sockaddr_un address{};
  if (socket_path.empty() || socket_path.size() >= sizeof(address.sun_path)) {
    return absl::InvalidArgumentError(absl::StrCat("the socket's path has to have 1 to ",
                                                   sizeof(address.sun_path) - 1,
                                                   " bytes. Give a shorter one with --socket"));
  }
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, socket_path.c_str(), socket_path.size() + 1);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return absl::UnavailableError(strerror(errno));
  absl::Cleanup close_fd = [fd] { close(fd); };
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) {
    return absl::OkStatus();
  }
  return NotRunning(socket_path, absl::StrCat(" (", strerror(errno), ")"));
}

// A busy machine may need a second attempt.
bool Connects(grpc::Channel& channel) {
  const auto deadline = FromNow(kConnectTimeoutMs);
  grpc_connectivity_state state = channel.GetState(/*try_to_connect=*/true);
  while (state != GRPC_CHANNEL_READY && channel.WaitForStateChange(state, deadline)) {
    state = channel.GetState(/*try_to_connect=*/true);
  }
  return state == GRPC_CHANNEL_READY;
}

}  // namespace

std::string DefaultSocketPath() {
  const char* runtime_dir = std::getenv("XDG_RUNTIME_DIR");
  if (access(kDefaultSocket, F_OK) != 0 && runtime_dir != nullptr && *runtime_dir != '\0') {
    const std::string path = absl::StrCat(runtime_dir, "/blindcart/agent.sock");
    if (access(path.c_str(), F_OK) == 0) return path;
  }
  return kDefaultSocket;
}

AgentClient::AgentClient(std::string socket_path, std::shared_ptr<grpc::Channel> channel)
    : socket_path_(std::move(socket_path)), channel_(std::move(channel)) {}

absl::StatusOr<std::unique_ptr<AgentClient>> AgentClient::Connect(const std::string& socket_path) {
  const absl::Status probed = Probe(socket_path);
  if (!probed.ok()) return probed;
  std::shared_ptr<grpc::Channel> channel = DialLocal(socket_path);
  if (!Connects(*channel)) return NotRunning(socket_path, " as an agent does");
  return std::unique_ptr<AgentClient>(new AgentClient(socket_path, std::move(channel)));
}

void AgentClient::SetDeadline(grpc::ClientContext& context, int timeout_ms) {
  context.set_deadline(FromNow(timeout_ms));
}

absl::Status AgentClient::InWords(const grpc::Status& status) const {
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE:
      // The agent's own word for "broker or shop not reachable", unless the agent itself is gone.
      if (channel_->GetState(/*try_to_connect=*/false) != GRPC_CHANNEL_READY) {
        return absl::UnavailableError(absl::StrCat(
            "the agent on ", socket_path_,
            " went away in the middle. Start it again with: agent serve, and look with: blindcart "
            "purchases"));
      }
      return FromGrpcStatus(status);
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return absl::DeadlineExceededError(
          status.error_message().empty() || status.error_message() == "Deadline Exceeded"
              ? "the agent did not answer in time. Look how things stand with: blindcart status"
              : status.error_message());
    case grpc::StatusCode::UNIMPLEMENTED:
      return absl::FailedPreconditionError(
          "the agent does not know this command. Use agent and blindcart of the same version");
    default:
      return FromGrpcStatus(status);
  }
}

absl::Status AgentClient::Download(
    const v1::DownloadRequest& request,
    const std::function<void(const v1::DownloadProgress&)>& on_progress) {
  grpc::ClientContext context;
  const auto stub = Stub<v1::Agent>();
  const auto reader = stub->Download(&context, request);
  v1::DownloadProgress progress;
  while (reader->Read(&progress)) on_progress(progress);
  return InWords(reader->Finish());
}

}  // namespace blindcart::cli
