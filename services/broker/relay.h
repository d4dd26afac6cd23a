// Which shop session belongs to which links, and the passing on of its sealed frames
// (docs/protocol.md section 1c). The relay opens nothing: it sees who, when and how large.
//
// A session is opened by a customer under an `sid` of the customer's choice, good on that link only,
// and shown to the merchant under a random handle that the relay makes. So a customer cannot reach
// another's session, a merchant cannot reach another merchant's, and a merchant learns nothing of
// the customer. A session ends with either link, by either side, or when the merchant does not
// answer in time.
//
// Bounds: sessions per customer; frames that one session has under way (a customer who sends
// kMaxUnanswered frames without an answer, or a merchant that sends so many unasked, ends the
// session, not the other's link); sizes of everything.
//
// Thread safety: every method may be called from any thread. Messages of one link have to be handed
// in one after the other; they leave in that order. Links are called without a lock held.
// Errors: Refused() for what no honest party sends; the caller closes that link.
#ifndef BLINDCART_SERVICES_BROKER_RELAY_H_
#define BLINDCART_SERVICES_BROKER_RELAY_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <prometheus/histogram.h>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "crypto/random.h"
#include "proto/customer.pb.h"
#include "proto/merchant.pb.h"
#include "protocol/channel.h"
#include "protocol/clock.h"
#include "services/common/link.h"
#include "services/common/metrics.h"

namespace blindcart::broker {

using LinkId = uint64_t;

inline constexpr size_t kHandleBytes = 16;
// RSA-4096 gives 512 bytes.
inline constexpr size_t kMaxShopHelloBytes = 1024;
inline constexpr size_t kMaxShopAnswerBytes = 1024;
// A request is one frame of 1 KiB, by contract, with its framing; an answer one of at most 256 KiB.
inline constexpr size_t kMaxShopRequestBytes = 2 * 1024;
inline constexpr size_t kMaxShopReplyBytes = protocol::kMaxRelayedPlaintextBytes + 1024;

class Relay {
 public:
  static constexpr int kMaxUnanswered = 64;

  struct Options {
    int max_sessions_per_customer = 32;
    int64_t answer_timeout_ms = 10'000;
  };

  struct CustomerEnd {
    LinkId link_id = 0;
    int64_t customer_id = 0;
    std::shared_ptr<Link> link;
  };

  // What a handle stands for.
  struct Session {
    int64_t customer_id = 0;
    int64_t merchant_id = 0;
    std::string sid;
  };

  // Both must outlive the relay.
  Relay(const Options& options, const protocol::Clock& clock, crypto::RandomSource& random);

  // A merchant's link stands. A merchant has one: an older one is closed, its sessions end.
  void AddMerchant(int64_t merchant_id, LinkId link_id, std::shared_ptr<Link> link);
  // The link is gone; its sessions end. Idempotent.
  void RemoveMerchant(LinkId link_id);
  bool IsOnline(int64_t merchant_id);

  // Forwards the hello. The customer gets OpenShopResult under `call_id`, now or later.
  absl::Status OpenShop(const CustomerEnd& customer, uint64_t call_id, int64_t merchant_id,
                        const v1::OpenShopCall& call);
  // Frames of sessions that are gone or not yet open are dropped: their end may still be under way.
  absl::Status FromCustomer(LinkId customer_link, v1::ShopFrame frame);
  // Idempotent.
  void CloseShop(LinkId customer_link, absl::string_view sid);
  void RemoveCustomer(LinkId customer_link);
  // The merchant of an open session of this link.
  absl::optional<int64_t> MerchantOf(LinkId customer_link, absl::string_view sid);

  absl::Status OnAnswer(LinkId merchant_link, const v1::SessionAnswer& answer);
  absl::Status FromMerchant(LinkId merchant_link, v1::SessionFrame frame);
  void OnSessionClosed(LinkId merchant_link, absl::string_view handle);
  // The open session of a handle of this merchant's link.
  absl::optional<Session> Find(LinkId merchant_link, absl::string_view handle);

  // Ends sessions whose merchant has not answered in time.
  void Sweep();

  size_t session_count() const;
  // Whether a merchant still owes the link an answer.
  bool HasUnanswered(LinkId customer_link);
  // From the customer's hello until the merchant's answer to it.
  const prometheus::Histogram& open_seconds() const { return open_seconds_; }

 private:
  struct Route {
    Session session;
    std::string handle;
    LinkId customer_link_id = 0;
    LinkId merchant_link_id = 0;
    std::shared_ptr<Link> customer_link;
    std::shared_ptr<Link> merchant_link;
    bool open = false;
    uint64_t open_call_id = 0;
    int64_t opened_at_ms = 0;
    int unanswered = 0;  // Requests less replies; below zero for replies that nobody asked for.
    // Answers counted above that the customer's link does not have yet; raised under mutex_.
    std::atomic<int> on_their_way{0};
  };
  using RoutePtr = std::shared_ptr<Route>;
  using SidKey = std::pair<LinkId, std::string>;

  struct MerchantEnd {
    int64_t merchant_id = 0;
    std::shared_ptr<Link> link;
    absl::flat_hash_set<std::string> handles;
  };

  // Forget a route; the caller tells its ends afterwards, without the lock.
  void EraseLocked(const Route& route);
  RoutePtr FindByHandleLocked(LinkId merchant_link, absl::string_view handle);
  std::vector<RoutePtr> TakeRoutesOfMerchantLocked(LinkId link_id);
  static void TellCustomer(const Route& route, v1::ShopState state);
  static void TellMerchant(const Route& route);

  const Options options_;
  const protocol::Clock& clock_;
  crypto::RandomSource& random_;
  prometheus::Histogram open_seconds_{LatencyBuckets()};

  mutable std::mutex mutex_;
  absl::flat_hash_map<LinkId, MerchantEnd> merchant_ends_;
  absl::flat_hash_map<int64_t, LinkId> link_of_merchant_;
  absl::flat_hash_map<std::string, RoutePtr> by_handle_;
  absl::flat_hash_map<SidKey, RoutePtr> by_sid_;
  absl::flat_hash_map<LinkId, absl::flat_hash_set<std::string>> sids_of_customer_link_;
  absl::flat_hash_map<int64_t, int> sessions_of_customer_;
};

}  // namespace blindcart::broker

#endif  // BLINDCART_SERVICES_BROKER_RELAY_H_
