#include "services/ledger/ledger.h"

#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "services/ledger/audit.h"
#include "services/ledger/testing/reference_ledger.h"
#include "services/storage/commit_queue.h"
#include "services/storage/sqlite_store.h"
#include "services/storage/testing/sample_rows.h"

namespace blindcart::ledger {
namespace {

using storage::AccountKind;
using storage::CommitQueue;
using storage::Entry;
using storage::Order;
using storage::Store;
using storage::Transaction;
using storage::Transfer;
using storage::TransferKind;
using storage::testing::AddSampleWorld;
using storage::testing::SampleAccount;
using storage::testing::SampleBytes;
using storage::testing::SampleOrder;

std::string TransferId(int64_t seed) { return SampleBytes(seed, storage::kTransferIdBytes); }

Entry MakeEntry(int64_t account_id, int64_t amount_minor) {
  Entry entry;
  entry.account_id = account_id;
  entry.amount_minor = amount_minor;
  return entry;
}

Transfer MakeTransfer(int64_t seed, TransferKind kind) {
  Transfer transfer;
  transfer.transfer_id = TransferId(seed);
  transfer.kind = kind;
  transfer.created_at_ms = 3000;
  return transfer;
}

class LedgerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    static std::atomic<int> count{0};
    path_ = absl::StrCat(::testing::TempDir(), "/ledger-", getpid(), "-", ++count, ".db");
    absl::StatusOr<std::unique_ptr<Store>> store = storage::OpenSqliteStore(path_);
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
    world_ = AddSampleWorld(*store_);
  }
  void TearDown() override {
    for (const char* suffix : {"", "-wal", "-shm"}) unlink((path_ + suffix).c_str());
  }

  int64_t BalanceOf(int64_t account_id) {
    int64_t balance = -1;
    EXPECT_TRUE(store_
                    ->Read([&](Transaction& t) -> absl::Status {
                      absl::StatusOr<storage::Account> account = t.accounts().Get(account_id);
                      if (account.ok()) balance = account->balance_minor;
                      return account.status();
                    })
                    .ok());
    return balance;
  }

  int64_t AddAccount(AccountKind kind, const std::string& number, const std::string& currency) {
    int64_t id = 0;
    EXPECT_TRUE(store_
                    ->Write([&](Transaction& t) -> absl::Status {
                      storage::Account account = SampleAccount(kind, number);
                      account.currency = currency;
                      absl::StatusOr<int64_t> inserted = t.accounts().Insert(account);
                      if (inserted.ok()) id = *inserted;
                      return inserted.status();
                    })
                    .ok());
    return id;
  }

  CashMovement Cash(int64_t seed, int64_t amount_minor) {
    return {TransferId(seed), world_.customer_account, world_.external_account, amount_minor, 3000};
  }

  Payment MakePayment(int64_t seed, const std::string& order_id) {
    return {TransferId(seed),
            order_id,
            world_.customer_account,
            world_.merchant_account,
            world_.broker_account,
            1000,
            25,
            3000};
  }

  std::string AddOrder(int64_t seed) {
    const Order order = SampleOrder(seed, world_.merchant, world_.customer);
    EXPECT_TRUE(store_->Write([&](Transaction& t) { return t.orders().Insert(order); }).ok());
    return order.order_id;
  }

  absl::StatusCode Run(absl::FunctionRef<absl::Status(Transaction&)> body) {
    return store_->Write(body).code();
  }
  absl::StatusCode RunPost(const Transfer& transfer, const std::vector<Entry>& entries) {
    return Run([&](Transaction& t) { return PostTransfer(t, transfer, entries); });
  }

  std::string path_;
  std::unique_ptr<Store> store_;
  storage::testing::SampleWorld world_;
};

TEST_F(LedgerTest, DepositsAndWithdrawalsMoveMoneyFromAndToTheOutside) {
  EXPECT_EQ(Run([&](Transaction& t) { return Deposit(t, Cash(1, 500)); }), absl::StatusCode::kOk);
  EXPECT_EQ(BalanceOf(world_.customer_account), 500);
  EXPECT_EQ(BalanceOf(world_.external_account), -500);
  EXPECT_EQ(Run([&](Transaction& t) { return Withdraw(t, Cash(2, 200)); }), absl::StatusCode::kOk);
  EXPECT_EQ(BalanceOf(world_.customer_account), 300);
  EXPECT_EQ(BalanceOf(world_.external_account), -300);
  EXPECT_EQ(Run([&](Transaction& t) { return Withdraw(t, Cash(3, 301)); }),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(BalanceOf(world_.customer_account), 300);
  EXPECT_EQ(Run([&](Transaction& t) { return Withdraw(t, Cash(4, 300)); }), absl::StatusCode::kOk);
  EXPECT_EQ(BalanceOf(world_.customer_account), 0);
}

TEST_F(LedgerTest, CashMovementsRefuseNonsense) {
  for (int64_t amount : {int64_t{0}, int64_t{-1}, INT64_MIN}) {
    EXPECT_EQ(Run([&](Transaction& t) { return Deposit(t, Cash(1, amount)); }),
              absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(Run([&](Transaction& t) { return Withdraw(t, Cash(1, amount)); }),
              absl::StatusCode::kInvalidArgument);
  }
  CashMovement not_external = Cash(1, 5);
  not_external.external_account_id = world_.broker_account;
  EXPECT_EQ(Run([&](Transaction& t) { return Deposit(t, not_external); }),
            absl::StatusCode::kInvalidArgument);
  CashMovement to_itself = Cash(1, 5);
  to_itself.account_id = world_.external_account;
  EXPECT_EQ(Run([&](Transaction& t) { return Deposit(t, to_itself); }),
            absl::StatusCode::kInvalidArgument);
  CashMovement unknown = Cash(1, 5);
  unknown.account_id = 999;
  EXPECT_EQ(Run([&](Transaction& t) { return Deposit(t, unknown); }), absl::StatusCode::kNotFound);
}

TEST_F(LedgerTest, APaymentMovesTotalPriceAndCharge) {
  const std::string order_id = AddOrder(10);
  ASSERT_EQ(Run([&](Transaction& t) { return Deposit(t, Cash(1, 1024)); }), absl::StatusCode::kOk);
  EXPECT_EQ(Run([&](Transaction& t) { return Pay(t, MakePayment(2, order_id)); }),
            absl::StatusCode::kFailedPrecondition)
      << "one cent short";
  ASSERT_EQ(Run([&](Transaction& t) { return Deposit(t, Cash(3, 1)); }), absl::StatusCode::kOk);
  EXPECT_EQ(Run([&](Transaction& t) { return Pay(t, MakePayment(2, order_id)); }),
            absl::StatusCode::kOk);
  EXPECT_EQ(BalanceOf(world_.customer_account), 0);
  EXPECT_EQ(BalanceOf(world_.merchant_account), 1000);
  EXPECT_EQ(BalanceOf(world_.broker_account), 25);
  EXPECT_EQ(Run([&](Transaction& t) { return Pay(t, MakePayment(4, order_id)); }),
            absl::StatusCode::kAlreadyExists)
      << "an order is paid once, also when there is no money left";
}

TEST_F(LedgerTest, APaymentWithoutAChargeLeavesTheBrokerOut) {
  const std::string order_id = AddOrder(10);
  ASSERT_EQ(Run([&](Transaction& t) { return Deposit(t, Cash(1, 1000)); }), absl::StatusCode::kOk);
  Payment payment = MakePayment(2, order_id);
  payment.charge_minor = 0;
  EXPECT_EQ(Run([&](Transaction& t) { return Pay(t, payment); }), absl::StatusCode::kOk);
  EXPECT_EQ(BalanceOf(world_.broker_account), 0);
  EXPECT_EQ(BalanceOf(world_.merchant_account), 1000);
}

TEST_F(LedgerTest, PaymentsRefuseNonsense) {
  const std::string order_id = AddOrder(10);
  ASSERT_EQ(Run([&](Transaction& t) { return Deposit(t, Cash(1, 5000)); }), absl::StatusCode::kOk);
  const struct {
    const char* what;
    void (*change)(Payment&);
    absl::StatusCode code;
  } cases[] = {
      {"price of zero", [](Payment& p) { p.price_minor = 0; }, absl::StatusCode::kInvalidArgument},
      {"negative price", [](Payment& p) { p.price_minor = -5; },
       absl::StatusCode::kInvalidArgument},
      {"negative charge", [](Payment& p) { p.charge_minor = -1; },
       absl::StatusCode::kInvalidArgument},
      {"overflow", [](Payment& p) { p.price_minor = INT64_MAX; }, absl::StatusCode::kOutOfRange},
      {"no order", [](Payment& p) { p.order_id.clear(); }, absl::StatusCode::kInvalidArgument},
      {"short id", [](Payment& p) { p.transfer_id.pop_back(); },
       absl::StatusCode::kInvalidArgument},
      {"unknown account", [](Payment& p) { p.customer_account_id = 999; },
       absl::StatusCode::kNotFound},
      {"paid by the merchant",
       [](Payment& p) { std::swap(p.customer_account_id, p.merchant_account_id); },
       absl::StatusCode::kInvalidArgument},
      {"charged to the merchant's favour",
       [](Payment& p) { p.broker_account_id = p.merchant_account_id; },
       absl::StatusCode::kInvalidArgument},
      {"unknown order", [](Payment& p) { p.order_id = SampleBytes(99, storage::kOrderIdBytes); },
       absl::StatusCode::kInvalidArgument},
  };
  for (const auto& [what, change, code] : cases) {
    Payment payment = MakePayment(2, order_id);
    change(payment);
    EXPECT_EQ(Run([&, &payment = payment](Transaction& t) { return Pay(t, payment); }), code)
        << what;
  }
  EXPECT_EQ(BalanceOf(world_.customer_account), 5000);
}

TEST_F(LedgerTest, ARepeatedTransferHasNoSecondEffect) {
  ASSERT_EQ(Run([&](Transaction& t) { return Deposit(t, Cash(1, 100)); }), absl::StatusCode::kOk);
  CashMovement later = Cash(1, 100);
  later.created_at_ms = 9999;
  EXPECT_EQ(Run([&](Transaction& t) { return Deposit(t, later); }), absl::StatusCode::kOk);
  EXPECT_EQ(BalanceOf(world_.customer_account), 100);
  EXPECT_EQ(Run([&](Transaction& t) { return Deposit(t, Cash(1, 101)); }),
            absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(Run([&](Transaction& t) { return Withdraw(t, Cash(1, 100)); }),
            absl::StatusCode::kAlreadyExists);
  CashMovement elsewhere = Cash(1, 100);
  elsewhere.account_id = world_.merchant_account;
  EXPECT_EQ(Run([&](Transaction& t) { return Deposit(t, elsewhere); }),
            absl::StatusCode::kAlreadyExists);
  // A withdrawal that has emptied the account repeats as well as any other.
  ASSERT_EQ(Run([&](Transaction& t) { return Withdraw(t, Cash(2, 100)); }), absl::StatusCode::kOk);
  EXPECT_EQ(Run([&](Transaction& t) { return Withdraw(t, Cash(2, 100)); }), absl::StatusCode::kOk);
  EXPECT_EQ(BalanceOf(world_.customer_account), 0);
}

TEST_F(LedgerTest, TransfersKeepTheRulesOfDoubleEntry) {
  const int64_t customer = world_.customer_account;
  const int64_t external = world_.external_account;
  const Transfer deposit = MakeTransfer(1, TransferKind::kDeposit);
  EXPECT_EQ(RunPost(deposit, {}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(RunPost(deposit, {MakeEntry(customer, 5)}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(RunPost(deposit, {MakeEntry(customer, 5), MakeEntry(external, -4)}),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(RunPost(deposit, {MakeEntry(customer, 0), MakeEntry(external, 0)}),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(RunPost(deposit, {MakeEntry(customer, 5), MakeEntry(customer, -5)}),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(RunPost(deposit, {MakeEntry(customer, INT64_MAX), MakeEntry(world_.merchant_account, 1),
                              MakeEntry(external, INT64_MIN)}),
            absl::StatusCode::kOutOfRange);
  EXPECT_EQ(RunPost(MakeTransfer(1, TransferKind::kInvalid),
                    {MakeEntry(customer, 5), MakeEntry(external, -5)}),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(RunPost(deposit, {MakeEntry(customer, 5), MakeEntry(external, -5)}),
            absl::StatusCode::kOk);
  EXPECT_EQ(BalanceOf(customer), 5);
}

TEST_F(LedgerTest, CurrenciesDoNotMix) {
  const int64_t dollars = AddAccount(AccountKind::kExternal, "X-USD", "USD");
  EXPECT_EQ(RunPost(MakeTransfer(1, TransferKind::kDeposit),
                    {MakeEntry(world_.customer_account, 5), MakeEntry(dollars, -5)}),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(LedgerTest, OnlyTheOutsideMayBeBelowZero) {
  for (int64_t account :
       {world_.customer_account, world_.merchant_account, world_.broker_account}) {
    EXPECT_EQ(RunPost(MakeTransfer(1, TransferKind::kWithdrawal),
                      {MakeEntry(account, -1), MakeEntry(world_.external_account, 1)}),
              absl::StatusCode::kFailedPrecondition);
  }
}

TEST_F(LedgerTest, ABalanceThatDoesNotFitIsRefused) {
  ASSERT_EQ(Run([&](Transaction& t) { return Deposit(t, Cash(1, INT64_MAX)); }),
            absl::StatusCode::kOk);
  EXPECT_EQ(Run([&](Transaction& t) { return Deposit(t, Cash(2, 1)); }),
            absl::StatusCode::kOutOfRange);
  EXPECT_EQ(BalanceOf(world_.customer_account), INT64_MAX);
  EXPECT_EQ(BalanceOf(world_.external_account), -INT64_MAX);
}

// A refund is posted with the payment's entries turned round.
TEST_F(LedgerTest, ARefundUndoesItsPayment) {
  const std::string order_id = AddOrder(10);
  ASSERT_EQ(Run([&](Transaction& t) { return Deposit(t, Cash(1, 1025)); }), absl::StatusCode::kOk);
  ASSERT_EQ(Run([&](Transaction& t) { return Pay(t, MakePayment(2, order_id)); }),
            absl::StatusCode::kOk);
  Transfer refund = MakeTransfer(3, TransferKind::kRefund);
  refund.order_id = order_id;
  EXPECT_EQ(RunPost(refund, {MakeEntry(world_.customer_account, 1025),
                             MakeEntry(world_.merchant_account, -1000),
                             MakeEntry(world_.broker_account, -25)}),
            absl::StatusCode::kOk);
  EXPECT_EQ(BalanceOf(world_.customer_account), 1025);
  EXPECT_EQ(BalanceOf(world_.merchant_account), 0);
}

// 64 threads withdraw 1 from a balance of 100 a thousand times each; exactly 100 may succeed.
TEST_F(LedgerTest, ManyWithdrawersTakeExactlyWhatIsThere) {
  constexpr int kThreads = 64;
  constexpr int kEach = 1000;
  ASSERT_EQ(Run([&](Transaction& t) { return Deposit(t, Cash(1, 100)); }), absl::StatusCode::kOk);
  absl::StatusOr<std::unique_ptr<CommitQueue>> queue =
      CommitQueue::Create(*store_, CommitQueue::Options());
  ASSERT_TRUE(queue.ok()) << queue.status();
  std::atomic<int> succeeded{0};
  std::atomic<int> refused{0};
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      std::mutex mutex;
      std::condition_variable answered;
      for (int n = 0; n < kEach; ++n) {
        const CashMovement movement = Cash(1000 + thread * kEach + n, 1);
        bool done = false;
        absl::Status accepted =
            (*queue)->Submit([movement](Transaction& t) { return Withdraw(t, movement); },
                             [&](absl::Status status) {
                               if (status.ok()) ++succeeded;
                               if (status.code() == absl::StatusCode::kFailedPrecondition)
                                 ++refused;
                               std::lock_guard<std::mutex> lock(mutex);
                               done = true;
                               answered.notify_one();
                             });
        ASSERT_TRUE(accepted.ok()) << accepted;
        std::unique_lock<std::mutex> lock(mutex);
        answered.wait(lock, [&] { return done; });
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(succeeded, 100);
  EXPECT_EQ(refused, kThreads * kEach - 100);
  EXPECT_EQ(BalanceOf(world_.customer_account), 0);
  EXPECT_EQ(BalanceOf(world_.external_account), 0);
}

// Random operations, many of them wrong, on the real ledger and on the reference at once.
class RandomLedgerTest : public LedgerTest, public ::testing::WithParamInterface<uint64_t> {
 protected:
  static constexpr int kOperations = 100'000;
  static constexpr int kOperationsPerCommit = 500;
  static constexpr int kOrders = 3000;

  void SetUp() override {
    LedgerTest::SetUp();
    random_.seed(GetParam());
    Know(world_.customer_account, AccountKind::kCustomer, "EUR");
    Know(world_.merchant_account, AccountKind::kMerchant, "EUR");
    Know(world_.broker_account, AccountKind::kBroker, "EUR");
    Know(world_.external_account, AccountKind::kExternal, "EUR");
    for (const char* currency : {"EUR", "USD"}) {
      for (int i = 0; i < 4; ++i) {
        Know(AddAccount(AccountKind::kCustomer, absl::StrCat("C-", currency, i), currency),
             AccountKind::kCustomer, currency);
        Know(AddAccount(AccountKind::kMerchant, absl::StrCat("M-", currency, i), currency),
             AccountKind::kMerchant, currency);
      }
    }
    Know(AddAccount(AccountKind::kExternal, "X-USD", "USD"), AccountKind::kExternal, "USD");
    Know(AddAccount(AccountKind::kBroker, "B-USD", "USD"), AccountKind::kBroker, "USD");
    ASSERT_TRUE(store_
                    ->Write([&](Transaction& t) -> absl::Status {
                      for (int i = 0; i < kOrders; ++i) {
                        const Order order =
                            SampleOrder(1'000'000 + i, world_.merchant, world_.customer);
                        order_ids_.push_back(order.order_id);
                        absl::Status status = t.orders().Insert(order);
                        if (!status.ok()) return status;
                      }
                      return absl::OkStatus();
                    })
                    .ok());
  }

  void Know(int64_t id, AccountKind kind, const std::string& currency) {
    accounts_.push_back(id);
    reference_.AddAccount(id, kind, currency);
  }

  uint64_t Below(uint64_t bound) { return random_() % bound; }

  int64_t AnyAccount() {
    if (Below(50) == 0) return 999;
    return accounts_[Below(accounts_.size())];
  }

  // Mostly small, so that balances run out and fill; sometimes at the edges of int64.
  int64_t AnyAmount() {
    switch (Below(40)) {
      case 0:
        return 0;
      case 1:
        return -static_cast<int64_t>(Below(100));
      case 2:
        return INT64_MAX - static_cast<int64_t>(Below(3));
      case 3:
        return INT64_MIN + static_cast<int64_t>(Below(3));
      default:
        return 1 + static_cast<int64_t>(Below(500));
    }
  }

  // New ones mostly; one in eight was used before.
  std::string AnyTransferId() {
    if (Below(8) == 0) return TransferId(static_cast<int64_t>(Below(next_transfer_)));
    return TransferId(static_cast<int64_t>(next_transfer_++));
  }

  CashMovement AnyCash() {
    const bool euros = Below(8) != 0;
    const int64_t external =
        Below(20) == 0 ? AnyAccount() : (euros ? world_.external_account : accounts_[12]);
    return {AnyTransferId(), AnyAccount(), external, AnyAmount(), 3000};
  }

  // One operation on both; the real one's status is left in `real`.
  absl::StatusCode RunBoth(Transaction& t, absl::Status& real) {
    const uint64_t choice = Below(10);
    if (choice < 3) {
      const CashMovement movement = AnyCash();
      real = Deposit(t, movement);
      return reference_.Deposit(movement);
    }
    if (choice < 6) {
      const CashMovement movement = AnyCash();
      real = Withdraw(t, movement);
      return reference_.Withdraw(movement);
    }
    if (choice < 8) {
      Payment payment = {AnyTransferId(), order_ids_[Below(order_ids_.size())],
                         AnyAccount(),    AnyAccount(),
                         AnyAccount(),    AnyAmount(),
                         AnyAmount(),     3000};
      if (Below(4) != 0) {
        payment.customer_account_id = world_.customer_account;
        payment.merchant_account_id = world_.merchant_account;
        payment.broker_account_id = world_.broker_account;
      }
      real = Pay(t, payment);
      return reference_.Pay(payment);
    }
    Transfer transfer;
    transfer.transfer_id = AnyTransferId();
    transfer.kind = static_cast<TransferKind>(Below(5));
    if (Below(2) == 0) transfer.order_id = order_ids_[Below(order_ids_.size())];
    std::vector<Entry> entries;
    __int128 rest = 0;
    for (uint64_t i = Below(4); i > 0; --i) {
      entries.push_back(MakeEntry(AnyAccount(), AnyAmount()));
      rest -= entries.back().amount_minor;
    }
    // Mostly balanced.
    if (Below(8) != 0 && rest >= INT64_MIN && rest <= INT64_MAX) {
      entries.push_back(MakeEntry(AnyAccount(), static_cast<int64_t>(rest)));
    }
    real = PostTransfer(t, transfer, entries);
    return reference_.PostTransfer(transfer, entries);
  }

  std::mt19937_64 random_;
  testing::ReferenceLedger reference_;
  std::vector<int64_t> accounts_;
  std::vector<std::string> order_ids_;
  uint64_t next_transfer_ = 0;
};

TEST_P(RandomLedgerTest, AgreesWithTheReferenceAtEveryStep) {
  std::map<absl::StatusCode, int> seen;
  for (int done = 0; done < kOperations; done += kOperationsPerCommit) {
    std::vector<storage::WriteJob> jobs;
    for (int i = 0; i < kOperationsPerCommit; ++i) {
      jobs.push_back({[this, &seen, step = done + i](Transaction& t) {
                        absl::Status real;
                        const absl::StatusCode expected = RunBoth(t, real);
                        ++seen[expected];
                        EXPECT_EQ(real.code(), expected) << "step " << step << ": " << real;
                        return real;
                      },
                      absl::OkStatus()});
    }
    ASSERT_TRUE(store_->WriteBatch(absl::MakeSpan(jobs)).ok());
    ASSERT_TRUE(store_
                    ->Read([&](Transaction& t) -> absl::Status {
                      for (int64_t id : accounts_) {
                        absl::StatusOr<storage::Account> account = t.accounts().Get(id);
                        if (!account.ok()) return account.status();
                        EXPECT_EQ(account->balance_minor, reference_.BalanceOf(id)) << id;
                      }
                      return absl::OkStatus();
                    })
                    .ok());
    ASSERT_FALSE(HasFailure());
  }
  // The random walk has been everywhere.
  for (absl::StatusCode code :
       {absl::StatusCode::kOk, absl::StatusCode::kInvalidArgument, absl::StatusCode::kOutOfRange,
        absl::StatusCode::kAlreadyExists, absl::StatusCode::kNotFound,
        absl::StatusCode::kFailedPrecondition}) {
    EXPECT_GT(seen[code], 100) << absl::StatusCodeToString(code);
  }
  EXPECT_GT(reference_.transfers(), 10000u);
  absl::StatusOr<AuditReport> report = AuditBooks(*store_);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->transfers, static_cast<int64_t>(reference_.transfers()));
  // Payments without a paid order are among the nonsense that was tried; balances are right anyway.
  for (const AuditProblem& problem : report->problems) {
    EXPECT_NE(problem.table, "accounts") << problem.row << ": " << problem.what;
    EXPECT_NE(problem.table, "store") << problem.what;
    EXPECT_NE(problem.what, "the entries do not sum to zero") << problem.row;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomLedgerTest, ::testing::Values(1, 2, 3));

}  // namespace
}  // namespace blindcart::ledger
