// Products that change after they were ordered: by the shop's owner, as is their right, or on the
// shop's disk, as it must not be.
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/end_to_end/shopping.h"

namespace blindcart::testing {
namespace {

using nlohmann::json;
using ::testing::AnyOf;
using ::testing::Eq;
using ::testing::HasSubstr;

constexpr char kShop[] = "quiet-books";

class ChangedProductTest : public ::testing::Test {
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

  struct Bought {
    std::string product;
    std::string order;
    std::string content_path;  // Where the shop keeps the content.
  };
  Bought Buy(const ProductSpec& product) {
    Bought bought;
    bought.product = shopping().Offer(kShop, product);
    bought.order = shopping().Checkout("alice", bought.product);
    const json paid = shopping().Pay("alice", bought.order);
    if (!paid.is_object()) return bought;
    bought.content_path = shopping().market().merchant_dir(kShop) + "/goods/" +
                          paid["purchase"]["content_sha256_hex"].get<std::string>();
    return bought;
  }
  std::vector<std::string> PurchasedFiles() {
    return FilesIn(shopping().market().agent_dir("alice") + "/purchases");
  }
  absl::StatusOr<std::string> Replace(const std::string& product, ProductSpec by) {
    by.replace_id = product;
    return shopping().market().AddProduct(kShop, by);
  }

 private:
  static Shopping* shopping_;
};
Shopping* ChangedProductTest::shopping_ = nullptr;

TEST_F(ChangedProductTest, ContentTamperedWithOnTheShopsDiskIsNotAccepted) {
  const std::string content = Content(600'000, 20);
  const Bought bought = Buy(Goods("Tampered with", "1.00", content));
  ASSERT_TRUE(FileContent(bought.content_path) == content);
  const std::vector<std::string> before = PurchasedFiles();
  {
    std::fstream file(bought.content_path, std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(400'000);
    file.put(static_cast<char>(content[400'000] ^ 1));
  }
  const Answer answer = shopping().Run("alice", {"download", bought.order});
  EXPECT_EQ(answer.exit_code, kVerification);
  EXPECT_EQ(answer.json["error"]["code"], "DATA_LOSS") << answer.out;
  EXPECT_THAT(answer.err, HasSubstr("what the shop delivered is not what was ordered"));
  EXPECT_EQ(PurchasedFiles(), before);
  EXPECT_EQ(shopping().Purchase("alice", bought.order)["file_path"], "");
  // The evidence stays: what was ordered, and that it was paid.
  EXPECT_EQ(shopping().Ask("alice", {"verify", bought.order})["ok"], true);

  // Once the shop has put it right, the goods come.
  std::ofstream(bought.content_path, std::ios::binary) << content;
  shopping().ExpectDelivered("alice", bought.order, content);
}

TEST_F(ChangedProductTest, ContentCutShortOnTheShopsDiskIsNotAccepted) {
  const std::string content = Content(600'000, 21);
  const Bought bought = Buy(Goods("Cut short", "1.00", content));
  std::filesystem::resize_file(bought.content_path, 300'000);
  const Answer answer = shopping().Run("alice", {"download", bought.order});
  EXPECT_THAT(answer.exit_code, AnyOf(Eq(kUnreachable), Eq(kVerification))) << answer.err;
  EXPECT_EQ(shopping().Purchase("alice", bought.order)["file_path"], "");
  for (const std::string& file : PurchasedFiles()) {
    EXPECT_FALSE(absl::StartsWith(file, "Cut")) << file;
  }
  std::ofstream(bought.content_path, std::ios::binary) << content;
  shopping().ExpectDelivered("alice", bought.order, content);
}

TEST_F(ChangedProductTest, LostContentIsSaidToBeLost) {
  const std::string content = Content(10'000, 22);
  const Bought bought = Buy(Goods("Lost", "1.00", content));
  std::filesystem::remove(bought.content_path);
  const Answer answer = shopping().Run("alice", {"download", bought.order});
  EXPECT_EQ(answer.exit_code, kUnreachable);
  EXPECT_THAT(answer.err, HasSubstr("does not have the content"));
}

TEST_F(ChangedProductTest, ABuyerGetsWhatWasOrderedThoughItWasReplacedSince) {
  const std::string first = Content(50'000, 23);
  const std::string second = Content(80'000, 24);
  const Bought bought = Buy(Goods("First edition", "2.00", first));
  const absl::StatusOr<std::string> replaced =
      Replace(bought.product, Goods("Second edition", "3.00", second));
  ASSERT_TRUE(replaced.ok()) << replaced.status();
  EXPECT_EQ(*replaced, bought.product);
  shopping().Browse("alice", kShop);
  EXPECT_EQ(shopping().Ask("alice", {"show", bought.product})["item"]["title"], "Second edition");

  shopping().ExpectDelivered("alice", bought.order, first);
  EXPECT_EQ(shopping().Ask("alice", {"verify", bought.order})["ok"], true);
  EXPECT_EQ(shopping().Purchase("alice", bought.order)["title"], "First edition");

  const int64_t before = shopping().Balance("alice");
  const std::string next = shopping().Checkout("alice", bought.product);
  shopping().Pay("alice", next);
  shopping().ExpectDelivered("alice", next, second);
  EXPECT_EQ(shopping().Balance("alice"), before - 3'03);
}

TEST_F(ChangedProductTest, AnOrderForWhatWasReplacedSinceTheLastLookIsRefused) {
  const std::string id = shopping().Offer(kShop, Goods("As seen", "2.00", "first"));
  const absl::StatusOr<std::string> replaced = Replace(id, Goods("As seen", "20.00", "second"));
  ASSERT_TRUE(replaced.ok()) << replaced.status();
  const int64_t before = shopping().Balance("alice");
  const json purchases = shopping().Ask("alice", {"purchases"});
  const Answer answer = shopping().Run("alice", {"checkout", id});
  EXPECT_EQ(answer.exit_code, kVerification) << answer.out << answer.err;
  EXPECT_THAT(answer.err, HasSubstr("browse"));
  EXPECT_EQ(shopping().Ask("alice", {"purchases"}), purchases);
  EXPECT_EQ(shopping().Balance("alice"), before);

  shopping().Browse("alice", kShop);
  const json ordered = shopping().Ask("alice", {"checkout", id});
  EXPECT_EQ(Int(ordered["purchase"]["price_minor"]), 20'00);
}

TEST_F(ChangedProductTest, ARemovedProductIsSoldNoMoreButStillDelivered) {
  const std::string content = Content(5'000, 25);
  const Bought bought = Buy(Goods("Withdrawn", "1.00", content));
  const absl::StatusOr<Output> removed =
      shopping().market().MerchantCommand(kShop, {"remove-product", bought.product});
  ASSERT_TRUE(removed.ok()) << removed.status();
  ASSERT_EQ(removed->exit_code, 0) << removed->err;
  const json refused = shopping().Ask("alice", {"checkout", bought.product}, kRefused);
  EXPECT_EQ(refused["outcome"], "CHECKOUT_OUTCOME_NO_SUCH_PRODUCT");
  shopping().Browse("alice", kShop);
  shopping().Ask("alice", {"show", bought.product}, kFailure);
  shopping().ExpectDelivered("alice", bought.order, content);
}

TEST_F(ChangedProductTest, AFileChangedAtHomeIsNoticedAndFetchedAnew) {
  const std::string content = Content(5'000, 26);
  const Bought bought = Buy(Goods("At home", "1.00", content));
  const json first = shopping().Download("alice", bought.order);
  ASSERT_TRUE(first.is_object());
  std::ofstream(first["file_path"].get<std::string>(), std::ios::app) << "scribble";
  const json verified = shopping().Ask("alice", {"verify", bought.order}, kVerification);
  EXPECT_EQ(verified["ok"], false);
  for (const json& check : verified["checks"]) {
    EXPECT_EQ(check["ok"], check["name"] != "file") << check.dump();
  }
  shopping().ExpectDelivered("alice", bought.order, content);
  EXPECT_EQ(shopping().Ask("alice", {"verify", bought.order})["ok"], true);
}

}  // namespace
}  // namespace blindcart::testing
