// The shop sessions of one link to a broker (docs/protocol.md section 1c): for each handle a
// handshake, then a channel sealed under S3, through which a nameless customer browses, orders and
// asks for goods.
//
// A session knows its handle, its customer's sid and what it ordered, in memory only, and is
// forgotten when it ends. Its first refusal ends it, with no word but SessionClosed. Sessions are
// bounded in number, requests in number per session, and whoever is idle is swept out.
//
// Thread safety: every method may be called from any thread; OnHello, OnFrame and OnClosed in the
// order in which the link delivered them.
#ifndef BLINDCART_SERVICES_MERCHANT_SHOP_SESSIONS_H_
#define BLINDCART_SERVICES_MERCHANT_SHOP_SESSIONS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "crypto/identity.h"
#include "crypto/random.h"
#include "proto/merchant.pb.h"
#include "proto/shop.pb.h"
#include "protocol/clock.h"
#include "protocol/refusal.h"
#include "services/common/call_stats.h"
#include "services/common/worker_pool.h"
#include "services/merchant/broker_calls.h"
#include "services/merchant/goods_sender.h"
#include "services/merchant/goods_stream.h"
#include "services/merchant/shop_service.h"

namespace blindcart::merchant {

class ShopSessions : public std::enable_shared_from_this<ShopSessions> {
 public:
  static constexpr size_t kHandleBytes = 16;
  // A request is one message in the smallest bucket; nothing larger is looked at.
  static constexpr size_t kMaxWireBytes = 2048;
  static constexpr size_t kMaxRequestsInFlight = 32;
  // What one session remembers; above it, a repeated checkout is treated as one from another
  // session, and no further delivery is begun.
  static constexpr size_t kMaxRememberedOrders = 256;
  static constexpr size_t kMaxDeliveryIds = 4096;
  static constexpr int64_t kHandshakeLimitMs = 30'000;

  struct Deps {
    const crypto::Identity& merchant;
    crypto::RandomSource& random;
    const protocol::Clock& clock;
    protocol::RefusalCounters& refusals;
    Executor& workers;  // For public-key operations.
    ShopService& shop;
    GoodsSender& goods;
    std::shared_ptr<GoodsTransport> goods_transport;
    size_t max_sessions;
  };

  // Lives in a shared_ptr. What `deps` names must outlive every session's last call.
  ShopSessions(Deps deps, std::weak_ptr<BrokerCalls> broker);
  ~ShopSessions();

  void OnHello(const v1::SessionHello& hello);
  void OnFrame(const v1::SessionFrame& frame);
  void OnClosed(const v1::SessionClosed& closed);
  // Ends sessions that are idle, too old, or have not finished their handshake.
  void Sweep();
  // The link is gone, and every session with it.
  void CloseAll();
  size_t size() const;

 private:
  struct Session;
  using SessionPtr = std::shared_ptr<Session>;
  // A request that is to be answered.
  struct Call {
    uint64_t id = 0;
    CallStats::CallPtr under_way;
  };

  void Answer(const SessionPtr& session, const std::string& hello);
  void Handle(const SessionPtr& session, const std::string& message);
  void HandleCatalogue(const SessionPtr& session, const Call& call, uint64_t known_version);
  void HandleCheckout(const SessionPtr& session, const Call& call,
                      const v1::CheckoutRequest& request);
  void HandleDelivery(const SessionPtr& session, const Call& call,
                      const v1::DeliveryRequest& request);
  void Deliver(const SessionPtr& session, const Call& call, const std::string& delivery_id,
               DeliveryPlan plan);
  void Reply(const SessionPtr& session, const v1::ShopReply& reply);
  // Ends the session, counts why, and tells the broker.
  void Refuse(const SessionPtr& session, protocol::RefusalReason reason);
  void End(const SessionPtr& session);
  void TellClosed(const std::string& handle);
  SessionPtr Find(const std::string& handle) const;

  const Deps deps_;
  const std::weak_ptr<BrokerCalls> broker_;
  mutable std::mutex mutex_;
  absl::flat_hash_map<std::string, SessionPtr> sessions_;
};

}  // namespace blindcart::merchant

#endif  // BLINDCART_SERVICES_MERCHANT_SHOP_SESSIONS_H_
