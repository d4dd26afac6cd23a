// How direct sessions reach another agent: a link to dial, and a door to open. Knows no gRPC;
// grpc_peer_transport.h carries it over the network, tests over memory.
//
// Thread safety: every method may be called from any thread; none from within a handler.
#ifndef BLINDCART_SERVICES_AGENT_PEER_TRANSPORT_H_
#define BLINDCART_SERVICES_AGENT_PEER_TRANSPORT_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/common/link.h"

namespace blindcart::agent {

class PeerTransport {
 public:
  using MakeHandler = std::function<std::unique_ptr<LinkHandler>(std::shared_ptr<Link> link)>;
  // `source` is the machine that a link comes from; empty when it is this one, or not known.
  using AcceptHandler = std::function<std::unique_ptr<LinkHandler>(std::shared_ptr<Link> link,
                                                                   const std::string& source)>;

  virtual ~PeerTransport() = default;

  // Begins to connect; whether anybody is there, the handler hears. InvalidArgument for an address
  // that is none.
  virtual absl::StatusOr<std::shared_ptr<Link>> Dial(const std::string& address, bool plain_tcp,
                                                     const MakeHandler& make_handler) = 0;

  // Opens the door; one at a time. Returns the address in use, its port filled in. InvalidArgument,
  // FailedPrecondition when it is open, Unavailable when the address cannot be listened on.
  virtual absl::StatusOr<std::string> Listen(const std::string& address, bool plain_tcp,
                                             AcceptHandler accept) = 0;
  // Shuts it and breaks what came through it. Idempotent.
  virtual void StopListening() = 0;
};

}  // namespace blindcart::agent

#endif  // BLINDCART_SERVICES_AGENT_PEER_TRANSPORT_H_
