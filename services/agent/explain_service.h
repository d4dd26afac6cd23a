// The steps that the agent narrates (narrator.h), streamed to whoever asks (proto/agent_explain.proto).
//
// A slow reader costs nobody anything: what does not fit into a bounded queue is dropped and counted,
// and the narrator never waits. Thread-safe.
#ifndef BLINDCART_SERVICES_AGENT_EXPLAIN_SERVICE_H_
#define BLINDCART_SERVICES_AGENT_EXPLAIN_SERVICE_H_

#include <cstddef>

#include "proto/agent_explain.grpc.pb.h"
#include "services/agent/narrator.h"

namespace blindcart::agent {

class ExplainService final : public v1::AgentExplain::CallbackService {
 public:
  // Steps on their way to one reader.
  static constexpr size_t kMaxQueuedSteps = 1'024;

  // The narrator must outlive the service and its calls.
  explicit ExplainService(Narrator& narrator) : narrator_(narrator) {}

  grpc::ServerBidiReactor<v1::ExplainRequest, v1::ExplainMessage>* Explain(
      grpc::CallbackServerContext* context) override;

 private:
  Narrator& narrator_;
};

}  // namespace blindcart::agent

#endif  // BLINDCART_SERVICES_AGENT_EXPLAIN_SERVICE_H_
