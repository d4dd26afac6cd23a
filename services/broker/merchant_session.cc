#include "services/broker/merchant_session.h"

#include <utility>

#include "services/broker/session_handler.h"
#include "services/common/log.h"

namespace blindcart::broker {

std::unique_ptr<LinkHandler> MerchantSession::Accept(const Parts& parts, std::shared_ptr<Link> link,
                                                     std::string source) {
  const bool blocked = parts.sources.IsBlocked(source);
  auto session = std::make_shared<MerchantSession>(parts, std::move(link), std::move(source));
  const absl::optional<LinkId> id = parts.sessions.Add(SessionTable::Kind::kMerchant, session);
  if (!id.has_value()) {
    session->Close(absl::UnavailableError("no further links are taken now"));
  } else {
    session->link_id_ = *id;
    if (blocked) session->Refuse(protocol::RefusalReason::kRateLimited);
  }
  return std::make_unique<SessionHandler>(std::move(session));
}

MerchantSession::MerchantSession(const Parts& parts, std::shared_ptr<Link> link, std::string source)
    : parts_(parts),
      link_(std::move(link)),
      source_(std::move(source)),
      started_ms_(parts.clock.NowMonotonicMs()),
      handshake_(std::make_unique<protocol::BrokerSide>(parts.identity, parts.random)) {}

void MerchantSession::OnHandshake(const v1::HandshakeMessage& message) {
  switch (state_.load()) {
    case State::kHello:
      return Challenge(message);
    case State::kResponse:
      return Confirm(message);
    case State::kFinished:
      return Establish(message);
    case State::kServing:
      return Refuse(protocol::RefusalReason::kOutOfOrder);
    case State::kClosed:
      return;
  }
}

void MerchantSession::Challenge(const v1::HandshakeMessage& hello) {
  const absl::StatusOr<std::string> fingerprint = protocol::BrokerSide::FingerprintOf(hello);
  if (!fingerprint.ok()) return Refuse(protocol::RefusalReason::kBounds);

  std::string identity = parts_.decoy_identity;
  bool known = false;
  const absl::Status read = parts_.store.Read([&](storage::Transaction& transaction) {
    absl::StatusOr<storage::Merchant> merchant =
        transaction.merchants().FindByFingerprint(*fingerprint);
    if (absl::IsNotFound(merchant.status())) return absl::OkStatus();
    if (!merchant.ok()) return merchant.status();
    known = true;
    identity = std::move(merchant->identity);
    merchant_id_ = merchant->id;
    return absl::OkStatus();
  });
  absl::StatusOr<crypto::PublicIdentity> merchant = crypto::PublicIdentity::Parse(identity);
  absl::StatusOr<crypto::PublicIdentity> decoy =
      crypto::PublicIdentity::Parse(parts_.decoy_identity);
  if (!read.ok() || !merchant.ok() || !decoy.ok()) {
    LogError("merchant.lookup_failed", {{"code", static_cast<int>(read.code())}});
    return Close(absl::UnavailableError("cannot look merchants up now"));
  }
  merchant_ = *std::move(merchant);
  decoy_ = *std::move(decoy);
  absl::StatusOr<v1::HandshakeMessage> challenge =
      handshake_->Start(hello, known ? &*merchant_ : nullptr, *decoy_);
  if (!challenge.ok()) return Refuse(handshake_->refusal());
  State expected = State::kHello;
  if (!state_.compare_exchange_strong(expected, State::kResponse)) return;
  link_->SendHandshake(*std::move(challenge));
}

void MerchantSession::Confirm(const v1::HandshakeMessage& response) {
  absl::StatusOr<v1::HandshakeMessage> confirm = handshake_->OnResponse(response);
  if (!confirm.ok()) return Refuse(handshake_->refusal());
  State expected = State::kResponse;
  if (!state_.compare_exchange_strong(expected, State::kFinished)) return;
  link_->SendHandshake(*std::move(confirm));
}

void MerchantSession::Establish(const v1::HandshakeMessage& finished) {
  if (!handshake_->OnFinished(finished).ok()) return Refuse(handshake_->refusal());
  absl::StatusOr<protocol::SessionKeys> keys = handshake_->TakeKeys();
  if (!keys.ok()) return Refuse(protocol::RefusalReason::kOutOfOrder);
  absl::StatusOr<std::unique_ptr<protocol::Channel>> channel = protocol::Channel::Create(
      *std::move(keys), protocol::Role::kInitiator, parts_.clock, protocol::Channel::Options());
  if (!channel.ok()) return Close(absl::InternalError("cannot make a channel"));
  State expected = State::kFinished;
  if (!state_.compare_exchange_strong(expected, State::kServing)) return;
  handshake_.reset();
  decoy_.reset();
  link_->Establish(*std::move(channel));
  LogInfo("merchant.connected");
  parts_.relay.AddMerchant(merchant_id_, link_id_, link_);
  parts_.notices.AddLink(merchant_id_, link_id_, link_);
}

void MerchantSession::OnMessages(std::vector<std::string> messages) {
  const State state = state_.load();
  if (state == State::kClosed) return;
  if (state != State::kServing) return Refuse(protocol::RefusalReason::kOutOfOrder);
  for (const std::string& message : messages) {
    if (!Handle(message).ok()) return Refuse(protocol::RefusalReason::kMalformed);
  }
}

absl::Status MerchantSession::Handle(const std::string& serialized) {
  v1::MerchantToBroker message;
  if (!message.ParseFromString(serialized)) return protocol::Refused();
  CallStats::CallPtr under_way = parts_.merchant_calls.Begin(message.body_case(), under_way_);
  switch (message.body_case()) {
    case v1::MerchantToBroker::kSessionAnswer:
      return parts_.relay.OnAnswer(link_id_, message.session_answer());
    case v1::MerchantToBroker::kSessionFrame:
      return parts_.relay.FromMerchant(link_id_, std::move(*message.mutable_session_frame()));
    case v1::MerchantToBroker::kSessionClosed:
      parts_.relay.OnSessionClosed(link_id_, message.session_closed().handle());
      return absl::OkStatus();
    case v1::MerchantToBroker::kOfferOrder:
      return Offer(message.call_id(), message.offer_order(), std::move(under_way));
    case v1::MerchantToBroker::kNoticeAck:
      parts_.notices.OnAck(merchant_id_, link_id_, message.notice_ack().notice_id());
      return absl::OkStatus();
    case v1::MerchantToBroker::BODY_NOT_SET:
      return protocol::Refused();
  }
  return protocol::Refused();
}

absl::Status MerchantSession::Offer(uint64_t call_id, const v1::OfferOrderCall& call,
                                    CallStats::CallPtr under_way) {
  if (call_id == 0) return protocol::Refused();
  const absl::optional<Relay::Session> session = parts_.relay.Find(link_id_, call.handle());
  parts_.orders.Offer(
      *merchant_, merchant_id_, session.has_value() ? &*session : nullptr, call.terms(),
      [link = link_, call_id, under_way = std::move(under_way)](v1::OfferOrderResult result) {
        v1::BrokerToMerchant reply;
        reply.set_call_id(call_id);
        *reply.mutable_offer_order() = std::move(result);
        link->Send(reply.SerializeAsString()).IgnoreError();
      });
  return absl::OkStatus();
}

void MerchantSession::OnClosed(const absl::Status&) {
  const State last = state_.exchange(State::kClosed);
  if (last == State::kServing) LogInfo("merchant.disconnected");
  // As in CustomerSession::OnClosed.
  if (last == State::kResponse || last == State::kFinished) parts_.sources.AddFailure(source_);
  parts_.relay.RemoveMerchant(link_id_);
  parts_.notices.RemoveLink(merchant_id_, link_id_);
  parts_.sessions.Remove(link_id_);
}

void MerchantSession::Sweep() {
  const State state = state_.load();
  if (state != State::kServing && state != State::kClosed &&
      parts_.clock.NowMonotonicMs() - started_ms_ >= parts_.handshake_timeout_ms) {
    Refuse(protocol::RefusalReason::kExpired);
  }
  link_->CloseIfExpired();
}

void MerchantSession::Close(const absl::Status& status) {
  state_ = State::kClosed;
  link_->Close(status);
}

void MerchantSession::Drain(const absl::Status& status) {
  if (state_ == State::kClosed || *under_way_ > 0) return;
  Close(status);
}

void MerchantSession::Refuse(protocol::RefusalReason reason) {
  parts_.counters.Add(reason);
  // As in CustomerSession::Refuse.
  if (reason != protocol::RefusalReason::kRateLimited && state_.load() != State::kServing) {
    parts_.sources.AddFailure(source_);
  }
  Close(protocol::Refused());
}

}  // namespace blindcart::broker
