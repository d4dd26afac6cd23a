#include "services/common/status_conversion.h"

#include <string>

#include "protocol/refusal.h"

namespace blindcart {

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  // absl and gRPC share their code values by definition.
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()));
}

grpc::Status ToWireStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  if (protocol::IsRefusal(status)) return ToGrpcStatus(protocol::Refused());
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), "");
}

absl::Status FromGrpcStatus(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

}  // namespace blindcart
