// Deposits and withdrawals of whose answer nobody knows yet, in the agent's database: each is noted
// before it is sent and forgotten when its answer has reached whoever asked, so that the same one,
// asked for again after a break or a restart of any party, goes out under the same request id and
// counts once.
//
// Thread-safe. Errors: as services/storage/sqlite.h.
#ifndef BLINDCART_SERVICES_AGENT_CASH_STORE_H_
#define BLINDCART_SERVICES_AGENT_CASH_STORE_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/agent/agent_database.h"

namespace blindcart::agent {

struct CashRequest {
  bool deposit = false;  // Else a withdrawal.
  int64_t amount_minor = 0;
  std::string request_id;  // 16 bytes.
  int64_t begun_at_ms = 0;
  bool repeated = false;  // It was there before.
};

class CashStore {
 public:
  // The database must outlive the store.
  explicit CashStore(AgentDatabase& database) : database_(database) {}

  // Notes `request`, or finds the one of that kind and amount that waits for its answer.
  absl::StatusOr<CashRequest> Begin(const CashRequest& request);
  // OK also when there is none.
  absl::Status Forget(absl::string_view request_id);

 private:
  AgentDatabase& database_;
};

}  // namespace blindcart::agent

#endif  // BLINDCART_SERVICES_AGENT_CASH_STORE_H_
