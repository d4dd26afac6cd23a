// The agent's local API over gRPC (proto/agent.proto): a thin adapter that reads a request, calls a
// use case on a worker thread and writes its answer. gRPC's own threads never wait.
#ifndef BLINDCART_SERVICES_AGENT_AGENT_SERVICE_H_
#define BLINDCART_SERVICES_AGENT_AGENT_SERVICE_H_

#include <functional>

#include "proto/agent.grpc.pb.h"
#include "services/agent/agent.h"
#include "services/common/worker_pool.h"

namespace blindcart::agent {

class AgentService final : public v1::Agent::CallbackService {
 public:
  // All must outlive the service. Downloads last long, so they have workers of their own.
  AgentService(Agent& agent, Executor& calls, Executor& downloads)
      : agent_(agent), calls_(calls), downloads_(downloads) {}

  grpc::ServerUnaryReactor* Login(grpc::CallbackServerContext* context,
                                  const v1::LoginRequest* request, v1::LoginReply* reply) override;
  grpc::ServerUnaryReactor* Logout(grpc::CallbackServerContext* context,
                                   const v1::LogoutRequest* request,
                                   v1::LogoutReply* reply) override;
  grpc::ServerUnaryReactor* Status(grpc::CallbackServerContext* context,
                                   const v1::StatusRequest* request,
                                   v1::StatusReply* reply) override;
  grpc::ServerUnaryReactor* ListShops(grpc::CallbackServerContext* context,
                                      const v1::ListShopsRequest* request,
                                      v1::ListShopsReply* reply) override;
  grpc::ServerUnaryReactor* AddShop(grpc::CallbackServerContext* context,
                                    const v1::AddShopRequest* request,
                                    v1::AddShopReply* reply) override;
  grpc::ServerUnaryReactor* Browse(grpc::CallbackServerContext* context,
                                   const v1::BrowseRequest* request,
                                   v1::BrowseReply* reply) override;
  grpc::ServerUnaryReactor* Search(grpc::CallbackServerContext* context,
                                   const v1::SearchRequest* request,
                                   v1::SearchReply* reply) override;
  grpc::ServerUnaryReactor* Show(grpc::CallbackServerContext* context,
                                 const v1::ShowRequest* request, v1::ShowReply* reply) override;
  grpc::ServerUnaryReactor* Checkout(grpc::CallbackServerContext* context,
                                     const v1::CheckoutOrderRequest* request,
                                     v1::PurchaseReply* reply) override;
  grpc::ServerUnaryReactor* Pay(grpc::CallbackServerContext* context, const v1::PayRequest* request,
                                v1::PayReply* reply) override;
  grpc::ServerUnaryReactor* Decline(grpc::CallbackServerContext* context,
                                    const v1::DeclineRequest* request,
                                    v1::PurchaseReply* reply) override;
  grpc::ServerWriteReactor<v1::DownloadProgress>* Download(
      grpc::CallbackServerContext* context, const v1::DownloadRequest* request) override;
  grpc::ServerUnaryReactor* ListPurchases(grpc::CallbackServerContext* context,
                                          const v1::ListPurchasesRequest* request,
                                          v1::ListPurchasesReply* reply) override;
  grpc::ServerUnaryReactor* Verify(grpc::CallbackServerContext* context,
                                   const v1::VerifyRequest* request,
                                   v1::VerifyReply* reply) override;
  grpc::ServerUnaryReactor* Balance(grpc::CallbackServerContext* context,
                                    const v1::BalanceRequest* request,
                                    v1::BalanceReply* reply) override;

 private:
  // Runs `work` on a worker and finishes the call with its status.
  grpc::ServerUnaryReactor* Run(grpc::CallbackServerContext* context,
                                std::function<absl::Status()> work);

  Agent& agent_;
  Executor& calls_;
  Executor& downloads_;
};

}  // namespace blindcart::agent

#endif  // BLINDCART_SERVICES_AGENT_AGENT_SERVICE_H_
