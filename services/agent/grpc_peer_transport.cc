#include "services/agent/grpc_peer_transport.h"

#include <grpcpp/grpcpp.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "crypto/tls_certificate.h"
#include "proto/peer_link.grpc.pb.h"
#include "services/common/grpc_link.h"

namespace blindcart::agent {
namespace {

constexpr char kTlsName[] = "peer.blindcart";
constexpr int kTlsDays = 365;
// One session and one that takes its place.
constexpr int kStreamsPerConnection = 2;

class PeerService final : public v1::Peer::CallbackService {
 public:
  PeerService(PeerTransport::AcceptHandler accept, protocol::RefusalCounters& counters)
      : accept_(std::move(accept)), counters_(counters) {}

  grpc::ServerBidiReactor<v1::LinkMessage, v1::LinkMessage>* Session(
      grpc::CallbackServerContext* context) override {
    return AcceptGrpcLink(
        context,
        [this, context](std::shared_ptr<Link> link) {
          return accept_(std::move(link), SourceOfPeer(context->peer()));
        },
        counters_);
  }

 private:
  const PeerTransport::AcceptHandler accept_;
  protocol::RefusalCounters& counters_;
};

}  // namespace

class GrpcPeerTransport::Door {
 public:
  Door(AcceptHandler accept, protocol::RefusalCounters& counters)
      : service_(std::move(accept), counters) {}
  ~Door() {
    if (server_ != nullptr) server_->Shutdown(/*grace_ms=*/0);
  }

  absl::StatusOr<std::string> Open(const std::string& address, bool plain_tcp) {
    ServerRunner::Options options;
    options.listen = {address};
    options.plain_tcp_on_loopback = plain_tcp;
    options.max_streams_per_connection = kStreamsPerConnection;
    if (!plain_tcp) {
      const absl::StatusOr<crypto::TlsCertificate> tls =
          crypto::MakeSelfSignedCertificate(kTlsName, {kTlsName}, kTlsDays);
      if (!tls.ok()) return tls.status();
      options.tls = {tls->certificate_pem, tls->private_key_pem};
    }
    absl::StatusOr<std::unique_ptr<ServerRunner>> server = ServerRunner::Start(service_, options);
    if (!server.ok()) return server.status();
    server_ = *std::move(server);
    return server_->addresses().front();
  }

 private:
  PeerService service_;
  std::unique_ptr<ServerRunner> server_;
};

GrpcPeerTransport::GrpcPeerTransport(protocol::RefusalCounters& counters) : counters_(counters) {}
GrpcPeerTransport::~GrpcPeerTransport() { StopListening(); }

absl::StatusOr<std::shared_ptr<Link>> GrpcPeerTransport::Dial(const std::string& address,
                                                              bool plain_tcp,
                                                              const MakeHandler& make_handler) {
  const absl::StatusOr<std::shared_ptr<grpc::Channel>> channel = DialPeer(address, plain_tcp);
  if (!channel.ok()) return channel.status();
  const std::unique_ptr<v1::Peer::Stub> stub = v1::Peer::NewStub(*channel);
  // The call holds the channel from here on.
  return DialGrpcLink(
      [&stub](grpc::ClientContext* context,
              grpc::ClientBidiReactor<v1::LinkMessage, v1::LinkMessage>* reactor) {
        stub->async()->Session(context, reactor);
      },
      make_handler, counters_);
}

absl::StatusOr<std::string> GrpcPeerTransport::Listen(const std::string& address, bool plain_tcp,
                                                      AcceptHandler accept) {
  const absl::Status checked = CheckTcpAddress(address);
  if (!checked.ok()) return checked;
  if (plain_tcp && !IsLoopbackAddress(address)) {
    return absl::InvalidArgumentError(absl::StrCat("plain TCP is for loopback only, and ", address,
                                                   " is not; leave --plain-tcp out"));
  }
  std::lock_guard<std::mutex> lock(mutex_);
  if (door_ != nullptr) {
    return absl::FailedPreconditionError(
        "this agent listens already. Stop that first: blindcart peer listen --stop");
  }
  auto door = std::make_unique<Door>(std::move(accept), counters_);
  absl::StatusOr<std::string> in_use = door->Open(address, plain_tcp);
  if (in_use.ok()) door_ = std::move(door);
  return in_use;
}

void GrpcPeerTransport::StopListening() {
  std::unique_ptr<Door> door;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    door = std::move(door_);
  }
}

}  // namespace blindcart::agent
