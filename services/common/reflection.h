// gRPC's reflection: lets tools such as grpcurl ask a server for its services and messages. For
// ServerRunner::Options::plugins.
#ifndef BLINDCART_SERVICES_COMMON_REFLECTION_H_
#define BLINDCART_SERVICES_COMMON_REFLECTION_H_

#include <memory>

#include <grpcpp/impl/server_builder_plugin.h>

namespace blindcart {

std::unique_ptr<grpc::ServerBuilderPlugin> MakeReflection();

}  // namespace blindcart

#endif  // BLINDCART_SERVICES_COMMON_REFLECTION_H_
