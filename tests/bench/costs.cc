// What a purchase, a login, a request, a byte and a connected customer cost a broker and a merchant:
// processor time of the real programs, as the kernel counts it, over many of each. docs/scaling.md
// computes from these.
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "tests/bench/report.h"
#include "tests/support/marketplace.h"

namespace blindcart::bench {
namespace {

using nlohmann::json;
using testing::Marketplace;
using testing::Process;

constexpr int kRounds = 5;
constexpr int kCustomers = 33;      // the buyer, and 32 who are only connected
constexpr int kFirstCustomers = 8;  // whose memory is not counted: they warm the broker up
constexpr int64_t kSmallBytes = 64 * 1024;
constexpr int64_t kLargeBytes = 64 * 1024 * 1024;

void Must(const absl::Status& status) {
  if (status.ok()) return;
  std::cerr << "cannot measure: " << status << "\n";
  std::exit(1);
}

std::string ReadAll(const std::string& path) {
  std::ifstream file(path);
  std::stringstream content;
  content << file.rdbuf();
  return content.str();
}

// User and system time of a process so far, in milliseconds; the kernel counts in ticks of 10.
double ProcessorMs(Process& process) {
  const std::string stat = ReadAll(absl::StrCat("/proc/", process.pid(), "/stat"));
  // The name may hold anything; what follows its bracket is plain.
  const std::vector<std::string> fields =
      absl::StrSplit(stat.substr(std::min(stat.rfind(')') + 2, stat.size())), ' ');
  int64_t user = 0;
  int64_t system = 0;
  if (fields.size() < 13 || !absl::SimpleAtoi(fields[11], &user) ||
      !absl::SimpleAtoi(fields[12], &system)) {
    Must(absl::InternalError("the kernel does not say what a process used"));
  }
  return static_cast<double>(user + system) * 1000 / static_cast<double>(sysconf(_SC_CLK_TCK));
}

double ResidentKib(Process& process) {
  for (const absl::string_view line :
       absl::StrSplit(ReadAll(absl::StrCat("/proc/", process.pid(), "/status")), '\n')) {
    if (line.substr(0, 6) != "VmRSS:") continue;
    const std::vector<std::string> words =
        absl::StrSplit(line.substr(6), absl::ByAnyChar("\t "), absl::SkipEmpty());
    int64_t kib = 0;
    if (!words.empty() && absl::SimpleAtoi(words[0], &kib)) return static_cast<double>(kib);
  }
  Must(absl::InternalError("the kernel does not say how large a process is"));
  return 0;
}

// Sent over the loopback device so far, headers included. Agents and their commands talk over Unix
// sockets: what goes here goes through the broker.
double LoopbackBytes() {
  for (const absl::string_view line : absl::StrSplit(ReadAll("/proc/net/dev"), '\n')) {
    const std::vector<std::string> words =
        absl::StrSplit(line, absl::ByAnyChar(" :"), absl::SkipEmpty());
    int64_t bytes = 0;
    if (words.size() > 9 && words[0] == "lo" && absl::SimpleAtoi(words[9], &bytes)) {
      return static_cast<double>(bytes);
    }
  }
  Must(absl::InternalError("there is no loopback device"));
  return 0;
}

struct Cost {
  std::string name;
  std::string what;
  std::string unit;
  Rounds figures;
};

class Costs {
 public:
  explicit Costs(const std::string& folder) {
    auto market = Marketplace::Create(folder);
    Must(market.status());
    market_ = *std::move(market);
    Must(market_->StartBroker());
    Must(market_->AddMerchant("shop", "2001"));
    Must(market_->StartMerchant("shop"));
    const auto link = market_->ShopLink("shop");
    Must(link.status());
    for (int i = 0; i < kCustomers; ++i) {
      testing::CustomerSpec customer;
      customer.username = absl::StrCat("customer", i);
      customer.account = absl::StrCat(1001 + i);
      customer.balance = "100000.00";
      Must(market_->AddCustomer(customer));
    }
    buyer_ = "customer0";
    Must(market_->StartAgent(buyer_));
    Must(market_->Login(buyer_));
    Run({"add-shop", *link});
    Must(market_->WaitUntilOnline(buyer_, "shop"));
    small_ = Offer("Small goods", kSmallBytes);
    const std::string large = Offer("Large goods", kLargeBytes);
    Run({"browse", "shop"});
    Run(Buy(large));
    const json purchases = json::parse(Run({"purchases"}), nullptr, /*allow_exceptions=*/false);
    large_order_ = purchases["purchases"].at(0).value("order_id_hex", "");
  }

  void Measure() {
    MeasureMemory();
    for (int round = 0; round < kRounds; ++round) {
      MeasureLogins();
      MeasureRequests();
      MeasurePurchases();
      MeasureDelivery();
    }
  }
  const std::vector<Cost>& all() const { return costs_; }

 private:
  std::string Offer(const std::string& title, int64_t bytes) {
    testing::ProductSpec product;
    product.title = title;
    product.price = "1.00";
    product.content = std::string(static_cast<size_t>(bytes), 'x');
    const auto id = market_->AddProduct("shop", product);
    Must(id.status());
    return *id;
  }
  std::string Run(std::vector<std::string> arguments) {
    const auto answer = market_->CliJson(buyer_, std::move(arguments));
    Must(answer.status());
    return *answer;
  }
  void Note(const std::string& name, const std::string& what, const std::string& unit,
            double figure) {
    for (Cost& cost : costs_) {
      if (cost.name == name) return cost.figures.Add(figure);
    }
    costs_.push_back({name, what, unit, Rounds()});
    costs_.back().figures.Add(figure);
  }
  std::vector<std::string> Buy(const std::string& product) const {
    return {"buy", product, "--yes", "--account", "1001", "--pin-file", market_->pin_file(buyer_)};
  }

  void MeasureMemory() {
    double before = 0;
    for (int i = 1; i < kCustomers; ++i) {
      const std::string customer = absl::StrCat("customer", i);
      Must(market_->StartAgent(customer));
      Must(market_->Login(customer));
      if (i == kFirstCustomers) before = ResidentKib(*market_->broker());
    }
    Note("customer_kib", "memory of a connected customer, broker", "KiB",
         (ResidentKib(*market_->broker()) - before) / (kCustomers - 1 - kFirstCustomers));
    for (int i = 1; i < kCustomers; ++i) market_->KillAgent(absl::StrCat("customer", i));
  }
  void MeasureLogins() {
    constexpr int kLogins = 10;
    const double before = ProcessorMs(*market_->broker());
    for (int i = 0; i < kLogins; ++i) {
      Run({"logout"});
      Must(market_->Login(buyer_));
    }
    Note("login_ms", "a login, broker's processor", "ms",
         (ProcessorMs(*market_->broker()) - before) / kLogins);
    Run({"browse", "shop"});
  }
  void MeasureRequests() {
    constexpr int kRequests = 100;
    const double broker = ProcessorMs(*market_->broker());
    const double merchant = ProcessorMs(*market_->merchant("shop"));
    const double bytes = LoopbackBytes();
    for (int i = 0; i < kRequests; ++i) Run({"browse", "shop"});
    Note("request_broker_ms", "a request to a shop and its answer, broker's processor", "ms",
         (ProcessorMs(*market_->broker()) - broker) / kRequests);
    Note("request_merchant_ms", "the same, merchant's processor", "ms",
         (ProcessorMs(*market_->merchant("shop")) - merchant) / kRequests);
    Note("request_kib", "the same, sent on both sides of the broker", "KiB",
         (LoopbackBytes() - bytes) / kRequests / 1024);
  }
  void MeasurePurchases() {
    constexpr int kPurchases = 20;
    const double broker = ProcessorMs(*market_->broker());
    const double merchant = ProcessorMs(*market_->merchant("shop"));
    const double bytes = LoopbackBytes();
    for (int i = 0; i < kPurchases; ++i) Run(Buy(small_));
    Note("purchase_broker_ms", "a purchase with 64 KiB of goods, broker's processor", "ms",
         (ProcessorMs(*market_->broker()) - broker) / kPurchases);
    Note("purchase_merchant_ms", "the same, merchant's processor", "ms",
         (ProcessorMs(*market_->merchant("shop")) - merchant) / kPurchases);
    Note("purchase_kib", "the same, sent on both sides of the broker", "KiB",
         (LoopbackBytes() - bytes) / kPurchases / 1024);
  }
  void MeasureDelivery() {
    const double broker = ProcessorMs(*market_->broker());
    const double merchant = ProcessorMs(*market_->merchant("shop"));
    constexpr int kDownloads = 3;
    for (int i = 0; i < kDownloads; ++i) Run({"download", large_order_, "--again"});
    const double mib = kDownloads * static_cast<double>(kLargeBytes) / (1024 * 1024);
    Note("delivery_broker_ms_per_mib", "delivery, broker's processor", "ms/MiB",
         (ProcessorMs(*market_->broker()) - broker) / mib);
    Note("delivery_merchant_ms_per_mib", "the same, merchant's processor", "ms/MiB",
         (ProcessorMs(*market_->merchant("shop")) - merchant) / mib);
  }

  std::unique_ptr<Marketplace> market_;
  std::string buyer_;
  std::string small_;
  std::string large_order_;
  std::vector<Cost> costs_;
};

int Main(int argc, char** argv) {
  const bool as_json = argc > 1 && std::string(argv[1]) == "--json";
  if (argc > 1 && !as_json) {
    std::cerr << "usage: costs [--json]\n";
    return 2;
  }
  std::string folder = (std::filesystem::temp_directory_path() / "costs-XXXXXX").string();
  if (::mkdtemp(folder.data()) == nullptr) {
    std::cerr << "cannot make a temporary folder\n";
    return 1;
  }
  {
    Costs costs(folder);
    costs.Measure();
    if (as_json) {
      json figures;
      for (const Cost& cost : costs.all()) figures[cost.name] = cost.figures.median();
      std::cout << figures.dump(2) << "\n";
    } else {
      std::cout << "Costs, median of " << kRounds << " rounds\n" << DescribeMachine() << "\n\n";
      for (const Cost& cost : costs.all()) {
        std::cout << absl::StrFormat("%-58s %s", cost.what, Describe(cost.figures, cost.unit))
                  << "\n";
      }
    }
  }
  std::filesystem::remove_all(folder);
  return 0;
}

}  // namespace
}  // namespace blindcart::bench

int main(int argc, char** argv) { return blindcart::bench::Main(argc, argv); }
