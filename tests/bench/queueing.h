// A market of several brokers over one database as a network of queues, simulated event by event, and
// the textbook formulas that the simulation is checked against. Backs docs/scaling.md.
//
// Two stages. First a broker's processor: `cores` servers, first come first served, with what is
// relayed and what a payment costs (the PIN's check above all) mixed as they arrive. Then group commit,
// as CommitQueue does it: one batch at a time from each broker, of whatever waits, at most
// `max_batch`; the database works on at most `parallel_batches` at once. One is what a row gives that
// every batch must change, such as the broker's charge account: batches then wait for each other from
// their first payment to their commit.
//
// Arrivals are a Poisson process, spread evenly over the brokers. Times in seconds.
// Thread safety: functions of their arguments only.
#ifndef BLINDCART_TESTS_BENCH_QUEUEING_H_
#define BLINDCART_TESTS_BENCH_QUEUEING_H_

#include <cstdint>

namespace blindcart::bench {

struct Market {
  double purchases_per_s = 0;
  int brokers = 1;
  int cores = 1;                   // of each broker
  double relays_per_purchase = 0;  // messages passed on
  double relay_s = 0;              // processor time of each, exponentially distributed
  double payment_s = 0;            // processor time of a payment before its commit; constant
  int max_batch = 64;
  double commit_s = 0;       // of a batch, however small
  double commit_each_s = 0;  // more for each payment in it
  int parallel_batches = 1;
};

struct Behaviour {
  double processor_load = 0;     // share of the brokers' processors that is in use
  double database_load = 0;      // share of the time that the database's places are taken
  double mean_batch = 0;         // payments in a commit
  double relay_wait_mean_s = 0;  // before a relayed message gets its processor
  double payment_p50_s = 0;      // from its arrival to its commit
  double payment_p99_s = 0;
  // Payments finish as fast as they come: the last commit is not later than 2 % of the whole time after
  // the last arrival.
  bool stable = true;
};

// `purchases` purchases, the first tenth of which is left out of the figures.
Behaviour Simulate(const Market& market, int64_t purchases, uint64_t seed);

// Mean wait in M/M/c (Erlang C). `load`: arrivals per second times `service_s`, below `servers`.
double ErlangCWait(double arrivals_per_s, double service_s, int servers);

// Mean wait in M/D/1 (Pollaczek and Khinchine).
double ConstantServiceWait(double arrivals_per_s, double service_s);

// Payments a second that the database takes at most, with all batches full.
double CommitCapacity(const Market& market);

}  // namespace blindcart::bench

#endif  // BLINDCART_TESTS_BENCH_QUEUEING_H_
