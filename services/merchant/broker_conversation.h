// One link to a broker, from its first handshake message to its end (docs/protocol.md section 1a
// and the merchant's half of proto/merchant.proto): proves both sides, then hands on what the
// broker says: shop sessions' hellos and frames, answers to offers, payment notices.
//
// Before the broker has proved itself nobody is served. Whatever does not parse, or comes out of
// order, ends the link.
//
// Thread safety: as BrokerCalls; the link calls its handler one at a time.
#ifndef BLINDCART_SERVICES_MERCHANT_BROKER_CONVERSATION_H_
#define BLINDCART_SERVICES_MERCHANT_BROKER_CONVERSATION_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "crypto/identity.h"
#include "proto/merchant.pb.h"
#include "protocol/broker_merchant_handshake.h"
#include "services/common/link.h"
#include "services/merchant/broker_calls.h"
#include "services/merchant/shop_sessions.h"

namespace blindcart::merchant {

class BrokerConversation : public BrokerCalls,
                           public std::enable_shared_from_this<BrokerConversation> {
 public:
  static constexpr size_t kMaxOffersWaiting = 1024;
  static constexpr int64_t kOfferLimitMs = 10'000;

  // Begins the handshake on `link`. `established` is called once, when both sides have proved
  // themselves. What `deps` names must outlive the conversation.
  static std::shared_ptr<BrokerConversation> Start(
      std::shared_ptr<Link> link, const ShopSessions::Deps& deps,
      std::shared_ptr<const crypto::PublicIdentity> broker, std::function<void()> established);

  // The handler to give to the link; it keeps the conversation until the link is gone.
  std::unique_ptr<LinkHandler> MakeHandler();

  // Ends offers and sessions that wait for too long, and the link when its session has expired.
  void Sweep();
  // Ends the link unless the broker has proved itself as `current`, its identity now. What is sold over the
  // link of a retired key later than that key's successor was followed could not be paid for any more.
  void CloseUnless(const crypto::PublicIdentity& current);

  const crypto::PublicIdentity& identity() const override { return *broker_; }
  void Send(const v1::MerchantToBroker& message) override;
  void OfferOrder(v1::OfferOrderCall call, OfferDone done) override;

  const ShopSessions& sessions() const { return *sessions_; }

 private:
  class Handler;
  struct Offer {
    OfferDone done;
    int64_t deadline_ms = 0;  // Monotonic.
  };

  BrokerConversation(std::shared_ptr<Link> link, const ShopSessions::Deps& deps,
                     std::shared_ptr<const crypto::PublicIdentity> broker,
                     std::function<void()> established);
  void OnHandshake(const v1::HandshakeMessage& message);
  absl::Status Continue(const v1::HandshakeMessage& message);
  void OnMessages(const std::vector<std::string>& messages);
  void OnClosed();
  void Dispatch(const v1::BrokerToMerchant& message);
  void OnOfferAnswered(uint64_t call_id, const v1::OfferOrderResult& result);
  void OnNotice(const v1::PaymentNotice& notice);

  const std::shared_ptr<Link> link_;
  const ShopSessions::Deps deps_;
  const std::shared_ptr<const crypto::PublicIdentity> broker_;
  // The handler's alone.
  std::function<void()> established_;
  protocol::MerchantSide handshake_;
  bool challenged_ = false;

  std::shared_ptr<ShopSessions> sessions_;
  std::mutex mutex_;
  absl::flat_hash_map<uint64_t, Offer> offers_;
  uint64_t next_call_id_ = 1;
  bool closed_ = false;
};

}  // namespace blindcart::merchant

#endif  // BLINDCART_SERVICES_MERCHANT_BROKER_CONVERSATION_H_
