// What a running broker and a running shop show to those who watch over them: metrics that name nobody
// and nothing, health, and readiness.
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/common/transport.h"
#include "services/storage/testing/postgres_server.h"
#include "tests/end_to_end/shopping.h"
#include "tests/support/watcher.h"

namespace blindcart::testing {
namespace {

using nlohmann::json;
using storage::testing::PostgresServer;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kShop[] = "quiet-books";
constexpr char kAnyPort[] = "127.0.0.1:0";
constexpr char kBrokerService[] = "blindcart.v1.Broker";
constexpr char kAdminService[] = "blindcart.v1.MerchantAdmin";

std::unique_ptr<Shopping> OpenWatched(std::vector<std::string> broker_init_arguments) {
  broker_init_arguments.insert(broker_init_arguments.end(), {"--metrics-listen", kAnyPort});
  return Shopping::Open({{kShop, "20017", 0, kAnyPort}},
                        {{"alice", "violet umbrella 7", "10017", "2468", "777.31"},
                         {"robert", "battery staple", "10029", "8642", "888.53"}},
                        broker_init_arguments);
}

Samples Of(const std::string& address) {
  const absl::StatusOr<Samples> samples = Scrape(address);
  EXPECT_TRUE(samples.ok()) << samples.status();
  return samples.ok() ? *samples : Samples();
}

double Sample(const std::string& address, const std::string& name) {
  const Samples samples = Of(address);
  const auto found = samples.find(name);
  EXPECT_TRUE(found != samples.end()) << "no " << name;
  return found == samples.end() ? -1 : found->second;
}

// The tests leave the marketplace running, with ports of their own.
class MetricsTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { shopping_ = OpenWatched({}).release(); }
  static void TearDownTestSuite() { delete shopping_; }
  void SetUp() override {
    ASSERT_NE(shopping_, nullptr);
    const absl::StatusOr<std::string> broker = MetricsAddress(*market().broker());
    ASSERT_TRUE(broker.ok()) << broker.status();
    broker_ = *broker;
    const absl::StatusOr<std::string> merchant = MetricsAddress(*market().merchant(kShop));
    ASSERT_TRUE(merchant.ok()) << merchant.status();
    merchant_ = *merchant;
  }
  Marketplace& market() { return shopping_->market(); }

  static Shopping* shopping_;
  std::string broker_;
  std::string merchant_;
};
Shopping* MetricsTest::shopping_ = nullptr;

std::set<std::string> NamesOf(const Samples& samples) {
  std::set<std::string> names;
  for (const auto& [name, value] : samples) names.insert(name);
  return names;
}

TEST_F(MetricsTest, CountPurchasesAndNameNobodyAndNothing) {
  const std::set<std::string> broker_names = NamesOf(Of(broker_));
  const std::set<std::string> merchant_names = NamesOf(Of(merchant_));

  std::vector<std::string> secrets = {
      kShop,  "quiet",  "alice",   "robert", "10017", "10029",       "20017", "2468",
      "8642", "violet", "battery", "BROKER", "EUR",   "Nightingale", "77731", "nightingale"};
  const std::string content = Content(100'000, 40);
  int purchases = 0;
  for (const std::string buyer : {"alice", "robert", "alice"}) {
    const std::string title = absl::StrCat("Nightingale almanac ", purchases);
    const std::string id = shopping_->Offer(kShop, Goods(title, "43.19", content));
    const std::string order = shopping_->Checkout(buyer, id);
    shopping_->Ask(
        buyer, {"pay", order, "--account", "10017", "--pin-file", market().password_file(buyer)},
        kRefused);
    shopping_->Pay(buyer, order);
    shopping_->ExpectDelivered(buyer, order, content);
    shopping_->WaitForStatusAtShop(kShop, order, "ORDER_STATUS_DELIVERED");
    secrets.insert(secrets.end(), {title, id, order});
    ++purchases;
    for (const std::string& address : {broker_, merchant_}) {
      const absl::StatusOr<HttpReply> page = HttpGet(address, "/metrics");
      ASSERT_TRUE(page.ok()) << page.status();
      // A number may hold any digits by chance: of values only whole ones are compared.
      for (const auto& [name, value] : Of(address)) {
        for (const std::string& secret : secrets) {
          EXPECT_FALSE(absl::StrContains(name, secret)) << name;
        }
        for (const double amount :
             {4319.0, 43.19, 4363.0, 43.63, 777'31.0, 777.31, 888'53.0, 888.53}) {
          EXPECT_NE(value, amount) << name;
        }
      }
      for (const std::string& word : {std::string("Nightingale"), std::string("alice"),
                                      std::string("robert"), std::string(kShop), id, order}) {
        EXPECT_FALSE(absl::StrContains(page->body, word)) << word;
      }
    }
  }
  // Not one series more or less, whoever bought whatever.
  EXPECT_EQ(NamesOf(Of(broker_)), broker_names);
  EXPECT_EQ(NamesOf(Of(merchant_)), merchant_names);

  // At least: who gets no answer in time asks again.
  EXPECT_GE(Sample(broker_, "blindcart_calls_total{link=\"customer\",method=\"pay\"}"),
            2 * purchases);
  EXPECT_GE(Sample(broker_, "blindcart_call_seconds_count{link=\"customer\",method=\"pay\"}"),
            2 * purchases);
  EXPECT_GE(Sample(broker_, "blindcart_calls_total{link=\"merchant\",method=\"offer_order\"}"),
            purchases);
  EXPECT_GE(Sample(merchant_, "blindcart_calls_total{link=\"shop\",method=\"checkout\"}"),
            purchases);
  EXPECT_GE(Sample(merchant_, "blindcart_calls_total{link=\"shop\",method=\"delivery\"}"),
            purchases);
  WaitUntil("no call is under way",
            [&] { return Sample(broker_, "blindcart_calls_under_way{link=\"customer\"}") == 0; });
  EXPECT_EQ(Sample(broker_, "blindcart_broker_links{kind=\"customer\"}"), 2);
  EXPECT_EQ(Sample(broker_, "blindcart_broker_links{kind=\"merchant\"}"), 1);
  EXPECT_EQ(Sample(merchant_, "blindcart_merchant_broker_links{state=\"up\"}"), 1);
  EXPECT_GE(Sample(broker_, "blindcart_broker_shop_open_seconds_count"), 2);
  EXPECT_GE(Sample(broker_, "blindcart_commit_jobs_sum"), 4 * purchases);
  EXPECT_GE(Sample(merchant_, "blindcart_commit_jobs_sum"), 2 * purchases);
  EXPECT_EQ(Sample(broker_, "blindcart_commits_failed_total"), 0);
  EXPECT_EQ(Sample(broker_, "blindcart_ready"), 1);
  EXPECT_GT(Sample(broker_, "blindcart_uptime_seconds"), 0);
  EXPECT_GT(Sample(broker_, "process_resident_memory_bytes"), 1e6);

  // A refusal is counted by its reason.
  const std::string password = "blindcart_refusals_total{reason=\"password\"}";
  EXPECT_EQ(Sample(broker_, password), 0);
  const Answer failed = shopping_->Run(
      "alice", {"login", "--username", "alice", "--password-file", market().pin_file("alice")});
  EXPECT_EQ(failed.exit_code, kLogin) << failed.err;
  EXPECT_EQ(Sample(broker_, password), 1);
}

// The names of metrics in an expression.
std::set<std::string> MetricsIn(const std::string& expression) {
  static const std::regex kStrings("\"[^\"]*\"");
  static const std::regex kMetric("\\b(blindcart|process)_[a-z_]+");
  const std::string bare = std::regex_replace(expression, kStrings, "");
  std::set<std::string> names;
  for (std::sregex_iterator found(bare.begin(), bare.end(), kMetric);
       found != std::sregex_iterator(); ++found) {
    names.insert(found->str());
  }
  return names;
}

TEST_F(MetricsTest, DashboardAndAlertsShowOnlyWhatThereIs) {
  std::set<std::string> known;
  for (const std::string& address : {broker_, merchant_}) {
    for (const auto& [sample, value] : Of(address))
      known.insert(sample.substr(0, sample.find('{')));
  }
  const json dashboard = json::parse(FileContent("deploy/grafana/blindcart.json"));
  std::set<std::string> shown;
  int expressions = 0;
  for (const json& panel : dashboard["panels"]) {
    if (panel["type"] == "row") continue;
    ASSERT_FALSE(panel["targets"].empty()) << panel["title"];
    for (const json& target : panel["targets"]) {
      ++expressions;
      const std::set<std::string> names = MetricsIn(target["expr"]);
      EXPECT_FALSE(names.empty()) << target["expr"];
      shown.insert(names.begin(), names.end());
    }
  }
  EXPECT_GT(expressions, 25);
  const std::string rules = FileContent("deploy/prometheus/blindcart.rules.yml");
  static const std::regex kExpression("expr: (.*)");
  int alerts = 0;
  for (std::sregex_iterator found(rules.begin(), rules.end(), kExpression);
       found != std::sregex_iterator(); ++found) {
    ++alerts;
    const std::set<std::string> names = MetricsIn((*found)[1]);
    EXPECT_TRUE(!names.empty() || absl::StrContains(found->str(), "up{")) << found->str();
    shown.insert(names.begin(), names.end());
  }
  EXPECT_GT(alerts, 8);
  for (const std::string& name : shown) EXPECT_EQ(known.count(name), 1u) << name;
  // And nothing that there is has been forgotten, but for what belongs to a histogram shown otherwise.
  for (const std::string& name : known) {
    if (absl::EndsWith(name, "_sum") || absl::EndsWith(name, "_count") ||
        absl::EndsWith(name, "_bucket")) {
      continue;
    }
    EXPECT_EQ(shown.count(name), 1u) << name;
  }
  EXPECT_THAT(FileContent("deploy/prometheus/prometheus.yml"), HasSubstr("blindcart.rules.yml"));
}

TEST_F(MetricsTest, HealthIsToldAndReflectionIsNotUnlessAskedFor) {
  const auto broker = DialBrokerOf(market());
  ASSERT_TRUE(broker.ok()) << broker.status();
  const auto merchant = DialLocal(market().merchant_dir(kShop) + "/admin.sock");
  for (const std::string service : {"", kBrokerService}) {
    const absl::StatusOr<bool> serving = IsServing(*broker, service);
    ASSERT_TRUE(serving.ok()) << service << serving.status();
    EXPECT_TRUE(*serving) << service;
  }
  EXPECT_TRUE(IsServing(merchant, kAdminService).value_or(false));
  EXPECT_TRUE(absl::IsNotFound(IsServing(*broker, "blindcart.v1.Treasury").status()));
  for (const std::string& address : {broker_, merchant_}) {
    EXPECT_EQ(PageStatus(address, "/healthz"), 200);
    EXPECT_EQ(PageStatus(address, "/readyz"), 200);
  }
  EXPECT_TRUE(absl::IsUnimplemented(AskForServices(*broker).status()))
      << AskForServices(*broker).status();
  EXPECT_TRUE(absl::IsUnimplemented(AskForServices(merchant).status()));

  ReplaceInFile(market().broker_dir() + "/broker.textproto", "reflection: false",
                "reflection: true");
  ReplaceInFile(market().merchant_dir(kShop) + "/merchant.textproto", "reflection: false",
                "reflection: true");
  shopping_->RestartBroker();
  market().KillMerchant(kShop);
  ASSERT_TRUE(market().StartMerchant(kShop).ok());
  const absl::StatusOr<std::string> services = AskForServices(*DialBrokerOf(market()));
  ASSERT_TRUE(services.ok()) << services.status();
  EXPECT_THAT(*services, HasSubstr(kBrokerService));
  const absl::StatusOr<std::string> admin =
      AskForServices(DialLocal(market().merchant_dir(kShop) + "/admin.sock"));
  ASSERT_TRUE(admin.ok()) << admin.status();
  EXPECT_THAT(*admin, HasSubstr(kAdminService));
  EXPECT_THAT(*admin, Not(HasSubstr(kBrokerService)));
}

TEST_F(MetricsTest, NoPortIsOpenedUnlessAskedForAndATakenOneIsSaid) {
  // Another broker, over a copy of this one's folder.
  const std::string copy = market().folder() + "/copy";
  std::filesystem::copy(market().broker_dir(), copy, std::filesystem::copy_options::recursive);
  const Command serve = {"services/broker/broker",
                         {"serve", "--data-dir", copy, "--listen", kAnyPort},
                         {{"BLINDCART_PASSPHRASE", Marketplace::kPassphrase}},
                         ""};
  const std::string asked = absl::StrCat("metrics_listen: \"", kAnyPort, "\"");
  ReplaceInFile(copy + "/broker.textproto", asked, "metrics_listen: \"\"");
  {
    const auto quiet = Process::Start(serve);
    ASSERT_TRUE(quiet.ok()) << quiet.status();
    ASSERT_TRUE((*quiet)->WaitForLine("ready address=").ok());
    EXPECT_THAT((*quiet)->out(), Not(HasSubstr("metrics")));
  }
  ReplaceInFile(copy + "/broker.textproto", "metrics_listen: \"\"",
                absl::StrCat("metrics_listen: \"", broker_, "\""));
  const absl::StatusOr<Output> taken = RunToEnd(serve);
  ASSERT_TRUE(taken.ok()) << taken.status();
  EXPECT_EQ(taken->exit_code, kFailure);
  EXPECT_THAT(taken->err, HasSubstr(broker_));
  EXPECT_THAT(taken->out, Not(HasSubstr("ready")));
}

TEST(ReadinessTest, ABrokerWithoutItsDatabaseIsAliveAndNotReady) {
  absl::StatusOr<std::unique_ptr<PostgresServer>> server = PostgresServer::Start();
  ASSERT_TRUE(server.ok()) << server.status();
  const std::unique_ptr<Shopping> shopping = OpenWatched({"--store", *(*server)->CreateDatabase()});
  ASSERT_NE(shopping, nullptr);
  const auto broker = DialBrokerOf(shopping->market());
  ASSERT_TRUE(broker.ok()) << broker.status();
  const absl::StatusOr<std::string> address = MetricsAddress(*shopping->market().broker());
  ASSERT_TRUE(address.ok()) << address.status();
  const std::string& broker_metrics = *address;
  EXPECT_EQ(PageStatus(broker_metrics, "/readyz"), 200);
  EXPECT_EQ(Sample(broker_metrics, "blindcart_store_connections_limit"), 8);

  (*server)->Crash();
  WaitUntil("the broker is not ready",
            [&] { return PageStatus(broker_metrics, "/readyz") == 503; });
  EXPECT_EQ(PageStatus(broker_metrics, "/healthz"), 200);
  EXPECT_EQ(Sample(broker_metrics, "blindcart_ready"), 0);
  EXPECT_EQ(Sample(broker_metrics, "blindcart_draining"), 0);
  WaitUntil("the health service says so",
            [&] { return !IsServing(*broker, kBrokerService).value_or(true); });

  ASSERT_TRUE((*server)->StartAgain().ok());
  WaitUntil("the broker is ready again",
            [&] { return PageStatus(broker_metrics, "/readyz") == 200; });
  WaitUntil("the health service says so too",
            [&] { return IsServing(*broker, kBrokerService).value_or(false); });
}

}  // namespace
}  // namespace blindcart::testing
