// The peer directory of a real agent: its certificates, and the broker behind its session.
//
// Thread safety and errors: peer_directory.h.
#ifndef BLINDCART_SERVICES_AGENT_BROKER_PEER_DIRECTORY_H_
#define BLINDCART_SERVICES_AGENT_BROKER_PEER_DIRECTORY_H_

#include <memory>
#include <mutex>
#include <string>

#include "protocol/clock.h"
#include "services/agent/broker_session.h"
#include "services/agent/certificates.h"
#include "services/agent/peer_directory.h"

namespace blindcart::agent {

class BrokerPeerDirectory : public PeerDirectory {
 public:
  // All must outlive the object.
  BrokerPeerDirectory(BrokerSession& broker, Certificates& certificates,
                      const protocol::Clock& clock)
      : broker_(broker), certificates_(certificates), clock_(clock) {}

  absl::StatusOr<protocol::PeerCertificates> OwnCertificates() override;
  absl::StatusOr<protocol::CertifiedPeer> Verify(
      const protocol::PeerCertificates& certificates) override;
  void Refresh() override;
  absl::StatusOr<std::string> FindAddress(const std::string& username, bool patiently) override;
  bool Announce(const std::string& address) override;

 private:
  BrokerSession& broker_;
  Certificates& certificates_;
  const protocol::Clock& clock_;

  std::mutex mutex_;
  std::weak_ptr<BrokerLink> told_link_;  // Under mutex_: the link over which it was told last,
  std::string told_address_;             // and what.
};

}  // namespace blindcart::agent

#endif  // BLINDCART_SERVICES_AGENT_BROKER_PEER_DIRECTORY_H_
