// A session with a shop, end to end (docs/protocol.md sections 1c and 2): S3 frames over a broker
// that cannot open them. Each use of a shop (browsing, a checkout, a delivery) has a session of its
// own, so that the shop cannot join them by their session.
//
// Errors, with words for people: Unavailable (shop offline or not answering, link broken; says what
// to do), NotFound (the broker knows no such shop), DataLoss (an answer failed its checks: somebody
// altered it, or it is not from the shop whose key is pinned; nothing of it was accepted). The first
// frame that fails ends the session.
// Thread safety: every method may be called from any thread; Open and Call block.
#ifndef BLINDCART_SERVICES_AGENT_SHOP_SESSION_H_
#define BLINDCART_SERVICES_AGENT_SHOP_SESSION_H_

#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "crypto/identity.h"
#include "crypto/random.h"
#include "proto/shop.pb.h"
#include "protocol/channel.h"
#include "protocol/clock.h"
#include "services/agent/broker_link.h"
#include "services/agent/broker_session.h"

namespace blindcart::agent {

class ShopSession : public ShopFrameSink, public std::enable_shared_from_this<ShopSession> {
 public:
  struct Options {
    int64_t open_timeout_ms = 30'000;
    int64_t call_timeout_ms = 30'000;
  };

  // Shakes hands with `merchant` through `link`. `random` and `clock` must outlive the session.
  static absl::StatusOr<std::shared_ptr<ShopSession>> Open(std::shared_ptr<BrokerLink> link,
                                                           const crypto::PublicIdentity& merchant,
                                                           crypto::RandomSource& random,
                                                           const protocol::Clock& clock,
                                                           const Options& options);
  ~ShopSession() override;  // Tells the broker that the session is over.

  // Sends `request`, whose call_id is set here, and waits for the answer of the kind `expected`.
  absl::StatusOr<v1::ShopReply> Call(v1::ShopRequest request, v1::ShopReply::BodyCase expected);

  const std::string& sid() const { return sid_; }
  BrokerLink& link() { return *link_; }
  absl::StatusOr<protocol::SessionKeys> DeliveryKeys(absl::string_view delivery_id);

  void OnShopFrame(const std::string& frame) override;
  void OnShopClosed(v1::ShopState state) override;

 private:
  struct Waiting {
    bool done = false;
    v1::ShopReply reply;
  };

  ShopSession(std::shared_ptr<BrokerLink> link, std::string sid, const Options& options);
  absl::Status Begin(std::unique_ptr<protocol::Channel> channel, std::string finished);
  absl::Status SendSealed(const std::string& message);
  void End(const absl::Status& status);

  const std::shared_ptr<BrokerLink> link_;
  const std::string sid_;
  const Options options_;

  // Held while a frame is sealed and queued, so that frames leave in the order of their numbers.
  // Nothing that can call back takes it.
  std::mutex send_mutex_;
  std::string finished_;  // Under send_mutex_; goes with the first frame.

  std::mutex mutex_;
  std::condition_variable changed_;
  // The rest is used under mutex_; the channel's sealing half under send_mutex_, its opening half
  // on the link's thread.
  std::shared_ptr<protocol::Channel> channel_;
  absl::Status ended_;  // Not Ok: the session is over, and why.
  uint64_t next_call_id_ = 1;
  std::map<uint64_t, Waiting*> waiting_;
};

// Opens sessions over whatever link stands.
class ShopConnector {
 public:
  // All must outlive the connector.
  ShopConnector(BrokerSession& broker, crypto::RandomSource& random, const protocol::Clock& clock,
                const ShopSession::Options& options)
      : broker_(broker), random_(random), clock_(clock), options_(options) {}

  // Runs `work` in a fresh session with `merchant`, and once more in another one when the link broke
  // under it: `work` must be harmless to repeat.
  absl::Status WithSession(const crypto::PublicIdentity& merchant,
                           absl::FunctionRef<absl::Status(ShopSession&)> work);

 private:
  BrokerSession& broker_;
  crypto::RandomSource& random_;
  const protocol::Clock& clock_;
  const ShopSession::Options options_;
};

}  // namespace blindcart::agent

#endif  // BLINDCART_SERVICES_AGENT_SHOP_SESSION_H_
