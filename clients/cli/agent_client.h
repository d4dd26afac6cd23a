// The agent, as the command line calls it: over its Unix socket, with a deadline for everything.
//
// Errors are the agent's own, with words for people (proto/agent.proto). What no agent said is put
// into words here: Unavailable when no agent listens or it went away, and how to start it;
// DeadlineExceeded when it does not answer in time; FailedPrecondition for one of another version.
// Thread-safe.
#ifndef BLINDCART_CLIENTS_CLI_AGENT_CLIENT_H_
#define BLINDCART_CLIENTS_CLI_AGENT_CLIENT_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include <grpcpp/grpcpp.h>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/agent.grpc.pb.h"

namespace blindcart::cli {

// Where the agent's socket is when nobody says: agent/agent.sock below the working directory, or,
// when there is none, blindcart/agent.sock below $XDG_RUNTIME_DIR.
std::string DefaultSocketPath();

class AgentClient {
 public:
  static constexpr int kLocalTimeoutMs = 30'000;     // What the agent answers by itself.
  static constexpr int kNetworkTimeoutMs = 120'000;  // What it has to ask broker and shop for.
  static constexpr int kBrowseTimeoutMs = 600'000;   // A large catalogue, the first time.

  static absl::StatusOr<std::unique_ptr<AgentClient>> Connect(const std::string& socket_path);

  // One call of one of the services on the agent's socket, which its first argument names where it is
  // not the first of them: Call<v1::AgentBank>(&v1::AgentBank::StubInterface::Deposit, ...).
  template <typename Service, typename Request, typename Reply>
  using Method = grpc::Status (Service::StubInterface::*)(grpc::ClientContext*, const Request&,
                                                          Reply*);

  template <typename Service = v1::Agent, typename Request, typename Reply>
  absl::StatusOr<Reply> Call(Method<Service, Request, Reply> method, const Request& request,
                             int timeout_ms) {
    grpc::ClientContext context;
    SetDeadline(context, timeout_ms);
    Reply reply;
    const auto stub = Stub<Service>();
    const absl::Status status = InWords((stub.get()->*method)(&context, request, &reply));
    if (!status.ok()) return status;
    return reply;
  }

  // For streams; InWords gives their end as every call's.
  template <typename Service>
  std::unique_ptr<typename Service::StubInterface> Stub() {
    return Service::NewStub(std::shared_ptr<grpc::ChannelInterface>(channel_));
  }
  absl::Status InWords(const grpc::Status& status) const;

  // Calls `on_progress` for every message, in order. No deadline: a download takes as long as it
  // takes, and the agent gives up on a shop that falls silent.
  absl::Status Download(const v1::DownloadRequest& request,
                        const std::function<void(const v1::DownloadProgress&)>& on_progress);

 private:
  AgentClient(std::string socket_path, std::shared_ptr<grpc::Channel> channel);
  static void SetDeadline(grpc::ClientContext& context, int timeout_ms);

  const std::string socket_path_;
  const std::shared_ptr<grpc::Channel> channel_;
};

}  // namespace blindcart::cli

#endif  // BLINDCART_CLIENTS_CLI_AGENT_CLIENT_H_
