#include "tests/support/interposer.h"

#include <condition_variable>
#include <utility>

#include <grpcpp/grpcpp.h>

#include "proto/broker.grpc.pb.h"
#include "protocol/broker_merchant_handshake.h"
#include "protocol/channel.h"
#include "protocol/clock.h"
#include "protocol/login_handshake.h"
#include "protocol/refusal.h"
#include "services/common/grpc_link.h"

namespace blindcart::testing {
namespace {

template <typename Message>
using Hook = std::function<std::vector<Message>(Message)>;

std::unique_ptr<protocol::Channel> MakeChannel(protocol::SessionKeys keys, protocol::Role role) {
  return *protocol::Channel::Create(std::move(keys), role, protocol::SystemClock(), {});
}

// The two links of one party: to it, and in its name to the real broker. Whichever ends ends the
// other.
class Bridge {
 public:
  // `link` is the side's own; messages that arrive before the other side stands wait.
  void SetLink(bool upstream, std::shared_ptr<Link> link) {
    std::unique_lock<std::mutex> lock(mutex_);
    if (closed_) {
      lock.unlock();
      link->Close(absl::OkStatus());
      return;
    }
    (upstream ? upstream_ : downstream_) = std::move(link);
  }
  void MarkReady(bool upstream) {
    std::lock_guard<std::mutex> lock(mutex_);
    (upstream ? upstream_ready_ : downstream_ready_) = true;
    for (std::string& message : waiting_) (void)upstream_->Send(std::move(message));
    waiting_.clear();
  }
  void Send(bool upstream, std::string message) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (closed_) return;
    if (upstream && !upstream_ready_) {
      waiting_.push_back(std::move(message));
      return;
    }
    (void)(upstream ? upstream_ : downstream_)->Send(std::move(message));
  }
  void Close(const absl::Status& status) {
    std::shared_ptr<Link> upstream;
    std::shared_ptr<Link> downstream;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      closed_ = true;
      upstream = std::move(upstream_);
      downstream = std::move(downstream_);
    }
    if (upstream != nullptr) upstream->Close(status);
    if (downstream != nullptr) downstream->Close(status);
  }

 private:
  std::mutex mutex_;
  std::shared_ptr<Link> upstream_;
  std::shared_ptr<Link> downstream_;
  bool upstream_ready_ = false;
  bool downstream_ready_ = false;
  bool closed_ = false;
  std::vector<std::string> waiting_;
};

}  // namespace

void Recording::Add(Leg leg, std::string bytes) {
  std::lock_guard<std::mutex> lock(mutex_);
  recorded_.push_back({leg, std::move(bytes)});
}

std::vector<Recorded> Recording::All() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return recorded_;
}

void Recording::Clear() {
  std::lock_guard<std::mutex> lock(mutex_);
  recorded_.clear();
}

struct InterposerState {
  Interposer::Options options;
  std::shared_ptr<grpc::Channel> link_channel;
  std::shared_ptr<grpc::Channel> goods_channel;
  std::unique_ptr<v1::Broker::Stub> link_stub;
  std::unique_ptr<v1::Broker::Stub> goods_stub;
  protocol::RefusalCounters counters;
  Recording recording;

  std::mutex mutex;
  Interposer::Hooks hooks;
  std::map<std::string, const crypto::Identity*> customers;  // By username.
  std::map<std::string, const crypto::Identity*> merchants;  // By fingerprint.

  // Null when nobody lent it.
  const crypto::Identity* Find(std::map<std::string, const crypto::Identity*>& identities,
                               const std::string& key) {
    std::lock_guard<std::mutex> lock(mutex);
    const auto found = identities.find(key);
    return found == identities.end() ? nullptr : found->second;
  }

  Interposer::Hooks CurrentHooks() {
    std::lock_guard<std::mutex> lock(mutex);
    return hooks;
  }

  // Every link's handler holds one of these, so that the end can wait for all of them.
  class Presence {
   public:
    Presence(InterposerState& state, std::shared_ptr<Link> link) : state_(state) {
      std::lock_guard<std::mutex> lock(state_.mutex);
      ++state_.open_links;
      state_.links.push_back(std::move(link));
    }
    ~Presence() {
      std::lock_guard<std::mutex> lock(state_.mutex);
      --state_.open_links;
      state_.changed.notify_all();
    }
    Presence(const Presence&) = delete;
    Presence& operator=(const Presence&) = delete;

   private:
    InterposerState& state_;
  };
  int open_links = 0;
  std::vector<std::weak_ptr<Link>> links;
  std::condition_variable changed;

  void CloseAll() {
    std::unique_lock<std::mutex> lock(mutex);
    std::vector<std::weak_ptr<Link>> open;
    open.swap(links);
    lock.unlock();
    for (const std::weak_ptr<Link>& weak : open) {
      if (auto link = weak.lock()) link->Close(absl::UnavailableError("the interposer stops"));
    }
    server->Shutdown(/*grace_ms=*/0);
    lock.lock();
    changed.wait(lock, [this] { return open_links == 0; });
  }

  // Records, applies the hook and passes on.
  template <typename Message>
  void PassOn(Leg leg, const Hook<Message>& hook, const std::string& bytes, bool upstream,
              Bridge& bridge) {
    recording.Add(leg, bytes);
    if (hook == nullptr) {
      bridge.Send(upstream, bytes);
      return;
    }
    Message message;
    message.ParseFromString(bytes);
    for (const Message& replacement : hook(std::move(message))) {
      bridge.Send(upstream, replacement.SerializeAsString());
    }
  }

  std::unique_ptr<grpc::Service> service;
  std::unique_ptr<ServerRunner> server;
};

namespace {

class UpstreamCustomer : public LinkHandler {
 public:
  UpstreamCustomer(InterposerState& state, std::shared_ptr<Bridge> bridge,
                   std::shared_ptr<Link> link, const std::string& username,
                   const crypto::Identity& customer, std::string first_message)
      : state_(state),
        bridge_(std::move(bridge)),
        link_(std::move(link)),
        login_(customer, state.options.broker->public_identity(), crypto::SystemRandom()),
        first_message_(std::move(first_message)) {
    link_->SendHandshake(*login_.Start(username));
  }
  void OnHandshake(const v1::HandshakeMessage& message) override {
    auto finished = login_.OnChallenge(message);
    if (!finished.ok()) {
      link_->Close(finished.status());
      return;
    }
    auto channel = MakeChannel(*login_.TakeKeys(), protocol::Role::kInitiator);
    (void)channel->Seal({first_message_}, finished->mutable_frame());
    link_->Establish(std::move(channel));
    link_->SendHandshake(*std::move(finished));
    bridge_->SetLink(/*upstream=*/true, link_);
    bridge_->MarkReady(/*upstream=*/true);
  }
  void OnMessages(std::vector<std::string> messages) override {
    const auto hooks = state_.CurrentHooks();
    for (const std::string& bytes : messages) {
      state_.PassOn<v1::BrokerToCustomer>(Leg::kToCustomer, hooks.to_customer, bytes,
                                          /*upstream=*/false, *bridge_);
    }
  }
  void OnClosed(const absl::Status& status) override { bridge_->Close(status); }

 private:
  InterposerState& state_;
  std::shared_ptr<Bridge> bridge_;
  std::shared_ptr<Link> link_;
  const InterposerState::Presence presence_{state_, link_};
  protocol::CustomerLogin login_;
  const std::string first_message_;
};

class DownstreamCustomer : public LinkHandler {
 public:
  DownstreamCustomer(InterposerState& state, std::shared_ptr<Link> link)
      : state_(state),
        link_(std::move(link)),
        login_(*state.options.broker, crypto::SystemRandom()) {}
  void OnHandshake(const v1::HandshakeMessage& message) override {
    if (username_.empty()) {
      username_ = login_.OnHello(message).value_or("?");
      customer_ = state_.Find(state_.customers, username_);
      if (customer_ == nullptr) {
        link_->Close(protocol::Refused());
        return;
      }
      const crypto::PublicIdentity& enrolled = customer_->public_identity();
      link_->SendHandshake(*login_.Answer(&enrolled, enrolled));
      return;
    }
    if (!login_.OnFinished(message).ok()) {
      link_->Close(protocol::Refused());
      return;
    }
    auto channel = MakeChannel(*login_.TakeKeys(), protocol::Role::kResponder);
    auto first = channel->Open(message.frame());
    if (!first.ok() || first->size() != 1) {
      link_->Close(protocol::Refused());
      return;
    }
    state_.recording.Add(Leg::kFromCustomer, first->front());
    link_->Establish(std::move(channel));
    bridge_->SetLink(/*upstream=*/false, link_);
    DialGrpcLink(
        *state_.link_stub, LinkKind::kCustomer,
        [&](std::shared_ptr<Link> link) {
          return std::make_unique<UpstreamCustomer>(state_, bridge_, std::move(link), username_,
                                                    *customer_, first->front());
        },
        state_.counters);
  }
  void OnMessages(std::vector<std::string> messages) override {
    const auto hooks = state_.CurrentHooks();
    for (const std::string& bytes : messages) {
      state_.PassOn<v1::CustomerMessage>(Leg::kFromCustomer, hooks.from_customer, bytes,
                                         /*upstream=*/true, *bridge_);
    }
  }
  void OnClosed(const absl::Status& status) override { bridge_->Close(status); }

 private:
  InterposerState& state_;
  std::shared_ptr<Link> link_;
  const InterposerState::Presence presence_{state_, link_};
  std::shared_ptr<Bridge> bridge_ = std::make_shared<Bridge>();
  protocol::BrokerLogin login_;
  std::string username_;
  const crypto::Identity* customer_ = nullptr;
};

class UpstreamMerchant : public LinkHandler {
 public:
  UpstreamMerchant(InterposerState& state, std::shared_ptr<Bridge> bridge,
                   std::shared_ptr<Link> link, const crypto::Identity& merchant)
      : state_(state),
        bridge_(std::move(bridge)),
        link_(std::move(link)),
        handshake_(merchant, state.options.broker->public_identity(), crypto::SystemRandom()) {
    link_->SendHandshake(*handshake_.Start());
  }
  void OnHandshake(const v1::HandshakeMessage& message) override {
    auto reply = answered_ ? handshake_.OnConfirm(message) : handshake_.OnChallenge(message);
    answered_ = true;
    if (!reply.ok()) {
      link_->Close(reply.status());
      return;
    }
    if (handshake_.done()) {
      link_->Establish(MakeChannel(*handshake_.TakeKeys(), protocol::Role::kResponder));
    }
    const bool done = handshake_.done();
    link_->SendHandshake(*std::move(reply));
    if (done) {
      bridge_->SetLink(/*upstream=*/true, link_);
      bridge_->MarkReady(/*upstream=*/true);
    }
  }
  void OnMessages(std::vector<std::string> messages) override {
    const auto hooks = state_.CurrentHooks();
    for (const std::string& bytes : messages) {
      state_.PassOn<v1::BrokerToMerchant>(Leg::kToMerchant, hooks.to_merchant, bytes,
                                          /*upstream=*/false, *bridge_);
    }
  }
  void OnClosed(const absl::Status& status) override { bridge_->Close(status); }

 private:
  InterposerState& state_;
  std::shared_ptr<Bridge> bridge_;
  std::shared_ptr<Link> link_;
  const InterposerState::Presence presence_{state_, link_};
  protocol::MerchantSide handshake_;
  bool answered_ = false;
};

class DownstreamMerchant : public LinkHandler {
 public:
  DownstreamMerchant(InterposerState& state, std::shared_ptr<Link> link)
      : state_(state),
        link_(std::move(link)),
        handshake_(*state.options.broker, crypto::SystemRandom()) {}
  void OnHandshake(const v1::HandshakeMessage& message) override {
    ++step_;
    if (step_ == 1) {
      merchant_ =
          state_.Find(state_.merchants, protocol::BrokerSide::FingerprintOf(message).value_or(""));
      if (merchant_ == nullptr) {
        link_->Close(protocol::Refused());
        return;
      }
      const crypto::PublicIdentity& enrolled = merchant_->public_identity();
      link_->SendHandshake(*handshake_.Start(message, &enrolled, enrolled));
    } else if (step_ == 2) {
      link_->SendHandshake(*handshake_.OnResponse(message));
    } else {
      if (!handshake_.OnFinished(message).ok()) {
        link_->Close(protocol::Refused());
        return;
      }
      link_->Establish(MakeChannel(*handshake_.TakeKeys(), protocol::Role::kInitiator));
      bridge_->SetLink(/*upstream=*/false, link_);
      DialGrpcLink(
          *state_.link_stub, LinkKind::kMerchant,
          [&](std::shared_ptr<Link> link) {
            return std::make_unique<UpstreamMerchant>(state_, bridge_, std::move(link), *merchant_);
          },
          state_.counters);
    }
  }
  void OnMessages(std::vector<std::string> messages) override {
    const auto hooks = state_.CurrentHooks();
    for (const std::string& bytes : messages) {
      state_.PassOn<v1::MerchantToBroker>(Leg::kFromMerchant, hooks.from_merchant, bytes,
                                          /*upstream=*/true, *bridge_);
    }
  }
  void OnClosed(const absl::Status& status) override { bridge_->Close(status); }

 private:
  InterposerState& state_;
  std::shared_ptr<Link> link_;
  const InterposerState::Presence presence_{state_, link_};
  std::shared_ptr<Bridge> bridge_ = std::make_shared<Bridge>();
  protocol::BrokerSide handshake_;
  const crypto::Identity* merchant_ = nullptr;
  int step_ = 0;
};

// Links by callbacks, as the real broker; goods by plain blocking calls, which are simpler to
// alter.
class InterposerService : public v1::Broker::WithCallbackMethod_CustomerLink<
                              v1::Broker::WithCallbackMethod_MerchantLink<v1::Broker::Service>> {
 public:
  explicit InterposerService(InterposerState& state) : state_(state) {}

  grpc::ServerBidiReactor<v1::LinkMessage, v1::LinkMessage>* CustomerLink(
      grpc::CallbackServerContext* context) override {
    return AcceptGrpcLink(
        context,
        [this](std::shared_ptr<Link> link) {
          return std::make_unique<DownstreamCustomer>(state_, std::move(link));
        },
        state_.counters);
  }

  grpc::ServerBidiReactor<v1::LinkMessage, v1::LinkMessage>* MerchantLink(
      grpc::CallbackServerContext* context) override {
    return AcceptGrpcLink(
        context,
        [this](std::shared_ptr<Link> link) {
          return std::make_unique<DownstreamMerchant>(state_, std::move(link));
        },
        state_.counters);
  }

  grpc::Status FetchGoods(grpc::ServerContext* server_context, const v1::GoodsHeader* header,
                          grpc::ServerWriter<v1::GoodsMessage>* writer) override {
    auto context = grpc::ClientContext::FromServerContext(*server_context);
    auto reader = state_.goods_stub->FetchGoods(context.get(), *header);
    v1::GoodsMessage message;
    while (reader->Read(&message)) {
      state_.recording.Add(Leg::kGoods, message.SerializeAsString());
      const auto hook = state_.CurrentHooks().goods;
      if (hook == nullptr) {
        writer->Write(message);
        continue;
      }
      for (const v1::GoodsMessage& replacement : hook(message)) writer->Write(replacement);
    }
    return reader->Finish();
  }

  grpc::Status SendGoods(grpc::ServerContext* server_context,
                         grpc::ServerReader<v1::GoodsMessage>* reader,
                         v1::GoodsSent* sent) override {
    auto context = grpc::ClientContext::FromServerContext(*server_context);
    auto writer = state_.goods_stub->SendGoods(context.get(), sent);
    v1::GoodsMessage message;
    while (reader->Read(&message)) {
      if (!writer->Write(message)) break;
    }
    writer->WritesDone();
    return writer->Finish();
  }

 private:
  InterposerState& state_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Interposer>> Interposer::Start(Options options) {
  auto state = std::make_unique<InterposerState>();
  state->options = std::move(options);
  for (auto* channel : {&state->link_channel, &state->goods_channel}) {
    auto dialled =
        DialBroker(state->options.upstream_address, state->options.upstream_root_pem,
                   /*plain_tcp=*/false, channel == &state->link_channel ? "link" : "goods");
    if (!dialled.ok()) return dialled.status();
    *channel = *std::move(dialled);
  }
  state->link_stub = v1::Broker::NewStub(state->link_channel);
  state->goods_stub = v1::Broker::NewStub(state->goods_channel);
  state->service = std::make_unique<InterposerService>(*state);
  ServerRunner::Options server;
  server.listen = {state->options.listen};
  server.tls = state->options.tls;
  auto runner = ServerRunner::Start(*state->service, server);
  if (!runner.ok()) return runner.status();
  state->server = *std::move(runner);
  return std::unique_ptr<Interposer>(new Interposer(std::move(state)));
}

Interposer::Interposer(std::unique_ptr<InterposerState> state) : state_(std::move(state)) {}
Interposer::~Interposer() { state_->CloseAll(); }

const std::string& Interposer::address() const { return state_->server->addresses().front(); }

void Interposer::SetHooks(Hooks hooks) {
  std::lock_guard<std::mutex> lock(state_->mutex);
  state_->hooks = std::move(hooks);
}

void Interposer::LendCustomer(const std::string& username, const crypto::Identity& customer) {
  std::lock_guard<std::mutex> lock(state_->mutex);
  state_->customers[username] = &customer;
}

void Interposer::LendMerchant(const crypto::Identity& merchant) {
  std::lock_guard<std::mutex> lock(state_->mutex);
  state_->merchants[merchant.public_identity().fingerprint()] = &merchant;
}

Recording& Interposer::recording() { return state_->recording; }

}  // namespace blindcart::testing
