// The merchant's database file: its schema, one writer with group commit, and one reader that never
// waits for the writer (SQLite in WAL mode). services/catalog and services/orders work on what this
// hands out.
//
// Writes wait in a bounded queue; one thread takes whatever waits and makes one durable commit of
// it, each job in a savepoint of its own, so that a lone job waits for nobody and a busy shop
// shares its disk syncs. OK means durable.
//
// Thread safety: every method may be called from any thread. Write and Read block (on the disk) and
// are not for network threads; Submit is. `done` runs on the writer's thread and must not block.
#ifndef BLINDCART_SERVICES_MERCHANT_SHOP_DATABASE_H_
#define BLINDCART_SERVICES_MERCHANT_SHOP_DATABASE_H_

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/storage/commit_stats.h"
#include "services/storage/sqlite.h"

namespace blindcart::merchant {

class ShopDatabase {
 public:
  using Job = std::function<absl::Status(storage::SqliteDatabase&)>;
  using Done = std::function<void(absl::Status)>;

  static constexpr size_t kMaxBatch = 64;    // Jobs in one commit.
  static constexpr size_t kMaxQueue = 4096;  // Jobs waiting; more are refused.

  // Opens the file, makes it when it is missing (mode 0600) and brings its schema up to date.
  static absl::StatusOr<std::unique_ptr<ShopDatabase>> Open(const std::string& path);
  ~ShopDatabase();  // Shuts down.

  ShopDatabase(const ShopDatabase&) = delete;
  ShopDatabase& operator=(const ShopDatabase&) = delete;

  // Accepts the job, or says why not (ResourceExhausted, Unavailable after Shutdown), in which case
  // `done` is never called. `done` gets OK when the job's changes are durable, the job's own error
  // when it was rolled back, or the commit's.
  absl::Status Submit(Job job, Done done);
  // The same, waited for.
  absl::Status Write(Job job);
  // Runs `body` over one committed snapshot.
  absl::Status Read(absl::FunctionRef<absl::Status(storage::SqliteDatabase&)> body);

  // Pins the broker whose card is at this path, for ever: FailedPrecondition when another one is pinned
  // there already, unless that was one of the `former` identities of this one. Blocks.
  absl::Status PinBroker(const std::string& card_path, const std::string& fingerprint,
                         const std::vector<std::string>& former = {});

  // Refuses new jobs, finishes those accepted, ends the thread. Idempotent. Not from `done`.
  void Shutdown();

  size_t waiting() const;  // Jobs.
  const storage::CommitStats& stats() const { return stats_; }

 private:
  struct Item {
    Job job;
    Done done;
    absl::Status status;
  };

  ShopDatabase(std::unique_ptr<storage::SqliteDatabase> writer,
               std::unique_ptr<storage::SqliteDatabase> reader);
  void Work();
  absl::Status Commit(std::vector<Item>& batch);

  const std::unique_ptr<storage::SqliteDatabase> writer_;  // The thread's.
  std::mutex reader_mutex_;
  const std::unique_ptr<storage::SqliteDatabase> reader_;  // Under reader_mutex_.

  storage::CommitStats stats_;
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Item> waiting_;
  bool closing_ = false;
  std::mutex join_mutex_;  // Makes concurrent Shutdown calls safe; never held with mutex_.
  std::thread thread_;
};

}  // namespace blindcart::merchant

#endif  // BLINDCART_SERVICES_MERCHANT_SHOP_DATABASE_H_
