// A broker that is backed up while money moves, lost, and brought back.
#include <atomic>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/end_to_end/shopping.h"

namespace blindcart::testing {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

constexpr char kShop[] = "quiet-books";
// Acknowledged before the backup begins, and while it runs.
constexpr int kBefore = 5;

class BackupTest : public ::testing::Test {
 protected:
  void SetUp() override {
    shopping_ = Shopping::Open({{kShop, "2001", 0}},
                               {{"alice", "violet umbrella 7", "1001", "2468", "100.00"}},
                               {"--customers-may-deposit"});
    ASSERT_NE(shopping_, nullptr);
  }
  Output BrokerCommand(const std::vector<std::string>& arguments) {
    const absl::StatusOr<Output> output = shopping_->market().BrokerCommand(arguments);
    EXPECT_TRUE(output.ok()) << output.status();
    return output.ok() ? *output : Output();
  }
  std::string Buy(const std::string& title) {
    const std::string content = Content(50'000, 3);
    const std::string order =
        shopping_->Checkout("alice", shopping_->Offer(kShop, Goods(title, "2.00", content)));
    shopping_->Pay("alice", order);
    shopping_->ExpectDelivered("alice", order, content);
    return order;
  }

  std::unique_ptr<Shopping> shopping_;
};

TEST_F(BackupTest, ABackupOfARunningBrokerIsABroker) {
  const std::string first = Buy("Before the backup");
  const std::string saved = shopping_->market().folder() + "/saved";
  // Deposits one after the other, until told to stop.
  std::atomic<int> acknowledged{0};
  std::atomic<bool> stop{false};
  std::thread customer([&] {
    while (!stop) {
      const Answer answer = shopping_->Run("alice", {"deposit", "1.00"});
      EXPECT_EQ(answer.exit_code, kOk) << answer.err;
      if (answer.exit_code != kOk) return;
      ++acknowledged;
    }
  });
  const auto wait_for = [&](int count) {
    WaitUntil("deposits go on", [&] { return acknowledged >= count; });
  };
  wait_for(kBefore);
  const int before = acknowledged;
  const Output made = BrokerCommand({"backup", "--to", saved});
  const int after = acknowledged;
  wait_for(after + 1);
  stop = true;
  customer.join();
  ASSERT_EQ(made.exit_code, 0) << made.err;
  EXPECT_THAT(made.out, HasSubstr("The books in the copy are right."));
  EXPECT_EQ(BrokerCommand({"backup", "--to", saved}).exit_code, 1) << "it was overwritten";
  shopping_->ExpectBooksRight();

  // The machine is lost.
  shopping_->market().KillBroker();
  const std::string folder = shopping_->market().broker_dir();
  std::filesystem::rename(folder, folder + ".lost");
  const Output restored = BrokerCommand({"restore", "--from", saved});
  ASSERT_EQ(restored.exit_code, 0) << restored.err;
  const Output audit = BrokerCommand({"audit"});
  EXPECT_EQ(audit.exit_code, 0) << audit.out;
  constexpr int64_t kBought = 2'02;
  const int64_t balance = shopping_->AccountBalance("1001");
  EXPECT_GE(balance, 100'00 - kBought + before * 1'00) << "an acknowledged deposit is lost";
  // One more may have been committed and not yet acknowledged.
  EXPECT_LE(balance, 100'00 - kBought + (after + 1) * 1'00);

  ASSERT_TRUE(shopping_->market().StartBroker().ok());
  shopping_->LogIn("alice");
  shopping_->WaitUntilOnline("alice", kShop);
  Buy("After the restore");
  EXPECT_EQ(shopping_->Balance("alice"), balance - kBought);
  EXPECT_EQ(shopping_->Ask("alice", {"verify", first})["ok"], true);
  shopping_->ExpectBooksRight();
}

}  // namespace
}  // namespace blindcart::testing
