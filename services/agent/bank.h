// The customer's account at the broker: deposits, withdrawals and the statement (docs/bank.md).
//
// A deposit or withdrawal has a request id that is durable here before it is sent and until whoever
// asked has acknowledged its answer (cash_store.h). Asked for again meanwhile, with the same amount,
// it is the same request: it counts once, whatever broke in between, be it the asker itself. A request
// that moved nothing is forgotten with its answer: the same again is a new one.
//
// The statement's balances are added up here from the entries; an answer of the broker's that does
// not add up is DataLoss.
//
// Errors, with words for people: as broker_session.h; InvalidArgument, FailedPrecondition (the same
// movement is under way, or its answer on its way to somebody else who asked). Business answers are
// outcomes. Thread-safe; calls block.
#ifndef BLINDCART_SERVICES_AGENT_BANK_H_
#define BLINDCART_SERVICES_AGENT_BANK_H_

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "crypto/random.h"
#include "proto/bank.pb.h"
#include "protocol/clock.h"
#include "services/agent/broker_session.h"
#include "services/agent/cash_store.h"
#include "services/agent/in_progress.h"

namespace blindcart::agent {

class Bank {
 public:
  // How long the answer to a movement may be on its way to whoever asked before the same movement,
  // asked for by somebody else, gets it too.
  static constexpr int64_t kHandOverMs = 5'000;

  struct Moved {
    CashRequest request;
    v1::CashResult result;
  };
  struct Line {
    v1::StatementEntry entry;
    int64_t balance_minor = 0;  // After it.
  };
  struct Page {
    std::string account_number;
    std::string currency;
    int64_t balance_before_minor = 0;
    std::vector<Line> lines;
  };

  // All must outlive the object.
  Bank(BrokerSession& broker, AgentDatabase& database, crypto::RandomSource& random,
       const protocol::Clock& clock)
      : broker_(broker), store_(database), random_(random), clock_(clock) {}

  absl::StatusOr<Moved> Deposit(int64_t amount_minor) { return Move(true, amount_minor); }
  absl::StatusOr<Moved> Withdraw(int64_t amount_minor) { return Move(false, amount_minor); }
  // Whoever asked has the answer: from now on the same movement is another one. OK when it is known
  // already.
  absl::Status Acknowledge(absl::string_view request_id);
  // Whoever asked is gone: who asks next gets the answer.
  void Abandon(absl::string_view request_id);

  // Calls `on_page` for every page in order, at least once; false from it ends the statement as
  // Cancelled. While what came before `since_ms` is passed over, pages have no lines.
  absl::Status Statement(int64_t since_ms, const std::function<bool(const Page& page)>& on_page);

 private:
  // An answer on its way to whoever asked.
  struct HandOver {
    std::string request_id;
    int64_t until_ms = 0;  // Monotonic.
  };

  absl::StatusOr<Moved> Move(bool deposit, int64_t amount_minor);
  // One request and its answer.
  absl::StatusOr<Moved> Ask(bool deposit, int64_t amount_minor);
  bool IsBeingHandedOver(const std::string& movement);

  BrokerSession& broker_;
  CashStore store_;
  crypto::RandomSource& random_;
  const protocol::Clock& clock_;
  InProgress in_progress_;

  std::mutex mutex_;
  std::map<std::string, HandOver> handed_over_;  // By movement. Under mutex_.
};

}  // namespace blindcart::agent

#endif  // BLINDCART_SERVICES_AGENT_BANK_H_
