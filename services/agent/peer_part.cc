#include "services/agent/peer_part.h"

#include "crypto/random.h"
#include "protocol/clock.h"
#include "protocol/refusal.h"
#include "services/agent/broker_peer_directory.h"
#include "services/agent/grpc_peer_transport.h"
#include "services/agent/peer_service.h"
#include "services/agent/peer_sessions.h"
#include "services/agent/peer_store.h"
#include "services/common/worker_pool.h"

namespace blindcart::agent {
namespace {

constexpr size_t kSessionWorkers = 4;
constexpr size_t kMaxWaitingWork = 2 * PeerSessions::kMaxSessions;
constexpr size_t kCallWorkers = 8;
constexpr size_t kMaxWaitingCalls = 64;
constexpr size_t kTransferWorkers = 4;
constexpr size_t kMaxWaitingTransfers = 16;

// Links count into it until their streams have ended, which may be after the part has.
protocol::RefusalCounters& Counters() {
  static auto* const counters = new protocol::RefusalCounters();
  return *counters;
}

PeerSessions::Options OptionsOf(const PeerPart::Dependencies& use) {
  PeerSessions::Options options;
  options.received = use.received;
  return options;
}

}  // namespace

struct PeerPart::State {
  explicit State(const Dependencies& use)
      : store(*use.database),
        directory(*use.broker, *use.certificates, protocol::SystemClock()),
        transport(Counters()),
        sessions({use.own, &crypto::SystemRandom(), &protocol::SystemClock(), use.scheduler, &work,
                  &store, &directory, &transport, use.received_dir},
                 OptionsOf(use)),
        service(sessions, use.received_dir, calls, transfers) {}

  WorkerPool work{kSessionWorkers, kMaxWaitingWork};
  WorkerPool calls{kCallWorkers, kMaxWaitingCalls};
  WorkerPool transfers{kTransferWorkers, kMaxWaitingTransfers};
  PeerStore store;
  BrokerPeerDirectory directory;
  GrpcPeerTransport transport;
  PeerSessions sessions;
  PeerApiService service;
};

PeerPart::PeerPart(const Dependencies& dependencies)
    : state_(std::make_unique<State>(dependencies)) {}
PeerPart::~PeerPart() {
  Shutdown();
  StopWorkers();
}

grpc::Service* PeerPart::service() { return &state_->service; }

void PeerPart::Shutdown() { state_->sessions.Shutdown(); }

void PeerPart::StopWorkers() {
  state_->transfers.Shutdown();
  state_->calls.Shutdown();
  state_->work.Shutdown();
}

}  // namespace blindcart::agent
