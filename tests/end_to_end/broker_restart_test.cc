// A broker that is killed, without a word, between any two steps of a purchase and in the middle of
// them: the purchase ends right and the money moves once.
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/end_to_end/shopping.h"

namespace blindcart::testing {
namespace {

using nlohmann::json;

constexpr char kShop[] = "quiet-books";
constexpr size_t kLargeBytes = 64 * 1024 * 1024;
constexpr int64_t kCutAtBytes = 20 * 1024 * 1024;

class BrokerRestartTest : public ::testing::Test {
 protected:
  enum class Moment { kAfterLogin, kAfterBrowse, kAfterCheckout, kAfterPay };

  // A marketplace for each test: who lost the broker several times in a row waits longer and longer
  // before coming back.
  void SetUp() override {
    shopping_ = Shopping::Open({{kShop, "2001", 0}},
                               {{"alice", "violet umbrella 7", "1001", "2468", "100.00"}});
    ASSERT_NE(shopping_, nullptr);
  }
  void TearDown() override {
    if (shopping_ != nullptr) shopping_->ExpectBooksRight();
  }

  Shopping& shopping() { return *shopping_; }

  // Tries again for as long as the broker or the shop is not back yet.
  json Insist(const std::vector<std::string>& arguments) {
    const Answer answer = shopping().RunUntilReachable("alice", arguments);
    EXPECT_EQ(answer.exit_code, kOk) << answer.err;
    return answer.exit_code == kOk ? answer.json : json();
  }

  void BuyWithRestart(Moment moment) {
    const auto maybe_restart_at = [&](Moment now) {
      if (now == moment) shopping().RestartBroker();
    };
    const std::string content = Content(300'000, 5);
    const std::string id = shopping().AddProduct(kShop, Goods("Restarted", "2.00", content));
    const int64_t before = shopping().Balance("alice");
    const int64_t shop_before = shopping().AccountBalance("2001");
    shopping().LogIn("alice");
    maybe_restart_at(Moment::kAfterLogin);
    Insist({"browse", kShop});
    maybe_restart_at(Moment::kAfterBrowse);
    const json ordered = Insist({"checkout", id});
    ASSERT_TRUE(ordered.is_object());
    ASSERT_EQ(ordered["outcome"], "CHECKOUT_OUTCOME_ORDERED");
    const std::string order = ordered["purchase"]["order_id_hex"];
    maybe_restart_at(Moment::kAfterCheckout);
    const json paid = Insist(shopping().PayArguments("alice", order));
    ASSERT_TRUE(paid.is_object());
    ASSERT_EQ(paid["outcome"], "PAY_OUTCOME_SUCCESSFUL");
    maybe_restart_at(Moment::kAfterPay);
    const json done = Insist({"download", order});
    ASSERT_TRUE(done.is_object());
    EXPECT_TRUE(FileContent(done["file_path"]) == content);

    EXPECT_EQ(Int(Insist({"balance"})["balance_minor"]), before - 2'02);
    EXPECT_EQ(shopping().AccountBalance("2001"), shop_before + 2'00);
    EXPECT_EQ(shopping().Ask("alice", {"verify", order})["ok"], true);
    shopping().WaitForStatusAtShop(kShop, order, "ORDER_STATUS_DELIVERED");
  }

 private:
  std::unique_ptr<Shopping> shopping_;
};

TEST_F(BrokerRestartTest, AfterLogin) { BuyWithRestart(Moment::kAfterLogin); }
TEST_F(BrokerRestartTest, AfterBrowse) { BuyWithRestart(Moment::kAfterBrowse); }
TEST_F(BrokerRestartTest, AfterCheckout) { BuyWithRestart(Moment::kAfterCheckout); }
TEST_F(BrokerRestartTest, AfterPay) { BuyWithRestart(Moment::kAfterPay); }

TEST_F(BrokerRestartTest, DuringCheckout) {
  const std::string id = shopping().Offer(kShop, Goods("Cut order", "2.00", "content"));
  const int64_t before = shopping().Balance("alice");
  auto checkout =
      Process::Start(shopping().market().CliCommand("alice", {"--json", "checkout", id}));
  ASSERT_TRUE(checkout.ok()) << checkout.status();
  shopping().RestartBroker();
  ASSERT_TRUE((*checkout)->Wait(/*timeout_ms=*/120'000).ok());
  // Whatever became of it: the next checkout ends in one order, and only that one is paid.
  const json ordered = Insist({"checkout", id});
  ASSERT_TRUE(ordered.is_object());
  const std::string order = ordered["purchase"]["order_id_hex"];
  Insist(shopping().PayArguments("alice", order));
  EXPECT_EQ(Int(Insist({"balance"})["balance_minor"]), before - 2'02);
  EXPECT_TRUE(FileContent(Insist({"download", order})["file_path"]) == "content");
}

TEST_F(BrokerRestartTest, DuringPay) {
  const std::string id = shopping().Offer(kShop, Goods("Cut payment", "2.00", "content"));
  // The kill hits another moment of the payment each time.
  for (int i = 0; i < 3; ++i) {
    shopping().WaitUntilOnline("alice", kShop);
    const int64_t before = shopping().Balance("alice");
    const std::string order = shopping().Checkout("alice", id);
    auto pay = Process::Start(shopping().PayCommand("alice", order));
    ASSERT_TRUE(pay.ok()) << pay.status();
    shopping().RestartBroker();
    ASSERT_TRUE((*pay)->Wait(/*timeout_ms=*/120'000).ok());
    const json paid = Insist(shopping().PayArguments("alice", order));
    ASSERT_TRUE(paid.is_object());
    EXPECT_EQ(paid["outcome"], "PAY_OUTCOME_SUCCESSFUL");
    EXPECT_EQ(Int(Insist({"balance"})["balance_minor"]), before - 2'02);
    EXPECT_TRUE(FileContent(Insist({"download", order})["file_path"]) == "content");
  }
}

TEST_F(BrokerRestartTest, DuringADelivery) {
  const std::string content = Content(kLargeBytes, 6);
  const std::string id = shopping().Offer(kShop, Goods("Large", "2.00", content));
  const int64_t before = shopping().Balance("alice");
  const std::string order = shopping().Checkout("alice", id);
  shopping().Pay("alice", order);
  const std::unique_ptr<Process> download = shopping().StartDownload("alice", order, kCutAtBytes);
  ASSERT_NE(download, nullptr);
  shopping().market().KillBroker();
  const absl::StatusOr<int> exit_code = download->Wait(/*timeout_ms=*/120'000);
  ASSERT_TRUE(exit_code.ok()) << exit_code.status();
  EXPECT_EQ(*exit_code, kUnreachable) << download->err();
  const absl::Status started = shopping().market().StartBroker();
  ASSERT_TRUE(started.ok()) << started;

  const json done = Insist({"download", order});
  ASSERT_TRUE(done.is_object());
  EXPECT_GE(Int(done["resumed_from_bytes"]), kCutAtBytes / 2);
  EXPECT_TRUE(FileContent(done["file_path"]) == content);
  EXPECT_EQ(Int(Insist({"balance"})["balance_minor"]), before - 2'02);
}

TEST_F(BrokerRestartTest, WhileTheBrokerIsAwayEveryStepSaysSo) {
  const std::string id = shopping().Offer(kShop, Goods("Waiting", "2.00", "content"));
  const std::string order = shopping().Checkout("alice", id);
  shopping().market().KillBroker();
  for (const std::vector<std::string>& step :
       std::vector<std::vector<std::string>>{{"shops"},
                                             {"browse", kShop},
                                             {"checkout", id},
                                             shopping().PayArguments("alice", order),
                                             {"decline", order},
                                             {"balance"}}) {
    const Answer answer = shopping().Run("alice", step);
    EXPECT_EQ(answer.exit_code, kUnreachable) << step[0] << ": " << answer.err;
    EXPECT_NE(answer.err, "") << step[0];
  }
  // What lies at home can be read all the same.
  shopping().Ask("alice", {"search", "waiting"});
  shopping().Ask("alice", {"purchases"});
  const absl::Status started = shopping().market().StartBroker();
  ASSERT_TRUE(started.ok()) << started;
  Insist(shopping().PayArguments("alice", order));
  EXPECT_TRUE(FileContent(Insist({"download", order})["file_path"]) == "content");
}

TEST_F(BrokerRestartTest, StopsCleanlyWithEverybodyConnected) {
  const absl::Status stopped = shopping().market().StopBroker();
  EXPECT_TRUE(stopped.ok()) << stopped;
  const absl::Status started = shopping().market().StartBroker();
  ASSERT_TRUE(started.ok()) << started;
}

}  // namespace
}  // namespace blindcart::testing
