// The bank's part of the agent's local API over gRPC (proto/agent_bank.proto): a thin adapter.
#ifndef BLINDCART_SERVICES_AGENT_BANK_SERVICE_H_
#define BLINDCART_SERVICES_AGENT_BANK_SERVICE_H_

#include "proto/agent_bank.grpc.pb.h"
#include "services/agent/bank.h"
#include "services/common/worker_pool.h"

namespace blindcart::agent {

class BankService final : public v1::AgentBank::CallbackService {
 public:
  // All must outlive the service. Statements last as long as their reader takes, so they have workers
  // of their own.
  BankService(Bank& bank, Executor& calls, Executor& statements)
      : bank_(bank), calls_(calls), statements_(statements) {}

  grpc::ServerUnaryReactor* Deposit(grpc::CallbackServerContext* context,
                                    const v1::MoveMoneyRequest* request,
                                    v1::MoveMoneyReply* reply) override;
  grpc::ServerUnaryReactor* Withdraw(grpc::CallbackServerContext* context,
                                     const v1::MoveMoneyRequest* request,
                                     v1::MoveMoneyReply* reply) override;
  grpc::ServerUnaryReactor* AcknowledgeMove(grpc::CallbackServerContext* context,
                                            const v1::AcknowledgeMoveRequest* request,
                                            v1::AcknowledgeMoveReply* reply) override;
  grpc::ServerWriteReactor<v1::StatementPage>* Statement(
      grpc::CallbackServerContext* context, const v1::StatementRequest* request) override;

 private:
  absl::Status Answer(const grpc::CallbackServerContext& context,
                      const absl::StatusOr<Bank::Moved>& moved, v1::MoveMoneyReply* reply);

  Bank& bank_;
  Executor& calls_;
  Executor& statements_;
};

}  // namespace blindcart::agent

#endif  // BLINDCART_SERVICES_AGENT_BANK_SERVICE_H_
