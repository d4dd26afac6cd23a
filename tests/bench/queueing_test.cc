#include "tests/bench/queueing.h"

#include "gtest/gtest.h"

namespace blindcart::bench {
namespace {

constexpr int64_t kPurchases = 400'000;

TEST(QueueingTest, ErlangCIsRightWhereItIsKnown) {
  // M/M/1: rho / (mu - lambda).
  EXPECT_NEAR(ErlangCWait(0.8, 1, 1), 0.8 / 0.2, 1e-9);
  // Two servers at load 1: the textbook's one third of a service time.
  EXPECT_NEAR(ErlangCWait(1, 1, 2), 1.0 / 3, 1e-9);
}

// Relayed messages alone, with nothing to speak of for the payments: M/M/c.
TEST(QueueingTest, ProcessorsWaitAsErlangSays) {
  for (const auto& [cores, load] : {std::pair{1, 0.5}, {4, 0.8}, {16, 0.9}}) {
    Market market;
    market.cores = cores;
    market.relay_s = 0.001;
    market.relays_per_purchase = 10;
    market.purchases_per_s = load * cores / (market.relay_s * market.relays_per_purchase);
    const Behaviour behaviour = Simulate(market, kPurchases, 1);
    const double expected_s =
        ErlangCWait(market.purchases_per_s * market.relays_per_purchase, market.relay_s, cores);
    EXPECT_NEAR(behaviour.relay_wait_mean_s / expected_s, 1, 0.05) << cores << " cores";
    EXPECT_NEAR(behaviour.processor_load, load, 0.02);
  }
}

// Commits of one payment at a time at one broker: M/D/1.
TEST(QueueingTest, SingleCommitsWaitAsPollaczekAndKhinchineSay) {
  Market market;
  market.purchases_per_s = 700;
  market.max_batch = 1;
  market.commit_s = 0.001;
  const Behaviour behaviour = Simulate(market, kPurchases, 2);
  EXPECT_NEAR(behaviour.mean_batch, 1, 1e-9);
  EXPECT_NEAR(behaviour.database_load, 0.7, 0.02);
  // The median of M/D/1 at this load lies below the mean, the 99th percentile well above.
  const double mean_s = ConstantServiceWait(700, 0.001) + 0.001;
  EXPECT_LT(behaviour.payment_p50_s, mean_s);
  EXPECT_GT(behaviour.payment_p99_s, mean_s);
}

TEST(QueueingTest, BatchesGrowWithTheLoadUntilTheyAreFull) {
  Market market;
  market.commit_s = 0.002;
  market.commit_each_s = 0.0001;
  const double capacity = CommitCapacity(market);
  EXPECT_NEAR(capacity, 64 / 0.0084, 1e-6);
  double batch = 0;
  for (const double share : {0.1, 0.4, 0.7, 0.95}) {
    market.purchases_per_s = share * capacity;
    const Behaviour behaviour = Simulate(market, kPurchases, 3);
    EXPECT_TRUE(behaviour.stable) << share;
    EXPECT_GT(behaviour.mean_batch, batch);
    batch = behaviour.mean_batch;
  }
  market.purchases_per_s = 1.2 * capacity;
  const Behaviour behaviour = Simulate(market, kPurchases, 3);
  EXPECT_FALSE(behaviour.stable);
  EXPECT_NEAR(behaviour.mean_batch, 64, 1);
}

// A row that every batch changes makes more brokers wait for each other; without it they add up.
TEST(QueueingTest, SharedRowBoundsWhatMoreBrokersBring) {
  Market market;
  market.commit_s = 0.002;
  market.commit_each_s = 0.0001;
  const double capacity_of_one = CommitCapacity(market);
  market.brokers = 4;
  EXPECT_NEAR(CommitCapacity(market), capacity_of_one, 1e-6);
  market.purchases_per_s = 2 * capacity_of_one;
  EXPECT_FALSE(Simulate(market, kPurchases, 4).stable);
  market.parallel_batches = 4;
  EXPECT_NEAR(CommitCapacity(market), 4 * capacity_of_one, 1e-6);
  EXPECT_TRUE(Simulate(market, kPurchases, 4).stable);
}

}  // namespace
}  // namespace blindcart::bench
