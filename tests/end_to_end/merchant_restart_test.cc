// A shop that goes away, without a word, at the worst moments of a purchase, and comes back.
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
constexpr int64_t kCutAtBytes = 20 * 1024 * 1024;

class MerchantRestartTest : public ::testing::Test {
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
  void StopShop() { shopping().market().KillMerchant(kShop); }
  void StartShop() {
    const absl::Status started = shopping().market().StartMerchant(kShop);
    ASSERT_TRUE(started.ok()) << started;
    shopping().WaitUntilOnline("alice", kShop);
  }

 private:
  static Shopping* shopping_;
};
Shopping* MerchantRestartTest::shopping_ = nullptr;

TEST_F(MerchantRestartTest, DownAtCheckout) {
  const std::string id = shopping().Offer(kShop, Goods("Later", "1.00", "content"));
  const int64_t before = shopping().Balance("alice");
  const json purchases = shopping().Ask("alice", {"purchases"});
  StopShop();
  const Answer answer = shopping().Run("alice", {"checkout", id});
  EXPECT_EQ(answer.exit_code, kUnreachable);
  EXPECT_THAT(answer.err, HasSubstr("the shop is offline"));
  EXPECT_EQ(shopping().Ask("alice", {"purchases"}), purchases);
  // What was fetched before can still be looked at.
  EXPECT_EQ(shopping().Ask("alice", {"show", id})["item"]["title"], "Later");

  StartShop();
  const std::string order = shopping().Checkout("alice", id);
  shopping().Pay("alice", order);
  shopping().ExpectDelivered("alice", order, "content");
  EXPECT_EQ(shopping().Balance("alice"), before - 1'01);
}

TEST_F(MerchantRestartTest, DownWhenTheOrderIsPaid) {
  const std::string id = shopping().Offer(kShop, Goods("Paid alone", "1.00", "content"));
  const std::string order = shopping().Checkout("alice", id);
  const int64_t before = shopping().Balance("alice");
  StopShop();
  shopping().Pay("alice", order);
  EXPECT_EQ(shopping().Balance("alice"), before - 1'01);
  const Answer answer = shopping().Run("alice", {"download", order});
  EXPECT_EQ(answer.exit_code, kUnreachable) << answer.err;

  StartShop();
  shopping().WaitForStatusAtShop(kShop, order, "ORDER_STATUS_PAID");
  shopping().ExpectDelivered("alice", order, "content");
  shopping().WaitForStatusAtShop(kShop, order, "ORDER_STATUS_DELIVERED");
}

TEST_F(MerchantRestartTest, DownWhenTheOrderIsDeclined) {
  ProductSpec product = Goods("Given back", "1.00", "content");
  product.stock = 1;
  const std::string id = shopping().Offer(kShop, product);
  const std::string order = shopping().Checkout("alice", id);
  StopShop();
  shopping().Ask("alice", {"decline", order});
  StartShop();
  shopping().WaitForStatusAtShop(kShop, order, "ORDER_STATUS_DECLINED");
  shopping().Checkout("alice", id);
}

TEST_F(MerchantRestartTest, DownInTheMiddleOfADelivery) {
  const std::string content = Content(kLargeBytes, 4);
  const std::string id = shopping().Offer(kShop, Goods("Large", "1.00", content));
  const std::string order = shopping().Checkout("alice", id);
  shopping().Pay("alice", order);
  const std::unique_ptr<Process> download = shopping().StartDownload("alice", order, kCutAtBytes);
  ASSERT_NE(download, nullptr);
  StopShop();
  const absl::StatusOr<int> exit_code = download->Wait(/*timeout_ms=*/120'000);
  ASSERT_TRUE(exit_code.ok()) << exit_code.status();
  EXPECT_EQ(*exit_code, kUnreachable) << download->err();
  EXPECT_EQ(shopping().Purchase("alice", order)["file_path"], "");

  StartShop();
  const json done = shopping().Download("alice", order);
  ASSERT_TRUE(done.is_object());
  EXPECT_GE(Int(done["resumed_from_bytes"]), kCutAtBytes / 2);
  EXPECT_TRUE(FileContent(done["file_path"]) == content);
  EXPECT_EQ(shopping().Ask("alice", {"verify", order})["ok"], true);
}

}  // namespace
}  // namespace blindcart::testing
