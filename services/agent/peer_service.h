// The adapter of direct sessions' local API (proto/agent_peer.proto): each call runs on a worker,
// asks the use case and translates. What is watched is written from the use case's own threads.
//
// Thread-safe. `sessions` and both executors must outlive the server that it is registered with.
#ifndef BLINDCART_SERVICES_AGENT_PEER_SERVICE_H_
#define BLINDCART_SERVICES_AGENT_PEER_SERVICE_H_

#include "proto/agent_peer.grpc.pb.h"
#include "services/agent/peer_sessions.h"
#include "services/common/worker_pool.h"

namespace blindcart::agent {

class PeerApiService final : public v1::AgentPeer::CallbackService {
 public:
  // `transfers` runs files that are sent, each for as long as it takes.
  PeerApiService(PeerSessions& sessions, std::string received_dir, Executor& calls,
                 Executor& transfers)
      : sessions_(sessions),
        received_dir_(std::move(received_dir)),
        calls_(calls),
        transfers_(transfers) {}

  grpc::ServerUnaryReactor* Listen(grpc::CallbackServerContext* context,
                                   const v1::PeerListenRequest* request,
                                   v1::PeerListenReply* reply) override;
  grpc::ServerUnaryReactor* StopListening(grpc::CallbackServerContext* context,
                                          const v1::PeerStopListeningRequest* request,
                                          v1::PeerStopListeningReply* reply) override;
  grpc::ServerUnaryReactor* Connect(grpc::CallbackServerContext* context,
                                    const v1::PeerConnectRequest* request,
                                    v1::PeerConnectReply* reply) override;
  grpc::ServerUnaryReactor* Sessions(grpc::CallbackServerContext* context,
                                     const v1::PeerSessionsRequest* request,
                                     v1::PeerSessionsReply* reply) override;
  grpc::ServerUnaryReactor* AcceptFiles(grpc::CallbackServerContext* context,
                                        const v1::PeerAcceptFilesRequest* request,
                                        v1::PeerAcceptFilesReply* reply) override;
  grpc::ServerUnaryReactor* Close(grpc::CallbackServerContext* context,
                                  const v1::PeerCloseRequest* request,
                                  v1::PeerCloseReply* reply) override;
  grpc::ServerUnaryReactor* SendText(grpc::CallbackServerContext* context,
                                     const v1::PeerSendTextRequest* request,
                                     v1::PeerSendTextReply* reply) override;
  grpc::ServerWriteReactor<v1::PeerFileProgress>* SendFile(
      grpc::CallbackServerContext* context, const v1::PeerSendFileRequest* request) override;
  grpc::ServerUnaryReactor* Inbox(grpc::CallbackServerContext* context,
                                  const v1::PeerInboxRequest* request,
                                  v1::PeerInboxReply* reply) override;
  grpc::ServerUnaryReactor* Callers(grpc::CallbackServerContext* context,
                                    const v1::PeerCallersRequest* request,
                                    v1::PeerCallersReply* reply) override;
  grpc::ServerWriteReactor<v1::PeerNews>* Watch(grpc::CallbackServerContext* context,
                                                const v1::PeerWatchRequest* request) override;

 private:
  PeerSessions& sessions_;
  const std::string received_dir_;
  Executor& calls_;
  Executor& transfers_;
};

}  // namespace blindcart::agent

#endif  // BLINDCART_SERVICES_AGENT_PEER_SERVICE_H_
