#include "services/common/follow_broker.h"

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <vector>

#include "services/common/log.h"

namespace blindcart {
namespace {

constexpr int kTimeoutMs = 5'000;

}  // namespace

absl::StatusOr<bool> FollowBroker(v1::Broker::Stub& stub, PinnedBroker& pinned) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(kTimeoutMs));
  v1::FollowIdentityRequest request;
  request.set_fingerprint(pinned.current()->fingerprint());
  v1::FollowIdentityReply reply;
  const grpc::Status answered = stub.FollowIdentity(&context, request, &reply);
  if (answered.error_code() == grpc::StatusCode::UNAVAILABLE ||
      answered.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) {
    return absl::UnavailableError("the broker does not answer");
  }
  if (!answered.ok()) {
    // A broker of an earlier version does not know the call; anything else is to be looked into.
    if (answered.error_code() != grpc::StatusCode::UNIMPLEMENTED) {
      LogWarning("broker.identity_not_answered", {{"code", answered.error_code()}});
    }
    return false;
  }
  if (reply.links().empty()) return false;
  const absl::Status followed =
      pinned.Follow(std::vector<v1::IdentityLink>(reply.links().begin(), reply.links().end()));
  if (!followed.ok()) {
    LogWarning("broker.identity_not_followed", {{"code", static_cast<int>(followed.code())}});
    return false;
  }
  LogInfo("broker.identity_followed", {{"counter", pinned.lineage()->counter()}});
  return true;
}

}  // namespace blindcart
