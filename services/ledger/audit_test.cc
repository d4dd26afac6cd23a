#include "services/ledger/audit.h"

#include <unistd.h>

#include <atomic>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/ledger/ledger.h"
#include "services/storage/sqlite.h"
#include "services/storage/sqlite_store.h"
#include "services/storage/testing/sample_rows.h"

namespace blindcart::ledger {
namespace {

using storage::Entry;
using storage::Order;
using storage::OrderStatus;
using storage::SqliteDatabase;
using storage::SqliteOptions;
using storage::Store;
using storage::Transaction;
using storage::Transfer;
using storage::TransferKind;
using storage::testing::SampleBytes;
using storage::testing::SampleOrder;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int64_t kPaidOrder = 10;
constexpr int64_t kDeliveredOrder = 20;
constexpr int64_t kRefundedOrder = 30;
constexpr int64_t kDeclinedOrder = 40;
constexpr int64_t kOpenOrder = 50;

std::string Hex(int64_t seed) { return absl::BytesToHexString(SampleBytes(seed, 16)); }

// Books with one order in each interesting state, and right.
class AuditTest : public ::testing::Test {
 protected:
  void SetUp() override {
    static std::atomic<int> count{0};
    path_ = absl::StrCat(::testing::TempDir(), "/audit-", getpid(), "-", ++count, ".db");
    absl::StatusOr<std::unique_ptr<Store>> store = storage::OpenSqliteStore(path_);
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
    world_ = storage::testing::AddSampleWorld(*store_);
    absl::Status filled = store_->Write([&](Transaction& t) { return Fill(t); });
    ASSERT_TRUE(filled.ok()) << filled;
    absl::StatusOr<std::unique_ptr<SqliteDatabase>> raw =
        SqliteDatabase::Open(path_, SqliteOptions());
    ASSERT_TRUE(raw.ok()) << raw.status();
    raw_ = *std::move(raw);
  }
  void TearDown() override {
    for (const char* suffix : {"", "-wal", "-shm"}) unlink((path_ + suffix).c_str());
  }

  absl::Status Fill(Transaction& t) {
    absl::Status status = Deposit(
        t, {SampleBytes(1, 16), world_.customer_account, world_.external_account, 10000, 3000});
    if (!status.ok()) return status;
    status = Withdraw(
        t, {SampleBytes(2, 16), world_.customer_account, world_.external_account, 500, 3000});
    if (!status.ok()) return status;
    for (int64_t seed : {kPaidOrder, kDeliveredOrder, kRefundedOrder, kDeclinedOrder, kOpenOrder}) {
      const Order order = SampleOrder(seed, world_.merchant, world_.customer);
      status = t.orders().Insert(order);
      if (!status.ok()) return status;
      if (seed == kDeclinedOrder) {
        status =
            t.orders().UpdateStatus(order.order_id, OrderStatus::kCreated, OrderStatus::kDeclined);
        if (!status.ok()) return status;
      }
      if (seed >= kDeclinedOrder) continue;
      const std::string transfer_id = SampleBytes(seed + 100, 16);
      status = Pay(t, {transfer_id, order.order_id, world_.customer_account,
                       world_.merchant_account, world_.broker_account, 1000, 25, 4000});
      if (!status.ok()) return status;
      status = t.orders().MarkPaid(order.order_id, transfer_id, "receipt", 4000);
      if (!status.ok()) return status;
      if (seed == kPaidOrder) continue;
      status = t.orders().UpdateStatus(
          order.order_id, OrderStatus::kPaid,
          seed == kDeliveredOrder ? OrderStatus::kDelivered : OrderStatus::kRefunded);
      if (!status.ok()) return status;
    }
    Entry entries[3];
    const std::pair<int64_t, int64_t> back[3] = {{world_.customer_account, 1025},
                                                 {world_.merchant_account, -1000},
                                                 {world_.broker_account, -25}};
    for (int i = 0; i < 3; ++i) {
      entries[i].account_id = back[i].first;
      entries[i].amount_minor = back[i].second;
    }
    Transfer refund;
    refund.transfer_id = SampleBytes(kRefundedOrder + 200, 16);
    refund.kind = TransferKind::kRefund;
    refund.order_id = SampleBytes(kRefundedOrder, 16);
    return PostTransfer(t, refund, entries);
  }

  std::vector<AuditProblem> Audit() {
    absl::StatusOr<AuditReport> report = AuditBooks(*store_);
    EXPECT_TRUE(report.ok()) << report.status();
    return report->problems;
  }

  std::string path_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<SqliteDatabase> raw_;
  storage::testing::SampleWorld world_;
};

TEST_F(AuditTest, RightBooksHaveNoProblemAndAreCounted) {
  absl::StatusOr<AuditReport> report = AuditBooks(*store_);
  ASSERT_TRUE(report.ok()) << report.status();
  for (const AuditProblem& problem : report->problems) {
    ADD_FAILURE() << problem.table << " " << problem.row << ": " << problem.what;
  }
  EXPECT_EQ(report->accounts, 4);
  EXPECT_EQ(report->customers, 1);
  EXPECT_EQ(report->merchants, 1);
  EXPECT_EQ(report->orders, 5);
  EXPECT_EQ(report->transfers, 6);
  EXPECT_EQ(report->entries, 2 + 2 + 4 * 3);
}

struct Tampering {
  const char* name;
  std::string sql;
  const char* table;
  std::string row;
  const char* what;  // part of the sentence
};

std::string OrderSql(const std::string& set, int64_t seed) {
  return absl::StrCat("UPDATE orders SET ", set, " WHERE order_id = x'", Hex(seed), "'");
}

std::string TransferSql(const std::string& set, int64_t seed) {
  return absl::StrCat("UPDATE transfers SET ", set, " WHERE transfer_id = x'", Hex(seed), "'");
}

// Accounts are numbered in the order of AddSampleWorld: 1 customer, 2 merchant, 3 broker, 4 external.
std::vector<Tampering> AllTamperings() {
  return {
      {"BalanceRaised", "UPDATE accounts SET balance_minor = balance_minor + 1 WHERE id = 1",
       "accounts", "1", "not the sum"},
      {"BalanceOfTheOutsideChanged", "UPDATE accounts SET balance_minor = 0 WHERE id = 4",
       "accounts", "4", "not the sum"},
      {"BalanceBelowZero", "UPDATE accounts SET balance_minor = -1 WHERE id = 1", "accounts", "1",
       "below zero"},
      {"AccountKindUnknown", "UPDATE accounts SET kind = 'pirate' WHERE id = 3", "accounts", "3",
       "kind"},
      {"CustomerAccountMadeAMerchants", "UPDATE accounts SET kind = 'merchant' WHERE id = 1",
       "customers", "1", "another kind"},
      {"AccountCurrencyMalformed", "UPDATE accounts SET currency = 'eur' WHERE id = 1", "accounts",
       "1", "currency"},
      {"AccountCurrencyChanged", "UPDATE accounts SET currency = 'USD' WHERE id = 1", "transfers",
       Hex(1), "several currencies"},
      {"AccountDeleted", "DELETE FROM accounts WHERE id = 2", "merchants", "1", "does not exist"},
      {"AccountAdded", "INSERT INTO accounts VALUES (-5, 'C-9', 'customer', 'EUR', 7, x'', 0, 0)",
       "accounts", "-5", "not the sum"},
      {"PinFailuresBelowZero", "UPDATE accounts SET pin_failures = -9 WHERE id = 1", "accounts",
       "1", "PIN"},
      {"CustomersAccountChanged", "UPDATE customers SET account_id = 3", "customers", "1",
       "another kind"},
      {"CustomersFingerprintCut", "UPDATE customers SET fingerprint = x'00'", "customers", "1",
       "fingerprint"},
      {"CustomersPasswordRemoved", "UPDATE customers SET password_record = x''", "customers", "1",
       "password"},
      {"CustomerDeleted", "DELETE FROM customers", "orders", Hex(kOpenOrder),
       "customer does not exist"},
      {"MerchantsIdentityRemoved", "UPDATE merchants SET identity = x''", "merchants", "1",
       "identity"},
      {"MerchantDeleted", "DELETE FROM merchants", "orders", Hex(kOpenOrder),
       "merchant does not exist"},
      {"EntryChanged", "UPDATE entries SET amount_minor = amount_minor + 1 WHERE entry_id = 1",
       "transfers", Hex(1), "sum to zero"},
      {"EntryMovedToAnotherAccount", "UPDATE entries SET account_id = 2 WHERE entry_id = 1",
       "accounts", "2", "not the sum"},
      {"EntryOfNobody", "UPDATE entries SET account_id = 77 WHERE entry_id = 1", "entries", "1",
       "account does not exist"},
      {"EntryOfNoTransfer", "UPDATE entries SET transfer_id = zeroblob(16) WHERE entry_id = 1",
       "entries", "1", "transfer does not exist"},
      {"EntryOfZero", "UPDATE entries SET amount_minor = 0 WHERE entry_id = 1", "entries", "1",
       "zero"},
      {"EntryDeleted", "DELETE FROM entries WHERE entry_id = 1", "transfers", Hex(1),
       "fewer than two"},
      {"EntriesOverflow",
       "UPDATE entries SET amount_minor = -9223372036854775807 - 1 WHERE entry_id <= 2",
       "transfers", Hex(1), "sum to zero"},
      {"EntriesTurnedRound",
       absl::StrCat("UPDATE entries SET amount_minor = -amount_minor WHERE transfer_id = x'",
                    Hex(2), "'"),
       "entries", "3", "wrong way"},
      {"BalancedEntriesAddedToAPayment",
       absl::StrCat("UPDATE entries SET amount_minor = amount_minor * 2 WHERE transfer_id = x'",
                    Hex(kPaidOrder + 100), "'"),
       "transfers", Hex(kPaidOrder + 100), "not the amounts of its order"},
      {"TransferDeleted",
       absl::StrCat("DELETE FROM transfers WHERE transfer_id = x'", Hex(kPaidOrder + 100), "'"),
       "orders", Hex(kPaidOrder), "payment does not exist"},
      {"TransferIdCut", TransferSql("transfer_id = x'00'", 1), "transfers", "00", "wrong size"},
      {"TransferKindUnknown", TransferSql("kind = 'gift'", 1), "transfers", Hex(1), "kind"},
      {"TransferKindChanged", TransferSql("kind = 'withdrawal'", 1), "entries", "1", "wrong way"},
      {"PaymentMadeACashMovement",
       TransferSql("kind = 'deposit', order_id = NULL", kPaidOrder + 100), "orders",
       Hex(kPaidOrder), "not its payment"},
      {"CashMovementWithAnOrder",
       TransferSql(absl::StrCat("order_id = x'", Hex(kOpenOrder), "'"), 1), "transfers", Hex(1),
       "names an order"},
      {"CashMovementWithoutTheOutside", "UPDATE entries SET account_id = 3 WHERE entry_id = 2",
       "transfers", Hex(1), "external"},
      {"PaymentMovedToAnotherOrder",
       TransferSql(absl::StrCat("order_id = x'", Hex(kOpenOrder), "'"), kPaidOrder + 100),
       "transfers", Hex(kPaidOrder + 100), "not paid by this transfer"},
      {"PaymentOfNoOrder", TransferSql("order_id = zeroblob(16)", kPaidOrder + 100), "transfers",
       Hex(kPaidOrder + 100), "order does not exist"},
      {"TransferTimeBelowZero", TransferSql("created_at_ms = -1", 1), "transfers", Hex(1), "time"},
      {"SecondPayment",
       absl::StrCat("DROP INDEX transfers_one_of_a_kind_per_order; INSERT INTO transfers VALUES ("
                    "zeroblob(16), 'payment', x'",
                    Hex(kPaidOrder), "', 1)"),
       "transfers", std::string(32, '0'), "not paid by this transfer"},
      {"PriceChanged", OrderSql("price_minor = 1, total_minor = 26", kPaidOrder), "transfers",
       Hex(kPaidOrder + 100), "not the amounts"},
      {"ChargeChanged", OrderSql("charge_minor = 0", kOpenOrder), "orders", Hex(kOpenOrder),
       "total"},
      {"TotalOverflows",
       OrderSql("price_minor = 9223372036854775807, total_minor = -9223372036854775784",
                kOpenOrder),
       "orders", Hex(kOpenOrder), "total"},
      {"PriceOfTheSmallestNumber",
       OrderSql("price_minor = -9223372036854775807 - 1", kRefundedOrder), "orders",
       Hex(kRefundedOrder), "total"},
      {"OrderGivenToAnother", OrderSql("customer_id = 9", kOpenOrder), "orders", Hex(kOpenOrder),
       "customer does not exist"},
      {"OrderCurrencyChanged", OrderSql("currency = 'USD'", kOpenOrder), "orders", Hex(kOpenOrder),
       "currency"},
      {"CommitmentCut", OrderSql("commitment = x'00'", kOpenOrder), "orders", Hex(kOpenOrder),
       "size"},
      {"SidCut", OrderSql("sid = x'00'", kOpenOrder), "orders", Hex(kOpenOrder), "size"},
      {"SignatureRemoved", OrderSql("merchant_signature = x''", kOpenOrder), "orders",
       Hex(kOpenOrder), "size"},
      {"OrderTimeBelowZero", OrderSql("expires_at_ms = -1", kOpenOrder), "orders", Hex(kOpenOrder),
       "time"},
      {"StatusUnknown", OrderSql("status = 'stolen'", kPaidOrder), "orders", Hex(kPaidOrder),
       "status"},
      {"PaymentDenied", OrderSql("status = 'created'", kPaidOrder), "orders", Hex(kPaidOrder),
       "denies"},
      {"PaymentForgotten",
       OrderSql("status = 'created', transfer_id = NULL, receipt = NULL, paid_at_ms = NULL",
                kPaidOrder),
       "transfers", Hex(kPaidOrder + 100), "not paid by this transfer"},
      {"PaymentClaimed", OrderSql("status = 'paid'", kOpenOrder), "orders", Hex(kOpenOrder),
       "payment does not exist"},
      {"PaymentOfAnotherOrderClaimed",
       OrderSql(absl::StrCat("status = 'paid', receipt = x'01', paid_at_ms = 1, transfer_id = x'",
                             Hex(kPaidOrder + 100), "'"),
                kOpenOrder),
       "orders", Hex(kOpenOrder), "not its payment"},
      {"ReceiptRemoved", OrderSql("receipt = NULL", kPaidOrder), "orders", Hex(kPaidOrder),
       "no receipt"},
      {"ReceiptOfADeliveredOrderRemoved", OrderSql("receipt = x''", kDeliveredOrder), "orders",
       Hex(kDeliveredOrder), "no receipt"},
      {"RefundClaimed", OrderSql("status = 'refunded'", kPaidOrder), "orders", Hex(kPaidOrder),
       "refund does not exist"},
      {"RefundDenied", OrderSql("status = 'paid'", kRefundedOrder), "transfers",
       Hex(kRefundedOrder + 200), "has not been refunded"},
      {"OrderDeleted", absl::StrCat("DELETE FROM orders WHERE order_id = x'", Hex(kPaidOrder), "'"),
       "transfers", Hex(kPaidOrder + 100), "order does not exist"},
      {"AnswerOfNobody", "INSERT INTO requests VALUES (77, zeroblob(16), zeroblob(32), x'', 1)",
       "store", "", "requests refers to no row of customers"},
      {"NoticeOfNobody", "INSERT INTO notices VALUES (5, 77, x'01', 1)", "store", "",
       "notices refers to no row of merchants"},
      {"SettingWithoutAKey", "INSERT INTO meta VALUES ('', x'')", "store", "", "meta"},
  };
}

class TamperingTest : public AuditTest, public ::testing::WithParamInterface<Tampering> {};

// With every guard of the schema taken away, as somebody with the file could.
TEST_P(TamperingTest, IsNamed) {
  ASSERT_TRUE(
      raw_->Execute("PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON;").ok());
  std::string drops;
  {
    storage::SqliteStatement triggers =
        raw_->Prepare("SELECT name FROM sqlite_schema WHERE type = 'trigger'");
    while (*triggers.Step()) absl::StrAppend(&drops, "DROP TRIGGER ", triggers.ColumnText(0), ";");
  }
  ASSERT_TRUE(raw_->Execute(drops.c_str()).ok());
  ASSERT_THAT(Audit(), IsEmpty());

  absl::Status tampered = raw_->Execute(GetParam().sql.c_str());
  ASSERT_TRUE(tampered.ok()) << tampered;
  ASSERT_GT(raw_->changes(), 0) << "the test changed nothing";
  const std::vector<AuditProblem> problems = Audit();
  std::string all;
  for (const AuditProblem& problem : problems) {
    absl::StrAppend(&all, problem.table, " ", problem.row, ": ", problem.what, "\n");
  }
  EXPECT_THAT(problems, Contains(AllOf(Field(&AuditProblem::table, GetParam().table),
                                       Field(&AuditProblem::row, GetParam().row),
                                       Field(&AuditProblem::what, HasSubstr(GetParam().what)))))
      << all;
}

INSTANTIATE_TEST_SUITE_P(All, TamperingTest, ::testing::ValuesIn(AllTamperings()),
                         [](const ::testing::TestParamInfo<Tampering>& info) {
                           return std::string(info.param.name);
                         });

TEST_F(AuditTest, MoreRowsThanAPageAreAllSeen) {
  ASSERT_TRUE(store_
                  ->Write([&](Transaction& t) -> absl::Status {
                    for (int64_t i = 0; i < 2500; ++i) {
                      absl::Status status =
                          Deposit(t, {SampleBytes(10000 + i, 16), world_.customer_account,
                                      world_.external_account, 1, 3000});
                      if (!status.ok()) return status;
                    }
                    return absl::OkStatus();
                  })
                  .ok());
  absl::StatusOr<AuditReport> report = AuditBooks(*store_);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_THAT(report->problems, IsEmpty());
  EXPECT_EQ(report->transfers, 2506);
}

}  // namespace
}  // namespace blindcart::ledger
