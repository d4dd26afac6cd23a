// Where customers' agents wait for direct sessions (docs/certificates.md): announced over a link, and
// gone with it. In the store, so that whoever asks another broker of the market finds them too.
//
// A broker that dies leaves its entries behind: each is good for kLifetimeMs, and the broker that has
// the link prolongs it meanwhile. One that could not for a while, since the database was away, still
// finds its entries there: they are removed long after they have expired.
//
// Everything is written by one job of the queue at a time, with the latest of each link: however many
// links come and go at once, the queue stays free for others.
//
// Thread-safe.
#ifndef BLINDCART_SERVICES_BROKER_LISTENERS_H_
#define BLINDCART_SERVICES_BROKER_LISTENERS_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

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
  // What has expired so long ago is removed, as often as the second says.
  static constexpr int64_t kKeptExpiredMs = 24 * 60 * 60'000;
  static constexpr int64_t kRemoveIntervalMs = 60 * 60'000;
  static constexpr size_t kMaxLinksPerJob = 64;

  using Done = std::function<void(absl::Status)>;

  // Both must outlive the object and every callback of the queue.
  Listeners(storage::CommitQueue& commits, const protocol::Clock& clock,
            crypto::RandomSource& random);

  // The customer is to be found at `address`, or, when it is empty, nowhere any more. `done` is called
  // once, with OK when this, or what the link has said since, is durable; on the caller's thread or the
  // queue's. After an error the link has to end.
  void Announce(int64_t customer_id, LinkId link_id, const std::string& address, Done done);
  // The link has ended: what was announced over it is so no more.
  void RemoveLink(LinkId link_id);

  // The customer's address; empty when nothing is announced.
  absl::StatusOr<std::string> Find(storage::Transaction& transaction, int64_t customer_id);

  // Prolongs what this broker's links have announced, and removes what nobody prolongs.
  void Sweep();

 private:
  // The latest of one link.
  struct Change {
    int64_t customer_id = 0;
    std::string address;  // Empty: nowhere any more.
    std::vector<Done> dones;
  };
  struct Job;

  // Writes what there is to be written, unless a job does so already.
  void Write();
  absl::Status Run(storage::Transaction& transaction, const Job& job) const;
  void OnWritten(Job& job, const absl::Status& status);

  storage::CommitQueue& commits_;
  const protocol::Clock& clock_;
  const std::string run_;  // Tells this broker's links from all others'.

  std::mutex mutex_;
  // The rest is used under mutex_.
  absl::flat_hash_set<LinkId> announced_;
  std::map<LinkId, Change> changes_;  // To be written; a customer's newest link last.
  std::vector<LinkId> not_removed_;   // For the next sweep to try again.
  bool prolong_ = false;
  bool remove_expired_ = false;
  bool writing_ = false;
  int64_t last_prolonged_ms_ = 0;
  int64_t last_removed_ms_ = 0;
};

}  // namespace blindcart::broker

#endif  // BLINDCART_SERVICES_BROKER_LISTENERS_H_
