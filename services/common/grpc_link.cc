#include "services/common/grpc_link.h"

#include <utility>

#include "services/common/link_pump.h"
#include "services/common/status_conversion.h"

namespace blindcart {
namespace {

grpc::WriteOptions NoBuffering() { return grpc::WriteOptions().set_no_compression(); }

class ServerLink final : public grpc::ServerBidiReactor<v1::LinkMessage, v1::LinkMessage>,
                         public Link,
                         private LinkPump::Transport {
 public:
  ServerLink(grpc::CallbackServerContext* context, protocol::RefusalCounters& counters)
      : context_(context), pump_(*this, counters) {}

  void Begin(std::shared_ptr<ServerLink> self, const AcceptLink& accept) {
    self_ = self;
    handler_ = accept(std::move(self));
    StartRead(&incoming_);
  }

  void SendHandshake(v1::HandshakeMessage message) override {
    pump_.SendHandshake(std::move(message));
  }
  void Establish(std::unique_ptr<protocol::Channel> channel) override {
    pump_.Establish(std::move(channel));
  }
  absl::Status Send(std::string message) override { return pump_.Send(std::move(message)); }
  void Close(absl::Status status) override { pump_.Close(std::move(status)); }
  void CloseIfExpired() override { pump_.CloseIfExpired(); }

  void OnReadDone(bool ok) override {
    if (!ok) {
      pump_.OnPeerClosed();
      return;
    }
    pump_.OnReceived(incoming_, *handler_);
    StartRead(&incoming_);
  }
  void OnWriteDone(bool ok) override { pump_.OnWritten(ok); }
  void OnCancel() override { pump_.OnPeerClosed(); }
  void OnDone() override {
    pump_.OnDone();
    handler_->OnClosed(pump_.close_status());
    handler_.reset();
    self_.reset();
  }

 private:
  void StartWrite(const v1::LinkMessage& message) override {
    grpc::ServerBidiReactor<v1::LinkMessage, v1::LinkMessage>::StartWrite(&message, NoBuffering());
  }
  void Finish(const absl::Status& status) override {
    grpc::ServerBidiReactor<v1::LinkMessage, v1::LinkMessage>::Finish(ToWireStatus(status));
  }
  void Abort() override { context_->TryCancel(); }

  grpc::CallbackServerContext* const context_;
  LinkPump pump_;
  v1::LinkMessage incoming_;
  std::unique_ptr<LinkHandler> handler_;
  std::shared_ptr<ServerLink> self_;  // Until the stream is done.
};

class ClientLink final : public grpc::ClientBidiReactor<v1::LinkMessage, v1::LinkMessage>,
                         public Link,
                         private LinkPump::Transport {
 public:
  explicit ClientLink(protocol::RefusalCounters& counters) : pump_(*this, counters) {}

  void Begin(std::shared_ptr<ClientLink> self, const StartLinkCall& start,
             const AcceptLink& make_handler) {
    self_ = self;
    start(&context_, this);
    // Writes come from other threads than the reactor's: the hold keeps the call until Finish.
    AddHold();
    handler_ = make_handler(std::move(self));
    StartRead(&incoming_);
    StartCall();
  }

  void SendHandshake(v1::HandshakeMessage message) override {
    pump_.SendHandshake(std::move(message));
  }
  void Establish(std::unique_ptr<protocol::Channel> channel) override {
    pump_.Establish(std::move(channel));
  }
  absl::Status Send(std::string message) override { return pump_.Send(std::move(message)); }
  void Close(absl::Status status) override { pump_.Close(std::move(status)); }
  void CloseIfExpired() override { pump_.CloseIfExpired(); }

  void OnReadDone(bool ok) override {
    if (!ok) {
      pump_.OnPeerClosed();
      return;
    }
    pump_.OnReceived(incoming_, *handler_);
    StartRead(&incoming_);
  }
  void OnWriteDone(bool ok) override { pump_.OnWritten(ok); }
  void OnDone(const grpc::Status& status) override {
    pump_.OnDone();
    absl::Status closed = pump_.close_status();
    if (closed.ok()) closed = FromGrpcStatus(status);
    handler_->OnClosed(closed);
    handler_.reset();
    self_.reset();
  }

 private:
  void StartWrite(const v1::LinkMessage& message) override {
    grpc::ClientBidiReactor<v1::LinkMessage, v1::LinkMessage>::StartWrite(&message, NoBuffering());
  }
  void Finish(const absl::Status& status) override {
    if (status.ok()) {
      StartWritesDone();
    } else {
      context_.TryCancel();
    }
    RemoveHold();
  }
  void Abort() override { context_.TryCancel(); }

  grpc::ClientContext context_;
  LinkPump pump_;
  v1::LinkMessage incoming_;
  std::unique_ptr<LinkHandler> handler_;
  std::shared_ptr<ClientLink> self_;  // Until the stream is done.
};

}  // namespace

grpc::ServerBidiReactor<v1::LinkMessage, v1::LinkMessage>* AcceptGrpcLink(
    grpc::CallbackServerContext* context, const AcceptLink& accept,
    protocol::RefusalCounters& counters) {
  auto link = std::make_shared<ServerLink>(context, counters);
  ServerLink* reactor = link.get();
  reactor->Begin(std::move(link), accept);
  return reactor;
}

std::shared_ptr<Link> DialGrpcLink(const StartLinkCall& start, const AcceptLink& make_handler,
                                   protocol::RefusalCounters& counters) {
  auto link = std::make_shared<ClientLink>(counters);
  link->Begin(link, start, make_handler);
  return link;
}

std::shared_ptr<Link> DialGrpcLink(v1::Broker::Stub& stub, LinkKind kind,
                                   const AcceptLink& make_handler,
                                   protocol::RefusalCounters& counters) {
  return DialGrpcLink(
      [&stub, kind](grpc::ClientContext* context,
                    grpc::ClientBidiReactor<v1::LinkMessage, v1::LinkMessage>* reactor) {
        if (kind == LinkKind::kCustomer) {
          stub.async()->CustomerLink(context, reactor);
        } else {
          stub.async()->MerchantLink(context, reactor);
        }
      },
      make_handler, counters);
}

}  // namespace blindcart
