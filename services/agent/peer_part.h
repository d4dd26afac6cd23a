// Direct sessions as a part of the agent's program: wires store, directory, transport and use case to
// the service of the local API, with workers of their own, so that a slow peer holds up nothing else.
//
// Thread safety: service() and Shutdown may be called from any thread; StopWorkers last and once.
#ifndef BLINDCART_SERVICES_AGENT_PEER_PART_H_
#define BLINDCART_SERVICES_AGENT_PEER_PART_H_

#include <memory>
#include <string>

#include <grpcpp/grpcpp.h>

#include "crypto/identity.h"
#include "services/agent/agent_database.h"
#include "services/agent/broker_session.h"
#include "services/agent/certificates.h"
#include "services/agent/received_folder.h"
#include "services/common/scheduler.h"

namespace blindcart::agent {

class PeerPart {
 public:
  struct Dependencies {
    const crypto::Identity* own = nullptr;
    AgentDatabase* database = nullptr;
    BrokerSession* broker = nullptr;
    Certificates* certificates = nullptr;
    Scheduler* scheduler = nullptr;
    std::string received_dir;  // Where files go, and how much.
    ReceivedFolder::Limits received;
  };

  // What `dependencies` names must outlive the part.
  explicit PeerPart(const Dependencies& dependencies);
  ~PeerPart();

  grpc::Service* service();
  // Ends all sessions and what waits for them. Idempotent.
  void Shutdown();
  // After the server that has the service has shut down.
  void StopWorkers();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace blindcart::agent

#endif  // BLINDCART_SERVICES_AGENT_PEER_PART_H_
