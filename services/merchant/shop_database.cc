#include "services/merchant/shop_database.h"

#include <algorithm>
#include <chrono>
#include <future>
#include <utility>

#include "absl/strings/str_cat.h"

namespace blindcart::merchant {
namespace {

// Statuses are proto/order.proto's OrderStatus: 1 created, 2 declined, 3 expired, 4 paid, 5
// delivered. There is nothing here about customers: no account, address, session or anything two
// orders share.
constexpr const char* kMigrations[] = {
    R"sql(
CREATE TABLE catalogue (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  version INTEGER NOT NULL CHECK (version >= 0)
) STRICT;
INSERT INTO catalogue (one, version) VALUES (1, 0);

CREATE TABLE products (
  product_id BLOB PRIMARY KEY CHECK (length(product_id) = 16),
  version INTEGER NOT NULL UNIQUE CHECK (version > 0),
  removed INTEGER NOT NULL CHECK (removed IN (0, 1)),
  title TEXT NOT NULL CHECK (length(CAST(title AS BLOB)) BETWEEN 1 AND 256),
  description TEXT NOT NULL CHECK (length(CAST(description AS BLOB)) <= 8192),
  price_minor INTEGER NOT NULL CHECK (price_minor BETWEEN 1 AND 1000000000000),
  currency TEXT NOT NULL CHECK (length(currency) = 3),
  picture BLOB NOT NULL CHECK (length(picture) <= 131072),
  format TEXT NOT NULL CHECK (length(format) <= 8),
  size_bytes INTEGER NOT NULL CHECK (size_bytes >= 0),
  content_hash BLOB NOT NULL CHECK (length(content_hash) = 32),
  stock INTEGER CHECK (stock >= 0)
) STRICT;

CREATE TABLE reservations (
  order_id BLOB PRIMARY KEY CHECK (length(order_id) = 16),
  product_id BLOB NOT NULL REFERENCES products (product_id)
) STRICT;
CREATE INDEX reservations_by_product ON reservations (product_id);

CREATE TABLE orders (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  order_id BLOB NOT NULL UNIQUE CHECK (length(order_id) = 16),
  request_id BLOB NOT NULL CHECK (length(request_id) = 16),
  order_key_hash BLOB NOT NULL CHECK (length(order_key_hash) = 32),
  superseded INTEGER NOT NULL CHECK (superseded IN (0, 1)),
  product_id BLOB NOT NULL REFERENCES products (product_id),
  title TEXT NOT NULL,
  content_hash BLOB NOT NULL CHECK (length(content_hash) = 32),
  size_bytes INTEGER NOT NULL CHECK (size_bytes >= 0),
  format TEXT NOT NULL,
  price_minor INTEGER NOT NULL CHECK (price_minor BETWEEN 1 AND 1000000000000),
  currency TEXT NOT NULL CHECK (length(currency) = 3),
  salt BLOB NOT NULL CHECK (length(salt) = 32),
  created_at_ms INTEGER NOT NULL,
  expires_at_ms INTEGER NOT NULL CHECK (expires_at_ms > created_at_ms),
  broker_fingerprint BLOB NOT NULL CHECK (length(broker_fingerprint) = 32),
  charge_minor INTEGER CHECK (charge_minor >= 0),
  total_minor INTEGER,
  status INTEGER NOT NULL CHECK (status BETWEEN 1 AND 5),
  paid_at_ms INTEGER,
  receipt BLOB,
  CHECK ((charge_minor IS NULL) = (total_minor IS NULL)),
  CHECK (total_minor IS NULL OR total_minor = price_minor + charge_minor),
  CHECK ((status IN (4, 5)) = (paid_at_ms IS NOT NULL)),
  CHECK ((paid_at_ms IS NULL) = (receipt IS NULL))
) STRICT;
-- A request and an order key lead to one order. An order that a retry replaced keeps its row, because
-- it may have been paid after all.
CREATE UNIQUE INDEX orders_by_request ON orders (request_id) WHERE superseded = 0;
CREATE UNIQUE INDEX orders_by_order_key ON orders (order_key_hash) WHERE superseded = 0;
-- Orders that the broker never confirmed: their end has to be noticed here.
CREATE INDEX orders_unconfirmed ON orders (expires_at_ms) WHERE status = 1 AND total_minor IS NULL;
)sql",
    R"sql(
-- The identity that each configured broker had when it was last seen.
CREATE TABLE pinned_brokers (
  card_path TEXT PRIMARY KEY CHECK (length(card_path) > 0),
  fingerprint BLOB NOT NULL CHECK (length(fingerprint) = 32)
) STRICT;
)sql",
};

}  // namespace

absl::StatusOr<std::unique_ptr<ShopDatabase>> ShopDatabase::Open(const std::string& path) {
  absl::StatusOr<std::unique_ptr<storage::SqliteDatabase>> writer =
      storage::SqliteDatabase::Open(path, storage::SqliteOptions());
  if (!writer.ok()) return writer.status();
  const absl::Status migrated = (*writer)->Migrate(kMigrations);
  if (!migrated.ok()) return migrated;
  absl::StatusOr<std::unique_ptr<storage::SqliteDatabase>> reader =
      storage::SqliteDatabase::Open(path, storage::SqliteOptions());
  if (!reader.ok()) return reader.status();
  return std::unique_ptr<ShopDatabase>(new ShopDatabase(*std::move(writer), *std::move(reader)));
}

ShopDatabase::ShopDatabase(std::unique_ptr<storage::SqliteDatabase> writer,
                           std::unique_ptr<storage::SqliteDatabase> reader)
    : writer_(std::move(writer)), reader_(std::move(reader)), thread_([this] { Work(); }) {}

ShopDatabase::~ShopDatabase() { Shutdown(); }

absl::Status ShopDatabase::Submit(Job job, Done done) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (closing_) return absl::UnavailableError("shutting down");
    if (waiting_.size() >= kMaxQueue) {
      ++stats_.refused;
      return absl::ResourceExhaustedError("too many writes wait");
    }
    waiting_.push_back(Item{std::move(job), std::move(done), absl::OkStatus()});
  }
  wake_.notify_one();
  return absl::OkStatus();
}

absl::Status ShopDatabase::Write(Job job) {
  std::promise<absl::Status> result;
  const absl::Status accepted = Submit(
      std::move(job), [&result](absl::Status status) { result.set_value(std::move(status)); });
  if (!accepted.ok()) return accepted;
  return result.get_future().get();
}

absl::Status ShopDatabase::Read(absl::FunctionRef<absl::Status(storage::SqliteDatabase&)> body) {
  std::lock_guard<std::mutex> lock(reader_mutex_);
  return reader_->InSnapshot([&] { return body(*reader_); });
}

absl::Status ShopDatabase::PinBroker(const std::string& card_path, const std::string& fingerprint,
                                     const std::vector<std::string>& former) {
  return Write([&](storage::SqliteDatabase& database) -> absl::Status {
    {
      storage::SqliteStatement select =
          database.Prepare("SELECT fingerprint FROM pinned_brokers WHERE card_path = ?");
      select.BindText(card_path);
      const absl::StatusOr<bool> row = select.Step();
      if (!row.ok()) return row.status();
      if (*row) {
        const std::string kept = select.ColumnBlob(0);
        if (kept == fingerprint) return absl::OkStatus();
        if (std::find(former.begin(), former.end(), kept) == former.end()) {
          return absl::FailedPreconditionError(absl::StrCat(
              card_path,
              " shows another key than the one that this shop pinned. If the broker really has a "
              "new key, ask its operator for the new card, which tells how it followed from the "
              "old "
              "one; if this is another broker, give its card another name (card_path)"));
        }
      }
    }
    return database
        .Prepare("INSERT OR REPLACE INTO pinned_brokers (card_path, fingerprint) VALUES (?, ?)")
        .BindText(card_path)
        .BindBlob(fingerprint)
        .Run();
  });
}

void ShopDatabase::Shutdown() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    closing_ = true;
  }
  wake_.notify_one();
  std::lock_guard<std::mutex> lock(join_mutex_);
  if (thread_.joinable()) thread_.join();
}

size_t ShopDatabase::waiting() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return waiting_.size();
}

void ShopDatabase::Work() {
  while (true) {
    std::vector<Item> batch;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      wake_.wait(lock, [this] { return closing_ || !waiting_.empty(); });
      if (waiting_.empty()) return;
      while (!waiting_.empty() && batch.size() < kMaxBatch) {
        batch.push_back(std::move(waiting_.front()));
        waiting_.pop_front();
      }
    }
    const auto began = std::chrono::steady_clock::now();
    const absl::Status committed = Commit(batch);
    stats_.Note(batch.size(), std::chrono::steady_clock::now() - began, committed.ok());
    for (Item& item : batch) item.done(std::move(item.status));
  }
}

absl::Status ShopDatabase::Commit(std::vector<Item>& batch) {
  const absl::Status committed = writer_->InTransaction([&]() -> absl::Status {
    for (Item& item : batch) {
      item.status = writer_->InSavepoint([&] { return item.job(*writer_); });
      // SQLite gives up the whole transaction when, say, the disk is full.
      if (!writer_->in_transaction()) return item.status;
    }
    return absl::OkStatus();
  });
  if (committed.ok()) return committed;
  // Nothing of any job has happened; also a job's own refusal may rest on one that did not.
  for (Item& item : batch) item.status = committed;
  return committed;
}

}  // namespace blindcart::merchant
