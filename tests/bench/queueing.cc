#include "tests/bench/queueing.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <queue>
#include <random>
#include <vector>

namespace blindcart::bench {
namespace {

using EarliestFirst = std::priority_queue<double, std::vector<double>, std::greater<double>>;

// Servers by the time at which each is free.
class Servers {
 public:
  explicit Servers(int count) {
    for (int i = 0; i < count; ++i) free_at_.push(0);
  }
  // Work that comes at `now_s` (never earlier than the work before); when it begins.
  double Take(double now_s, double service_s) {
    const double start_s = std::max(now_s, free_at_.top());
    free_at_.pop();
    free_at_.push(start_s + service_s);
    busy_s_ += service_s;
    return start_s;
  }
  double busy_s() const { return busy_s_; }

 private:
  EarliestFirst free_at_;
  double busy_s_ = 0;
};

struct Payment {
  double arrived_s = 0;
  double ready_s = 0;  // for its commit
};

// Payments of one broker in the order in which they are ready for their commit.
using Line = std::vector<Payment>;

double Percentile(std::vector<double>& sorted, double share) {
  if (sorted.empty()) return 0;
  return sorted[std::min(sorted.size() - 1,
                         static_cast<size_t>(share * static_cast<double>(sorted.size())))];
}

// What a broker's processor makes of its share of the purchases. Adds to `relay_wait_s` and
// `relays` what is later than `warm_s`.
Line Process(const Market& market, int64_t purchases, double warm_s, std::mt19937_64& random,
             double* busy_s, double* relay_wait_s, int64_t* relays) {
  const double payments_per_s = market.purchases_per_s / market.brokers;
  const double relays_per_s = payments_per_s * market.relays_per_purchase;
  std::exponential_distribution<double> next_payment(payments_per_s);
  std::exponential_distribution<double> next_relay(relays_per_s > 0 ? relays_per_s : 1);
  std::exponential_distribution<double> relay_work(market.relay_s > 0 ? 1 / market.relay_s : 1);
  constexpr double kNever = std::numeric_limits<double>::infinity();
  double payment_at = next_payment(random);
  double relay_at = relays_per_s > 0 && market.relay_s > 0 ? next_relay(random) : kNever;
  Servers processors(market.cores);
  Line line;
  while (static_cast<int64_t>(line.size()) < purchases) {
    if (relay_at < payment_at) {
      const double wait_s = processors.Take(relay_at, relay_work(random)) - relay_at;
      if (relay_at > warm_s) {
        *relay_wait_s += wait_s;
        ++*relays;
      }
      relay_at += next_relay(random);
      continue;
    }
    const double start_s = processors.Take(payment_at, market.payment_s);
    line.push_back({payment_at, start_s + market.payment_s});
    payment_at += next_payment(random);
  }
  *busy_s += processors.busy_s();
  // Constant work at several servers ends in the order in which it began.
  return line;
}

}  // namespace

Behaviour Simulate(const Market& market, int64_t purchases, uint64_t seed) {
  std::mt19937_64 random(seed);
  const int64_t each = std::max<int64_t>(purchases / market.brokers, 1);
  const double duration_s = static_cast<double>(each) * market.brokers / market.purchases_per_s;
  const double warm_s = duration_s / 10;
  double busy_s = 0;
  double relay_wait_s = 0;
  int64_t relays = 0;
  std::vector<Line> lines;
  for (int broker = 0; broker < market.brokers; ++broker) {
    lines.push_back(Process(market, each, warm_s, random, &busy_s, &relay_wait_s, &relays));
  }

  // Whose committer can take its next batch first. Brokers ask the database in that order.
  using Turn = std::pair<double, int>;
  std::priority_queue<Turn, std::vector<Turn>, std::greater<Turn>> turns;
  std::vector<size_t> next(lines.size(), 0);
  for (size_t i = 0; i < lines.size(); ++i) turns.push({lines[i].front().ready_s, i});
  Servers database(market.parallel_batches);
  int64_t batches = 0;
  double end_s = 0;            // of the last commit
  std::vector<double> took_s;  // In the order of commits.
  while (!turns.empty()) {
    const auto [now_s, broker] = turns.top();
    turns.pop();
    const Line& line = lines[broker];
    size_t& at = next[broker];
    size_t count = 0;
    while (at + count < line.size() && count < static_cast<size_t>(market.max_batch) &&
           line[at + count].ready_s <= now_s) {
      ++count;
    }
    const double service_s = market.commit_s + static_cast<double>(count) * market.commit_each_s;
    const double committed_s = database.Take(now_s, service_s) + service_s;
    ++batches;
    for (size_t i = 0; i < count; ++i) {
      const Payment& payment = line[at + i];
      if (payment.arrived_s > warm_s) took_s.push_back(committed_s - payment.arrived_s);
    }
    at += count;
    end_s = std::max(end_s, committed_s);
    if (at < line.size()) turns.push({std::max(committed_s, line[at].ready_s), broker});
  }

  Behaviour behaviour;
  behaviour.processor_load = busy_s / (duration_s * market.brokers * market.cores);
  behaviour.database_load = database.busy_s() / (end_s * market.parallel_batches);
  behaviour.mean_batch = static_cast<double>(each * market.brokers) / static_cast<double>(batches);
  behaviour.relay_wait_mean_s = relays > 0 ? relay_wait_s / static_cast<double>(relays) : 0;
  behaviour.stable = end_s <= 1.02 * duration_s;
  std::sort(took_s.begin(), took_s.end());
  behaviour.payment_p50_s = Percentile(took_s, 0.5);
  behaviour.payment_p99_s = Percentile(took_s, 0.99);
  return behaviour;
}

double ErlangCWait(double arrivals_per_s, double service_s, int servers) {
  const double load = arrivals_per_s * service_s;
  // Erlang B by its recursion, then C from it.
  double blocked = 1;
  for (int i = 1; i <= servers; ++i) blocked = load * blocked / (i + load * blocked);
  const double share = load / servers;
  const double waits = blocked / (1 - share * (1 - blocked));
  return waits * service_s / (servers - load);
}

double ConstantServiceWait(double arrivals_per_s, double service_s) {
  const double load = arrivals_per_s * service_s;
  return load * service_s / (2 * (1 - load));
}

double CommitCapacity(const Market& market) {
  const double batch_s = market.commit_s + market.max_batch * market.commit_each_s;
  // A broker has one batch under way at most.
  return std::min(market.parallel_batches, market.brokers) * market.max_batch / batch_s;
}

}  // namespace blindcart::bench
