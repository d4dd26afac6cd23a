// The agent's local API for time stamps over gRPC (proto/agent_notary.proto): a thin adapter, like
// agent_service.h.
#ifndef BLINDCART_SERVICES_AGENT_NOTARY_SERVICE_H_
#define BLINDCART_SERVICES_AGENT_NOTARY_SERVICE_H_

#include "proto/agent_notary.grpc.pb.h"
#include "services/agent/notarizer.h"
#include "services/agent/purchase_stamps.h"
#include "services/common/worker_pool.h"

namespace blindcart::agent {

class NotaryService final : public v1::AgentNotary::CallbackService {
 public:
  // All must outlive the service.
  NotaryService(Notarizer& notarizer, PurchaseStamps& stamps, Executor& calls)
      : notarizer_(notarizer), stamps_(stamps), calls_(calls) {}

  grpc::ServerUnaryReactor* Stamp(grpc::CallbackServerContext* context,
                                  const v1::StampRequest* request, v1::StampReply* reply) override;
  grpc::ServerUnaryReactor* StampPurchase(grpc::CallbackServerContext* context,
                                          const v1::StampPurchaseRequest* request,
                                          v1::StampPurchaseReply* reply) override;
  grpc::ServerUnaryReactor* GetNotaryAuthority(grpc::CallbackServerContext* context,
                                               const v1::GetNotaryAuthorityRequest* request,
                                               v1::GetNotaryAuthorityReply* reply) override;

 private:
  Notarizer& notarizer_;
  PurchaseStamps& stamps_;
  Executor& calls_;
};

}  // namespace blindcart::agent

#endif  // BLINDCART_SERVICES_AGENT_NOTARY_SERVICE_H_
