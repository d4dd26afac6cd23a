// What merchants are owed to be told about their orders: paid, declined, expired, or that a payment
// failed. A notice is written to the outbox in the transaction that it reports, sent to the
// merchant's link once that is durable, and sent again on every new link, and every
// kResendAfterMs on a link that stays silent, until the merchant acknowledges it.
//
// Where a market has several brokers, a merchant has a link to each. The broker that wrote a notice
// sends it; should it not be acknowledged by the next look at the store but one, every other one that
// has a link sends it too.
//
// One link of a merchant has at most kWindow notices under way; the rest waits in the store.
// A merchant may see a notice twice, and two of one moment in either order; what a notice says holds
// by itself.
//
// Thread-safe, but Poll is for one thread at a time. Links are called without a lock held.
#ifndef BLINDCART_SERVICES_BROKER_NOTICES_H_
#define BLINDCART_SERVICES_BROKER_NOTICES_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "proto/merchant.pb.h"
#include "protocol/clock.h"
#include "services/broker/relay.h"
#include "services/common/link.h"
#include "services/storage/commit_queue.h"
#include "services/storage/store.h"

namespace blindcart::broker {

class Notices {
 public:
  static constexpr size_t kWindow = 64;
  static constexpr int64_t kResendAfterMs = 30'000;

  // A notice as its transaction wrote it.
  struct Written {
    int64_t merchant_id = 0;
    int64_t notice_id = 0;  // 0: none was written.
    v1::PaymentNotice notice;
  };

  // All must outlive the object and every callback of the queue.
  Notices(storage::Store& store, storage::CommitQueue& commits, const protocol::Clock& clock);

  // Within the transaction that the notice reports. `receipt` may be null.
  static absl::StatusOr<Written> Write(storage::Transaction& transaction, int64_t merchant_id,
                                       absl::string_view order_id, v1::OrderStatus status,
                                       const v1::Receipt* receipt, int64_t now_ms);

  // After the commit, in the order of commits.
  void OnCommitted(const Written& written);

  // A merchant's link stands; what it is owed follows. The newest link of a merchant counts.
  void AddLink(int64_t merchant_id, LinkId link_id, std::shared_ptr<Link> link);
  void RemoveLink(int64_t merchant_id, LinkId link_id);

  // Forgets the notice durably, soon.
  void OnAck(int64_t merchant_id, LinkId link_id, int64_t notice_id);

  // Sends again what was not acknowledged in time.
  void Sweep();
  // Looks for what other brokers have written and nobody has acknowledged yet.
  void Poll();

  // Sent to connected merchants and not acknowledged.
  size_t under_way_count() const;

 private:
  struct Outbox {
    LinkId link_id = 0;
    std::shared_ptr<Link> link;
    int64_t last_sent_id = 0;
    // What another broker wrote may lie below last_sent_id: read again from there.
    absl::optional<int64_t> rewind_id;
    absl::btree_set<int64_t> under_way;
    int64_t last_progress_ms = 0;
    // There may be more in the store than was sent: sending straight from a commit would skip it.
    bool behind = true;
    bool loading = false;  // One thread reads the store for this link.
    bool reload = false;   // Something was committed while it read.
  };

  // Sends from the store until the window is full or nothing is left.
  void Load(int64_t merchant_id, LinkId link_id);
  static std::string Encode(const v1::PaymentNotice& notice, int64_t notice_id);

  storage::Store& store_;
  storage::CommitQueue& commits_;
  const protocol::Clock& clock_;
  mutable std::mutex mutex_;
  absl::flat_hash_map<int64_t, Outbox> outboxes_;  // By merchant.

  // Poll's alone: up to which id everything has been looked after, and which was the highest at the
  // latest look. What is between is given until the next one.
  int64_t settled_id_ = 0;
  int64_t seen_id_ = 0;
};

}  // namespace blindcart::broker

#endif  // BLINDCART_SERVICES_BROKER_NOTICES_H_
