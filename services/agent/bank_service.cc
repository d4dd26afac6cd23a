#include "services/agent/bank_service.h"

#include <memory>
#include <string>

#include "crypto/encoding.h"
#include "services/agent/page_writer.h"
#include "services/agent/unary_call.h"

namespace blindcart::agent {
namespace {

v1::StatementPage ToMessage(const Bank::Page& page) {
  v1::StatementPage message;
  message.set_account_number(page.account_number);
  message.set_currency(page.currency);
  message.set_balance_before_minor(page.balance_before_minor);
  for (const Bank::Line& line : page.lines) {
    v1::StatementLine& added = *message.add_lines();
    added.set_transfer_id_hex(crypto::HexEncode(line.entry.transfer_id()));
    added.set_kind(line.entry.kind());
    added.set_amount_minor(line.entry.amount_minor());
    added.set_balance_minor(line.balance_minor);
    added.set_created_at_ms(line.entry.created_at_ms());
    added.set_order_id_hex(crypto::HexEncode(line.entry.order_id()));
  }
  return message;
}

}  // namespace

absl::Status BankService::Answer(const grpc::CallbackServerContext& context,
                                 const absl::StatusOr<Bank::Moved>& moved,
                                 v1::MoveMoneyReply* reply) {
  if (!moved.ok()) return moved.status();
  if (context.IsCancelled()) bank_.Abandon(moved->request.request_id);
  reply->set_outcome(moved->result.outcome());
  reply->set_amount_minor(moved->request.amount_minor);
  reply->set_balance_minor(moved->result.balance_minor());
  reply->set_currency(moved->result.currency());
  reply->set_repeated(moved->request.repeated);
  reply->set_begun_at_ms(moved->request.begun_at_ms);
  reply->set_request_id_hex(crypto::HexEncode(moved->request.request_id));
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* BankService::Deposit(grpc::CallbackServerContext* context,
                                               const v1::MoveMoneyRequest* request,
                                               v1::MoveMoneyReply* reply) {
  return RunUnaryCall(context, calls_, [this, context, request, reply] {
    return Answer(*context, bank_.Deposit(request->amount_minor()), reply);
  });
}

grpc::ServerUnaryReactor* BankService::Withdraw(grpc::CallbackServerContext* context,
                                                const v1::MoveMoneyRequest* request,
                                                v1::MoveMoneyReply* reply) {
  return RunUnaryCall(context, calls_, [this, context, request, reply] {
    return Answer(*context, bank_.Withdraw(request->amount_minor()), reply);
  });
}

grpc::ServerUnaryReactor* BankService::AcknowledgeMove(grpc::CallbackServerContext* context,
                                                       const v1::AcknowledgeMoveRequest* request,
                                                       v1::AcknowledgeMoveReply* /*reply*/) {
  return RunUnaryCall(context, calls_, [this, request]() -> absl::Status {
    const absl::StatusOr<std::string> request_id = crypto::HexDecode(request->request_id_hex());
    if (!request_id.ok()) return absl::InvalidArgumentError("not a request's id");
    return bank_.Acknowledge(*request_id);
  });
}

grpc::ServerWriteReactor<v1::StatementPage>* BankService::Statement(
    grpc::CallbackServerContext* context, const v1::StatementRequest* request) {
  const auto writer = PageWriter<v1::StatementPage>::Make(context);
  const absl::Status queued = statements_.Run([this, writer, since_ms = request->since_ms()] {
    writer->End(bank_.Statement(
        since_ms, [&writer](const Bank::Page& page) { return writer->Write(ToMessage(page)); }));
  });
  if (!queued.ok()) writer->End(AgentBusy());
  return writer.get();
}

}  // namespace blindcart::agent
