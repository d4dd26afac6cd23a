#include "clients/cli/peer_view.h"

#include "absl/strings/str_cat.h"
#include "proto/agent_peer.grpc.pb.h"

namespace blindcart::cli {

std::string DirectContactWarning(const std::string& username, bool they_called) {
  return absl::StrCat("warning: ",
                      they_called
                          ? absl::StrCat(username, " called this agent and was not known before")
                          : absl::StrCat("this is the first contact with ", username),
                      ". The broker says that the key is theirs, and it is pinned, for messages "
                      "too; compare it with them by another way: blindcart contacts verify ",
                      username);
}

void WarnOfCallers(Context& context) {
  const auto reply =
      context.Ask<v1::AgentPeer>(&v1::AgentPeer::StubInterface::Callers, v1::PeerCallersRequest(),
                                 AgentClient::kLocalTimeoutMs);
  if (!reply.ok()) return;  // What was asked for has been shown.
  for (const std::string& username : reply->usernames()) {
    context.console().Complain(DirectContactWarning(username, /*they_called=*/true));
  }
}

}  // namespace blindcart::cli
