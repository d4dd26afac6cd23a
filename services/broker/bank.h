// The bank (docs/bank.md): a customer's own deposits, withdrawals and statement. Money comes from the
// external account and goes back there, so the books always balance.
//
// A request is decided in one transaction: the stored answer to the same request, else the transfer
// and the answer to be stored with it. So whatever is sent again moves money once; the answer leaves
// after the commit. Outcomes, in order of precedence: the stored answer, NOT_ALLOWED,
// INSUFFICIENT_BALANCE, LIMIT, DONE. DONE, INSUFFICIENT_BALANCE and LIMIT are kept for the request id;
// NOT_ALLOWED says how the broker is configured now, BUSY that nothing is known to have happened.
//
// Thread-safe. Answers come once, on the caller's thread or the commit queue's.
#ifndef BLINDCART_SERVICES_BROKER_BANK_H_
#define BLINDCART_SERVICES_BROKER_BANK_H_

#include <cstdint>
#include <functional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/bank.pb.h"
#include "protocol/clock.h"
#include "services/broker/customer_bound.h"
#include "services/storage/commit_queue.h"
#include "services/storage/store.h"

namespace blindcart::broker {

class Bank {
 public:
  static constexpr int kMaxUnderWay = 64;  // Of one customer at once; a further one is BUSY.
  static constexpr int64_t kEntriesPerPage = 200;
  // What one call passes over at most on its way to the first entry of a statement: nobody's old
  // entries may hold up the store for others.
  static constexpr int64_t kMaxPassedOver = 1'000;

  enum class Direction { kDeposit, kWithdraw };
  struct Options {
    bool customers_may_deposit = false;
  };
  // Refused() when the request id was used for something else, which no honest agent does.
  using Answer = std::function<void(absl::StatusOr<v1::CashResult>)>;

  // All must outlive the object and every callback of the queue.
  Bank(const Options& options, storage::Store& store, storage::CommitQueue& commits,
       const protocol::Clock& clock)
      : options_(options), store_(store), commits_(commits), clock_(clock) {}

  // Refused() for what no honest agent sends; `answer` is not called then.
  absl::Status Cash(int64_t customer_id, Direction direction, const v1::CashCall& call,
                    Answer answer);

  // One page. Refused() for what no honest agent sends; any other error when the store cannot be
  // read.
  absl::StatusOr<v1::StatementResult> Statement(int64_t customer_id, const v1::StatementCall& call);

 private:
  struct Request;

  absl::Status Decide(storage::Transaction& transaction, const Request& request,
                      v1::CashResult& result) const;

  const Options options_;
  storage::Store& store_;
  storage::CommitQueue& commits_;
  const protocol::Clock& clock_;
  CustomerBound under_way_{kMaxUnderWay};
};

}  // namespace blindcart::broker

#endif  // BLINDCART_SERVICES_BROKER_BANK_H_
