#include "services/agent/mail_receiver.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "services/common/log.h"

namespace blindcart::agent {

std::shared_ptr<MailReceiver> MailReceiver::Start(BrokerSession& broker, Messenger& messenger) {
  std::shared_ptr<MailReceiver> receiver(new MailReceiver(broker, messenger));
  broker.AddListener(receiver);
  return receiver;
}

MailReceiver::MailReceiver(BrokerSession& broker, Messenger& messenger)
    : broker_(broker),
      messenger_(messenger),
      next_round_(std::chrono::steady_clock::now() + std::chrono::milliseconds(kRoundMs)),
      thread_([this] { Work(); }) {}

MailReceiver::~MailReceiver() { Shutdown(); }

void MailReceiver::RoundWithin(int64_t delay_ms) {
  next_round_ =
      std::min(next_round_, std::chrono::steady_clock::now() + std::chrono::milliseconds(delay_ms));
  changed_.notify_all();
}

void MailReceiver::RetrySoon() {
  std::lock_guard<std::mutex> lock(mutex_);
  RoundWithin(kMinRetryMs);
}

void MailReceiver::OnConnected() {
  std::lock_guard<std::mutex> lock(mutex_);
  RoundWithin(0);
}

void MailReceiver::OnPush(const v1::BrokerToCustomer& message) {
  if (!message.has_mail() || !message.mail().has_push()) return;
  std::lock_guard<std::mutex> lock(mutex_);
  if (waiting_.size() >= kMaxWaiting) return RoundWithin(0);
  waiting_.push_back(message.mail().push());
  changed_.notify_all();
}

void MailReceiver::Work() {
  int64_t retry_ms = kMinRetryMs;
  std::unique_lock<std::mutex> lock(mutex_);
  while (!closing_) {
    const auto now = std::chrono::steady_clock::now();
    absl::Status done;
    if (now >= next_round_) {
      next_round_ = now + std::chrono::milliseconds(kRoundMs);
      lock.unlock();
      // It would log in; without a link there is nothing to do, and the next one brings a round.
      if (broker_.state().connected) done = messenger_.OnConnected();
      if (done.ok()) retry_ms = kMinRetryMs;
    } else if (!waiting_.empty()) {
      const v1::MailItem item = std::move(waiting_.front());
      waiting_.pop_front();
      lock.unlock();
      done = messenger_.OnPush(item);
    } else {
      changed_.wait_until(lock, next_round_);
      continue;
    }
    lock.lock();
    if (done.ok()) continue;
    LogWarning("mail.failed", {{"code", static_cast<int>(done.code())}});
    RoundWithin(retry_ms);
    retry_ms = std::min(2 * retry_ms, kMaxRetryMs);
  }
}

void MailReceiver::Shutdown() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    closing_ = true;
    changed_.notify_all();
  }
  std::lock_guard<std::mutex> lock(join_mutex_);
  if (thread_.joinable()) thread_.join();
}

}  // namespace blindcart::agent
