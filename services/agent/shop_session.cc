#include "services/agent/shop_session.h"

#include <chrono>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "protocol/shop_handshake.h"
#include "services/agent/narrator.h"

namespace blindcart::agent {
namespace {

absl::Status NoAnswer() {
  return absl::UnavailableError(
      "the shop did not answer in time. Try again; if that goes on, tell the shop's owner");
}

absl::Status LinkBroken() {
  return absl::UnavailableError("the link to the broker broke before the shop answered. Try again");
}

absl::Status Altered() {
  return absl::DataLossError(
      "a message from the shop failed its check: it was altered on its way or is not the shop's. "
      "Nothing of it was accepted. Try again; if that goes on, do not trust this broker");
}

absl::Status NotThePinnedShop() {
  return absl::DataLossError(
      "whoever answered could not prove to be the shop whose key is pinned. Nothing was sent to "
      "it. Ask the shop for its shop link and compare the fingerprint");
}

absl::Status StatusOf(v1::ShopState state) {
  switch (state) {
    case v1::SHOP_STATE_OPEN:
      return absl::OkStatus();
    case v1::SHOP_STATE_UNKNOWN:
      return absl::NotFoundError(
          "the broker knows no shop with the pinned key. Ask the shop for its present shop link");
    case v1::SHOP_STATE_OFFLINE:
      return absl::UnavailableError(
          "the shop is offline. Try again later, or ask its owner to start it");
    case v1::SHOP_STATE_TOO_MANY:
      return absl::UnavailableError(
          "too many sessions with shops are open at once. Wait for the others to end and try "
          "again");
    case v1::SHOP_STATE_NO_ANSWER:
      return NoAnswer();
    case v1::SHOP_STATE_UNSPECIFIED:
      return LinkBroken();
    default:
      return absl::DataLossError("the broker's answer about the shop makes no sense");
  }
}

}  // namespace

ShopSession::ShopSession(std::shared_ptr<BrokerLink> link, std::string sid, const Options& options)
    : link_(std::move(link)), sid_(std::move(sid)), options_(options) {}

ShopSession::~ShopSession() {
  link_->RemoveSink(sid_);
  v1::CustomerMessage message;
  message.mutable_close_shop()->set_sid(sid_);
  link_->Notify(std::move(message)).IgnoreError();
}

absl::StatusOr<std::shared_ptr<ShopSession>> ShopSession::Open(
    std::shared_ptr<BrokerLink> link, const crypto::PublicIdentity& merchant,
    crypto::RandomSource& random, const protocol::Clock& clock, const Options& options) {
  protocol::ShopCustomer handshake(merchant, random);
  absl::StatusOr<protocol::ShopCustomer::Hello> hello = handshake.Start();
  if (!hello.ok()) return hello.status();

  std::shared_ptr<ShopSession> session(new ShopSession(std::move(link), hello->sid, options));
  const absl::Status added = session->link_->AddSink(hello->sid, session);
  if (!added.ok()) return LinkBroken();
  v1::CustomerMessage message;
  v1::OpenShopCall& call = *message.mutable_open_shop();
  call.set_merchant_fingerprint(merchant.fingerprint());
  call.set_sid(hello->sid);
  call.set_hello(hello->ciphertext);
  Narration().Say("shop",
                  "hello sent through the broker, encrypted to the shop's pinned RSA key: a random "
                  "number and two fresh X25519 keys, no name");
  const absl::StatusOr<v1::BrokerToCustomer> reply = session->link_->Call(
      std::move(message), v1::BrokerToCustomer::kOpenShop, options.open_timeout_ms);
  if (absl::IsDeadlineExceeded(reply.status())) return NoAnswer();
  if (absl::IsUnavailable(reply.status())) return LinkBroken();
  if (!reply.ok()) return reply.status();
  const absl::Status state = StatusOf(reply->open_shop().state());
  if (!state.ok()) return state;

  v1::ShopAnswer answer;
  if (!answer.ParseFromString(reply->open_shop().answer())) return NotThePinnedShop();
  absl::StatusOr<std::string> finished = handshake.OnAnswer(answer);
  if (!finished.ok()) {
    Narration().Say("shop", "the answer is not the pinned shop's: nothing more is said to it");
    return NotThePinnedShop();
  }
  Narration().Say(
      "shop",
      "the shop's answer verified: its Ed25519 signature over all that was said, and its "
      "Finished");
  Narration().Say("shop",
                  "keys established with the shop alone (S3, A3): the broker relays what it cannot "
                  "read");
  absl::StatusOr<protocol::SessionKeys> keys = handshake.TakeKeys();
  if (!keys.ok()) return keys.status();
  protocol::Channel::Options channel_options;
  channel_options.max_plaintext_bytes = protocol::kMaxRelayedPlaintextBytes;
  absl::StatusOr<std::unique_ptr<protocol::Channel>> channel = protocol::Channel::Create(
      *std::move(keys), protocol::Role::kInitiator, clock, channel_options);
  if (!channel.ok()) return channel.status();
  const absl::Status begun = session->Begin(*std::move(channel), *std::move(finished));
  if (!begun.ok()) return begun;
  return session;
}

absl::Status ShopSession::Begin(std::unique_ptr<protocol::Channel> channel, std::string finished) {
  std::lock_guard<std::mutex> send_lock(send_mutex_);
  finished_ = std::move(finished);
  std::lock_guard<std::mutex> lock(mutex_);
  channel_ = std::move(channel);
  return ended_;
}

absl::StatusOr<v1::ShopReply> ShopSession::Call(v1::ShopRequest request,
                                                v1::ShopReply::BodyCase expected) {
  Waiting waiting;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!ended_.ok()) return ended_;
    request.set_call_id(next_call_id_++);
    waiting_[request.call_id()] = &waiting;
  }
  const absl::Status sent = SendSealed(request.SerializeAsString());
  std::unique_lock<std::mutex> lock(mutex_);
  if (sent.ok()) {
    changed_.wait_for(lock, std::chrono::milliseconds(options_.call_timeout_ms),
                      [&] { return waiting.done || !ended_.ok(); });
  }
  waiting_.erase(request.call_id());
  if (!sent.ok()) return sent;
  if (waiting.done) {
    if (waiting.reply.body_case() != expected) {
      return absl::DataLossError("the shop's answer is not one to what was asked");
    }
    return std::move(waiting.reply);
  }
  if (!ended_.ok()) return ended_;
  return NoAnswer();
}

absl::Status ShopSession::SendSealed(const std::string& message) {
  std::lock_guard<std::mutex> send_lock(send_mutex_);
  std::shared_ptr<protocol::Channel> channel;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!ended_.ok()) return ended_;
    channel = channel_;
  }
  v1::ShopWire wire;
  const absl::Status sealed = channel->Seal(absl::MakeConstSpan(&message, 1), wire.mutable_frame());
  if (!sealed.ok()) {
    return absl::UnavailableError("the session with the shop has expired. Try again");
  }
  wire.set_finished(finished_);
  finished_.clear();
  v1::CustomerMessage carried;
  carried.mutable_shop_frame()->set_sid(sid_);
  carried.mutable_shop_frame()->set_frame(wire.SerializeAsString());
  if (!link_->Notify(std::move(carried)).ok()) return LinkBroken();
  return absl::OkStatus();
}

void ShopSession::OnShopFrame(const std::string& frame) {
  std::shared_ptr<protocol::Channel> channel;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!ended_.ok()) return;
    channel = channel_;
  }
  v1::ShopWire wire;
  if (channel == nullptr || !wire.ParseFromString(frame) || !wire.has_frame()) {
    End(Altered());
    return;
  }
  const absl::StatusOr<std::vector<std::string>> messages = channel->Open(wire.frame());
  if (!messages.ok()) {
    End(Altered());
    return;
  }
  for (const std::string& bytes : *messages) {
    v1::ShopReply reply;
    if (!reply.ParseFromString(bytes)) {
      End(Altered());
      return;
    }
    {
      std::lock_guard<std::mutex> lock(mutex_);
      const auto found = waiting_.find(reply.call_id());
      // An answer that nobody waits for any more is dropped.
      if (found == waiting_.end() || found->second->done) continue;
      found->second->done = true;
      found->second->reply = std::move(reply);
    }
    changed_.notify_all();
  }
}

void ShopSession::OnShopClosed(v1::ShopState state) {
  switch (state) {
    case v1::SHOP_STATE_UNSPECIFIED:
      End(LinkBroken());
      break;
    case v1::SHOP_STATE_NO_ANSWER:
      End(NoAnswer());
      break;
    default:
      End(absl::UnavailableError("the shop went offline. Try again later"));
  }
}

void ShopSession::End(const absl::Status& status) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (ended_.ok()) ended_ = status;
  }
  changed_.notify_all();
}

absl::StatusOr<protocol::SessionKeys> ShopSession::DeliveryKeys(absl::string_view delivery_id) {
  std::shared_ptr<protocol::Channel> channel;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!ended_.ok()) return ended_;
    channel = channel_;
  }
  return channel->DeliveryKeys(delivery_id);
}

absl::Status ShopConnector::WithSession(const crypto::PublicIdentity& merchant,
                                        absl::FunctionRef<absl::Status(ShopSession&)> work) {
  for (bool last = false;; last = true) {
    absl::StatusOr<std::shared_ptr<BrokerLink>> link = broker_.Connection();
    if (!link.ok()) return link.status();
    const absl::StatusOr<std::shared_ptr<ShopSession>> session =
        ShopSession::Open(*link, merchant, random_, clock_, options_);
    const absl::Status status = session.ok() ? work(**session) : session.status();
    if (!absl::IsUnavailable(status) || (*link)->open() || last) return status;
  }
}

}  // namespace blindcart::agent
