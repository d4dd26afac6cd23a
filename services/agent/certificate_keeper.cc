#include "services/agent/certificate_keeper.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "services/common/log.h"

namespace blindcart::agent {

std::shared_ptr<CertificateKeeper> CertificateKeeper::Start(BrokerSession& broker,
                                                            Certificates& certificates,
                                                            const protocol::Clock& clock,
                                                            const Options& options) {
  std::shared_ptr<CertificateKeeper> keeper(
      new CertificateKeeper(broker, certificates, clock, options));
  broker.AddListener(keeper);
  return keeper;
}

CertificateKeeper::CertificateKeeper(BrokerSession& broker, Certificates& certificates,
                                     const protocol::Clock& clock, const Options& options)
    : broker_(broker),
      certificates_(certificates),
      clock_(clock),
      options_(options),
      next_round_(std::chrono::steady_clock::now() + std::chrono::milliseconds(options.round_ms)),
      thread_([this] { Work(); }) {}

CertificateKeeper::~CertificateKeeper() { Shutdown(); }

void CertificateKeeper::OnConnected() { RoundSoon(); }

void CertificateKeeper::RoundSoon() {
  std::lock_guard<std::mutex> lock(mutex_);
  next_round_ = std::chrono::steady_clock::now();
  changed_.notify_all();
}

absl::Status CertificateKeeper::Round() {
  // A call would log in; without a link there is nothing to do, and the next one brings a round.
  if (!broker_.state().connected) return absl::OkStatus();
  const absl::Status refreshed = certificates_.Refresh();
  // A broker without an authority has nothing to keep in step with.
  if (absl::IsFailedPrecondition(refreshed)) return absl::OkStatus();
  return refreshed.ok() ? certificates_.RenewIfDue() : refreshed;
}

int64_t CertificateKeeper::PauseMs() {
  const absl::Time next = certificates_.NextStep();
  if (next == absl::InfiniteFuture()) return options_.round_ms;
  return std::min(options_.round_ms,
                  std::max(options_.min_retry_ms, absl::ToUnixMillis(next) - clock_.NowUnixMs()));
}

void CertificateKeeper::Work() {
  int64_t retry_ms = options_.min_retry_ms;
  std::unique_lock<std::mutex> lock(mutex_);
  while (!closing_) {
    const auto now = std::chrono::steady_clock::now();
    if (now < next_round_) {
      changed_.wait_until(lock, next_round_);
      continue;
    }
    next_round_ = now + std::chrono::milliseconds(options_.round_ms);
    lock.unlock();
    const absl::Status done = Round();
    int64_t pause_ms = retry_ms;
    if (done.ok()) {
      pause_ms = PauseMs();
      retry_ms = options_.min_retry_ms;
    } else {
      LogWarning("certificates.failed", {{"code", static_cast<int>(done.code())}});
      retry_ms = std::min(2 * retry_ms, options_.round_ms);
    }
    lock.lock();
    // A login in the meantime may have brought it forward.
    next_round_ = std::min(next_round_,
                           std::chrono::steady_clock::now() + std::chrono::milliseconds(pause_ms));
  }
}

void CertificateKeeper::Shutdown() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    closing_ = true;
    changed_.notify_all();
  }
  std::lock_guard<std::mutex> lock(join_mutex_);
  if (thread_.joinable()) thread_.join();
}

}  // namespace blindcart::agent
