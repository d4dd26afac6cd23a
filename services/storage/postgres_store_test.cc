#include "services/storage/postgres_store.h"

#include <memory>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/storage/mailboxes_contract_test.h"
#include "services/storage/store_contract_test.h"
#include "services/storage/testing/postgres_server.h"

namespace blindcart::storage {
namespace {

using testing::PostgresServer;

// One server for all tests of this process.
PostgresServer& Server() {
  static const std::unique_ptr<PostgresServer> server = [] {
    absl::StatusOr<std::unique_ptr<PostgresServer>> started = PostgresServer::Start();
    if (!started.ok()) ADD_FAILURE() << started.status();
    return started.ok() ? *std::move(started) : nullptr;
  }();
  if (server == nullptr) std::abort();
  return *server;
}

absl::StatusOr<std::unique_ptr<Store>> OpenStore(const std::string& url) {
  PostgresStoreOptions options;
  options.url = url;
  return OpenPostgresStore(options);
}

class PostgresBackend : public StoreBackend {
 public:
  PostgresBackend() : url_(*Server().CreateDatabase()) {}
  ~PostgresBackend() override {
    const absl::Status dropped = Server().DropDatabase(url_);
    EXPECT_TRUE(dropped.ok()) << dropped;
  }
  absl::StatusOr<std::unique_ptr<Store>> Open() override { return OpenStore(url_); }

 private:
  const std::string url_;
};

std::unique_ptr<StoreBackend> MakePostgresBackend() { return std::make_unique<PostgresBackend>(); }

}  // namespace

INSTANTIATE_TEST_SUITE_P(Postgres, StoreContractTest, ::testing::Values(MakePostgresBackend));
INSTANTIATE_TEST_SUITE_P(Postgres, MailboxesContractTest, ::testing::Values(MakePostgresBackend));

}  // namespace blindcart::storage
