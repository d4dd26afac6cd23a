// GoodsTransport over gRPC's callback API, on a channel of its own, so that bulk never holds up the
// link.
#ifndef BLINDCART_SERVICES_MERCHANT_GRPC_GOODS_H_
#define BLINDCART_SERVICES_MERCHANT_GRPC_GOODS_H_

#include <memory>
#include <utility>

#include "proto/broker.grpc.pb.h"
#include "services/merchant/goods_stream.h"

namespace blindcart::merchant {

class GrpcGoodsTransport : public GoodsTransport {
 public:
  explicit GrpcGoodsTransport(std::unique_ptr<v1::Broker::Stub> stub) : stub_(std::move(stub)) {}
  std::shared_ptr<GoodsStream> Open(std::shared_ptr<GoodsStream::Events> events) override;

 private:
  const std::unique_ptr<v1::Broker::Stub> stub_;
};

}  // namespace blindcart::merchant

#endif  // BLINDCART_SERVICES_MERCHANT_GRPC_GOODS_H_
