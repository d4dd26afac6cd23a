#include "services/common/reflection.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>

namespace blindcart {

std::unique_ptr<grpc::ServerBuilderPlugin> MakeReflection() {
  return std::make_unique<grpc::reflection::ProtoServerReflectionPlugin>();
}

}  // namespace blindcart
