// What so many customers and purchases a second need in brokers, database and bandwidth, computed from
// measured costs, and a simulation of the queues at that size. docs/scaling.md explains the figures.
//
// The costs that are built in are those of docs/benchmarks.md; --costs takes what `costs --json` printed
// on another machine.
#include <CLI/CLI.hpp>
#include <cmath>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/str_format.h"
#include "tests/bench/queueing.h"
#include "tests/bench/report.h"

namespace blindcart::bench {
namespace {

using nlohmann::json;

// Of one core of the machine in docs/benchmarks.md. Milliseconds of processor time but for the two of a
// commit, which are durations.
struct Costs {
  double login_ms = 24;
  double request_broker_ms = 1.4;
  double request_kib = 52;
  double purchase_broker_ms = 23;
  double purchase_kib = 247;
  double delivery_broker_ms_per_mib = 1.7;
  double customer_kib = 21;
  double commit_ms = 0.1;
  double commit_each_ms = 0.54;
  double stored_bytes = 3'000;  // of a paid order
};

struct Demand {
  double customers = 1e6;
  double purchases_per_s = 1e4;
  double requests_per_purchase = 10;  // to shops, before it
  double goods_mib = 4;
  double logins_per_day = 1;        // of each customer
  double commits_per_purchase = 3;  // the order, the payment, the shop's acknowledgement
};

struct Machines {
  int cores = 16;
  double network_gbit = 10;
  double highest_load = 0.7;  // of processors, links and databases
  int max_batch = 64;
};

bool ReadCosts(const std::string& path, Costs* costs) {
  std::ifstream file(path);
  const json figures = json::parse(file, nullptr, /*allow_exceptions=*/false);
  if (!figures.is_object()) return false;
  for (const auto& [name, figure] :
       {std::pair<const char*, double*>{"login_ms", &costs->login_ms},
        {"request_broker_ms", &costs->request_broker_ms},
        {"request_kib", &costs->request_kib},
        {"purchase_broker_ms", &costs->purchase_broker_ms},
        {"purchase_kib", &costs->purchase_kib},
        {"delivery_broker_ms_per_mib", &costs->delivery_broker_ms_per_mib},
        {"customer_kib", &costs->customer_kib},
        {"commit_ms", &costs->commit_ms},
        {"commit_each_ms", &costs->commit_each_ms},
        {"stored_bytes", &costs->stored_bytes}}) {
    if (figures.contains(name) && figures[name].is_number()) *figure = figures[name];
  }
  return true;
}

void PrintRow(const std::string& what, double figure, const std::string& unit) {
  std::cout << absl::StrFormat("  %-52s %14s %s\n", what, Grouped(figure, figure < 100 ? 1 : 0),
                               unit);
}

// Of one market: brokers over one database.
Market MarketOf(const Costs& costs, const Demand& demand, const Machines& machines, int brokers) {
  Market market;
  market.purchases_per_s = demand.purchases_per_s;
  market.brokers = brokers;
  market.cores = machines.cores;
  market.relays_per_purchase = demand.requests_per_purchase;
  market.relay_s = costs.request_broker_ms / 1e3;
  market.payment_s =
      (costs.purchase_broker_ms + costs.delivery_broker_ms_per_mib * demand.goods_mib) / 1e3;
  market.max_batch = machines.max_batch;
  market.commit_s = costs.commit_ms / 1e3;
  market.commit_each_s = costs.commit_each_ms * demand.commits_per_purchase / 1e3;
  return market;
}

void PrintNeeds(const Costs& costs, const Demand& demand, const Machines& machines) {
  const double logins_per_s = demand.customers * demand.logins_per_day / 86'400;
  const double requests =
      demand.purchases_per_s * demand.requests_per_purchase * costs.request_broker_ms;
  const double purchases = demand.purchases_per_s * costs.purchase_broker_ms;
  const double delivery =
      demand.purchases_per_s * demand.goods_mib * costs.delivery_broker_ms_per_mib;
  const double logins = logins_per_s * costs.login_ms;
  const double cores = (requests + purchases + delivery + logins) / 1e3;
  const double kib_per_s = demand.purchases_per_s *
                           (costs.purchase_kib + demand.requests_per_purchase * costs.request_kib +
                            2 * demand.goods_mib * 1024);
  const double gbit = kib_per_s * 1024 * 8 / 1e9;
  const double by_processor = cores / machines.highest_load / machines.cores;
  const double by_network = gbit / machines.highest_load / machines.network_gbit;
  const Market market = MarketOf(costs, demand, machines, 1);
  const double database = demand.purchases_per_s / (CommitCapacity(market) * machines.highest_load);

  std::cout << "Brokers\n";
  PrintRow("requests to shops", requests / 1e3, "cores");
  PrintRow("orders and payments, the PIN's Argon2id above all", purchases / 1e3, "cores");
  PrintRow("delivery", delivery / 1e3, "cores");
  PrintRow("logins", logins / 1e3, "cores");
  PrintRow("memory of connected customers", demand.customers * costs.customer_kib / 1024 / 1024,
           "GiB");
  PrintRow("bandwidth, in and out together", gbit, "Gbit/s");
  PrintRow(absl::StrFormat("brokers of %d cores for the processors", machines.cores),
           std::ceil(by_processor), "");
  PrintRow(absl::StrFormat("brokers with %.0f Gbit/s for the bandwidth", machines.network_gbit),
           std::ceil(by_network), "");
  std::cout << "Database\n";
  PrintRow("payments a second that one takes, batches full", CommitCapacity(market), "/s");
  PrintRow("databases, and so markets side by side", std::ceil(database), "");
  PrintRow("rows and indexes, a year",
           demand.purchases_per_s * costs.stored_bytes * 86'400 * 365 / 1e12, "TB");
  std::cout << "\nFirst limit: "
            << (database > 1
                    ? "the database, whose commits wait for each other at the charge account"
                : by_network > by_processor ? "the brokers' network"
                                            : "the brokers' processors")
            << "\n\n";
}

void PrintQueues(const Costs& costs, Demand demand, const Machines& machines, uint64_t seed) {
  constexpr int64_t kPurchases = 200'000;
  Market market = MarketOf(costs, demand, machines, 1);
  const double capacity = CommitCapacity(market);
  const double processor_s = market.payment_s + market.relays_per_purchase * market.relay_s;
  std::cout
      << "One market, simulated (" << Grouped(kPurchases, 0)
      << " purchases): as many brokers as its database can use\n"
      << "  of the database's   purchases   brokers  processors   batch    payment from its "
         "arrival to its commit\n"
      << "  capacity            a second              in use                p50          p99\n";
  for (const double share : {0.3, 0.5, 0.7, 0.85, 0.95, 1.1}) {
    market.purchases_per_s = share * capacity;
    market.brokers =
        std::max(1, static_cast<int>(std::ceil(market.purchases_per_s * processor_s /
                                               machines.highest_load / machines.cores)));
    const Behaviour behaviour = Simulate(market, kPurchases, seed);
    std::cout << absl::StrFormat(
        "  %6.0f %%         %10.0f  %8d     %5.0f %%  %6.1f  %8.0f ms  %8.0f ms%s\n", share * 100,
        market.purchases_per_s, market.brokers, behaviour.processor_load * 100,
        behaviour.mean_batch, behaviour.payment_p50_s * 1e3, behaviour.payment_p99_s * 1e3,
        behaviour.stable ? "" : "  grows without end");
  }
}

int Main(int argc, char** argv) {
  CLI::App app("What a market of that size needs, from measured costs");
  Costs costs;
  Demand demand;
  Machines machines;
  std::string costs_path;
  uint64_t seed = 1;
  app.add_option("--costs", costs_path, "What `costs --json` printed; its figures take precedence");
  app.add_option("--customers", demand.customers, "Customers")->capture_default_str();
  app.add_option("--purchases", demand.purchases_per_s, "Purchases a second")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--requests", demand.requests_per_purchase, "Requests to shops before a purchase")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--goods-mib", demand.goods_mib, "Size of what is bought, MiB")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--cores", machines.cores, "Cores of a broker")
      ->check(CLI::Range(1, 1'024))
      ->capture_default_str();
  app.add_option("--network-gbit", machines.network_gbit, "A broker's network, Gbit/s")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--commit-ms", costs.commit_ms, "A commit, however small, ms")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--commit-each-ms", costs.commit_each_ms, "More for each job in it, ms")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--seed", seed, "Of the simulation")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  if (!costs_path.empty() && !ReadCosts(costs_path, &costs)) {
    std::cerr << "--costs: " << costs_path << " is not what `costs --json` prints\n";
    return 2;
  }
  std::cout << Grouped(demand.customers, 0) << " customers, " << Grouped(demand.purchases_per_s, 0)
            << " purchases a second, " << Grouped(demand.requests_per_purchase, 0)
            << " requests before each, " << Grouped(demand.goods_mib, 1)
            << " MiB of goods; nothing used above " << Grouped(machines.highest_load * 100, 0)
            << " %\n\n";
  PrintNeeds(costs, demand, machines);
  PrintQueues(costs, demand, machines, seed);
  return 0;
}

}  // namespace
}  // namespace blindcart::bench

int main(int argc, char** argv) { return blindcart::bench::Main(argc, argv); }
