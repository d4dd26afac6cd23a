#include "services/broker/listeners.h"

#include <vector>

#include "services/common/log.h"

namespace blindcart::broker {

Listeners::Listeners(storage::CommitQueue& commits, const protocol::Clock& clock,
                     crypto::RandomSource& random)
    : commits_(commits), clock_(clock), run_(random.Bytes(storage::kBrokerRunBytes)) {}

absl::Status Listeners::Announce(int64_t customer_id, LinkId link_id, const std::string& address,
                                 std::function<void(absl::Status)> done) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (address.empty()) {
      announced_.erase({customer_id, link_id});
    } else {
      announced_.insert({customer_id, link_id});
    }
  }
  storage::Listener listener;
  listener.customer_id = customer_id;
  listener.address = address;
  listener.broker_run = run_;
  listener.link_id = static_cast<int64_t>(link_id);
  listener.expires_at_ms = clock_.NowUnixMs() + kLifetimeMs;
  return commits_.Submit(
      [listener](storage::Transaction& transaction) {
        return listener.address.empty()
                   ? transaction.listeners().Remove(listener.customer_id, listener.broker_run,
                                                    listener.link_id)
                   : transaction.listeners().Set(listener);
      },
      std::move(done));
}

void Listeners::RemoveLink(int64_t customer_id, LinkId link_id) {
  const Key key(customer_id, link_id);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (announced_.erase(key) == 0) return;
    ended_.insert(key);
  }
  Remove(key);
}

void Listeners::Remove(const Key& key) {
  // When this fails the next sweep tries again.
  commits_
      .Submit(
          [this, key](storage::Transaction& transaction) {
            return transaction.listeners().Remove(key.first, run_,
                                                  static_cast<int64_t>(key.second));
          },
          [this, key](const absl::Status& status) {
            if (!status.ok()) return;
            std::lock_guard<std::mutex> lock(mutex_);
            ended_.erase(key);
          })
      .IgnoreError();
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
    if (!announced_.contains(Key(customer_id, static_cast<LinkId>(listener->link_id)))) {
      return std::string();
    }
  }
  return std::move(listener->address);
}

void Listeners::Sweep() {
  const int64_t now_ms = clock_.NowMonotonicMs();
  std::vector<Key> ended;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (now_ms - last_prolonged_ms_ < kProlongIntervalMs) return;
    last_prolonged_ms_ = now_ms;
    ended.assign(ended_.begin(), ended_.end());
    if (announced_.empty() && ended.empty()) return;
  }
  for (const Key& key : ended) Remove(key);
  commits_
      .Submit(
          [this, unix_ms = clock_.NowUnixMs()](storage::Transaction& transaction) {
            const absl::Status prolonged =
                transaction.listeners().Prolong(run_, unix_ms + kLifetimeMs);
            return prolonged.ok() ? transaction.listeners().RemoveExpired(unix_ms) : prolonged;
          },
          [](const absl::Status& status) {
            if (status.ok()) return;
            LogWarning("listeners.sweep_failed", {{"code", static_cast<int>(status.code())}});
          })
      .IgnoreError();
}

}  // namespace blindcart::broker
