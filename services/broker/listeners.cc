#include "services/broker/listeners.h"

#include <iterator>
#include <utility>

#include "services/common/log.h"

namespace blindcart::broker {

struct Listeners::Job {
  std::vector<storage::Listener> announced;
  std::vector<int64_t> removed;  // Link ids.
  bool prolong = false;
  bool remove_expired = false;
  std::vector<Done> dones;
};

Listeners::Listeners(storage::CommitQueue& commits, const protocol::Clock& clock,
                     crypto::RandomSource& random)
    : commits_(commits), clock_(clock), run_(random.Bytes(storage::kBrokerRunBytes)) {}

void Listeners::Announce(int64_t customer_id, LinkId link_id, const std::string& address,
                         Done done) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (address.empty()) {
      announced_.erase(link_id);
    } else {
      announced_.insert(link_id);
    }
    Change& change = changes_[link_id];
    change.customer_id = customer_id;
    change.address = address;
    change.dones.push_back(std::move(done));
  }
  Write();
}

void Listeners::RemoveLink(LinkId link_id) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (announced_.erase(link_id) == 0) return;
    changes_[link_id].address.clear();
  }
  Write();
}

void Listeners::Write() {
  auto job = std::make_shared<Job>();
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (writing_ || (changes_.empty() && !prolong_ && !remove_expired_)) return;
    writing_ = true;
    job->prolong = std::exchange(prolong_, false);
    job->remove_expired = std::exchange(remove_expired_, false);
    for (size_t i = 0; i < kMaxLinksPerJob && !changes_.empty(); ++i) {
      const auto first = changes_.begin();
      const auto link_id = static_cast<int64_t>(first->first);
      Change& change = first->second;
      if (change.address.empty()) {
        job->removed.push_back(link_id);
      } else {
        job->announced.push_back({change.customer_id, std::move(change.address), run_, link_id,
                                  /*expires_at_ms=*/0});
      }
      std::move(change.dones.begin(), change.dones.end(), std::back_inserter(job->dones));
      changes_.erase(first);
    }
  }
  const absl::Status submitted = commits_.Submit(
      [this, job](storage::Transaction& transaction) { return Run(transaction, *job); },
      [this, job](const absl::Status& status) { OnWritten(*job, status); });
  if (!submitted.ok()) OnWritten(*job, submitted);
}

absl::Status Listeners::Run(storage::Transaction& transaction, const Job& job) const {
  storage::Listeners& stored = transaction.listeners();
  const int64_t now_ms = clock_.NowUnixMs();
  if (!job.removed.empty()) {
    const absl::Status removed = stored.Remove(run_, job.removed);
    if (!removed.ok()) return removed;
  }
  if (job.prolong) {
    const absl::Status prolonged = stored.Prolong(run_, now_ms + kLifetimeMs);
    if (!prolonged.ok()) return prolonged;
  }
  if (job.remove_expired) {
    const absl::Status removed = stored.RemoveExpired(now_ms - kKeptExpiredMs);
    if (!removed.ok()) return removed;
  }
  for (storage::Listener listener : job.announced) {
    listener.expires_at_ms = now_ms + kLifetimeMs;
    const absl::Status set = stored.Set(listener);
    if (!set.ok()) return set;
  }
  return absl::OkStatus();
}

void Listeners::OnWritten(Job& job, const absl::Status& status) {
  bool more = false;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    writing_ = false;
    more = !changes_.empty() || prolong_ || remove_expired_;
    if (!status.ok()) {
      not_removed_.insert(not_removed_.end(), job.removed.begin(), job.removed.end());
    }
  }
  if (!status.ok()) {
    LogWarning("listeners.commit_failed", {{"code", static_cast<int>(status.code())}});
  }
  for (const Done& done : job.dones) done(status);
  if (more) Write();
}

absl::StatusOr<std::string> Listeners::Find(storage::Transaction& transaction,
                                            int64_t customer_id) {
  absl::StatusOr<storage::Listener> listener = transaction.listeners().Get(customer_id);
  if (absl::IsNotFound(listener.status())) return std::string();
  if (!listener.ok()) return listener.status();
  if (listener->expires_at_ms <= clock_.NowUnixMs()) return std::string();
  if (listener->broker_run == run_) {
    // Of its own links it knows before the store does.
    std::lock_guard<std::mutex> lock(mutex_);
    if (!announced_.contains(static_cast<LinkId>(listener->link_id))) return std::string();
  }
  return std::move(listener->address);
}

void Listeners::Sweep() {
  const int64_t now_ms = clock_.NowMonotonicMs();
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (now_ms - last_prolonged_ms_ < kProlongIntervalMs) return;
    last_prolonged_ms_ = now_ms;
    prolong_ = !announced_.empty();
    if (now_ms - last_removed_ms_ >= kRemoveIntervalMs) {
      last_removed_ms_ = now_ms;
      remove_expired_ = true;
    }
    for (const LinkId link_id : std::exchange(not_removed_, {})) {
      if (!announced_.contains(link_id)) changes_.try_emplace(link_id);
    }
  }
  Write();
}

}  // namespace blindcart::broker
