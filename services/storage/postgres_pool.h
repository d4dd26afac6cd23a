// A bounded set of connections to one PostgreSQL database, opened when needed and kept.
//
// Writers may hold only half of them, and readers all but one, so that neither wait for the others.
// When a connection turns
// out to be lost, those that lie idle are dropped with it: the server has gone away from them too.
//
// Thread safety: all methods from any thread. The pool must outlive its leases.
#ifndef SERVICES_STORAGE_POSTGRES_POOL_H_
#define SERVICES_STORAGE_POSTGRES_POOL_H_

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "services/storage/postgres.h"
#include "services/storage/store.h"

namespace blindcart::storage {

class PostgresPool {
 public:
  using Clock = std::chrono::steady_clock;
  enum class Purpose { kRead, kWrite };

  // A connection while somebody uses it; goes back when destroyed.
  class Lease {
   public:
    Lease(Lease&& other) noexcept
        : pool_(std::exchange(other.pool_, nullptr)),
          purpose_(other.purpose_),
          connection_(std::move(other.connection_)) {}
    Lease& operator=(Lease&&) = delete;
    ~Lease();
    PostgresConnection& connection() { return *connection_; }

   private:
    friend class PostgresPool;
    Lease(PostgresPool* pool, Purpose purpose, std::unique_ptr<PostgresConnection> connection)
        : pool_(pool), purpose_(purpose), connection_(std::move(connection)) {}
    PostgresPool* pool_;
    Purpose purpose_;
    std::unique_ptr<PostgresConnection> connection_;
  };

  // At most `connections` (at least 2) at once.
  PostgresPool(std::string url, int connections);

  // Waits for a free place until `deadline`. kUnavailable when none came or the server cannot be
  // reached.
  absl::StatusOr<Lease> Take(Purpose purpose, Clock::time_point deadline);

  StoreConnections connections() const;

 private:
  // Places are taken and given back under mutex_; connections are opened and closed outside it.
  bool HasPlace(Purpose purpose) const;
  void TakePlace(Purpose purpose, int change);
  void Return(Purpose purpose, std::unique_ptr<PostgresConnection> connection);

  const std::string url_;
  const int max_connections_;
  const int max_writers_;
  mutable std::mutex mutex_;
  std::condition_variable place_free_;
  int taken_ = 0;    // under mutex_, as the following
  int waiting_ = 0;  // callers of Take
  int writers_ = 0;  // of those taken
  std::vector<std::unique_ptr<PostgresConnection>> idle_;
};

}  // namespace blindcart::storage

#endif  // SERVICES_STORAGE_POSTGRES_POOL_H_
