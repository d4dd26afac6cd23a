// The broker's door to the network: a thin adapter that hands accepted streams to broker_core.h and
// goods_reactors.h (proto/broker.proto).
#ifndef BLINDCART_SERVICES_BROKER_BROKER_SERVICE_H_
#define BLINDCART_SERVICES_BROKER_BROKER_SERVICE_H_

#include <string>

#include <grpcpp/grpcpp.h>

#include <utility>

#include "proto/broker.grpc.pb.h"
#include "protocol/identity_chain.h"
#include "services/broker/broker_core.h"
#include "services/broker/goods_reactors.h"

namespace blindcart::broker {

// Goods are raw bytes here, links are messages.
using BrokerServiceBase =
    v1::Broker::WithCallbackMethod_CustomerLink<v1::Broker::WithCallbackMethod_MerchantLink<
        v1::Broker::WithCallbackMethod_FollowIdentity<v1::Broker::WithRawCallbackMethod_SendGoods<
            v1::Broker::WithRawCallbackMethod_FetchGoods<v1::Broker::Service>>>>>;

// Thread-safe.
class BrokerService final : public BrokerServiceBase {
 public:
  // Both must outlive the service. `lineage` leads to the identity that the broker serves with.
  // `behind_proxy`: all callers come from one address, which is therefore never slowed down
  // (BrokerConfig::behind_proxy).
  BrokerService(BrokerCore& broker, GoodsDoor& goods, protocol::IdentityLineage lineage,
                bool behind_proxy)
      : broker_(broker), goods_(goods), lineage_(std::move(lineage)), behind_proxy_(behind_proxy) {}

  grpc::ServerBidiReactor<v1::LinkMessage, v1::LinkMessage>* CustomerLink(
      grpc::CallbackServerContext* context) override;
  grpc::ServerBidiReactor<v1::LinkMessage, v1::LinkMessage>* MerchantLink(
      grpc::CallbackServerContext* context) override;
  grpc::ServerReadReactor<grpc::ByteBuffer>* SendGoods(grpc::CallbackServerContext* context,
                                                       grpc::ByteBuffer* response) override;
  grpc::ServerWriteReactor<grpc::ByteBuffer>* FetchGoods(grpc::CallbackServerContext* context,
                                                         const grpc::ByteBuffer* request) override;
  grpc::ServerUnaryReactor* FollowIdentity(grpc::CallbackServerContext* context,
                                           const v1::FollowIdentityRequest* request,
                                           v1::FollowIdentityReply* reply) override;

 private:
  std::string SourceOf(const grpc::CallbackServerContext& context) const;

  BrokerCore& broker_;
  GoodsDoor& goods_;
  const protocol::IdentityLineage lineage_;
  const bool behind_proxy_;
};

}  // namespace blindcart::broker

#endif  // BLINDCART_SERVICES_BROKER_BROKER_SERVICE_H_
