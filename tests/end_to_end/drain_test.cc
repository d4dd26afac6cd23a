// A broker or a shop that is told to stop (SIGTERM) while customers are at it: what is under way comes
// to its end, nothing new begins, and the time is kept.
#include <signal.h>

#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "services/common/transport.h"
#include "tests/end_to_end/shopping.h"
#include "tests/support/raw_broker.h"
#include "tests/support/watcher.h"

namespace blindcart::testing {
namespace {

using nlohmann::json;
using std::chrono::steady_clock;

constexpr char kShop[] = "quiet-books";
constexpr char kAnyPort[] = "127.0.0.1:0";
constexpr size_t kLargeBytes = 64 * 1024 * 1024;
constexpr int64_t kCutAtBytes = 8 * 1024 * 1024;
// What may go by until a process that ended is seen to have, on a busy machine.
constexpr int kPatienceMs = 60'000;

class DrainTest : public ::testing::Test {
 protected:
  void SetUp() override {
    shopping_ = Shopping::Open({{kShop, "2001", 0, kAnyPort}},
                               {{"alice", "violet umbrella 7", "1001", "2468", "100.00"}},
                               {"--metrics-listen", kAnyPort});
    ASSERT_NE(shopping_, nullptr);
  }
  void TearDown() override {
    if (shopping_ != nullptr) shopping_->ExpectBooksRight();
  }

  Shopping& shopping() { return *shopping_; }
  Marketplace& market() { return shopping_->market(); }

  void SetBrokerDrainTimeout(const std::string& milliseconds) {
    ReplaceInFile(market().broker_dir() + "/broker.textproto", "drain_timeout_ms: 20000",
                  "drain_timeout_ms: " + milliseconds);
    shopping().RestartBroker();
    shopping().LogIn("alice");
    shopping().WaitUntilOnline("alice", kShop);
  }
  // A download of goods that takes a while; `order` gets the order.
  std::unique_ptr<Process> BeginDownload(const std::string& content, std::string* order) {
    const std::string id = shopping().Offer(kShop, Goods("Large", "2.00", content));
    *order = shopping().Checkout("alice", id);
    shopping().Pay("alice", *order);
    return shopping().StartDownload("alice", *order, kCutAtBytes);
  }
  void ExpectEnds(Process& process) {
    const absl::StatusOr<int> exit_code = process.Wait(kPatienceMs);
    ASSERT_TRUE(exit_code.ok()) << exit_code.status() << process.err();
    EXPECT_EQ(*exit_code, 0) << process.err();
  }
  void ExpectDownloaded(Process& download, const std::string& content) {
    const absl::StatusOr<int> exit_code = download.Wait(kPatienceMs);
    ASSERT_TRUE(exit_code.ok()) << exit_code.status();
    ASSERT_EQ(*exit_code, kOk) << download.out() << download.err();
    std::string last = download.out();
    last.pop_back();
    last = last.substr(last.rfind('\n') + 1);
    EXPECT_TRUE(FileContent(json::parse(last)["file_path"]) == content);
  }

 private:
  std::unique_ptr<Shopping> shopping_;
};

TEST_F(DrainTest, APaymentUnderWayIsMadeOrCanSafelyBeRepeated) {
  const std::string id = shopping().Offer(kShop, Goods("Just in time", "2.00", "content"));
  for (int i = 0; i < 3; ++i) {
    shopping().WaitUntilOnline("alice", kShop);
    const int64_t before = shopping().Balance("alice");
    const std::string order = shopping().Checkout("alice", id);
    auto pay = Process::Start(shopping().PayCommand("alice", order));
    ASSERT_TRUE(pay.ok()) << pay.status();
    const absl::Status stopped = market().StopBroker();
    EXPECT_TRUE(stopped.ok()) << stopped;
    const absl::StatusOr<int> exit_code = (*pay)->Wait(kPatienceMs);
    ASSERT_TRUE(exit_code.ok()) << exit_code.status();
    // Nobody is told anything but that it is done, or that the broker is away.
    EXPECT_TRUE(*exit_code == kOk || *exit_code == kUnreachable) << *exit_code << (*pay)->err();
    const absl::Status started = market().StartBroker();
    ASSERT_TRUE(started.ok()) << started;
    const Answer paid =
        shopping().RunUntilReachable("alice", shopping().PayArguments("alice", order));
    ASSERT_EQ(paid.exit_code, kOk) << paid.err;
    EXPECT_EQ(paid.json["outcome"], "PAY_OUTCOME_SUCCESSFUL");
    EXPECT_EQ(shopping().Balance("alice"), before - 2'02);
  }
}

TEST_F(DrainTest, ABrokerFinishesADeliveryAndTellsLinksToGo) {
  const std::string content = Content(kLargeBytes, 50);
  std::string order;
  const std::unique_ptr<Process> download = BeginDownload(content, &order);
  ASSERT_NE(download, nullptr);
  market().broker()->Signal(SIGTERM);
  ExpectDownloaded(*download, content);
  ExpectEnds(*market().broker());
  EXPECT_NE(market().broker()->err().find("\"deliveries_left\":0"), std::string::npos)
      << market().broker()->err();
  market().KillBroker();
  const absl::Status started = market().StartBroker();
  ASSERT_TRUE(started.ok()) << started;
  shopping().WaitUntilOnline("alice", kShop);
}

TEST_F(DrainTest, AShopFinishesADelivery) {
  const std::string content = Content(kLargeBytes, 51);
  std::string order;
  const std::unique_ptr<Process> download = BeginDownload(content, &order);
  ASSERT_NE(download, nullptr);
  market().merchant(kShop)->Signal(SIGTERM);
  ExpectDownloaded(*download, content);
  ExpectEnds(*market().merchant(kShop));
  market().KillMerchant(kShop);
  const absl::Status started = market().StartMerchant(kShop);
  ASSERT_TRUE(started.ok()) << started;
  shopping().WaitForStatusAtShop(kShop, order, "ORDER_STATUS_DELIVERED");
}

TEST_F(DrainTest, WhileItDrainsABrokerIsNotReadyTakesNothingNewAndKeepsItsTime) {
  SetBrokerDrainTimeout("4000");
  const absl::StatusOr<std::string> metrics = MetricsAddress(*market().broker());
  ASSERT_TRUE(metrics.ok()) << metrics.status();
  const auto channel = DialBrokerOf(market());
  ASSERT_TRUE(channel.ok()) << channel.status();
  const auto raw = RawBroker::Dial(market());
  ASSERT_TRUE(raw.ok()) << raw.status();
  ASSERT_TRUE(IsServing(*channel, "blindcart.v1.Broker").value_or(false));
  std::string order;
  const std::string content = Content(kLargeBytes, 52);
  const std::unique_ptr<Process> download = BeginDownload(content, &order);
  ASSERT_NE(download, nullptr);

  // From here on nobody takes the pieces: this delivery never ends.
  market().agent("alice")->Signal(SIGSTOP);
  const auto began = steady_clock::now();
  market().broker()->Signal(SIGTERM);
  WaitUntil("the broker is not ready", [&] { return PageStatus(*metrics, "/readyz") == 503; });
  EXPECT_EQ(PageStatus(*metrics, "/healthz"), 200);
  const absl::StatusOr<Samples> samples = Scrape(*metrics);
  ASSERT_TRUE(samples.ok()) << samples.status();
  EXPECT_EQ(samples->at("blindcart_draining"), 1);
  EXPECT_EQ(samples->at("blindcart_ready"), 0);
  const absl::StatusOr<bool> serving = IsServing(*channel, "blindcart.v1.Broker");
  ASSERT_TRUE(serving.ok()) << serving.status();
  EXPECT_FALSE(*serving);
  EXPECT_TRUE(absl::IsUnavailable((*raw)->OpenLink(Door::kCustomer)->AwaitEnd()));
  EXPECT_TRUE(absl::IsUnavailable((*raw)->OpenLink(Door::kMerchant)->AwaitEnd()));
  EXPECT_TRUE(market().broker()->running());

  ExpectEnds(*market().broker());
  const auto took = steady_clock::now() - began;
  EXPECT_GE(took, std::chrono::milliseconds(3'900));
  // Without a limit of its own it would wait for two minutes, until the delivery is given up.
  EXPECT_LT(took, std::chrono::milliseconds(60'000));
  EXPECT_NE(market().broker()->err().find("\"deliveries_left\":1"), std::string::npos)
      << market().broker()->err();

  market().agent("alice")->Signal(SIGCONT);
  market().KillBroker();
  const absl::Status started = market().StartBroker();
  ASSERT_TRUE(started.ok()) << started;
  ASSERT_TRUE(download->Wait(kPatienceMs).ok());
  const Answer again = shopping().RunUntilReachable("alice", {"download", order});
  ASSERT_EQ(again.exit_code, kOk) << again.err;
  EXPECT_TRUE(FileContent(again.json["file_path"]) == content);
}

TEST_F(DrainTest, ASecondSignalAsksForHaste) {
  SetBrokerDrainTimeout("300000");
  std::string order;
  const std::unique_ptr<Process> download = BeginDownload(Content(kLargeBytes, 53), &order);
  ASSERT_NE(download, nullptr);
  market().agent("alice")->Signal(SIGSTOP);
  market().broker()->Signal(SIGTERM);
  const absl::StatusOr<std::string> metrics = MetricsAddress(*market().broker());
  ASSERT_TRUE(metrics.ok()) << metrics.status();
  WaitUntil("the broker is not ready", [&] { return PageStatus(*metrics, "/readyz") == 503; });
  const auto hurried = steady_clock::now();
  market().broker()->Signal(SIGTERM);
  ExpectEnds(*market().broker());
  EXPECT_LT(steady_clock::now() - hurried, std::chrono::milliseconds(60'000));
  market().agent("alice")->Signal(SIGCONT);
  market().KillBroker();
  const absl::Status started = market().StartBroker();
  ASSERT_TRUE(started.ok()) << started;
}

}  // namespace
}  // namespace blindcart::testing
