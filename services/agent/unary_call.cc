#include "services/agent/unary_call.h"

#include <utility>

#include "services/common/status_conversion.h"

namespace blindcart::agent {

absl::Status AgentBusy() {
  return absl::UnavailableError("the agent is busy with other requests. Try again");
}

grpc::ServerUnaryReactor* RunUnaryCall(grpc::CallbackServerContext* context, Executor& workers,
                                       std::function<absl::Status()> work) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  const absl::Status queued =
      workers.Run([reactor, work = std::move(work)] { reactor->Finish(ToGrpcStatus(work())); });
  if (!queued.ok()) reactor->Finish(ToGrpcStatus(AgentBusy()));
  return reactor;
}

}  // namespace blindcart::agent
