// Links over gRPC's callback API: the accepting and the dialling end of CustomerLink, MerchantLink
// and of agents' direct sessions. An adapter lives until its stream is done and its owner has let go of it.
#ifndef BLINDCART_SERVICES_COMMON_GRPC_LINK_H_
#define BLINDCART_SERVICES_COMMON_GRPC_LINK_H_

#include <functional>
#include <memory>
#include <string>

#include <grpcpp/grpcpp.h>

#include "proto/broker.grpc.pb.h"
#include "protocol/refusal.h"
#include "services/common/link.h"

namespace blindcart {

// Makes the handler of a link that was just accepted. The link may be used at once and for as long
// as the pointer is held.
using AcceptLink = std::function<std::unique_ptr<LinkHandler>(std::shared_ptr<Link> link)>;

// The reactor to return from the call; deletes itself.
grpc::ServerBidiReactor<v1::LinkMessage, v1::LinkMessage>* AcceptGrpcLink(
    grpc::CallbackServerContext* context, const AcceptLink& accept,
    protocol::RefusalCounters& counters);

// Begins the call that a link runs on, with the stub of its service.
using StartLinkCall = std::function<void(
    grpc::ClientContext*, grpc::ClientBidiReactor<v1::LinkMessage, v1::LinkMessage>*)>;

// Dials. `make_handler` gets the link before anything is read; it may send the first handshake
// message at once. The handler is destroyed after its OnClosed. `start` is called once, before this
// returns. `counters` must outlive the link.
std::shared_ptr<Link> DialGrpcLink(const StartLinkCall& start, const AcceptLink& make_handler,
                                   protocol::RefusalCounters& counters);

enum class LinkKind { kCustomer, kMerchant };

// The same for a broker's links.
std::shared_ptr<Link> DialGrpcLink(v1::Broker::Stub& stub, LinkKind kind,
                                   const AcceptLink& make_handler,
                                   protocol::RefusalCounters& counters);

}  // namespace blindcart

#endif  // BLINDCART_SERVICES_COMMON_GRPC_LINK_H_
