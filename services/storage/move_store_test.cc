#include "services/storage/move_store.h"

#include <unistd.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/storage/postgres.h"
#include "services/storage/postgres_store.h"
#include "services/storage/sqlite.h"
#include "services/storage/sqlite_store.h"
#include "services/storage/testing/postgres_server.h"
#include "services/storage/testing/sample_rows.h"

namespace blindcart::storage {
namespace {

using testing::AddSampleWorld;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using testing::PostgresServer;
using testing::SampleAccount;
using testing::SampleBytes;
using testing::SampleOrder;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAreArray;

constexpr int64_t kAll = 1'000;
constexpr int kOrders = 150;  // more than a page

class MoveStoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    path_ = absl::StrCat(::testing::TempDir(), "/move-", getpid(), "-",
                         ::testing::UnitTest::GetInstance()->current_test_info()->name(), ".db");
    source_ = *OpenSqliteStore(path_);
    world_ = AddSampleWorld(*source_);
    absl::StatusOr<std::unique_ptr<PostgresServer>> server = PostgresServer::Start();
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    url_ = *server_->CreateDatabase();
  }
  void TearDown() override {
    source_.reset();
    target_.reset();
    for (const char* suffix : {"", "-wal", "-shm"}) unlink((path_ + suffix).c_str());
  }

  // Something in every table.
  void FillSource() {
    const absl::Status filled = source_->Write([&](Transaction& t) -> absl::Status {
      absl::Status status;
      const auto run = [&status](const absl::Status& next) { status.Update(next); };
      for (int64_t i = 0; i < kOrders; ++i) {
        const Order order = SampleOrder(1'000 + 10 * i, world_.merchant, world_.customer);
        run(t.orders().Insert(order));
        if (i % 3 == 0) continue;
        if (i % 3 == 1) {
          run(t.orders().UpdateStatus(order.order_id, OrderStatus::kCreated,
                                      OrderStatus::kDeclined));
          continue;
        }
        Transfer transfer;
        transfer.transfer_id = SampleBytes(1'000 + i, kTransferIdBytes);
        transfer.kind = TransferKind::kPayment;
        transfer.order_id = order.order_id;
        Entry from, to;
        from.account_id = world_.customer_account;
        from.amount_minor = -1025;
        to.account_id = world_.merchant_account;
        to.amount_minor = 1025;
        run(t.transfers().Insert(transfer, {from, to}));
        run(t.orders().MarkPaid(order.order_id, transfer.transfer_id, "receipt", 7));
      }
      Transfer deposit;
      deposit.transfer_id = SampleBytes(5, kTransferIdBytes);
      deposit.kind = TransferKind::kDeposit;
      Entry from, to;
      from.account_id = world_.external_account;
      from.amount_minor = INT64_MIN + 1;
      to.account_id = world_.customer_account;
      to.amount_minor = INT64_MAX;
      run(t.transfers().Insert(deposit, {from, to}));
      run(t.accounts().SetBalances({{world_.external_account, INT64_MIN + 1}}));
      run(t.accounts().SetPinState(world_.customer_account, 2, 99));
      RequestAnswer answer;
      answer.customer_id = world_.customer;
      answer.request_id = SampleBytes(1, kRequestIdBytes);
      answer.request_digest = SampleBytes(2, kRequestDigestBytes);
      for (int i = 0; i < 256; ++i) answer.answer.push_back(static_cast<char>(i));
      run(t.requests().Insert(answer));
      // The highest notice is gone by now, and its id never comes back.
      for (int i = 0; i < 3; ++i) run(t.notices().Append(world_.merchant, "notice", 1).status());
      run(t.notices().Acknowledge(world_.merchant, 3));
      for (const char* key : {"b", "B", "a", "_", "\xc3\xa4", ""}) {
        if (*key != '\0') run(t.meta().Set(key, std::string("\0value", 6)));
      }
      MailKeys keys;
      keys.customer_id = world_.customer;
      keys.identity_key = SampleBytes(1, kMailKeyBytes);
      keys.identity_key_signature = SampleBytes(2, kMailSignatureBytes);
      keys.signed_pre_key_id = 3;
      keys.signed_pre_key = SampleBytes(4, kMailKeyBytes);
      keys.signed_pre_key_signature = SampleBytes(5, kMailSignatureBytes);
      run(t.mailboxes().SetKeys(keys));
      run(t.mailboxes().AddPreKey(world_.customer, {7, SampleBytes(8, kMailKeyBytes)}));
      Mail mail;
      mail.recipient_id = world_.customer;
      mail.sender_id = world_.customer;
      mail.message_id = SampleBytes(9, kMessageIdBytes);
      mail.sealed = std::string(kMaxPayloadBytes, 'm');
      mail.expires_at_ms = 10;
      run(t.mailboxes().Append(mail).status());
      run(t.tokens().Insert({INT64_MAX, SampleBytes(10, kTokenHashBytes)}));
      IssuedCertificate certificate;
      certificate.serial = SampleBytes(11, 16);
      certificate.customer_id = world_.customer;
      certificate.kind = CertificateKind::kSigning;
      certificate.der = "certificate";
      certificate.expires_at_ms = 10;
      run(t.certificates().Insert(certificate).status());
      run(t.certificates().Revoke(certificate.serial, 5));
      run(t.certificates().SetBlocked(world_.customer, true, 6));
      StoredRevocationList list;
      list.number = 1;
      list.last_revocation_id = 1;
      list.next_update_ms = 1;
      list.der = "list";
      run(t.certificates().SetRevocationList(list));
      run(t.listeners().Set(
          {world_.customer, "192.0.2.7:9000", SampleBytes(12, kBrokerRunBytes), 7, 10}));
      return status;
    });
    ASSERT_TRUE(filled.ok()) << filled;
  }

  absl::Status Move() {
    return MoveSqliteToPostgres(
        path_, url_, [] { return absl::OkStatus(); }, [](int64_t, int64_t) {});
  }
  void OpenTarget() {
    PostgresStoreOptions options;
    options.url = url_;
    absl::StatusOr<std::unique_ptr<Store>> target = OpenPostgresStore(options);
    ASSERT_TRUE(target.ok()) << target.status();
    target_ = *std::move(target);
  }
  absl::Status AddAccount(Store& store, const std::string& number) {
    return store.Write([&](Transaction& t) {
      return t.accounts().Insert(SampleAccount(AccountKind::kCustomer, number)).status();
    });
  }

  std::string path_;
  std::string url_;
  std::unique_ptr<Store> source_;
  std::unique_ptr<Store> target_;
  std::unique_ptr<PostgresServer> server_;
  testing::SampleWorld world_;
};

// Whoever adds a table has to say where it goes.
TEST_F(MoveStoreTest, NamesEveryTable) {
  const std::unique_ptr<SqliteDatabase> database = *SqliteDatabase::Open(path_, SqliteOptions());
  std::vector<std::string> tables;
  SqliteStatement query = database->Prepare(
      "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'");
  while (*query.Step()) tables.push_back(query.ColumnText(0));
  EXPECT_THAT(std::vector<std::string>(MovedTables().begin(), MovedTables().end()),
              UnorderedElementsAreArray(tables));
}

TEST_F(MoveStoreTest, MovesEverythingAndClosesTheFile) {
  FillSource();
  // Nothing is proven by a table that was empty.
  {
    const std::unique_ptr<SqliteDatabase> database = *SqliteDatabase::Open(path_, SqliteOptions());
    for (const char* table : MovedTables()) {
      SqliteStatement rows = database->Prepare(absl::StrCat("SELECT COUNT(*) FROM ", table));
      ASSERT_TRUE(*rows.Step());
      EXPECT_GT(rows.ColumnInt64(0), 0) << table;
    }
  }
  int64_t last_done = 0;
  bool checked = false;
  const absl::Status moved = MoveSqliteToPostgres(
      path_, url_,
      [&] {
        checked = true;
        EXPECT_TRUE(absl::IsUnavailable(AddAccount(*source_, "C-7")))
            << "somebody wrote to the file while it was moved";
        return absl::OkStatus();
      },
      [&](int64_t done, int64_t total) {
        EXPECT_GE(done, last_done);
        EXPECT_LE(done, total);
        last_done = done;
      });
  ASSERT_TRUE(moved.ok()) << moved;
  EXPECT_TRUE(checked);
  EXPECT_GT(last_done, 2 * kOrders);

  OpenTarget();
  const absl::Status read = target_->Read([&](Transaction& t) -> absl::Status {
    const Order paid = *t.orders().Get(SampleBytes(1'020, kOrderIdBytes));
    EXPECT_EQ(paid.status, OrderStatus::kPaid);
    EXPECT_EQ(paid.receipt, "receipt");
    EXPECT_EQ(paid.paid_at_ms, 7);
    EXPECT_EQ(t.orders().Get(SampleBytes(1'010, kOrderIdBytes))->status, OrderStatus::kDeclined);
    EXPECT_EQ(t.orders().Get(SampleBytes(1'000, kOrderIdBytes))->status, OrderStatus::kCreated);
    EXPECT_THAT(*t.orders().List("", kAll), SizeIs(kOrders));
    EXPECT_EQ(t.accounts().Get(world_.external_account)->balance_minor, INT64_MIN + 1);
    EXPECT_EQ(t.accounts().FindByNumber("C-1")->pin_blocked_until_ms, 99);
    EXPECT_EQ(t.customers().FindByUsername("alice")->id, world_.customer);
    EXPECT_EQ(*t.meta().Get("\xc3\xa4"), std::string("\0value", 6));
    EXPECT_TRUE(absl::IsNotFound(t.meta().Get(kMovedMetaKey).status()));
    EXPECT_EQ(t.requests().Get(world_.customer, SampleBytes(1, kRequestIdBytes))->answer.size(),
              256u);
    EXPECT_THAT(t.mailboxes().List(world_.customer, 0, 10)->front().sealed,
                SizeIs(kMaxPayloadBytes));
    EXPECT_EQ(*t.tokens().HighestSerial(), INT64_MAX);
    EXPECT_EQ(t.certificates().List(0, 10)->front().revoked_at_ms, 5);
    EXPECT_TRUE(*t.certificates().IsBlocked(world_.customer));
    EXPECT_EQ(t.certificates().GetRevocationList()->der, "list");
    return absl::OkStatus();
  });
  EXPECT_TRUE(read.ok()) << read;
  // Ids go on where they were.
  const absl::Status written = target_->Write([&](Transaction& t) -> absl::Status {
    EXPECT_GT(*t.accounts().Insert(SampleAccount(AccountKind::kCustomer, "C-8")),
              world_.external_account);
    EXPECT_EQ(*t.notices().Append(world_.merchant, "fourth", 1), 4);
    return absl::OkStatus();
  });
  EXPECT_TRUE(written.ok()) << written;

  // A broker that still has the file open takes no more money, and neither does a new one.
  EXPECT_TRUE(absl::IsInvalidArgument(AddAccount(*source_, "C-9")));
  EXPECT_TRUE(absl::IsInvalidArgument(source_->Write([&](Transaction& t) {
    return t.accounts().SetBalances({{world_.customer_account, 5}});
  })));
  EXPECT_TRUE(
      source_->Read([](Transaction& t) { return t.meta().Get(kMovedMetaKey).status(); }).ok());
}

// The rows of every table as text, in the order of their key.
std::vector<std::string> AllRows(const std::string& path) {
  std::vector<std::string> rows;
  const std::unique_ptr<SqliteDatabase> database = *SqliteDatabase::Open(path, SqliteOptions());
  std::vector<std::string> tables(MovedTables().begin(), MovedTables().end());
  tables.push_back("sqlite_sequence");
  for (const std::string& table : tables) {
    std::string columns;
    SqliteStatement names = database->Prepare("SELECT name FROM pragma_table_info(?)");
    names.BindText(table);
    while (*names.Step()) {
      absl::StrAppend(&columns, columns.empty() ? "" : " || ',' || ", "quote(", names.ColumnText(0),
                      ")");
    }
    SqliteStatement query = database->Prepare(
        absl::StrCat("SELECT ", columns, " AS row FROM ", table, " ORDER BY row"));
    while (*query.Step()) rows.push_back(absl::StrCat(table, ": ", query.ColumnText(0)));
  }
  return rows;
}

std::vector<std::string> Triggers(const std::string& path) {
  std::vector<std::string> triggers;
  const std::unique_ptr<SqliteDatabase> database = *SqliteDatabase::Open(path, SqliteOptions());
  SqliteStatement query =
      database->Prepare("SELECT sql FROM sqlite_master WHERE type = 'trigger' ORDER BY name");
  while (*query.Step()) triggers.push_back(query.ColumnText(0));
  return triggers;
}

TEST_F(MoveStoreTest, PostgresIsCopiedBackIntoTheSameRowsAndRules) {
  FillSource();
  const std::string original = path_ + ".original";
  ASSERT_TRUE(CopySqliteStore(path_, original, [](int64_t, int64_t) {}).ok());
  ASSERT_TRUE(Move().ok());
  const std::string back = path_ + ".back";
  int64_t last_done = 0;
  const absl::Status copied = CopyPostgresStore(url_, back, [&](int64_t done, int64_t total) {
    EXPECT_GE(done, last_done);
    EXPECT_LE(done, total);
    last_done = done;
  });
  ASSERT_TRUE(copied.ok()) << copied;
  EXPECT_GT(last_done, 2 * kOrders);
  EXPECT_NE(access((back + "-wal").c_str(), F_OK), 0) << "a part of the copy is in another file";
  EXPECT_THAT(AllRows(back), ElementsAreArray(AllRows(original)));
  EXPECT_THAT(Triggers(back), ElementsAreArray(Triggers(original)));
  EXPECT_THAT(Triggers(back), Not(IsEmpty()));
  // PostgreSQL serves on.
  OpenTarget();
  EXPECT_TRUE(AddAccount(*target_, "C-7").ok());
  // The copy serves, too, with ids that go on.
  const std::unique_ptr<Store> restored = *OpenSqliteStore(back);
  EXPECT_TRUE(restored
                  ->Write([&](Transaction& t) -> absl::Status {
                    EXPECT_EQ(*t.notices().Append(world_.merchant, "fourth", 1), 4);
                    return absl::OkStatus();
                  })
                  .ok());
}

TEST_F(MoveStoreTest, NothingIsOverwritten) {
  OpenTarget();
  ASSERT_TRUE(AddAccount(*target_, "X-9").ok());
  const absl::Status moved = Move();
  EXPECT_TRUE(absl::IsFailedPrecondition(moved)) << moved;
  EXPECT_THAT(std::string(moved.message()), HasSubstr("not empty"));
  EXPECT_TRUE(AddAccount(*source_, "C-9").ok()) << "the file is as it was";
  EXPECT_TRUE(target_
                  ->Read([](Transaction& t) -> absl::Status {
                    EXPECT_THAT(*t.accounts().List(0, kAll), SizeIs(1));
                    return absl::OkStatus();
                  })
                  .ok());
}

TEST_F(MoveStoreTest, AnOlderMarketsSchemaIsNotTouched) {
  ASSERT_TRUE(PostgresServer::Execute(url_,
                                      "CREATE TABLE meta (key TEXT PRIMARY KEY, value BYTEA);"
                                      "INSERT INTO meta VALUES ('key', 'value')")
                  .ok());
  const absl::Status moved = Move();
  EXPECT_TRUE(absl::IsFailedPrecondition(moved)) << moved;
  EXPECT_THAT(std::string(moved.message()), HasSubstr("not empty"));
  const absl::Status copied = CopyPostgresStore(url_, path_ + ".copy", [](int64_t, int64_t) {});
  EXPECT_TRUE(absl::IsFailedPrecondition(copied)) << copied;
  EXPECT_NE(access((path_ + ".copy").c_str(), F_OK), 0);
  const std::unique_ptr<PostgresConnection> connection = *PostgresConnection::Open(url_);
  EXPECT_EQ(*connection->SchemaVersion(), 0);
}

TEST_F(MoveStoreTest, WhatTheNewSchemaRefusesStopsTheMoveAndLeavesNothing) {
  FillSource();
  {
    const std::unique_ptr<SqliteDatabase> database = *SqliteDatabase::Open(path_, SqliteOptions());
    ASSERT_TRUE(database
                    ->Execute("PRAGMA ignore_check_constraints = ON;"
                              "INSERT INTO tokens VALUES (77, x'00')")
                    .ok());
  }
  EXPECT_TRUE(absl::IsInvalidArgument(Move()));
  OpenTarget();
  EXPECT_TRUE(target_
                  ->Read([](Transaction& t) -> absl::Status {
                    EXPECT_THAT(*t.accounts().List(0, kAll), IsEmpty());
                    return absl::OkStatus();
                  })
                  .ok());
  EXPECT_TRUE(AddAccount(*source_, "C-9").ok());
}

TEST_F(MoveStoreTest, AFailedCheckLeavesTheFileInUse) {
  const absl::Status moved = MoveSqliteToPostgres(
      path_, url_, [] { return absl::DataLossError("the books are wrong"); },
      [](int64_t, int64_t) {});
  EXPECT_TRUE(absl::IsDataLoss(moved));
  EXPECT_THAT(std::string(moved.message()), HasSubstr("empty it before another attempt"));
  EXPECT_TRUE(AddAccount(*source_, "C-9").ok());
}

}  // namespace
}  // namespace blindcart::storage
