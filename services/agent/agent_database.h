// The agent's own database: which broker and shops are pinned, a copy of each shop's catalogue, and
// every purchase with its evidence; keys, sessions and texts of messages. SQLite
// (services/storage/sqlite.h), STRICT tables.
//
// What rests here is secret: `order_key` fetches what was bought, the rows say what was bought, and
// messages with their keys are here in plain. The file is its owner's alone (mode 0600); whoever can
// read it can read the customer's purchases and messages.
//
// Thread safety: Run may be called from any thread; calls take turns. Calls block on the disk, so
// never from a network thread. Errors: as services/storage/sqlite.h.
#ifndef BLINDCART_SERVICES_AGENT_AGENT_DATABASE_H_
#define BLINDCART_SERVICES_AGENT_AGENT_DATABASE_H_

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/storage/sqlite.h"

namespace blindcart::agent {

class AgentDatabase {
 public:
  // Opens the file, makes it if it is not there, and brings its schema up to date.
  static absl::StatusOr<std::unique_ptr<AgentDatabase>> Open(const std::string& path);

  // Keeps the broker's fingerprint at the first call. A later one may bring another only when the kept
  // one is among `former`, those that the new one has provably followed (protocol/identity_chain.h);
  // FailedPrecondition otherwise.
  absl::Status PinBroker(absl::string_view fingerprint,
                         const std::vector<std::string>& former = {});

  // Runs `body` in one transaction: all of it is durable when this returns Ok, or nothing happened.
  absl::Status Transact(absl::FunctionRef<absl::Status(storage::SqliteDatabase&)> body);
  // Runs `body`, which only reads.
  absl::Status Read(absl::FunctionRef<absl::Status(storage::SqliteDatabase&)> body);

  // Empties the write-ahead log, which holds earlier states of rows: after this, nothing that was
  // deleted or replaced is in the files any more.
  absl::Status Scrub();

 private:
  explicit AgentDatabase(std::unique_ptr<storage::SqliteDatabase> database)
      : database_(std::move(database)) {}

  std::mutex mutex_;
  std::unique_ptr<storage::SqliteDatabase> database_;  // Used under mutex_.
};

}  // namespace blindcart::agent

#endif  // BLINDCART_SERVICES_AGENT_AGENT_DATABASE_H_
