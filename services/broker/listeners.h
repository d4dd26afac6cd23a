// Where customers' agents wait for direct sessions (docs/certificates.md): announced over a link, and
// gone with it. In the store, so that whoever asks another broker of the market finds them too.
//
// A broker that dies leaves its entries behind: each is good for kLifetimeMs, and the broker that has
// the link prolongs it meanwhile.
//
// Thread-safe.
#ifndef BLINDCART_SERVICES_BROKER_LISTENERS_H_
#define BLINDCART_SERVICES_BROKER_LISTENERS_H_

#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "crypto/random.h"
#include "protocol/clock.h"
#include "services/broker/relay.h"
#include "services/storage/commit_queue.h"
#include "services/storage/store.h"

namespace blindcart::broker {

class Listeners {
 public:
  static constexpr int64_t kLifetimeMs = 60'000;
  static constexpr int64_t kProlongIntervalMs = 15'000;

  // Both must outlive the object and every callback of the queue.
  Listeners(storage::CommitQueue& commits, const protocol::Clock& clock,
            crypto::RandomSource& random);

  // The customer is to be found at `address`, or, when it is empty, nowhere any more. `done` as in
  // CommitQueue::Submit, whose errors this returns.
  absl::Status Announce(int64_t customer_id, LinkId link_id, const std::string& address,
                        std::function<void(absl::Status)> done);
  // The link has ended: what was announced over it is so no more.
  void RemoveLink(int64_t customer_id, LinkId link_id);

  // The customer's address; empty when nothing is announced.
  absl::StatusOr<std::string> Find(storage::Transaction& transaction, int64_t customer_id);

  // Prolongs what this broker's links have announced, and removes what nobody prolongs.
  void Sweep();

 private:
  using Key = std::pair<int64_t, LinkId>;

  void Remove(const Key& key);

  storage::CommitQueue& commits_;
  const protocol::Clock& clock_;
  const std::string run_;  // Tells this broker's links from all others'.

  std::mutex mutex_;
  // The rest is used under mutex_.
  absl::flat_hash_set<Key> announced_;
  absl::flat_hash_set<Key> ended_;  // Still to be removed from the store.
  int64_t last_prolonged_ms_ = 0;
};

}  // namespace blindcart::broker

#endif  // BLINDCART_SERVICES_BROKER_LISTENERS_H_
