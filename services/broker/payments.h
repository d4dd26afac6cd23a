// Payment of an order (docs/protocol.md section 5): the PIN is compared in the bounded pool, then one
// transaction does all of it: the stored answer to the same request, the order's state and owner, the
// account, the PIN's verdict and count, agreed total, currency, balance, the transfer, the order's
// new status with its receipt, the notice to the merchant, and the answer to be stored. The answer
// leaves after the commit.
//
// Outcomes, in order of precedence: ORDER_UNKNOWN, ORDER_DECLINED, ORDER_EXPIRED, TRY_LATER,
// ACCOUNT_OR_PIN, SUCCESSFUL (already paid: the first receipt again), TOTAL_DIFFERS, CURRENCY,
// INSUFFICIENT_BALANCE, SUCCESSFUL. BUSY means that it could not be done
// now, or that its commit broke off and nobody knows yet: the same request again finds out.
//
// The same request (request id, order, account, total) gets the same answer, without the PIN. Not
// kept are the answers that depend on the PIN or say nothing about the order (TRY_LATER,
// ACCOUNT_OR_PIN, ORDER_UNKNOWN, BUSY): the digest that tells requests apart holds no PIN, since one
// at rest could be guessed from it; nor those that the order itself gives for ever (ORDER_DECLINED,
// ORDER_EXPIRED), which would only fill the store. A request id that comes back with other content is judged anew; an
// order is charged once whatever the ids.
//
// Thread-safe. Answers come once, on the caller's thread, the pool's or the commit queue's.
#ifndef BLINDCART_SERVICES_BROKER_PAYMENTS_H_
#define BLINDCART_SERVICES_BROKER_PAYMENTS_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "crypto/identity.h"
#include "crypto/secret_bytes.h"
#include "proto/customer.pb.h"
#include "protocol/clock.h"
#include "services/broker/notices.h"
#include "services/common/worker_pool.h"
#include "services/storage/commit_queue.h"
#include "services/storage/store.h"

namespace blindcart::broker {

class Payments {
 public:
  // Of one customer at once; a further one is BUSY.
  static constexpr int kMaxUnderWay = 4;
  // A merchant is told of failed payments of one order at most this often.
  static constexpr int64_t kFailureNoticeIntervalMs = 60'000;
  static constexpr size_t kMaxFailuresRemembered = 65'536;

  struct Options {
    int64_t free_pin_failures = 3;
    // Compared against for accounts that are not there or not the customer's; of the real records'
    // cost.
    std::string decoy_pin_record;
  };

  // All must outlive the object and every callback of the pool and the queue.
  Payments(const Options& options, const crypto::Identity& broker, storage::Store& store,
           storage::CommitQueue& commits, Executor& pin_workers, Notices& notices,
           const protocol::Clock& clock);

  // Refused() for what no honest agent sends; `answer` is not called then. Wipes the PIN's hash.
  absl::Status Pay(int64_t customer_id, v1::PayCall call,
                   std::function<void(v1::PayResult)> answer);

 private:
  struct Request;
  struct Outcome;

  // The steps, in this order.
  absl::Status Look(Request& request);
  // What Look and Decide read, as far as it is known beforehand.
  static void ReadForLook(storage::Transaction& transaction, const Request& request);
  static void ReadForDecide(storage::Transaction& transaction, const Request& request);
  void Verify(const std::shared_ptr<Request>& request);
  void Commit(const std::shared_ptr<Request>& request);
  absl::Status Decide(storage::Transaction& transaction, const Request& request,
                      Outcome& outcome) const;
  absl::Status Charge(storage::Transaction& transaction, const Request& request,
                      const storage::Order& order, const storage::Account& account,
                      Outcome& outcome) const;
  void Finish(const Request& request, v1::PayResult result);

  bool MayTellOfFailure(const std::string& order_id);

  const Options options_;
  const crypto::Identity& broker_;
  storage::Store& store_;
  storage::CommitQueue& commits_;
  Executor& pin_workers_;
  Notices& notices_;
  const protocol::Clock& clock_;

  std::mutex mutex_;
  absl::flat_hash_map<int64_t, int> under_way_;              // By customer.
  absl::flat_hash_map<std::string, int64_t> failures_told_;  // Order id to monotonic milliseconds.
};

}  // namespace blindcart::broker

#endif  // BLINDCART_SERVICES_BROKER_PAYMENTS_H_
