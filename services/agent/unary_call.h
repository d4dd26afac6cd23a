// Runs one unary call of the agent's local API on a worker thread, since use cases wait and gRPC's
// own threads never do. Thread-safe.
#ifndef BLINDCART_SERVICES_AGENT_UNARY_CALL_H_
#define BLINDCART_SERVICES_AGENT_UNARY_CALL_H_

#include <functional>

#include <grpcpp/grpcpp.h>

#include "absl/status/status.h"
#include "services/common/worker_pool.h"

namespace blindcart::agent {

// Finishes the call with the status of `work`, or with Unavailable when no worker is free.
grpc::ServerUnaryReactor* RunUnaryCall(grpc::CallbackServerContext* context, Executor& workers,
                                       std::function<absl::Status()> work);

// What a call is refused with when the queue of workers is full.
absl::Status AgentBusy();

}  // namespace blindcart::agent

#endif  // BLINDCART_SERVICES_AGENT_UNARY_CALL_H_
