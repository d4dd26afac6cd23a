// Money over PostgreSQL: many writers at once, in several stores as in several brokers, and a server
// that goes away under them.
#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/ledger/audit.h"
#include "services/ledger/ledger.h"
#include "services/storage/postgres_store.h"
#include "services/storage/testing/postgres_server.h"
#include "services/storage/testing/sample_rows.h"

namespace blindcart::ledger {
namespace {

using storage::OpenPostgresStore;
using storage::PostgresStoreOptions;
using storage::Store;
using storage::Transaction;
using storage::WriteJob;
using storage::testing::AddSampleWorld;
using storage::testing::PostgresServer;
using storage::testing::SampleAccount;
using storage::testing::SampleBytes;
using ::testing::IsEmpty;

class PostgresLedgerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    absl::StatusOr<std::unique_ptr<PostgresServer>> server = PostgresServer::Start();
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    PostgresStoreOptions options;
    options.url = *server_->CreateDatabase();
    // For a machine with much else to do.
    options.patience_ms = 60'000;
    for (std::unique_ptr<Store>& store : stores_) {
      absl::StatusOr<std::unique_ptr<Store>> opened = OpenPostgresStore(options);
      ASSERT_TRUE(opened.ok()) << opened.status();
      store = *std::move(opened);
    }
    world_ = AddSampleWorld(*stores_[0]);
  }
  void TearDown() override {
    for (std::unique_ptr<Store>& store : stores_) store.reset();
  }

  CashMovement Movement(int64_t seed, int64_t account_id, int64_t amount_minor) {
    CashMovement movement;
    movement.transfer_id = SampleBytes(seed, storage::kTransferIdBytes);
    movement.account_id = account_id;
    movement.external_account_id = world_.external_account;
    movement.amount_minor = amount_minor;
    movement.created_at_ms = 1;
    return movement;
  }
  absl::Status Put(Store& store, int64_t seed, int64_t account_id, int64_t amount_minor) {
    return store.Write([&](Transaction& transaction) {
      return Deposit(transaction, Movement(seed, account_id, amount_minor));
    });
  }
  int64_t Balance(int64_t account_id) {
    int64_t balance_minor = -1;
    EXPECT_TRUE(stores_[0]
                    ->Read([&](Transaction& transaction) {
                      const auto account = transaction.accounts().Get(account_id);
                      if (account.ok()) balance_minor = account->balance_minor;
                      return account.status();
                    })
                    .ok());
    return balance_minor;
  }
  AuditReport Audit() {
    const absl::StatusOr<AuditReport> report = AuditBooks(*stores_[0]);
    EXPECT_TRUE(report.ok()) << report.status();
    if (!report.ok()) return AuditReport();
    for (const AuditProblem& problem : report->problems) {
      ADD_FAILURE() << problem.table << " " << problem.row << ": " << problem.what;
    }
    return *report;
  }

  std::unique_ptr<PostgresServer> server_;
  std::unique_ptr<Store> stores_[2];
  storage::testing::SampleWorld world_;
};

TEST_F(PostgresLedgerTest, SixtyFourThreadsTakeExactlyWhatIsThere) {
  constexpr int kThreads = 64;
  constexpr int kEach = 3;
  ASSERT_TRUE(Put(*stores_[0], 1, world_.customer_account, 100).ok());
  std::atomic<int> taken{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      for (int n = 0; n < kEach; ++n) {
        const absl::Status status = stores_[i % 2]->Write([&](Transaction& transaction) {
          return Withdraw(transaction, Movement(1000 + i * kEach + n, world_.customer_account, 1));
        });
        if (status.ok()) {
          ++taken;
        } else {
          EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(taken, 100);
  EXPECT_EQ(Balance(world_.customer_account), 0);
  EXPECT_EQ(Audit().transfers, 101);
}

// Batches that touch the same accounts in every order wait for each other in circles, unless somebody
// sees to it that they end.
TEST_F(PostgresLedgerTest, PaymentsInAllDirectionsEnd) {
  constexpr int kAccounts = 4;
  constexpr int kThreads = 8;
  constexpr int kBatches = 12;
  std::vector<int64_t> accounts;
  for (int i = 0; i < kAccounts; ++i) {
    ASSERT_TRUE(stores_[0]
                    ->Write([&](Transaction& transaction) {
                      const absl::StatusOr<int64_t> id = transaction.accounts().Insert(
                          SampleAccount(storage::AccountKind::kCustomer, absl::StrCat("D-", i)));
                      if (id.ok()) accounts.push_back(*id);
                      return id.status();
                    })
                    .ok());
    ASSERT_TRUE(Put(*stores_[0], 1 + i, accounts.back(), 1'000).ok());
  }
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      for (int n = 0; n < kBatches; ++n) {
        const int64_t seed = 1000 + (i * kBatches + n) * kAccounts;
        std::vector<WriteJob> jobs;
        for (int k = 0; k < kAccounts; ++k) {
          // Forwards here, backwards there; what one takes in, the next gives out.
          const int at = i % 2 == 0 ? k : kAccounts - 1 - k;
          jobs.push_back({[&, seed, at, k](Transaction& transaction) {
                            const CashMovement movement = Movement(seed + k, accounts[at], 5);
                            return at % 2 == 0 ? Deposit(transaction, movement)
                                               : Withdraw(transaction, movement);
                          },
                          absl::OkStatus()});
        }
        const absl::Status status = stores_[i % 2]->WriteBatch(absl::MakeSpan(jobs));
        EXPECT_TRUE(status.ok()) << status;
        for (const WriteJob& job : jobs) EXPECT_TRUE(job.status.ok()) << job.status;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (int i = 0; i < kAccounts; ++i) {
    EXPECT_EQ(Balance(accounts[i]), 1'000 + (i % 2 == 0 ? 5 : -5) * kThreads * kBatches);
  }
  EXPECT_EQ(Audit().transfers, kAccounts + kThreads * kBatches * kAccounts);
}

TEST_F(PostgresLedgerTest, NothingAcknowledgedIsLostAndNothingHappensTwiceWhenTheServerCrashes) {
  constexpr int kThreads = 6;
  constexpr int kCrashes = 2;
  constexpr int kBetweenCrashes = 40;
  std::atomic<bool> stop{false};
  std::mutex mutex;
  std::condition_variable changed;
  int acknowledged = 0;  // under mutex
  const auto wait_for = [&](int count) {
    std::unique_lock<std::mutex> lock(mutex);
    changed.wait(lock, [&] { return acknowledged >= count; });
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      for (int n = 0; !stop; ++n) {
        const int64_t seed = int64_t{1'000'000} * (i + 1) + n;
        absl::Status status;
        // What a broker's customer does: the same request again, until there is an answer.
        do {
          status = Put(*stores_[i % 2], seed, world_.customer_account, 3);
          EXPECT_TRUE(status.ok() || absl::IsUnavailable(status)) << status;
        } while (!status.ok());
        std::lock_guard<std::mutex> lock(mutex);
        ++acknowledged;
        changed.notify_one();
      }
    });
  }
  for (int crash = 1; crash <= kCrashes; ++crash) {
    wait_for(crash * kBetweenCrashes);
    server_->Crash();
    const absl::Status started = server_->StartAgain();
    ASSERT_TRUE(started.ok()) << started;
  }
  wait_for((kCrashes + 1) * kBetweenCrashes);
  stop = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(Balance(world_.customer_account), 3 * acknowledged);
  EXPECT_EQ(Audit().transfers, acknowledged);
}

}  // namespace
}  // namespace blindcart::ledger
