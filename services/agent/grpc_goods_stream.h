// FetchGoods over gRPC's callback API, with a bounded look-ahead: a reader that is slower than the
// network holds the network up, and memory stays flat.
#ifndef BLINDCART_SERVICES_AGENT_GRPC_GOODS_STREAM_H_
#define BLINDCART_SERVICES_AGENT_GRPC_GOODS_STREAM_H_

#include <memory>
#include <string>

#include "proto/broker.grpc.pb.h"
#include "services/agent/goods_stream.h"

namespace blindcart::agent {

// `stub` is used during the call only.
std::unique_ptr<GoodsStream> FetchGrpcGoods(v1::Broker::Stub& stub, const std::string& delivery_id);

}  // namespace blindcart::agent

#endif  // BLINDCART_SERVICES_AGENT_GRPC_GOODS_STREAM_H_
