// The one place where absl::Status becomes grpc::Status and back.
//
// ToGrpcStatus is for local APIs (the agent's, the merchant's own), whose callers may read the
// message. ToWireStatus is for the broker's door: a refusal goes out as UNAUTHENTICATED "refused",
// and every other failure with its code and no message, so that no detail leaves the process.
// Thread-safe.
#ifndef BLINDCART_SERVICES_COMMON_STATUS_CONVERSION_H_
#define BLINDCART_SERVICES_COMMON_STATUS_CONVERSION_H_

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace blindcart {

grpc::Status ToGrpcStatus(const absl::Status& status);
grpc::Status ToWireStatus(const absl::Status& status);
absl::Status FromGrpcStatus(const grpc::Status& status);

}  // namespace blindcart

#endif  // BLINDCART_SERVICES_COMMON_STATUS_CONVERSION_H_
