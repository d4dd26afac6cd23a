#include "tests/support/peer_interposer.h"

#include <grpcpp/grpcpp.h>

#include <mutex>
#include <thread>
#include <utility>

#include "crypto/tls_certificate.h"
#include "proto/peer_link.grpc.pb.h"
#include "services/common/transport.h"

namespace blindcart::testing {
namespace {

using ServerStream = grpc::ServerReaderWriter<v1::LinkMessage, v1::LinkMessage>;
using ClientStream = grpc::ClientReaderWriter<v1::LinkMessage, v1::LinkMessage>;

}  // namespace

struct PeerInterposer::State : public v1::Peer::Service {
  grpc::Status Session(grpc::ServerContext* context, ServerStream* caller) override {
    std::shared_ptr<grpc::Channel> channel;
    int session = 0;
    {
      std::lock_guard<std::mutex> lock(mutex);
      auto dialled = DialPeer(upstream, /*plain_tcp=*/false);
      if (!dialled.ok()) return {grpc::StatusCode::UNAVAILABLE, ""};
      channel = *std::move(dialled);
      session = sessions++;
    }
    const auto stub = v1::Peer::NewStub(channel);
    grpc::ClientContext upstream_context;
    const std::unique_ptr<ClientStream> listener = stub->Session(&upstream_context);
    std::mutex to_listener;
    std::mutex to_caller;
    const auto pass = [&](Towards towards, const v1::LinkMessage& message) {
      const Onward onward = Apply({session, towards, message});
      const bool forward = towards == Towards::kListener;
      for (const v1::LinkMessage& out : forward ? onward.onward : onward.back) {
        std::lock_guard<std::mutex> lock(to_listener);
        listener->Write(out);
      }
      for (const v1::LinkMessage& out : forward ? onward.back : onward.onward) {
        std::lock_guard<std::mutex> lock(to_caller);
        caller->Write(out);
      }
    };
    std::thread forward([&] {
      v1::LinkMessage message;
      while (caller->Read(&message)) pass(Towards::kListener, message);
      std::lock_guard<std::mutex> lock(to_listener);
      listener->WritesDone();
    });
    v1::LinkMessage message;
    while (listener->Read(&message)) pass(Towards::kCaller, message);
    const grpc::Status status = listener->Finish();
    context->TryCancel();  // So that the reading ends.
    forward.join();
    return status;
  }

  Onward Apply(Seen seen) {
    Hook current;
    {
      std::lock_guard<std::mutex> lock(mutex);
      all.push_back(seen);
      current = hook;
    }
    if (current == nullptr) return {{std::move(seen.message)}, {}};
    return current(seen);
  }

  mutable std::mutex mutex;
  // Under mutex.
  std::string upstream;
  Hook hook;
  std::vector<Seen> all;
  int sessions = 0;

  std::unique_ptr<ServerRunner> server;
};

absl::StatusOr<std::unique_ptr<PeerInterposer>> PeerInterposer::Start() {
  auto state = std::make_unique<State>();
  const auto tls =
      crypto::MakeSelfSignedCertificate("somebody else", {"elsewhere.example"}, /*days=*/1);
  if (!tls.ok()) return tls.status();
  ServerRunner::Options options;
  options.listen = {"127.0.0.1:0"};
  options.tls = {tls->certificate_pem, tls->private_key_pem};
  auto server = ServerRunner::Start(*state, options);
  if (!server.ok()) return server.status();
  state->server = *std::move(server);
  return std::unique_ptr<PeerInterposer>(new PeerInterposer(std::move(state)));
}

PeerInterposer::PeerInterposer(std::unique_ptr<State> state) : state_(std::move(state)) {}
PeerInterposer::~PeerInterposer() { state_->server->Shutdown(/*grace_ms=*/0); }

const std::string& PeerInterposer::address() const { return state_->server->addresses().front(); }

void PeerInterposer::SetUpstream(const std::string& address) {
  std::lock_guard<std::mutex> lock(state_->mutex);
  state_->upstream = address;
}

void PeerInterposer::SetHook(Hook hook) {
  std::lock_guard<std::mutex> lock(state_->mutex);
  state_->hook = std::move(hook);
}

std::vector<PeerInterposer::Seen> PeerInterposer::All() const {
  std::lock_guard<std::mutex> lock(state_->mutex);
  return state_->all;
}

}  // namespace blindcart::testing
