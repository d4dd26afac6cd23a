// Direct sessions over gRPC: the service Peer (proto/peer_link.proto) on a TCP port of its own, TLS
// 1.3 under a certificate that is made anew each time and that nobody checks: the handshake inside
// proves both ends (protocol/peer_handshake.h).
//
// Thread safety and errors: peer_transport.h.
#ifndef BLINDCART_SERVICES_AGENT_GRPC_PEER_TRANSPORT_H_
#define BLINDCART_SERVICES_AGENT_GRPC_PEER_TRANSPORT_H_

#include <memory>
#include <mutex>
#include <string>

#include "protocol/refusal.h"
#include "services/agent/peer_transport.h"
#include "services/common/transport.h"

namespace blindcart::agent {

class GrpcPeerTransport : public PeerTransport {
 public:
  // `counters` must outlive every link, which is longer than this object.
  explicit GrpcPeerTransport(protocol::RefusalCounters& counters);
  ~GrpcPeerTransport() override;  // Stops listening.

  absl::StatusOr<std::shared_ptr<Link>> Dial(const std::string& address, bool plain_tcp,
                                             const MakeHandler& make_handler) override;
  absl::StatusOr<std::string> Listen(const std::string& address, bool plain_tcp,
                                     AcceptHandler accept) override;
  void StopListening() override;

 private:
  class Door;

  protocol::RefusalCounters& counters_;
  std::mutex mutex_;
  std::unique_ptr<Door> door_;  // Under mutex_.
};

}  // namespace blindcart::agent

#endif  // BLINDCART_SERVICES_AGENT_GRPC_PEER_TRANSPORT_H_
