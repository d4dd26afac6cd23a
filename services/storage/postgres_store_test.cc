#include "services/storage/postgres_store.h"

#include <atomic>
#include <fstream>
#include <memory>
#include <sstream>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/storage/mailboxes_contract_test.h"
#include "services/storage/postgres.h"
#include "services/storage/store_contract_test.h"
#include "services/storage/testing/postgres_proxy.h"
#include "services/storage/testing/postgres_server.h"

namespace blindcart::storage {
namespace {

using testing::AddSampleWorld;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::PostgresProxy;
using testing::PostgresServer;
using testing::SampleBytes;
using testing::SampleOrder;

// As in deploy/postgres/grants.sql.
constexpr char kBrokerUser[] = "blindcart_broker";

std::string Grants() {
  std::ifstream file("deploy/postgres/grants.sql");
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// One server for all tests of this process.
PostgresServer& Server() {
  static const std::unique_ptr<PostgresServer> server = [] {
    absl::StatusOr<std::unique_ptr<PostgresServer>> started = PostgresServer::Start();
    if (!started.ok()) {
      ADD_FAILURE() << started.status();
      std::abort();
    }
    const absl::Status made = PostgresServer::Execute(
        (*started)->Url("postgres"), absl::StrCat("CREATE ROLE ", kBrokerUser, " LOGIN"));
    EXPECT_TRUE(made.ok()) << made;
    return *std::move(started);
  }();
  return *server;
}

absl::StatusOr<std::unique_ptr<Store>> OpenStore(const std::string& url) {
  PostgresStoreOptions options;
  options.url = url;
  return OpenPostgresStore(options);
}

std::string AsBroker(std::string url) {
  const size_t user = url.find("user=owner");
  return url.replace(user, 10, absl::StrCat("user=", kBrokerUser));
}

// A database with the schema, and the rights of grants.sql; as a copy of one, which is quicker than
// making the schema each time.
std::string NewDatabase() {
  static const std::string model = [] {
    std::string url = *Server().CreateDatabase();
    EXPECT_TRUE(OpenStore(url).ok());
    const absl::Status granted = PostgresServer::Execute(url, Grants());
    EXPECT_TRUE(granted.ok()) << granted;
    return url;
  }();
  return *Server().CreateDatabase(model);
}

class PostgresBackend : public StoreBackend {
 public:
  PostgresBackend() : url_(NewDatabase()) {}
  // With no more rights than a broker is to have.
  absl::StatusOr<std::unique_ptr<Store>> Open() override { return OpenStore(AsBroker(url_)); }

 private:
  const std::string url_;
};

std::unique_ptr<StoreBackend> MakePostgresBackend() { return std::make_unique<PostgresBackend>(); }

}  // namespace

INSTANTIATE_TEST_SUITE_P(Postgres, StoreContractTest, ::testing::Values(MakePostgresBackend));
INSTANTIATE_TEST_SUITE_P(Postgres, MailboxesContractTest, ::testing::Values(MakePostgresBackend));

namespace {

class PostgresStoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    url_ = NewDatabase();
    absl::StatusOr<std::unique_ptr<Store>> store = OpenStore(AsBroker(url_));
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
    world_ = AddSampleWorld(*store_);
  }

  absl::Status SetMeta(Store& store, const std::string& value) {
    return store.Write([&](Transaction& t) { return t.meta().Set("key", value); });
  }
  std::string GetMeta(Store& store) {
    std::string value = "nothing";
    EXPECT_TRUE(store
                    .Read([&](Transaction& t) -> absl::Status {
                      const absl::StatusOr<std::string> read = t.meta().Get("key");
                      if (read.ok()) value = *read;
                      return absl::IsNotFound(read.status()) ? absl::OkStatus() : read.status();
                    })
                    .ok());
    return value;
  }

  std::string url_;
  std::unique_ptr<Store> store_;
  testing::SampleWorld world_;
};

TEST_F(PostgresStoreTest, ABrokersUserCannotRewriteHistory) {
  testing::AddPaidOrder(*store_, world_);
  for (const char* sql : {
           "UPDATE transfers SET created_at_ms = 1",
           "DELETE FROM transfers",
           "TRUNCATE transfers CASCADE",
           "UPDATE entries SET amount_minor = amount_minor + 1",
           "DELETE FROM entries",
           "UPDATE requests SET answer = ''",
           "DELETE FROM requests",
           "UPDATE orders SET price_minor = 1, total_minor = 26",
           "UPDATE orders SET customer_id = customer_id + 1",
           "UPDATE orders SET expires_at_ms = 1",
           "DELETE FROM orders",
           "UPDATE accounts SET number = 'C-9'",
           "UPDATE accounts SET kind = 'external'",
           "DELETE FROM accounts",
           "UPDATE customers SET fingerprint = sid FROM orders",
           "DELETE FROM customers",
           "DELETE FROM merchants",
           "UPDATE tokens SET serial = 2",
           "DELETE FROM revocations",
           "DELETE FROM certificate_blocks",
           "UPDATE certificate_blocks SET blocked = 0",
           "DELETE FROM certificates",
           "DROP TABLE entries",
           "ALTER TABLE accounts DROP CONSTRAINT accounts_balance_minor_check",
           "INSERT INTO schema_migrations VALUES (77)",
       }) {
    const absl::Status refused = PostgresServer::Execute(AsBroker(url_), sql);
    EXPECT_FALSE(refused.ok()) << sql;
    EXPECT_THAT(std::string(refused.message()),
                ::testing::AnyOf(HasSubstr("permission denied"), HasSubstr("must be owner")))
        << sql;
  }
  // What the schema itself refuses, whoever asks.
  for (const char* sql : {
           "UPDATE accounts SET balance_minor = -1 WHERE kind = 'customer'",
           "UPDATE accounts SET balance_minor = 9223372036854775807 + 1",
           "UPDATE orders SET status = 'stolen'",
           "UPDATE orders SET transfer_id = NULL, receipt = NULL, paid_at_ms = NULL",
           "UPDATE accounts SET kind = 'external' WHERE kind = 'customer'",
           "DELETE FROM customers",
       }) {
    EXPECT_FALSE(PostgresServer::Execute(url_, sql).ok()) << sql;
  }
}

TEST_F(PostgresStoreTest, ANewerDatabaseIsRefused) {
  ASSERT_TRUE(
      PostgresServer::Execute(url_, "INSERT INTO schema_migrations (version) VALUES (1000)").ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(OpenStore(url_).status()));
}

TEST_F(PostgresStoreTest, ManyMayMakeTheSchemaAtOnce) {
  const std::string url = *Server().CreateDatabase();
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&url] {
      const absl::StatusOr<std::unique_ptr<Store>> store = OpenStore(url);
      EXPECT_TRUE(store.ok()) << store.status();
    });
  }
  for (std::thread& thread : threads) thread.join();
  absl::StatusOr<std::unique_ptr<Store>> store = OpenStore(url);
  ASSERT_TRUE(store.ok()) << store.status();
  AddSampleWorld(**store);
}

TEST_F(PostgresStoreTest, AnErrorThatTheBodySwallowsStillEndsTheTransaction) {
  const absl::Status status = store_->Write([&](Transaction& t) {
    EXPECT_TRUE(t.meta().Set("key", "value").ok());
    EXPECT_TRUE(absl::IsInvalidArgument(t.meta().Set("", "refused by the schema")));
    EXPECT_TRUE(absl::IsInvalidArgument(t.meta().Set("key", "too late")));
    return absl::OkStatus();
  });
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_EQ(GetMeta(*store_), "nothing");
  EXPECT_TRUE(SetMeta(*store_, "value").ok());
}

TEST_F(PostgresStoreTest, BrokenReferencesAreFound) {
  testing::AddPaidOrder(*store_, world_);
  ASSERT_TRUE(
      PostgresServer::Execute(url_,
                              "ALTER TABLE entries DROP CONSTRAINT entries_transfer_id_fkey;"
                              "INSERT INTO entries (transfer_id, account_id, amount_minor)"
                              " VALUES ('0123456789abcdef', 1, 5)")
          .ok());
  const absl::StatusOr<std::vector<std::string>> findings = store_->CheckIntegrity();
  ASSERT_TRUE(findings.ok()) << findings.status();
  EXPECT_THAT(*findings, ElementsAre("1 row(s) of entries refer to no row of transfers"));
}

TEST_F(PostgresStoreTest, AStoredValueOutsideItsEnumIsDataLossToUseAndInvalidToList) {
  ASSERT_TRUE(PostgresServer::Execute(url_,
                                      "ALTER TABLE accounts DROP CONSTRAINT accounts_kind_check;"
                                      "UPDATE accounts SET kind = 'pirate' WHERE number = 'X-1'")
                  .ok());
  ASSERT_TRUE(store_
                  ->Read([&](Transaction& t) -> absl::Status {
                    EXPECT_TRUE(
                        absl::IsDataLoss(t.accounts().Get(world_.external_account).status()));
                    const absl::StatusOr<std::vector<Account>> all = t.accounts().List(0, 10);
                    if (!all.ok()) return all.status();
                    EXPECT_EQ(all->back().kind, AccountKind::kInvalid);
                    return absl::OkStatus();
                  })
                  .ok());
}

// A broker that has been updated adds columns while an older one still serves.
TEST_F(PostgresStoreTest, StatementsSurviveANewColumn) {
  ASSERT_TRUE(SetMeta(*store_, "before").ok());
  EXPECT_EQ(GetMeta(*store_), "before");
  const auto get = [&] {
    return store_->Read(
        [&](Transaction& t) { return t.accounts().Get(world_.customer_account).status(); });
  };
  ASSERT_TRUE(get().ok());
  ASSERT_TRUE(
      PostgresServer::Execute(url_, "ALTER TABLE accounts ADD COLUMN colour TEXT DEFAULT 'red'")
          .ok());
  const absl::Status status = get();
  EXPECT_TRUE(status.ok()) << status;
}

TEST_F(PostgresStoreTest, TheServersRestartIsSurvivedByAllConnections) {
  // Several connections lie idle.
  std::vector<std::thread> readers;
  for (int i = 0; i < 8; ++i) {
    readers.emplace_back([&] { GetMeta(*store_); });
  }
  for (std::thread& reader : readers) reader.join();
  ASSERT_TRUE(SetMeta(*store_, "before").ok());
  Server().Crash();
  std::thread writer([&] {
    const absl::Status status = SetMeta(*store_, "after");
    EXPECT_TRUE(status.ok()) << status;
  });
  const absl::Status again = Server().StartAgain();
  writer.join();
  ASSERT_TRUE(again.ok()) << again;
  EXPECT_EQ(GetMeta(*store_), "after");
}

// A broker whose machine has lost its power in the middle of a payment: nothing tells the server.
TEST_F(PostgresStoreTest, WhoGoesSilentInATransactionStopsOthersForSecondsOnly) {
  const std::unique_ptr<PostgresConnection> silent = *PostgresConnection::Open(AsBroker(url_));
  const absl::Status lost = silent->InTransaction([&]() -> absl::Status {
    const absl::StatusOr<bool> locked =
        silent->Prepare("SELECT id FROM accounts ORDER BY id FOR UPDATE").Step();
    EXPECT_TRUE(locked.ok() && *locked) << locked.status();
    const absl::Status status = store_->Write(
        [&](Transaction& t) { return t.accounts().SetPinState(world_.customer_account, 1, 0); });
    EXPECT_TRUE(status.ok()) << status;
    return silent->Prepare("SELECT 1").Step().status();
  });
  EXPECT_FALSE(lost.ok());
}

TEST_F(PostgresStoreTest, AServerThatStaysAwayIsUnavailable) {
  PostgresStoreOptions options;
  options.url = url_;
  options.patience_ms = 300;
  const std::unique_ptr<Store> store = *OpenPostgresStore(options);
  Server().Crash();
  EXPECT_TRUE(absl::IsUnavailable(SetMeta(*store, "lost")));
  std::vector<WriteJob> jobs(
      2, {[](Transaction& t) { return t.meta().Set("key", "lost"); }, absl::OkStatus()});
  EXPECT_TRUE(absl::IsUnavailable(store->WriteBatch(absl::MakeSpan(jobs))));
  for (const WriteJob& job : jobs) EXPECT_TRUE(absl::IsUnavailable(job.status));
  EXPECT_TRUE(absl::IsUnavailable(OpenStore(url_).status()));
  ASSERT_TRUE(Server().StartAgain().ok());
  EXPECT_EQ(GetMeta(*store), "nothing");
}

class PostgresCutTest : public PostgresStoreTest {
 protected:
  void SetUp() override {
    PostgresStoreTest::SetUp();
    proxy_ = *PostgresProxy::Start(Server().folder());
    std::string url = url_;
    const size_t folder = url.find(Server().folder());
    url.replace(folder, Server().folder().size(), proxy_->folder());
    absl::StatusOr<std::unique_ptr<Store>> store = OpenStore(url);
    ASSERT_TRUE(store.ok()) << store.status();
    through_ = *std::move(store);
    ASSERT_TRUE(SetMeta(*through_, "before").ok());
  }
  void TearDown() override { through_.reset(); }

  std::unique_ptr<PostgresProxy> proxy_;
  std::unique_ptr<Store> through_;
};

TEST_F(PostgresCutTest, AConnectionLostBeforeTheCommitIsReplaced) {
  for (PostgresProxy::Cut cut :
       {PostgresProxy::Cut::kBeforeRequest, PostgresProxy::Cut::kBeforeAnswer}) {
    const int before = proxy_->cuts();
    proxy_->CutAt("new value", cut);
    const absl::Status status = SetMeta(*through_, "new value");
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_EQ(GetMeta(*store_), "new value");
    proxy_->CutAt("BEGIN", cut);
    EXPECT_EQ(GetMeta(*through_), "new value");
    EXPECT_EQ(proxy_->cuts(), before + 2);
    ASSERT_TRUE(SetMeta(*store_, "before").ok());
  }
}

TEST_F(PostgresCutTest, ACommitWhoseAnswerIsLostIsReportedAndMayHaveHappened) {
  proxy_->CutAt("COMMIT", PostgresProxy::Cut::kBeforeRequest);
  EXPECT_TRUE(absl::IsUnavailable(SetMeta(*through_, "never arrived")));
  EXPECT_EQ(GetMeta(*store_), "before");
  proxy_->CutAt("COMMIT", PostgresProxy::Cut::kBeforeAnswer);
  EXPECT_TRUE(absl::IsUnavailable(SetMeta(*through_, "arrived")));
  EXPECT_EQ(GetMeta(*store_), "arrived");
  EXPECT_EQ(proxy_->cuts(), 2);
  EXPECT_TRUE(SetMeta(*through_, "after").ok()) << "on a new connection";

  // The same of a batch: every job has to be told.
  proxy_->CutAt("COMMIT", PostgresProxy::Cut::kBeforeAnswer);
  int runs = 0;
  std::vector<WriteJob> jobs(3, {[&runs](Transaction& t) {
                                   ++runs;
                                   return t.meta().Set("key", "batch");
                                 },
                                 absl::OkStatus()});
  EXPECT_TRUE(absl::IsUnavailable(through_->WriteBatch(absl::MakeSpan(jobs))));
  for (const WriteJob& job : jobs) EXPECT_TRUE(absl::IsUnavailable(job.status));
  EXPECT_EQ(runs, 3) << "what may have happened is not done again";
  EXPECT_EQ(GetMeta(*store_), "batch");

  // A snapshot's end settles nothing, so reading goes on.
  proxy_->CutAt("COMMIT", PostgresProxy::Cut::kBeforeAnswer);
  EXPECT_EQ(GetMeta(*through_), "batch");
}

TEST(PostgresUrlTest, TellsSafeFromUnsafe) {
  for (const char* url : {
           "postgres:///blindcart",
           "postgresql:///blindcart?host=/var/run/postgresql",
           "postgres://broker@localhost:5433/blindcart",
           "postgres://broker@127.0.0.1/blindcart?sslmode=disable",
           "postgres://broker@[::1]/blindcart",
           "postgres://broker@db.example.org/blindcart",
           "postgres://broker@db.example.org/blindcart?sslmode=verify-ca&sslrootcert=/ca.pem",
           "postgres://broker@a.example.org,b.example.org/blindcart",
       }) {
    EXPECT_TRUE(CheckPostgresUrl(url).ok()) << url << CheckPostgresUrl(url);
  }
  for (const char* url : {
           "",
           "blindcart",
           "sqlite:broker.db",
           "host=db.example.org dbname=blindcart",
           "postgres://broker@db.example.org/blindcart?sslmode=require",
           "postgres://broker@db.example.org/blindcart?sslmode=disable",
           "postgres://broker@localhost,db.example.org/blindcart?sslmode=prefer",
           "postgres://localhost/blindcart?hostaddr=192.0.2.1&sslmode=allow",
           "postgres://broker@localhost/blindcart?no_such_option=1",
           "postgres:///blindcart?service=elsewhere",
       }) {
    EXPECT_TRUE(absl::IsInvalidArgument(CheckPostgresUrl(url))) << url;
  }
  for (const char* url : {"postgres://u:secret@h:port/d", "postgres://u:pa@secret@h/d",
                          "postgres://u:1/secret@h/d", "postgres://u:secret/1@h/d"}) {
    const absl::Status status = CheckPostgresUrl(url);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << url;
    EXPECT_THAT(std::string(status.message()), ::testing::Not(HasSubstr("secret")));
  }
}

}  // namespace
}  // namespace blindcart::storage
