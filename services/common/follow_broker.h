// Asks a broker whether its identity has changed, and follows (pinned_broker.h). To be done before
// each handshake, so that whoever was away for long learns of it.
#ifndef BLINDCART_SERVICES_COMMON_FOLLOW_BROKER_H_
#define BLINDCART_SERVICES_COMMON_FOLLOW_BROKER_H_

#include "absl/status/statusor.h"
#include "proto/broker.grpc.pb.h"
#include "services/common/pinned_broker.h"

namespace blindcart {

// True when the identity moved on. False also when whoever is there answers what does not follow from the
// pinned identity, or refuses: then nothing has changed, and the handshake will tell. Unavailable
// when nobody answers within five seconds. Blocks. Thread-safe. Logs what happened.
absl::StatusOr<bool> FollowBroker(v1::Broker::Stub& stub, PinnedBroker& pinned);

}  // namespace blindcart

#endif  // BLINDCART_SERVICES_COMMON_FOLLOW_BROKER_H_
