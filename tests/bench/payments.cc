// Payments committed durably: one commit for each beside group commit, on SQLite and on PostgreSQL;
// there also beside pgbench with one function call for each, and several brokers' queues over one
// database, with and without the charge account that every payment touches.
//
// A payment here is the ledger's part and the order's mark, through the same queue and store as in the
// broker; the sealed request, the PIN and the signature are not (tests/bench/costs.cc has those).
#include <glob.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <iostream>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/types/span.h"
#include "services/ledger/ledger.h"
#include "services/storage/commit_queue.h"
#include "services/storage/postgres_store.h"
#include "services/storage/sqlite_store.h"
#include "services/storage/testing/postgres_server.h"
#include "services/storage/testing/sample_rows.h"
#include "tests/bench/report.h"

namespace blindcart::bench {
namespace {

using storage::CommitQueue;
using storage::Store;
using storage::Transaction;
using storage::testing::PostgresServer;

constexpr int kRounds = 5;
constexpr int kCustomers = 32;
constexpr int kMerchants = 8;
constexpr int64_t kPriceMinor = 1000;
constexpr int64_t kChargeMinor = 25;
constexpr int64_t kFirstOrder = 1'000;  // Beyond the seeds of the deposits.

void Must(const absl::Status& status) {
  if (status.ok()) return;
  std::cerr << "cannot measure: " << status << "\n";
  std::exit(1);
}

struct Unpaid {
  std::string order_id;
  std::string transfer_id;
  int64_t customer_account = 0;
  int64_t merchant_account = 0;
};

// A store with customers who have money, and orders to pay.
class Books {
 public:
  explicit Books(Store& store) : store_(store) {
    Must(store_.Write([&](Transaction& transaction) -> absl::Status {
      const auto account = [&](storage::AccountKind kind, const std::string& number) {
        const absl::StatusOr<int64_t> id =
            transaction.accounts().Insert(storage::testing::SampleAccount(kind, number));
        Must(id.status());
        return *id;
      };
      broker_account_ = account(storage::AccountKind::kBroker, "B");
      const int64_t outside = account(storage::AccountKind::kExternal, "X");
      for (int i = 0; i < kCustomers; ++i) {
        customer_accounts_.push_back(
            account(storage::AccountKind::kCustomer, absl::StrCat("C", i)));
        const absl::StatusOr<int64_t> customer = transaction.customers().Insert(
            storage::testing::SampleCustomer(absl::StrCat("c", i), customer_accounts_.back()));
        Must(customer.status());
        customers_.push_back(*customer);
        ledger::CashMovement money;
        money.transfer_id = storage::testing::SampleBytes(1 + i, storage::kTransferIdBytes);
        money.account_id = customer_accounts_.back();
        money.external_account_id = outside;
        money.amount_minor = int64_t{1} << 40;
        money.created_at_ms = 1;
        Must(ledger::Deposit(transaction, money));
      }
      for (int i = 0; i < kMerchants; ++i) {
        merchant_accounts_.push_back(
            account(storage::AccountKind::kMerchant, absl::StrCat("M", i)));
        const absl::StatusOr<int64_t> merchant = transaction.merchants().Insert(
            storage::testing::SampleMerchant(absl::StrCat("m", i), merchant_accounts_.back()));
        Must(merchant.status());
        merchants_.push_back(*merchant);
      }
      return absl::OkStatus();
    }));
  }

  int64_t broker_account() const { return broker_account_; }
  int64_t orders() const { return next_order_ - kFirstOrder; }

  std::vector<Unpaid> MakeOrders(int count) {
    std::vector<Unpaid> unpaid;
    Must(store_.Write([&](Transaction& transaction) -> absl::Status {
      unpaid.clear();
      for (int i = 0; i < count; ++i) {
        const size_t customer = i % kCustomers;
        const size_t merchant = i / kCustomers % kMerchants;
        const storage::Order order = storage::testing::SampleOrder(
            next_order_ + i, merchants_[merchant], customers_[customer]);
        Must(transaction.orders().Insert(order));
        unpaid.push_back({order.order_id,
                          storage::testing::SampleBytes(next_order_ + i, storage::kTransferIdBytes),
                          customer_accounts_[customer], merchant_accounts_[merchant]});
      }
      return absl::OkStatus();
    }));
    next_order_ += count;
    return unpaid;
  }

 private:
  Store& store_;
  int64_t broker_account_ = 0;
  std::vector<int64_t> customers_;
  std::vector<int64_t> customer_accounts_;
  std::vector<int64_t> merchants_;
  std::vector<int64_t> merchant_accounts_;
  int64_t next_order_ = kFirstOrder;
};

// Statement by statement, or with what the broker does to save round trips.
enum class Trips { kEach, kSaved };

absl::Status Pay(Transaction& transaction, const Unpaid& unpaid, int64_t broker_account,
                 bool charged, Trips trips = Trips::kSaved) {
  ledger::Payment payment;
  payment.transfer_id = unpaid.transfer_id;
  payment.order_id = unpaid.order_id;
  payment.customer_account_id = unpaid.customer_account;
  payment.merchant_account_id = unpaid.merchant_account;
  payment.broker_account_id = broker_account;
  payment.price_minor = kPriceMinor;
  payment.charge_minor = charged ? kChargeMinor : 0;
  payment.created_at_ms = 3000;
  if (trips == Trips::kSaved) {
    transaction.ReadAhead([&](Transaction& ahead) { ledger::ReadForPay(ahead, payment); });
    transaction.DeferWrites();
  }
  const absl::Status paid = ledger::Pay(transaction, payment);
  if (!paid.ok()) return paid;
  return transaction.orders().MarkPaid(unpaid.order_id, unpaid.transfer_id, std::string(700, 'r'),
                                       3000);
}

double Seconds(const std::function<void()>& what) {
  const auto start = std::chrono::steady_clock::now();
  what();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// 32 customers, each with one payment in flight, one commit for each payment.
double OneByOne(Store& store, Books& books, int count) {
  const std::vector<Unpaid> unpaid = books.MakeOrders(count);
  std::atomic<size_t> next{0};
  return count / Seconds([&] {
           std::vector<std::thread> customers;
           for (int i = 0; i < kCustomers; ++i) {
             customers.emplace_back([&] {
               for (size_t at = next++; at < unpaid.size(); at = next++) {
                 Must(store.Write([&](Transaction& transaction) {
                   return Pay(transaction, unpaid[at], books.broker_account(), true);
                 }));
               }
             });
           }
           for (std::thread& customer : customers) customer.join();
         });
}

// The same customers over the queues of several brokers; each queue has a store of its own.
double Grouped(absl::Span<Store* const> stores, Books& books, int count, bool charged,
               int customers = kCustomers, Trips trips = Trips::kSaved) {
  const std::vector<Unpaid> unpaid = books.MakeOrders(count);
  std::vector<std::unique_ptr<CommitQueue>> queues;
  for (Store* store : stores) {
    auto queue = CommitQueue::Create(*store, CommitQueue::Options());
    Must(queue.status());
    queues.push_back(*std::move(queue));
  }
  std::mutex mutex;
  std::condition_variable done;
  size_t next = 0;      // Under mutex.
  size_t finished = 0;  // Under mutex.
  // Customer `who` pays the next order, and the one after it when that is done.
  std::function<void(int)> pay_next = [&](int who) {
    size_t at = 0;
    {
      std::lock_guard<std::mutex> lock(mutex);
      if (next >= unpaid.size()) return;
      at = next++;
    }
    Must(queues[who % queues.size()]->Submit(
        [&, at](Transaction& transaction) {
          return Pay(transaction, unpaid[at], books.broker_account(), charged, trips);
        },
        [&, who](const absl::Status& status) {
          Must(status);
          pay_next(who);
          std::lock_guard<std::mutex> lock(mutex);
          if (++finished == unpaid.size()) done.notify_all();
        }));
  };
  const double seconds = Seconds([&] {
    for (int i = 0; i < customers; ++i) pay_next(i);
    std::unique_lock<std::mutex> lock(mutex);
    done.wait(lock, [&] { return finished == unpaid.size(); });
  });
  return count / seconds;
}

// The same rows written by one call of a function in the database, which pgbench makes from 16
// clients.
class Pgbench {
 public:
  static constexpr int kClients = 16;

  Pgbench(std::string url, const std::string& folder)
      : url_(std::move(url)), script_(folder + "/pay.sql") {
    glob_t found;
    if (glob("/usr/lib/postgresql/*/bin/pgbench", 0, nullptr, &found) != 0) {
      Must(absl::NotFoundError("pgbench is not installed (./setup.sh)"));
    }
    program_ = found.gl_pathv[found.gl_pathc - 1];
    globfree(&found);
    Must(PostgresServer::Execute(url_, kSchema));
    std::FILE* const file = std::fopen(script_.c_str(), "w");
    Must(file == nullptr ? absl::InternalError("cannot write") : absl::OkStatus());
    std::fputs("SELECT bench_pay(nextval('bench_next'));\n", file);
    std::fclose(file);
  }

  // Payments a second.
  double Pay(Books& books, int count, bool charged) {
    const std::vector<Unpaid> unpaid = books.MakeOrders(count);
    std::string fill = "BEGIN; TRUNCATE bench_todo; ALTER SEQUENCE bench_next RESTART;";
    for (size_t i = 0; i < unpaid.size(); ++i) {
      absl::StrAppend(&fill, "INSERT INTO bench_todo VALUES (", i + 1, ", '\\x",
                      absl::BytesToHexString(unpaid[i].order_id), "', '\\x",
                      absl::BytesToHexString(unpaid[i].transfer_id), "', ",
                      unpaid[i].customer_account, ", ", unpaid[i].merchant_account, ", ",
                      books.broker_account(), ", ", charged ? kChargeMinor : 0, ");");
    }
    Must(PostgresServer::Execute(url_, fill + "COMMIT"));
    const std::string command = absl::StrCat(
        program_, " --no-vacuum --protocol=prepared --client=", kClients,
        " --jobs=2 --transactions=", count / kClients, " --file='", script_, "' '", url_, "' 2>&1");
    std::FILE* const pipe = popen(command.c_str(), "r");
    Must(pipe == nullptr ? absl::InternalError("cannot start pgbench") : absl::OkStatus());
    std::string output;
    char buffer[4096];
    while (const size_t bytes = std::fread(buffer, 1, sizeof(buffer), pipe)) {
      output.append(buffer, bytes);
    }
    double rate = 0;
    const size_t at = output.find("tps = ");
    if (pclose(pipe) != 0 || at == std::string::npos ||
        !absl::SimpleAtod(output.substr(at + 6, output.find(' ', at + 6) - at - 6), &rate)) {
      Must(absl::InternalError(absl::StrCat("pgbench: ", output)));
    }
    return rate;
  }

 private:
  static constexpr char kSchema[] = R"(
      CREATE SEQUENCE bench_next;
      CREATE TABLE bench_todo (n BIGINT PRIMARY KEY, order_id BYTEA, transfer_id BYTEA,
                               customer BIGINT, merchant BIGINT, broker BIGINT, charge BIGINT);
      CREATE FUNCTION bench_pay(wanted BIGINT) RETURNS VOID LANGUAGE plpgsql AS $$
      DECLARE
        todo bench_todo;
      BEGIN
        SELECT * INTO STRICT todo FROM bench_todo WHERE n = wanted;
        PERFORM id FROM accounts WHERE id IN (todo.customer, todo.merchant)
          OR todo.charge > 0 AND id = todo.broker ORDER BY id FOR UPDATE;
        INSERT INTO transfers (transfer_id, kind, order_id, created_at_ms)
          VALUES (todo.transfer_id, 'payment', todo.order_id, 3000);
        INSERT INTO entries (transfer_id, account_id, amount_minor)
          VALUES (todo.transfer_id, todo.customer, -1000 - todo.charge),
                 (todo.transfer_id, todo.merchant, 1000);
        UPDATE accounts SET balance_minor = balance_minor - 1000 - todo.charge
          WHERE id = todo.customer;
        UPDATE accounts SET balance_minor = balance_minor + 1000 WHERE id = todo.merchant;
        IF todo.charge > 0 THEN
          INSERT INTO entries (transfer_id, account_id, amount_minor)
            VALUES (todo.transfer_id, todo.broker, todo.charge);
          UPDATE accounts SET balance_minor = balance_minor + todo.charge WHERE id = todo.broker;
        END IF;
        UPDATE orders SET status = 'paid', transfer_id = todo.transfer_id,
          receipt = convert_to(repeat('r', 700), 'UTF8'), paid_at_ms = 3000
          WHERE order_id = todo.order_id AND status = 'created';
      END $$)";

  const std::string url_;
  const std::string script_;
  std::string program_;
};

void Print(const std::string& what, const Rounds& rounds, const Rounds* beside) {
  std::cout << absl::StrFormat("%-58s %s", what, Describe(rounds, "/s"));
  if (beside != nullptr)
    std::cout << absl::StrFormat("   x %.2f", rounds.median() / beside->median());
  std::cout << std::endl;
}

void OnSqlite(const std::string& folder) {
  auto store = storage::OpenSqliteStore(folder + "/payments.db");
  Must(store.status());
  Books books(**store);
  Rounds one_by_one;
  Rounds grouped;
  for (int round = 0; round < kRounds; ++round) {
    one_by_one.Add(OneByOne(**store, books, 1'500));
    grouped.Add(Grouped({store->get()}, books, 15'000, true));
  }
  Print("SQLite, one commit per payment", one_by_one, nullptr);
  Print("SQLite, group commit", grouped, &one_by_one);
  std::cout << "SQLite, file's bytes per paid order: "
            << std::filesystem::file_size(folder + "/payments.db") / books.orders() << "\n";
}

void OnPostgres(const std::string& folder) {
  auto server = PostgresServer::Start();
  Must(server.status());
  const absl::StatusOr<std::string> url = (*server)->CreateDatabase();
  Must(url.status());
  storage::PostgresStoreOptions options;
  options.url = *url;
  options.patience_ms = 60'000;
  std::vector<std::unique_ptr<Store>> opened;
  std::vector<Store*> stores;
  for (int i = 0; i < 4; ++i) {
    auto store = storage::OpenPostgresStore(options);
    Must(store.status());
    opened.push_back(*std::move(store));
    stores.push_back(opened.back().get());
  }
  Books books(*stores[0]);
  Pgbench pgbench(*url, folder);
  Rounds pgbench_charged;
  Rounds pgbench_uncharged;
  Rounds one_uncharged;
  Rounds one_by_one;
  Rounds one_each;
  Rounds alone_ms;
  Rounds full_ms;
  Rounds one;
  Rounds two;
  Rounds four;
  Rounds two_uncharged;
  Rounds four_uncharged;
  const absl::Span<Store* const> all(stores);
  for (int round = 0; round < kRounds; ++round) {
    pgbench_charged.Add(pgbench.Pay(books, 2'000, true));
    pgbench_uncharged.Add(pgbench.Pay(books, 2'000, false));
    one_by_one.Add(OneByOne(*stores[0], books, 400));
    one_each.Add(Grouped(all.subspan(0, 1), books, 2'000, true, kCustomers, Trips::kEach));
    one_uncharged.Add(Grouped(all.subspan(0, 1), books, 2'000, false));
    alone_ms.Add(1e3 / Grouped(all.subspan(0, 1), books, 200, true, 1));
    full_ms.Add(64e3 / Grouped(all.subspan(0, 1), books, 2'000, true, 128));
    one.Add(Grouped(all.subspan(0, 1), books, 2'000, true));
    two.Add(Grouped(all.subspan(0, 2), books, 2'000, true));
    four.Add(Grouped(all, books, 2'000, true));
    two_uncharged.Add(Grouped(all.subspan(0, 2), books, 2'000, false));
    four_uncharged.Add(Grouped(all, books, 2'000, false));
  }
  Print("PostgreSQL, one commit per payment", one_by_one, nullptr);
  Print("PostgreSQL, group commit, one broker", one, &one_by_one);
  Print("  the same, statement by statement", one_each, &one);
  Print("  beside pgbench, one function call each, 16 clients", pgbench_charged, &one);
  Print("PostgreSQL, one broker, no charge account", one_uncharged, &one);
  Print("  beside pgbench", pgbench_uncharged, &one_uncharged);
  Print("PostgreSQL, group commit, two brokers", two, &one);
  Print("PostgreSQL, group commit, four brokers", four, &one);
  Print("PostgreSQL, two brokers, no charge account", two_uncharged, &one);
  Print("PostgreSQL, four brokers, no charge account", four_uncharged, &one);
  std::cout << "PostgreSQL, a commit of one payment: " << Describe(alone_ms, "ms")
            << "; of 64: " << Describe(full_ms, "ms") << "\n";
}

int Main() {
  std::string folder = (std::filesystem::temp_directory_path() / "payments-XXXXXX").string();
  if (::mkdtemp(folder.data()) == nullptr) {
    std::cerr << "cannot make a temporary folder\n";
    return 1;
  }
  std::cout << "Payments committed durably, " << kCustomers
            << " customers with one in flight each, " << kMerchants << " merchants, median of "
            << kRounds << " rounds\n"
            << DescribeMachine() << "\n\n";
  OnSqlite(folder);
  OnPostgres(folder);
  std::filesystem::remove_all(folder);
  return 0;
}

}  // namespace
}  // namespace blindcart::bench

int main() { return blindcart::bench::Main(); }
