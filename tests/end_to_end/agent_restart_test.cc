// A customer's agent that is killed, without a word, between and within the steps of a purchase and
// started again: nothing is lost, nothing is paid twice, and a download goes on where it was cut.
#include <signal.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/end_to_end/shopping.h"

namespace blindcart::testing {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

constexpr char kShop[] = "quiet-books";
constexpr size_t kLargeBytes = 64 * 1024 * 1024;
constexpr int64_t kCutAtBytes = 24 * 1024 * 1024;
constexpr int64_t kDurableBytes = 16 * 1024 * 1024;  // What the agent has noted at least by then.

class AgentRestartTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    shopping_ = Shopping::Open({{kShop, "2001", 0}},
                               {{"alice", "violet umbrella 7", "1001", "2468", "100.00"}})
                    .release();
  }
  static void TearDownTestSuite() { delete shopping_; }
  void SetUp() override { ASSERT_NE(shopping_, nullptr); }
  void TearDown() override {
    if (shopping_ != nullptr) shopping_->ExpectBooksRight();
  }

  Shopping& shopping() { return *shopping_; }
  std::string BuyLarge(const std::string& content) {
    const std::string id = shopping().Offer(kShop, Goods("Large", "2.00", content));
    const std::string order = shopping().Checkout("alice", id);
    shopping().Pay("alice", order);
    return order;
  }

 private:
  static Shopping* shopping_;
};
Shopping* AgentRestartTest::shopping_ = nullptr;

TEST_F(AgentRestartTest, BetweenAllSteps) {
  const std::string content = Content(300'000, 7);
  const int64_t before = shopping().Balance("alice");
  const std::string id = shopping().Offer(kShop, Goods("Restarted", "2.00", content));
  // The password is not kept on disk.
  shopping().market().KillAgent("alice");
  const Answer unreachable = shopping().Run("alice", {"balance"});
  EXPECT_EQ(unreachable.exit_code, kUnreachable);
  EXPECT_THAT(unreachable.err, HasSubstr("agent serve"));
  const absl::Status started = shopping().market().StartAgent("alice");
  ASSERT_TRUE(started.ok()) << started;
  shopping().Ask("alice", {"balance"}, kLogin);
  shopping().Ask("alice", {"checkout", id}, kLogin);
  shopping().LogIn("alice");

  const std::string order = shopping().Checkout("alice", id);
  shopping().RestartAgent("alice");
  EXPECT_EQ(shopping().Purchase("alice", order)["status"], "ORDER_STATUS_CREATED");
  shopping().Pay("alice", order);
  shopping().RestartAgent("alice");
  EXPECT_EQ(shopping().Purchase("alice", order)["status"], "ORDER_STATUS_PAID");
  shopping().ExpectDelivered("alice", order, content);
  shopping().RestartAgent("alice");
  EXPECT_EQ(shopping().Ask("alice", {"verify", order})["ok"], true);
  EXPECT_EQ(shopping().Balance("alice"), before - 2'02);
}

TEST_F(AgentRestartTest, DuringPay) {
  const std::string id = shopping().Offer(kShop, Goods("Cut payment", "2.00", "content"));
  // The kill hits another moment of the payment each time.
  for (int i = 0; i < 3; ++i) {
    const int64_t before = shopping().Balance("alice");
    const std::string order = shopping().Checkout("alice", id);
    auto pay = Process::Start(shopping().PayCommand("alice", order));
    ASSERT_TRUE(pay.ok()) << pay.status();
    shopping().RestartAgent("alice");
    ASSERT_TRUE((*pay)->Wait(/*timeout_ms=*/120'000).ok());
    shopping().Pay("alice", order);
    EXPECT_EQ(shopping().Balance("alice"), before - 2'02);
    shopping().ExpectDelivered("alice", order, "content");
  }
}

TEST_F(AgentRestartTest, ADownloadGoesOnWhereItWasCut) {
  const std::string content = Content(kLargeBytes, 8);
  const std::string order = BuyLarge(content);
  const std::unique_ptr<Process> download = shopping().StartDownload("alice", order, kCutAtBytes);
  ASSERT_NE(download, nullptr);
  shopping().market().KillAgent("alice");
  const absl::StatusOr<int> exit_code = download->Wait(/*timeout_ms=*/120'000);
  ASSERT_TRUE(exit_code.ok()) << exit_code.status();
  EXPECT_EQ(*exit_code, kUnreachable) << download->err();

  shopping().RestartAgent("alice");
  EXPECT_EQ(shopping().Purchase("alice", order)["file_path"], "");
  const json done = shopping().Download("alice", order);
  ASSERT_TRUE(done.is_object());
  EXPECT_GE(Int(done["resumed_from_bytes"]), kDurableBytes);
  EXPECT_TRUE(FileContent(done["file_path"]) == content);
  EXPECT_EQ(shopping().Ask("alice", {"verify", order})["ok"], true);
}

TEST_F(AgentRestartTest, AStoppedDownloadGoesOnLater) {
  const std::string content = Content(kLargeBytes, 9);
  const std::string order = BuyLarge(content);
  const std::unique_ptr<Process> download = shopping().StartDownload("alice", order, kCutAtBytes);
  ASSERT_NE(download, nullptr);
  download->Signal(SIGINT);
  ASSERT_TRUE(download->Wait(/*timeout_ms=*/120'000).ok());
  // The agent may need a moment to notice; until then it says that it is busy with this order.
  Answer answer;
  WaitUntil("the agent lets go of the stopped download", [&] {
    answer = shopping().Run("alice", {"download", order});
    return answer.exit_code != kRefused;
  });
  ASSERT_EQ(answer.exit_code, kOk) << answer.err;
  EXPECT_GE(Int(answer.json["resumed_from_bytes"]), kDurableBytes);
  EXPECT_TRUE(FileContent(answer.json["file_path"]) == content);
}

}  // namespace
}  // namespace blindcart::testing
