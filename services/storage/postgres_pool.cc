#include "services/storage/postgres_pool.h"

#include <algorithm>

namespace blindcart::storage {

PostgresPool::Lease::~Lease() {
  if (pool_ != nullptr) pool_->Return(purpose_, std::move(connection_));
}

PostgresPool::PostgresPool(std::string url, int connections)
    : url_(std::move(url)),
      max_connections_(std::max(connections, 2)),
      max_writers_(max_connections_ / 2) {}

bool PostgresPool::HasPlace(Purpose purpose) const {
  if (taken_ >= max_connections_) return false;
  return purpose == Purpose::kWrite ? writers_ < max_writers_
                                    : taken_ - writers_ < max_connections_ - 1;
}

void PostgresPool::TakePlace(Purpose purpose, int change) {
  taken_ += change;
  if (purpose == Purpose::kWrite) writers_ += change;
}

absl::StatusOr<PostgresPool::Lease> PostgresPool::Take(Purpose purpose,
                                                       Clock::time_point deadline) {
  {
    std::unique_lock<std::mutex> lock(mutex_);
    ++waiting_;
    const bool has_place =
        place_free_.wait_until(lock, deadline, [&] { return HasPlace(purpose); });
    --waiting_;
    if (!has_place) {
      return absl::UnavailableError("postgres: every connection is in use");
    }
    TakePlace(purpose, 1);
    if (!idle_.empty()) {
      std::unique_ptr<PostgresConnection> connection = std::move(idle_.back());
      idle_.pop_back();
      return Lease(this, purpose, std::move(connection));
    }
  }
  absl::StatusOr<std::unique_ptr<PostgresConnection>> opened = PostgresConnection::Open(url_);
  if (!opened.ok()) {
    Return(purpose, nullptr);
    return opened.status();
  }
  return Lease(this, purpose, *std::move(opened));
}

StoreConnections PostgresPool::connections() const {
  std::lock_guard<std::mutex> lock(mutex_);
  StoreConnections connections;
  connections.limit = max_connections_;
  connections.open = taken_ + static_cast<int>(idle_.size());
  connections.in_use = taken_;
  connections.waiting = waiting_;
  return connections;
}

void PostgresPool::Return(Purpose purpose, std::unique_ptr<PostgresConnection> connection) {
  std::vector<std::unique_ptr<PostgresConnection>> closing;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    TakePlace(purpose, -1);
    if (connection != nullptr && connection->usable()) {
      idle_.push_back(std::move(connection));
    } else if (connection != nullptr) {
      closing = std::move(idle_);
      idle_.clear();
      closing.push_back(std::move(connection));
    }
  }
  // A reader and a writer may both wait, and one of them may not be let in yet.
  place_free_.notify_all();
}

}  // namespace blindcart::storage
