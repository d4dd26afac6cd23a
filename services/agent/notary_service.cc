#include "services/agent/notary_service.h"

#include "crypto/encoding.h"
#include "services/agent/unary_call.h"

namespace blindcart::agent {
namespace {

v1::TimeStamp ToMessage(const crypto::TimeStamp& stamp) {
  v1::TimeStamp message;
  message.set_time_ms(stamp.time_ms);
  message.set_accuracy_ms(stamp.accuracy_ms);
  message.set_serial_hex(stamp.serial_hex);
  message.set_sha256_hex(crypto::HexEncode(stamp.sha256));
  message.set_authority(stamp.authority);
  return message;
}

}  // namespace

grpc::ServerUnaryReactor* NotaryService::Stamp(grpc::CallbackServerContext* context,
                                               const v1::StampRequest* request,
                                               v1::StampReply* reply) {
  return RunUnaryCall(context, calls_, [this, request, reply] {
    const absl::StatusOr<Notarizer::Stamped> stamped = notarizer_.Stamp(request->sha256());
    if (!stamped.ok()) return stamped.status();
    reply->set_outcome(stamped->outcome);
    reply->set_retry_after_ms(stamped->retry_after_ms);
    if (stamped->outcome == v1::NOTARY_OUTCOME_STAMPED) {
      reply->set_response(stamped->response);
      *reply->mutable_time_stamp() = ToMessage(stamped->time_stamp);
    }
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* NotaryService::StampPurchase(grpc::CallbackServerContext* context,
                                                       const v1::StampPurchaseRequest* request,
                                                       v1::StampPurchaseReply* reply) {
  return RunUnaryCall(context, calls_, [this, request, reply] {
    const absl::StatusOr<PurchaseStamps::Result> result = stamps_.Stamp(request->order());
    if (!result.ok()) return result.status();
    reply->set_outcome(result->outcome);
    reply->set_retry_after_ms(result->retry_after_ms);
    reply->set_delivered(result->delivered);
    for (const PurchaseStamps::Document& stamped : result->documents) {
      v1::StampPurchaseReply::Document& document = *reply->add_documents();
      document.set_name(stamped.name);
      document.set_document_path(stamped.document_path);
      document.set_time_stamp_path(stamped.time_stamp_path);
      *document.mutable_time_stamp() = ToMessage(stamped.time_stamp);
    }
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* NotaryService::GetNotaryAuthority(
    grpc::CallbackServerContext* context, const v1::GetNotaryAuthorityRequest* /*request*/,
    v1::GetNotaryAuthorityReply* reply) {
  return RunUnaryCall(context, calls_, [this, reply] {
    absl::StatusOr<std::string> authority = notarizer_.Authority();
    if (!authority.ok()) return authority.status();
    reply->set_ca_certificate_pem(*std::move(authority));
    return absl::OkStatus();
  });
}

}  // namespace blindcart::agent
