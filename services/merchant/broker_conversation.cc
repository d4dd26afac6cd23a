#include "services/merchant/broker_conversation.h"

#include <utility>

#include "protocol/refusal.h"
#include "services/common/log.h"

namespace blindcart::merchant {

class BrokerConversation::Handler : public LinkHandler {
 public:
  explicit Handler(std::shared_ptr<BrokerConversation> conversation)
      : conversation_(std::move(conversation)) {}
  void OnHandshake(const v1::HandshakeMessage& message) override {
    conversation_->OnHandshake(message);
  }
  void OnMessages(std::vector<std::string> messages) override {
    conversation_->OnMessages(messages);
  }
  void OnClosed(const absl::Status&) override { conversation_->OnClosed(); }

 private:
  const std::shared_ptr<BrokerConversation> conversation_;
};

std::shared_ptr<BrokerConversation> BrokerConversation::Start(
    std::shared_ptr<Link> link, const ShopSessions::Deps& deps,
    std::shared_ptr<const crypto::PublicIdentity> broker, std::function<void()> established) {
  std::shared_ptr<BrokerConversation> conversation(
      new BrokerConversation(std::move(link), deps, std::move(broker), std::move(established)));
  conversation->sessions_ = std::make_shared<ShopSessions>(
      deps, std::weak_ptr<BrokerCalls>(std::shared_ptr<BrokerCalls>(conversation)));
  absl::StatusOr<v1::HandshakeMessage> first = conversation->handshake_.Start();
  if (first.ok()) {
    conversation->link_->SendHandshake(*std::move(first));
  } else {
    conversation->link_->Close(first.status());
  }
  return conversation;
}

BrokerConversation::BrokerConversation(std::shared_ptr<Link> link, const ShopSessions::Deps& deps,
                                       std::shared_ptr<const crypto::PublicIdentity> broker,
                                       std::function<void()> established)
    : link_(std::move(link)),
      deps_(deps),
      broker_(std::move(broker)),
      established_(std::move(established)),
      handshake_(deps.merchant, *broker_, deps.random) {}

std::unique_ptr<LinkHandler> BrokerConversation::MakeHandler() {
  return std::make_unique<Handler>(shared_from_this());
}

void BrokerConversation::OnHandshake(const v1::HandshakeMessage& message) {
  const absl::Status status = Continue(message);
  if (status.ok()) return;
  deps_.refusals.Add(handshake_.refusal());
  link_->Close(protocol::Refused());
}

absl::Status BrokerConversation::Continue(const v1::HandshakeMessage& message) {
  if (!challenged_) {
    challenged_ = true;
    absl::StatusOr<v1::HandshakeMessage> response = handshake_.OnChallenge(message);
    if (!response.ok()) return response.status();
    link_->SendHandshake(*std::move(response));
    return absl::OkStatus();
  }
  absl::StatusOr<v1::HandshakeMessage> finished = handshake_.OnConfirm(message);
  if (!finished.ok()) return finished.status();
  absl::StatusOr<protocol::SessionKeys> keys = handshake_.TakeKeys();
  if (!keys.ok()) return keys.status();
  absl::StatusOr<std::unique_ptr<protocol::Channel>> channel = protocol::Channel::Create(
      *std::move(keys), protocol::Role::kResponder, deps_.clock, protocol::Channel::Options());
  if (!channel.ok()) return channel.status();
  link_->Establish(*std::move(channel));
  link_->SendHandshake(*std::move(finished));
  const std::function<void()> established = std::move(established_);
  established_ = nullptr;
  if (established) established();
  return absl::OkStatus();
}

void BrokerConversation::OnMessages(const std::vector<std::string>& messages) {
  for (const std::string& serialised : messages) {
    v1::BrokerToMerchant message;
    if (!message.ParseFromString(serialised)) {
      deps_.refusals.Add(protocol::RefusalReason::kMalformed);
      link_->Close(protocol::Refused());
      return;
    }
    Dispatch(message);
  }
}

void BrokerConversation::Dispatch(const v1::BrokerToMerchant& message) {
  switch (message.body_case()) {
    case v1::BrokerToMerchant::kSessionHello:
      sessions_->OnHello(message.session_hello());
      return;
    case v1::BrokerToMerchant::kSessionFrame:
      sessions_->OnFrame(message.session_frame());
      return;
    case v1::BrokerToMerchant::kSessionClosed:
      sessions_->OnClosed(message.session_closed());
      return;
    case v1::BrokerToMerchant::kOfferOrder:
      OnOfferAnswered(message.call_id(), message.offer_order());
      return;
    case v1::BrokerToMerchant::kPaymentNotice:
      OnNotice(message.payment_notice());
      return;
    case v1::BrokerToMerchant::BODY_NOT_SET:
      return;  // Something that a later broker says and this one need not know.
  }
}

void BrokerConversation::OnNotice(const v1::PaymentNotice& notice) {
  const std::weak_ptr<BrokerConversation> self = weak_from_this();
  deps_.shop.payments().OnNotice(
      broker_->fingerprint(), notice, [self, notice_id = notice.notice_id()](bool acknowledge) {
        const std::shared_ptr<BrokerConversation> conversation = self.lock();
        if (!acknowledge || conversation == nullptr) return;
        v1::MerchantToBroker message;
        message.mutable_notice_ack()->set_notice_id(notice_id);
        conversation->Send(message);
      });
}

void BrokerConversation::Send(const v1::MerchantToBroker& message) {
  // Once the link is gone the broker has forgotten what this was about.
  link_->Send(message.SerializeAsString()).IgnoreError();
}

void BrokerConversation::OfferOrder(v1::OfferOrderCall call, OfferDone done) {
  v1::MerchantToBroker message;
  *message.mutable_offer_order() = std::move(call);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!closed_ && offers_.size() < kMaxOffersWaiting) {
      message.set_call_id(next_call_id_++);
      offers_.emplace(message.call_id(),
                      Offer{std::move(done), deps_.clock.NowMonotonicMs() + kOfferLimitMs});
    }
  }
  if (message.call_id() == 0) {
    done(absl::UnavailableError("the broker cannot be asked now"));
    return;
  }
  if (!link_->Send(message.SerializeAsString()).ok()) {
    OfferDone taken;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      const auto found = offers_.find(message.call_id());
      if (found == offers_.end()) return;  // OnClosed or Sweep has answered it.
      taken = std::move(found->second.done);
      offers_.erase(found);
    }
    taken(absl::UnavailableError("the link to the broker is gone"));
  }
}

void BrokerConversation::OnOfferAnswered(uint64_t call_id, const v1::OfferOrderResult& result) {
  OfferDone done;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto found = offers_.find(call_id);
    if (found == offers_.end()) return;  // Too late: it was given up.
    done = std::move(found->second.done);
    offers_.erase(found);
  }
  done(result);
}

void BrokerConversation::Sweep() {
  const int64_t now_ms = deps_.clock.NowMonotonicMs();
  std::vector<OfferDone> given_up;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    for (auto offer = offers_.begin(); offer != offers_.end();) {
      if (offer->second.deadline_ms <= now_ms) {
        given_up.push_back(std::move(offer->second.done));
        offers_.erase(offer++);
      } else {
        ++offer;
      }
    }
  }
  for (const OfferDone& done : given_up) {
    done(absl::UnavailableError("the broker did not answer in time"));
  }
  if (!given_up.empty()) {
    LogWarning("link.offers_unanswered", {{"count", static_cast<int64_t>(given_up.size())}});
  }
  sessions_->Sweep();
  link_->CloseIfExpired();
}

void BrokerConversation::CloseUnless(const crypto::PublicIdentity& current) {
  if (broker_->fingerprint() == current.fingerprint()) return;
  link_->Close(absl::UnavailableError("the broker has another identity now"));
}

void BrokerConversation::OnClosed() {
  absl::flat_hash_map<uint64_t, Offer> offers;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    closed_ = true;
    offers.swap(offers_);
  }
  sessions_->CloseAll();
  for (auto& [call_id, offer] : offers) {
    offer.done(absl::UnavailableError("the link to the broker is gone"));
  }
}

}  // namespace blindcart::merchant
