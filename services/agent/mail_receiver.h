// Keeps the messenger in step with the broker, on a thread of its own: after each login it publishes
// keys, takes in the mail that waits and sends what is queued; mail that the broker pushes is taken in
// as it comes; from time to time all of it is done again, so that nothing depends on one moment.
//
// Thread safety: every method may be called from any thread. Destroy it after Shutdown.
#ifndef BLINDCART_SERVICES_AGENT_MAIL_RECEIVER_H_
#define BLINDCART_SERVICES_AGENT_MAIL_RECEIVER_H_

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>

#include "proto/mail.pb.h"
#include "services/agent/broker_session.h"
#include "services/agent/messenger.h"

namespace blindcart::agent {

class MailReceiver : public BrokerListener {
 public:
  // Pushed mail that may wait here; what does not fit is fetched from the broker afterwards.
  static constexpr size_t kMaxWaiting = 64;
  // After a failure the whole round is tried again: after the first of these, doubling to the second.
  static constexpr int64_t kMinRetryMs = 500;
  static constexpr int64_t kMaxRetryMs = 60'000;
  // Without one, it is done again after so long.
  static constexpr int64_t kRoundMs = 300'000;

  // Both must outlive the object. Hears of the broker from now on.
  static std::shared_ptr<MailReceiver> Start(BrokerSession& broker, Messenger& messenger);
  ~MailReceiver() override;

  // A message stays queued though the broker answers: a round comes soon.
  void RetrySoon();

  void OnConnected() override;
  void OnPush(const v1::BrokerToCustomer& message) override;

  // Lets what is under way end (the broker's session must be shut down by then) and takes no more.
  // Idempotent.
  void Shutdown();

 private:
  MailReceiver(BrokerSession& broker, Messenger& messenger);
  void Work();
  // Under mutex_: no later than in `delay_ms`.
  void RoundWithin(int64_t delay_ms);

  BrokerSession& broker_;
  Messenger& messenger_;

  std::mutex mutex_;
  std::condition_variable changed_;
  // The rest is used under mutex_.
  std::chrono::steady_clock::time_point next_round_;
  bool closing_ = false;
  std::deque<v1::MailItem> waiting_;
  std::mutex join_mutex_;  // Makes concurrent Shutdown calls safe; never held with mutex_.
  std::thread thread_;
};

}  // namespace blindcart::agent

#endif  // BLINDCART_SERVICES_AGENT_MAIL_RECEIVER_H_
