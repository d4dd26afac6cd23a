// The notary (docs/notary.md): RFC 3161 time stamps for customers, over a hash that says nothing about
// the document. Kept of a token are its serial and its hash, and of all of them the latest time; not
// the document's hash, not whose it was.
//
// Time never goes backwards here: a token is refused while the clock shows less than it has shown
// before, be it to an earlier token (kept durably), be it to this process at any time (looked at with
// every Sweep). That ends by itself when the clock has caught up.
//
// Serials ascend, and follow the clock in microseconds: so not even a broker that was restored from
// an old backup uses one twice, and a token does not tell how many others there are.
//
// Several brokers over one store stamp side by side: the store takes each serial once, and a broker
// whose clock is behind another's token by more than kMaxClockDifferenceMs does not stamp.
//
// Thread-safe. Answers come once, on the caller's thread, a worker's or the commit queue's.
#ifndef BLINDCART_SERVICES_BROKER_NOTARY_H_
#define BLINDCART_SERVICES_BROKER_NOTARY_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "crypto/time_stamp.h"
#include "proto/notary.pb.h"
#include "protocol/clock.h"
#include "services/common/worker_pool.h"
#include "services/storage/commit_queue.h"
#include "services/storage/store.h"

namespace blindcart::broker {

// Where the database keeps the latest token's time, in decimal Unix milliseconds.
inline constexpr char kNotaryTimeMetaKey[] = "notary_time_ms";

class Notary {
 public:
  static constexpr int64_t kMaxClockDifferenceMs = 1'000;

  struct Options {
    // Of one customer at one broker: so many at once or after a pause, and then one in this time.
    int64_t burst = 64;
    int64_t interval_ms = 500;
  };
  struct History {
    int64_t last_time_ms = 0;
    int64_t last_serial = 0;
  };

  // What earlier runs have issued.
  static absl::StatusOr<History> ReadHistory(storage::Store& store);

  // `responder` null: there is no notary here. All must outlive the object and every callback of the
  // workers and the queue.
  Notary(const Options& options, const History& history,
         const crypto::TimeStampResponder* responder, storage::CommitQueue& commits,
         Executor& workers, const protocol::Clock& clock);

  // Refused() for what no honest agent sends; `answer` is not called then.
  absl::Status Stamp(int64_t customer_id, v1::NotaryCall call,
                     std::function<void(v1::NotaryResult)> answer);

  // Looks at the clock, and forgets customers who have not stamped for a while.
  void Sweep();

 private:
  struct Request;
  // Time stamps that a customer may still have, as of a monotonic time.
  struct Allowance {
    int64_t stamps = 0;
    int64_t since_ms = 0;
  };

  // 0, or how long to wait.
  int64_t TakeAllowance(int64_t customer_id);
  // Whether the clock shows no less than ever before.
  bool LookAtClockLocked(int64_t now_ms);
  void Sign(const std::shared_ptr<Request>& request);
  void Keep(const std::shared_ptr<Request>& request);

  const Options options_;
  const crypto::TimeStampResponder* const responder_;
  storage::CommitQueue& commits_;
  Executor& workers_;
  const protocol::Clock& clock_;

  std::mutex mutex_;
  // The rest is used under mutex_.
  int64_t latest_ms_ = 0;  // The clock never showed more.
  int64_t last_serial_ = 0;
  bool clock_behind_ = false;
  absl::flat_hash_map<int64_t, Allowance> allowances_;  // By customer; none: a full one.
};

}  // namespace blindcart::broker

#endif  // BLINDCART_SERVICES_BROKER_NOTARY_H_
