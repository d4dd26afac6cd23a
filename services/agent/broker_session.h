// The customer's standing with the broker, across links: log in once, and whenever the link breaks
// the next call, or a timer with exponential backoff, logs in anew by itself. For that the hash of
// the password stays in wiped memory until logout; the password itself does not.
//
// Where a market has several brokers, it begins with any of them, goes on with any other one when its
// link is lost, asks the next one the next time after a refusal, and calls the broker unreachable once
// none of them answers.
//
// Errors, with words for people: Unauthenticated (not logged in, or the login was not accepted: never
// which part of it), Unavailable (the broker cannot be reached or does not answer), DataLoss (an
// answer that is none).
// Thread safety: every method may be called from any thread; Login, Connection and Call block, so
// never from a network thread.
#ifndef BLINDCART_SERVICES_AGENT_BROKER_SESSION_H_
#define BLINDCART_SERVICES_AGENT_BROKER_SESSION_H_

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "crypto/secret_bytes.h"
#include "proto/customer.pb.h"
#include "services/agent/broker_link.h"
#include "services/common/scheduler.h"
#include "services/common/worker_pool.h"

namespace blindcart::agent {

// Whether a call may be sent once more when the link broke before its answer: it changes nothing, or
// it carries a request id.
enum class OnBreak { kRepeat, kGiveUp };

// What a part of the agent hears of the broker by itself. Neither may block.
class BrokerListener {
 public:
  virtual ~BrokerListener() = default;
  // The customer is logged in: by Login, or by the session itself after a break.
  virtual void OnConnected() = 0;
  // See OnBrokerPush; may come before OnConnected.
  virtual void OnPush(const v1::BrokerToCustomer& message) = 0;
};

class BrokerSession : public std::enable_shared_from_this<BrokerSession> {
 public:
  struct Options {
    int64_t login_timeout_ms = 20'000;
    int64_t call_timeout_ms = 20'000;
    int64_t min_backoff_ms = 250;
    int64_t max_backoff_ms = 30'000;
    int64_t sweep_interval_ms = 5'000;
    // Logins by itself that the broker may turn down in a row before the session gives up and the
    // customer has to log in again.
    int max_rejections = 5;
  };
  // Of one address where there are several; fewer than login_timeout_ms only then.
  static constexpr int64_t kMinLoginTimeoutMs = 10'000;
  struct State {
    bool logged_in = false;
    bool connected = false;
    size_t address = 0;  // Of the link, or of the next one.
    std::string username;
  };

  // `scheduler` and `executor` must outlive the last use of the session.
  static std::shared_ptr<BrokerSession> Create(std::shared_ptr<const BrokerPeer> peer,
                                               Scheduler& scheduler, Executor& executor,
                                               const Options& options);

  // `listener` hears of everything from now on, for as long as it lives.
  void AddListener(std::weak_ptr<BrokerListener> listener);

  // Ends a session that is there, then logs in.
  absl::Status Login(const std::string& username, const crypto::SecretBytes& password);
  // Ends the session and forgets the password hash.
  void Logout();
  State state() const;

  // A link that stands, opened now if need be.
  absl::StatusOr<std::shared_ptr<BrokerLink>> Connection();
  absl::StatusOr<v1::BrokerToCustomer> Call(const v1::CustomerMessage& message,
                                            v1::BrokerToCustomer::BodyCase expected,
                                            OnBreak on_break);

  // Breaks off what waits and takes no more; idempotent.
  void Shutdown();

  const Options& options() const { return options_; }

 private:
  BrokerSession(std::shared_ptr<const BrokerPeer> peer, Scheduler& scheduler, Executor& executor,
                const Options& options);

  // Opens the next link with the kept hash. `lock` is held at entry and return, not in between.
  absl::StatusOr<std::shared_ptr<BrokerLink>> OpenLocked(std::unique_lock<std::mutex>& lock);
  // One attempt, at address_. `lock` as above.
  absl::StatusOr<BrokerLink::LoginAnswer> LogInLocked(std::unique_lock<std::mutex>& lock,
                                                      std::shared_ptr<BrokerLink>* link);
  // A number below `bound`.
  size_t Chance(size_t bound) const;
  absl::Status NoteRejectionLocked(int64_t retry_after_ms);
  void ForgetLocked();
  int64_t NextBackoffLocked();
  // Of listeners that still live. Takes mutex_.
  std::vector<std::shared_ptr<BrokerListener>> Listeners();
  void OnLinkClosed(uint64_t login_number);
  void ScheduleReopenLocked(int64_t delay_ms);
  void Reopen(uint64_t login_number);
  void Sweep();

  const std::shared_ptr<const BrokerPeer> peer_;
  Scheduler& scheduler_;
  Executor& executor_;
  const Options options_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  // The rest is used under mutex_.
  std::vector<std::weak_ptr<BrokerListener>> listeners_;
  std::string username_;
  crypto::SecretBytes password_hash_;  // Empty: not logged in.
  uint64_t login_number_ = 0;          // Moves on at every Login and Logout.
  size_t address_ = 0;
  std::shared_ptr<BrokerLink> link_;
  std::shared_ptr<BrokerLink> logging_in_;  // The next link_, perhaps.
  bool opening_ = false;
  bool shut_down_ = false;
  bool reopen_scheduled_ = false;
  int failures_ = 0;
  int rejections_ = 0;
  int64_t not_before_ms_ = 0;  // Monotonic: the broker asked to wait until then.
};

}  // namespace blindcart::agent

#endif  // BLINDCART_SERVICES_AGENT_BROKER_SESSION_H_
