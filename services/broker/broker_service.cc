#include "services/broker/broker_service.h"

#include <utility>
#include <vector>

#include "services/common/grpc_link.h"
#include "services/common/transport.h"

namespace blindcart::broker {

std::string BrokerService::SourceOf(const grpc::CallbackServerContext& context) const {
  return behind_proxy_ ? "" : SourceOfPeer(context.peer());
}

grpc::ServerBidiReactor<v1::LinkMessage, v1::LinkMessage>* BrokerService::CustomerLink(
    grpc::CallbackServerContext* context) {
  return AcceptGrpcLink(
      context,
      [this, context](std::shared_ptr<Link> link) {
        return broker_.AcceptCustomer(std::move(link), SourceOf(*context));
      },
      broker_.counters());
}

grpc::ServerBidiReactor<v1::LinkMessage, v1::LinkMessage>* BrokerService::MerchantLink(
    grpc::CallbackServerContext* context) {
  return AcceptGrpcLink(
      context,
      [this, context](std::shared_ptr<Link> link) {
        return broker_.AcceptMerchant(std::move(link), SourceOf(*context));
      },
      broker_.counters());
}

grpc::ServerReadReactor<grpc::ByteBuffer>* BrokerService::SendGoods(
    grpc::CallbackServerContext* context, grpc::ByteBuffer* response) {
  return goods_.Send(context, response);
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* BrokerService::FetchGoods(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request) {
  return goods_.Fetch(context, *request);
}

grpc::ServerUnaryReactor* BrokerService::FollowIdentity(grpc::CallbackServerContext* context,
                                                        const v1::FollowIdentityRequest* request,
                                                        v1::FollowIdentityReply* reply) {
  const std::vector<v1::IdentityLink> links = lineage_.LinksAfter(request->fingerprint());
  for (const v1::IdentityLink& link : links) *reply->add_links() = link;
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

}  // namespace blindcart::broker
