// The process ends in the middle of its N-th write to the disk, for every N of a whole purchase and its
// cash movements. Whatever was acknowledged must still be there, nothing may be there by half, and the
// same requests repeated must end in the same books as if nothing had happened.

#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "services/ledger/audit.h"
#include "services/ledger/ledger.h"
#include "services/storage/sqlite_store.h"
#include "services/storage/testing/fault_vfs.h"
#include "services/storage/testing/sample_rows.h"

namespace blindcart::ledger {
namespace {

using storage::Order;
using storage::OrderStatus;
using storage::RequestAnswer;
using storage::Store;
using storage::Transaction;
using storage::testing::Fault;
using storage::testing::FaultVfs;
using storage::testing::SampleBytes;
using storage::testing::SampleOrder;
using storage::testing::SampleWorld;

// Runs `body` unless its answer is known already, as a use case does for a request that is repeated.
absl::Status Once(Transaction& t, const SampleWorld& world, int64_t request,
                  absl::FunctionRef<absl::Status()> body) {
  RequestAnswer answer;
  answer.customer_id = world.customer;
  answer.request_id = SampleBytes(request, storage::kRequestIdBytes);
  answer.request_digest = SampleBytes(request, storage::kRequestDigestBytes);
  answer.answer = "done";
  absl::StatusOr<RequestAnswer> known = t.requests().Get(world.customer, answer.request_id);
  if (known.ok()) return absl::OkStatus();
  if (!absl::IsNotFound(known.status())) return known.status();
  absl::Status status = body();
  return status.ok() ? t.requests().Insert(answer) : status;
}

constexpr int kSteps = 6;

absl::Status RunStep(Store& store, const SampleWorld& world, int step) {
  const Order order = SampleOrder(10, world.merchant, world.customer);
  return store.Write([&](Transaction& t) {
    return Once(t, world, step, [&]() -> absl::Status {
      switch (step) {
        case 0:
          return Deposit(t, {SampleBytes(100, 16), world.customer_account, world.external_account,
                             5000, 3000});
        case 1:
          return t.orders().Insert(order);
        case 2: {
          const std::string transfer_id = SampleBytes(101, 16);
          absl::Status status =
              Pay(t, {transfer_id, order.order_id, world.customer_account, world.merchant_account,
                      world.broker_account, 1000, 25, 4000});
          if (!status.ok()) return status;
          status = t.orders().MarkPaid(order.order_id, transfer_id, "receipt", 4000);
          if (!status.ok()) return status;
          return t.notices().Append(world.merchant, "paid", 4000).status();
        }
        case 3:
          return t.notices().Acknowledge(world.merchant, 1);
        case 4:
          return t.orders().UpdateStatus(order.order_id, OrderStatus::kPaid,
                                         OrderStatus::kDelivered);
        default:
          return Withdraw(
              t, {SampleBytes(102, 16), world.customer_account, world.external_account, 700, 5000});
      }
    });
  });
}

// How many steps are in the books; fails the test when one is there by half or one before is not.
int StepsDone(Store& store, const SampleWorld& world) {
  int done = 0;
  absl::Status status = store.Read([&](Transaction& t) -> absl::Status {
    for (int step = 0; step < kSteps; ++step) {
      if (t.requests().Get(world.customer, SampleBytes(step, storage::kRequestIdBytes)).ok()) {
        EXPECT_EQ(done, step);
        done = step + 1;
      }
    }
    const int64_t expected_balance = done == 0 ? 0 : done < 3 ? 5000 : done < 6 ? 3975 : 3275;
    EXPECT_EQ(t.accounts().Get(world.customer_account)->balance_minor, expected_balance);
    EXPECT_EQ(t.accounts().Get(world.merchant_account)->balance_minor, done < 3 ? 0 : 1000);
    EXPECT_EQ(t.notices().List(world.merchant, 0, 10)->size(), done == 3 ? 1u : 0u);
    absl::StatusOr<Order> order = t.orders().Get(SampleBytes(10, storage::kOrderIdBytes));
    EXPECT_EQ(order.ok(), done >= 2);
    if (order.ok()) {
      EXPECT_EQ(order->status, done < 3   ? OrderStatus::kCreated
                               : done < 5 ? OrderStatus::kPaid
                                          : OrderStatus::kDelivered);
    }
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
  return done;
}

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

// Runs the steps in a process of its own whose `nth` write is its last. Returns how many it
// acknowledged, and whether it lived to the end.
std::pair<int, bool> RunDoomed(const std::string& path, const SampleWorld& world, int64_t nth) {
  int acknowledgements[2];
  EXPECT_EQ(pipe(acknowledgements), 0);
  const pid_t child = fork();
  if (child == 0) {
    close(acknowledgements[0]);
    FaultVfs::Install();
    FaultVfs::FailFrom(Fault::kSuddenExit, nth);
    absl::StatusOr<std::unique_ptr<Store>> store = storage::OpenSqliteStore(path);
    if (!store.ok()) _exit(1);
    for (int step = 0; step < kSteps; ++step) {
      if (!RunStep(**store, world, step).ok()) _exit(1);
      if (write(acknowledgements[1], "+", 1) != 1) _exit(1);
    }
    store->reset();
    _exit(0);
  }
  close(acknowledgements[1]);
  int acknowledged = 0;
  for (char byte; read(acknowledgements[0], &byte, 1) == 1;) ++acknowledged;
  close(acknowledgements[0]);
  int ended = 0;
  EXPECT_EQ(waitpid(child, &ended, 0), child);
  EXPECT_TRUE(WIFEXITED(ended));
  const bool lived = WEXITSTATUS(ended) == 0;
  EXPECT_TRUE(lived || WEXITSTATUS(ended) == storage::testing::kSuddenExitCode);
  return {acknowledged, lived};
}

TEST(CrashTest, NothingAcknowledgedIsLostAtAnyWrite) {
  const std::string path = absl::StrCat(::testing::TempDir(), "/crash-", getpid(), ".db");
  SampleWorld world;
  {
    absl::StatusOr<std::unique_ptr<Store>> store = storage::OpenSqliteStore(path);
    ASSERT_TRUE(store.ok()) << store.status();
    world = storage::testing::AddSampleWorld(**store);
  }
  const std::string start = ReadFile(path);
  ASSERT_FALSE(start.empty());

  int64_t nth = 1;
  for (bool lived = false; !lived && !::testing::Test::HasFailure(); ++nth) {
    for (const char* suffix : {"-wal", "-shm"}) unlink((path + suffix).c_str());
    std::ofstream(path, std::ios::binary | std::ios::trunc) << start;
    int acknowledged = 0;
    std::tie(acknowledged, lived) = RunDoomed(path, world, nth);

    absl::StatusOr<std::unique_ptr<Store>> store = storage::OpenSqliteStore(path);
    ASSERT_TRUE(store.ok()) << "write " << nth << ": " << store.status();
    const int done = StepsDone(**store, world);
    EXPECT_GE(done, acknowledged) << "write " << nth;
    EXPECT_LE(done, acknowledged + 1) << "write " << nth;
    for (bool repeated : {false, true}) {
      for (int step = 0; repeated && step < kSteps; ++step) {
        absl::Status status = RunStep(**store, world, step);
        EXPECT_TRUE(status.ok()) << "write " << nth << ", step " << step << ": " << status;
      }
      absl::StatusOr<AuditReport> report = AuditBooks(**store);
      ASSERT_TRUE(report.ok()) << report.status();
      for (const AuditProblem& problem : report->problems) {
        ADD_FAILURE() << "write " << nth << ": " << problem.table << " " << problem.row << ": "
                      << problem.what;
      }
    }
    EXPECT_EQ(StepsDone(**store, world), kSteps);
  }
  EXPECT_GT(nth, 30) << "a purchase writes more often than that";
  for (const char* suffix : {"", "-wal", "-shm"}) unlink((path + suffix).c_str());
}

}  // namespace
}  // namespace blindcart::ledger
