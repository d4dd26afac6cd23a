// A merchant's link: the mutual challenge (docs/protocol.md section 1a), then its calls and the shop
// sessions that the relay brings to it (proto/merchant.proto).
//
// Thread safety: as LinkHandler and Session.
#ifndef BLINDCART_SERVICES_BROKER_MERCHANT_SESSION_H_
#define BLINDCART_SERVICES_BROKER_MERCHANT_SESSION_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/optional.h"
#include "proto/merchant.pb.h"
#include "protocol/broker_merchant_handshake.h"
#include "services/broker/parts.h"
#include "services/common/call_stats.h"
#include "services/common/link.h"

namespace blindcart::broker {

class MerchantSession final : public LinkHandler,
                              public Session,
                              public std::enable_shared_from_this<MerchantSession> {
 public:
  // As CustomerSession::Accept.
  static std::unique_ptr<LinkHandler> Accept(const Parts& parts, std::shared_ptr<Link> link,
                                             std::string source);

  MerchantSession(const Parts& parts, std::shared_ptr<Link> link, std::string source);

  void OnHandshake(const v1::HandshakeMessage& message) override;
  void OnMessages(std::vector<std::string> messages) override;
  void OnClosed(const absl::Status& status) override;

  void Sweep() override;
  void Close(const absl::Status& status) override;
  void Drain(const absl::Status& status) override;

 private:
  enum class State { kHello, kResponse, kFinished, kServing, kClosed };

  void Challenge(const v1::HandshakeMessage& hello);
  void Confirm(const v1::HandshakeMessage& response);
  void Establish(const v1::HandshakeMessage& finished);
  absl::Status Handle(const std::string& serialized);
  absl::Status Offer(uint64_t call_id, const v1::OfferOrderCall& call,
                     CallStats::CallPtr under_way);
  void Refuse(protocol::RefusalReason reason);

  const Parts& parts_;
  const std::shared_ptr<Link> link_;
  const std::string source_;
  const int64_t started_ms_;
  LinkId link_id_ = 0;
  std::atomic<State> state_{State::kHello};
  const std::shared_ptr<std::atomic<int64_t>> under_way_ =
      std::make_shared<std::atomic<int64_t>>(0);
  std::unique_ptr<protocol::BrokerSide> handshake_;  // The link's thread only.
  // Whom the link was challenged as; proved once serving.
  int64_t merchant_id_ = 0;
  absl::optional<crypto::PublicIdentity> merchant_;
  absl::optional<crypto::PublicIdentity> decoy_;
};

}  // namespace blindcart::broker

#endif  // BLINDCART_SERVICES_BROKER_MERCHANT_SESSION_H_
