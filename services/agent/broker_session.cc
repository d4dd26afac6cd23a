#include "services/agent/broker_session.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "crypto/password_record.h"
#include "protocol/login_handshake.h"
#include "services/common/log.h"

namespace blindcart::agent {
namespace {

constexpr int64_t kCloseTimeoutMs = 5'000;

absl::Status NotLoggedIn() {
  return absl::UnauthenticatedError("not logged in. Log in first: blindcart login");
}

absl::Status Unreachable() {
  return absl::UnavailableError(
      "the broker cannot be reached or does not answer. Check the network and that the broker "
      "runs, then try again");
}

absl::Status LoginFailed(int64_t retry_after_ms) {
  std::string message =
      "login failed: user name, password and key were not accepted together by this broker";
  if (retry_after_ms > 0) {
    absl::StrAppend(&message, " (try again in ", (retry_after_ms + 999) / 1000, " s)");
  }
  return absl::UnauthenticatedError(message);
}

}  // namespace

std::shared_ptr<BrokerSession> BrokerSession::Create(std::shared_ptr<const BrokerPeer> peer,
                                                     Scheduler& scheduler, Executor& executor,
                                                     const Options& options) {
  std::shared_ptr<BrokerSession> session(
      new BrokerSession(std::move(peer), scheduler, executor, options));
  session->Sweep();
  return session;
}

BrokerSession::BrokerSession(std::shared_ptr<const BrokerPeer> peer, Scheduler& scheduler,
                             Executor& executor, const Options& options)
    : peer_(std::move(peer)),
      scheduler_(scheduler),
      executor_(executor),
      options_(options),
      address_(Chance(peer_->addresses)) {}

absl::Status BrokerSession::Login(const std::string& username,
                                  const crypto::SecretBytes& password) {
  if (!protocol::IsValidUsername(username)) {
    return absl::InvalidArgumentError(
        "a user name has 1 to 64 of a-z, 0-9, '.', '_' and '-' and begins with a letter or digit");
  }
  if (password.empty()) return absl::InvalidArgumentError("the password is empty");
  Logout();
  std::unique_lock<std::mutex> lock(mutex_);
  if (shut_down_) return Unreachable();
  username_ = username;
  password_hash_ = crypto::PasswordHash(username, password.view());
  const uint64_t login_number = ++login_number_;
  changed_.wait(lock, [&] { return !opening_; });
  if (login_number != login_number_) {
    return absl::AbortedError("another login or a logout came in between. Try again");
  }
  const absl::StatusOr<std::shared_ptr<BrokerLink>> opened = OpenLocked(lock);
  if (!opened.ok() && login_number == login_number_) ForgetLocked();
  return opened.status();
}

void BrokerSession::Logout() {
  std::shared_ptr<BrokerLink> link;
  std::shared_ptr<BrokerLink> logging_in;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    link = std::move(link_);
    logging_in = logging_in_;
    ForgetLocked();
  }
  if (link != nullptr) link->Close(absl::OkStatus());
  if (logging_in != nullptr) logging_in->Close(absl::CancelledError("logged out"));
}

void BrokerSession::ForgetLocked() {
  ++login_number_;
  username_.clear();
  password_hash_ = crypto::SecretBytes();
  link_.reset();
  failures_ = 0;
  rejections_ = 0;
  not_before_ms_ = 0;
}

BrokerSession::State BrokerSession::state() const {
  std::lock_guard<std::mutex> lock(mutex_);
  State state;
  state.logged_in = !password_hash_.empty();
  state.connected = link_ != nullptr && link_->open();
  state.address = address_;
  state.username = username_;
  return state;
}

absl::StatusOr<std::shared_ptr<BrokerLink>> BrokerSession::Connection() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    if (shut_down_) return Unreachable();
    if (password_hash_.empty()) return NotLoggedIn();
    if (link_ != nullptr && link_->open()) return link_;
    if (!opening_) break;
    changed_.wait(lock);
  }
  const int64_t wait_ms = not_before_ms_ - peer_->clock->NowMonotonicMs();
  if (wait_ms > 0) return LoginFailed(wait_ms);
  return OpenLocked(lock);
}

absl::StatusOr<std::shared_ptr<BrokerLink>> BrokerSession::OpenLocked(
    std::unique_lock<std::mutex>& lock) {
  const uint64_t login_number = login_number_;
  // The one that was lost is the last to be asked; which comes first is left to chance, so that not
  // everybody goes to the same one.
  if (link_ != nullptr && peer_->addresses > 1) {
    address_ = (address_ + 1 + Chance(peer_->addresses - 1)) % peer_->addresses;
  }
  link_.reset();
  opening_ = true;
  std::shared_ptr<BrokerLink> link;
  absl::StatusOr<BrokerLink::LoginAnswer> answer = LogInLocked(lock, &link);
  for (size_t tried = 1; tried < peer_->addresses && !answer.ok(); ++tried) {
    if (login_number != login_number_) break;
    address_ = (address_ + 1) % peer_->addresses;
    answer = LogInLocked(lock, &link);
  }
  opening_ = false;
  changed_.notify_all();
  if (login_number != login_number_) {
    if (link != nullptr) link->Close(absl::CancelledError("nobody wants this login any more"));
    if (shut_down_) return Unreachable();
    return absl::AbortedError("another login or a logout came in between. Try again");
  }
  if (!answer.ok()) {
    ++failures_;
    ScheduleReopenLocked(NextBackoffLocked());
    return Unreachable();
  }
  if (!answer->accepted) return NoteRejectionLocked(answer->retry_after_ms);
  failures_ = 0;
  rejections_ = 0;
  not_before_ms_ = 0;
  link_ = std::move(link);
  LogInfo("broker.connected");
  const std::shared_ptr<BrokerLink> opened = link_;
  lock.unlock();
  for (const auto& listener : Listeners()) listener->OnConnected();
  lock.lock();
  // It may have ended before it was noted here; then OnLinkClosed found nothing to do.
  if (login_number == login_number_ && !opened->open()) ScheduleReopenLocked(NextBackoffLocked());
  return opened;
}

absl::StatusOr<BrokerLink::LoginAnswer> BrokerSession::LogInLocked(
    std::unique_lock<std::mutex>& lock, std::shared_ptr<BrokerLink>* link) {
  const uint64_t login_number = login_number_;
  const size_t address = address_;
  const std::string username = username_;
  const crypto::SecretBytes password_hash = password_hash_.Clone();
  const auto addresses = static_cast<int64_t>(peer_->addresses);
  const int64_t timeout_ms =
      std::min(options_.login_timeout_ms,
               std::max(kMinLoginTimeoutMs, options_.login_timeout_ms / addresses));
  lock.unlock();
  const std::weak_ptr<BrokerSession> weak = weak_from_this();
  const absl::StatusOr<std::shared_ptr<BrokerLink>> dialled = BrokerLink::Dial(
      peer_, address, username, password_hash.view(),
      [weak, login_number] {
        if (const auto self = weak.lock()) self->OnLinkClosed(login_number);
      },
      [weak](const v1::BrokerToCustomer& message) {
        const auto self = weak.lock();
        if (self == nullptr) return;
        for (const auto& listener : self->Listeners()) listener->OnPush(message);
      });
  lock.lock();
  *link = dialled.ok() ? *dialled : nullptr;
  if (!dialled.ok() || login_number != login_number_) return Unreachable();
  logging_in_ = *dialled;
  lock.unlock();
  const absl::StatusOr<BrokerLink::LoginAnswer> answer = (*dialled)->AwaitLogin(timeout_ms);
  lock.lock();
  logging_in_.reset();
  return answer;
}

size_t BrokerSession::Chance(size_t bound) const {
  if (bound <= 1) return 0;
  const std::string bytes = peer_->random->Bytes(sizeof(uint32_t));
  uint32_t chance = 0;
  std::memcpy(&chance, bytes.data(), sizeof chance);
  return chance % bound;
}

void BrokerSession::AddListener(std::weak_ptr<BrokerListener> listener) {
  std::lock_guard<std::mutex> lock(mutex_);
  listeners_.push_back(std::move(listener));
}

std::vector<std::shared_ptr<BrokerListener>> BrokerSession::Listeners() {
  std::lock_guard<std::mutex> lock(mutex_);
  std::vector<std::shared_ptr<BrokerListener>> living;
  for (const std::weak_ptr<BrokerListener>& weak : listeners_) {
    if (auto listener = weak.lock()) living.push_back(std::move(listener));
  }
  return living;
}

absl::Status BrokerSession::NoteRejectionLocked(int64_t retry_after_ms) {
  ++failures_;
  // Another broker may accept what this one, which has not been given the market's new key, does not.
  // Only the next time: a wrong password counts at all of them.
  address_ = (address_ + 1) % peer_->addresses;
  if (++rejections_ >= options_.max_rejections) {
    LogWarning("broker.login_given_up");
    ForgetLocked();
  } else {
    const int64_t wait_ms = std::clamp<int64_t>(retry_after_ms, 0, 3'600'000);
    not_before_ms_ = peer_->clock->NowMonotonicMs() + wait_ms;
    ScheduleReopenLocked(std::max(wait_ms, NextBackoffLocked()));
  }
  return LoginFailed(retry_after_ms);
}

int64_t BrokerSession::NextBackoffLocked() {
  int64_t delay_ms = options_.min_backoff_ms;
  for (int i = 1; i < failures_ && delay_ms < options_.max_backoff_ms; ++i) delay_ms *= 2;
  delay_ms = std::min(delay_ms, options_.max_backoff_ms);
  // Half of it is left to chance, so that many agents do not come back at one moment.
  const auto half = static_cast<size_t>(delay_ms / 2);
  return delay_ms / 2 + static_cast<int64_t>(Chance(half + 1));
}

void BrokerSession::OnLinkClosed(uint64_t login_number) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (shut_down_ || login_number != login_number_ || opening_) return;
  LogInfo("broker.link_lost");
  ScheduleReopenLocked(NextBackoffLocked());
}

void BrokerSession::ScheduleReopenLocked(int64_t delay_ms) {
  if (reopen_scheduled_ || shut_down_ || password_hash_.empty()) return;
  reopen_scheduled_ = true;
  const std::weak_ptr<BrokerSession> weak = weak_from_this();
  const uint64_t login_number = login_number_;
  scheduler_.RunAfter(delay_ms, [weak, login_number] {
    const auto self = weak.lock();
    if (self == nullptr) return;
    {
      std::lock_guard<std::mutex> lock(self->mutex_);
      self->reopen_scheduled_ = false;
    }
    const absl::Status queued = self->executor_.Run([weak, login_number] {
      if (const auto again = weak.lock()) again->Reopen(login_number);
    });
    if (!queued.ok()) {
      std::lock_guard<std::mutex> lock(self->mutex_);
      self->ScheduleReopenLocked(self->NextBackoffLocked());
    }
  });
}

void BrokerSession::Reopen(uint64_t login_number) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (login_number != login_number_) {
      // A later login's link may have broken while this was under way and found it scheduled.
      if (link_ != nullptr && !link_->open()) ScheduleReopenLocked(NextBackoffLocked());
      return;
    }
  }
  Connection().status().IgnoreError();
}

absl::StatusOr<v1::BrokerToCustomer> BrokerSession::Call(const v1::CustomerMessage& message,
                                                         v1::BrokerToCustomer::BodyCase expected,
                                                         OnBreak on_break) {
  for (bool last = on_break == OnBreak::kGiveUp;; last = true) {
    absl::StatusOr<std::shared_ptr<BrokerLink>> link = Connection();
    if (!link.ok()) return link.status();
    absl::StatusOr<v1::BrokerToCustomer> answer =
        (*link)->Call(message, expected, options_.call_timeout_ms);
    if (answer.ok() || absl::IsDataLoss(answer.status())) return answer;
    const bool broken = !(*link)->open();
    if (!broken || last) return Unreachable();
  }
}

void BrokerSession::Sweep() {
  std::shared_ptr<BrokerLink> link;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (shut_down_) return;
    link = link_;
  }
  if (link != nullptr) link->CloseIfExpired();
  const std::weak_ptr<BrokerSession> weak = weak_from_this();
  scheduler_.RunAfter(options_.sweep_interval_ms, [weak] {
    if (const auto self = weak.lock()) self->Sweep();
  });
}

void BrokerSession::Shutdown() {
  std::shared_ptr<BrokerLink> link;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    shut_down_ = true;
    link = link_ != nullptr ? std::move(link_) : logging_in_;
    ForgetLocked();
  }
  changed_.notify_all();
  if (link == nullptr) return;
  link->Close(absl::CancelledError("the agent ends"));
  link->AwaitClosed(kCloseTimeoutMs);
}

}  // namespace blindcart::agent
