#include "tests/support/raw_broker.h"

#include <algorithm>
#include <chrono>
#include <mutex>
#include <utility>

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include "crypto/aes_gcm.h"
#include "crypto/hmac.h"
#include "crypto/key_file.h"
#include "proto/broker.grpc.pb.h"
#include "protocol/clock.h"
#include "protocol/frame_header.h"
#include "services/common/broker_card.h"
#include "services/common/status_conversion.h"
#include "services/common/transport.h"

namespace blindcart::testing {
namespace {

constexpr std::chrono::minutes kPatience(4);

void Bound(grpc::ClientContext* context) {
  context->set_deadline(std::chrono::system_clock::now() + kPatience);
}

}  // namespace

struct RawLink::State {
  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientReaderWriter<v1::LinkMessage, v1::LinkMessage>> stream;
  std::mutex write_mutex;
  absl::optional<absl::Status> end;
};

RawLink::RawLink(std::unique_ptr<State> state) : state_(std::move(state)) {}

RawLink::~RawLink() {
  Cancel();
  AwaitEnd().IgnoreError();
}

bool RawLink::Write(const v1::LinkMessage& message) {
  std::lock_guard<std::mutex> lock(state_->write_mutex);
  return state_->stream->Write(message);
}

bool RawLink::WriteHandshake(v1::HandshakeMessage message) {
  v1::LinkMessage wire;
  *wire.mutable_handshake() = std::move(message);
  return Write(wire);
}

bool RawLink::WriteFrame(v1::Frame frame) {
  v1::LinkMessage wire;
  *wire.mutable_frame() = std::move(frame);
  return Write(wire);
}

absl::optional<v1::LinkMessage> RawLink::Read() {
  v1::LinkMessage message;
  if (state_->end.has_value() || !state_->stream->Read(&message)) return absl::nullopt;
  return message;
}

absl::optional<v1::HandshakeMessage> RawLink::ReadHandshake() {
  absl::optional<v1::LinkMessage> message = Read();
  if (!message.has_value() || !message->has_handshake()) return absl::nullopt;
  return std::move(*message->mutable_handshake());
}

absl::Status RawLink::AwaitEnd() {
  if (!state_->end.has_value()) {
    while (Read().has_value()) {
    }
    state_->end = FromGrpcStatus(state_->stream->Finish());
  }
  return *state_->end;
}

void RawLink::Cancel() { state_->context.TryCancel(); }

void RawLink::Establish(protocol::SessionKeys keys, protocol::Role role) {
  send_direction_ = protocol::SendDirection(role);
  send_keys_ = *protocol::DeriveDirectionKeys(keys, send_direction_);
  channel_ = *protocol::Channel::Create(std::move(keys), role, protocol::SystemClock(), {});
}

bool RawLink::Send(const std::vector<std::string>& messages) {
  v1::LinkMessage wire;
  if (channel_ == nullptr) return false;
  std::lock_guard<std::mutex> lock(state_->write_mutex);
  return channel_->Seal(messages, wire.mutable_frame()).ok() && state_->stream->Write(wire);
}

absl::optional<std::string> RawLink::Receive() {
  while (received_.empty()) {
    const absl::optional<v1::LinkMessage> wire = Read();
    if (!wire.has_value() || !wire->has_frame() || channel_ == nullptr) return absl::nullopt;
    absl::StatusOr<std::vector<std::string>> messages = channel_->Open(wire->frame());
    if (!messages.ok()) return absl::nullopt;
    received_ = *std::move(messages);
    std::reverse(received_.begin(), received_.end());
  }
  std::string next = std::move(received_.back());
  received_.pop_back();
  return next;
}

v1::Frame RawLink::SealByHand(absl::string_view plaintext, uint64_t seq) {
  protocol::FrameHeader headers(channel_->session_id(), send_direction_,
                                protocol::FrameKind::kChannel);
  const absl::string_view header = headers.Encode(seq, /*final=*/false);
  const protocol::FrameNonce nonce(send_direction_, protocol::FrameKind::kChannel, seq);
  v1::Frame frame;
  frame.set_session_id(channel_->session_id());
  frame.set_seq(seq);
  (void)crypto::Aes256Gcm::Create(send_keys_.seal.view())
      ->Seal(nonce.view(), header, plaintext, frame.mutable_ciphertext());
  frame.set_mac(
      crypto::HmacSha256(send_keys_.mac.view(), std::string(header) + frame.ciphertext()));
  return frame;
}

struct RawGoods::State {
  grpc::ClientContext context;
  v1::GoodsSent sent;
  std::unique_ptr<grpc::ClientWriter<v1::GoodsMessage>> stream;
  bool finished = false;
};

RawGoods::RawGoods(std::unique_ptr<State> state) : state_(std::move(state)) {}

RawGoods::~RawGoods() {
  if (state_->finished) return;
  state_->context.TryCancel();
  state_->stream->Finish();
}

bool RawGoods::Write(const v1::GoodsMessage& message) { return state_->stream->Write(message); }

absl::Status RawGoods::Finish() {
  state_->finished = true;
  state_->stream->WritesDone();
  return FromGrpcStatus(state_->stream->Finish());
}

struct RawBroker::State {
  explicit State(crypto::PublicIdentity identity) : identity(std::move(identity)) {}
  crypto::PublicIdentity identity;
  std::shared_ptr<grpc::Channel> link_channel;
  std::unique_ptr<v1::Broker::Stub> link_stub;
  std::unique_ptr<v1::Broker::Stub> goods_stub;
};

RawBroker::RawBroker(std::unique_ptr<State> state) : state_(std::move(state)) {}
RawBroker::~RawBroker() = default;

absl::StatusOr<std::unique_ptr<RawBroker>> RawBroker::Dial(const Marketplace& market) {
  auto card = LoadBrokerCard(market.broker_card());
  if (!card.ok()) return card.status();
  auto state = std::make_unique<State>(card->identity);
  auto link_channel = DialBroker(market.broker_address(), card->card.tls_root_pem(),
                                 /*plain_tcp=*/false, "link");
  if (!link_channel.ok()) return link_channel.status();
  auto goods_channel = DialBroker(market.broker_address(), card->card.tls_root_pem(),
                                  /*plain_tcp=*/false, "goods");
  if (!goods_channel.ok()) return goods_channel.status();
  state->link_channel = *link_channel;
  state->link_stub = v1::Broker::NewStub(*link_channel);
  state->goods_stub = v1::Broker::NewStub(*goods_channel);
  return std::unique_ptr<RawBroker>(new RawBroker(std::move(state)));
}

const crypto::PublicIdentity& RawBroker::identity() const { return state_->identity; }

std::unique_ptr<RawLink> RawBroker::OpenLink(Door door) {
  auto link = std::make_unique<RawLink::State>();
  Bound(&link->context);
  link->stream = door == Door::kCustomer ? state_->link_stub->CustomerLink(&link->context)
                                         : state_->link_stub->MerchantLink(&link->context);
  return std::unique_ptr<RawLink>(new RawLink(std::move(link)));
}

std::unique_ptr<RawGoods> RawBroker::SendGoods() {
  auto goods = std::make_unique<RawGoods::State>();
  Bound(&goods->context);
  goods->stream = state_->goods_stub->SendGoods(&goods->context, &goods->sent);
  return std::unique_ptr<RawGoods>(new RawGoods(std::move(goods)));
}

absl::Status RawBroker::FetchGoods(const std::string& delivery_id,
                                   std::vector<v1::GoodsMessage>* goods) {
  grpc::ClientContext context;
  Bound(&context);
  v1::GoodsHeader header;
  header.set_delivery_id(delivery_id);
  auto stream = state_->goods_stub->FetchGoods(&context, header);
  v1::GoodsMessage message;
  while (stream->Read(&message)) goods->push_back(std::move(message));
  return FromGrpcStatus(stream->Finish());
}

absl::Status RawBroker::CallWithBytes(const std::string& method,
                                      const std::vector<std::string>& messages) {
  grpc::GenericStub stub(state_->link_channel);
  grpc::CompletionQueue queue;
  grpc::ClientContext context;
  Bound(&context);
  const auto done = [&queue] {
    void* tag = nullptr;
    bool ok = false;
    return queue.Next(&tag, &ok) && ok;
  };
  auto call = stub.PrepareCall(&context, "/blindcart.v1.Broker/" + method, &queue);
  call->StartCall(nullptr);
  bool going_on = done();
  for (const std::string& bytes : messages) {
    if (!going_on) break;
    const grpc::Slice slice(bytes);
    call->Write(grpc::ByteBuffer(&slice, 1), nullptr);
    going_on = done();
  }
  if (going_on) {
    call->WritesDone(nullptr);
    done();
  }
  grpc::ByteBuffer answer;
  do {
    call->Read(&answer, nullptr);
  } while (done());
  grpc::Status status;
  call->Finish(&status, nullptr);
  done();
  return FromGrpcStatus(status);
}

absl::StatusOr<std::unique_ptr<crypto::Identity>> BorrowIdentity(const std::string& data_dir) {
  auto identity = crypto::LoadIdentity(data_dir + "/identity", Marketplace::kPassphrase);
  if (!identity.ok()) return identity.status();
  return std::make_unique<crypto::Identity>(*std::move(identity));
}

}  // namespace blindcart::testing
