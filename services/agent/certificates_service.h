// The certificates' part of the agent's local API (proto/agent_certificates.proto): translates, and
// nothing more. Thread-safe; everything handed in must outlive the server that it is registered with.
#ifndef BLINDCART_SERVICES_AGENT_CERTIFICATES_SERVICE_H_
#define BLINDCART_SERVICES_AGENT_CERTIFICATES_SERVICE_H_

#include <grpcpp/grpcpp.h>

#include "absl/status/status.h"
#include "proto/agent_certificates.grpc.pb.h"
#include "protocol/clock.h"
#include "services/agent/certificate_keeper.h"
#include "services/agent/certificates.h"
#include "services/common/worker_pool.h"

namespace blindcart::agent {

class CertificatesService final : public v1::AgentCertificates::CallbackService {
 public:
  CertificatesService(Certificates& certificates, CertificateKeeper& keeper,
                      const protocol::Clock& clock, Executor& calls)
      : certificates_(certificates), keeper_(keeper), clock_(clock), calls_(calls) {}

  grpc::ServerUnaryReactor* Request(grpc::CallbackServerContext* context,
                                    const v1::RequestCertificatesRequest* request,
                                    v1::CertificatesReply* reply) override;
  grpc::ServerUnaryReactor* Show(grpc::CallbackServerContext* context,
                                 const v1::ShowCertificatesRequest* request,
                                 v1::CertificatesReply* reply) override;
  grpc::ServerUnaryReactor* Revoke(grpc::CallbackServerContext* context,
                                   const v1::RevokeCertificatesRequest* request,
                                   v1::RevokeCertificatesReply* reply) override;

 private:
  absl::Status Fill(v1::CertificatesReply* reply);

  Certificates& certificates_;
  CertificateKeeper& keeper_;
  const protocol::Clock& clock_;
  Executor& calls_;
};

}  // namespace blindcart::agent

#endif  // BLINDCART_SERVICES_AGENT_CERTIFICATES_SERVICE_H_
