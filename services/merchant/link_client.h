// Keeps one link to one broker up: dials, watches, and dials again after a break, with exponential
// backoff and jitter, so that a thousand shops do not come back at the same moment. Opens no port.
//
// Thread safety: every method may be called from any thread; Stop not from a link's callback.
#ifndef BLINDCART_SERVICES_MERCHANT_LINK_CLIENT_H_
#define BLINDCART_SERVICES_MERCHANT_LINK_CLIENT_H_

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>

#include "absl/status/status.h"
#include "crypto/random.h"
#include "protocol/clock.h"
#include "services/common/link.h"
#include "services/common/scheduler.h"

namespace blindcart::merchant {

class LinkClient : public std::enable_shared_from_this<LinkClient> {
 public:
  static constexpr int64_t kMinBackoffMs = 250;
  // Customers who were sent there by the loss of another broker find the shop offline until then.
  static constexpr int64_t kMaxBackoffMs = 5'000;
  // A link that stood for this long was a good one: after it the backoff begins anew.
  static constexpr int64_t kStableMs = 5'000;
  // A link that has not been established by then is given up.
  static constexpr int64_t kHandshakeLimitMs = 15'000;

  // Makes a handler for a new link, which calls `established` once both sides have proved
  // themselves.
  using MakeHandler = std::function<std::unique_ptr<LinkHandler>(
      std::shared_ptr<Link> link, std::function<void()> established)>;
  using Dial = std::function<std::shared_ptr<Link>(
      const std::function<std::unique_ptr<LinkHandler>(std::shared_ptr<Link>)>&)>;

  // `scheduler`, `clock` and `random` must outlive the client.
  static std::shared_ptr<LinkClient> Create(Dial dial, MakeHandler make_handler,
                                            Scheduler& scheduler, const protocol::Clock& clock,
                                            crypto::RandomSource& random);

  void Start();
  // Closes the link, waits until it is gone, and dials no more.
  void Stop();
  bool connected() const;

 private:
  class Watch;

  LinkClient(Dial dial, MakeHandler make_handler, Scheduler& scheduler,
             const protocol::Clock& clock, crypto::RandomSource& random);
  void Connect();
  void OnEstablished();
  void OnClosed(const absl::Status& status);
  int64_t NextDelayMsLocked();

  const Dial dial_;
  const MakeHandler make_handler_;
  Scheduler& scheduler_;
  const protocol::Clock& clock_;
  crypto::RandomSource& random_;

  mutable std::mutex mutex_;
  std::condition_variable closed_;
  std::shared_ptr<Link> link_;  // Null between two links.
  bool in_use_ = false;         // From a dial until its link's OnClosed.
  uint64_t dials_ = 0;
  int failures_ = 0;
  bool established_ = false;
  int64_t established_at_ms_ = 0;
  bool stopping_ = false;
};

}  // namespace blindcart::merchant

#endif  // BLINDCART_SERVICES_MERCHANT_LINK_CLIENT_H_
