// Whole purchases: a broker, shops and customers' agents as processes of their own, driven with the
// command line.
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/end_to_end/shopping.h"

namespace blindcart::testing {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

constexpr int64_t kOpeningBalanceMinor = 100'00;

class PurchaseTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    shopping_ = Shopping::Open({{"quiet-books", "2001"}, {"small-music", "2002"}},
                               {{"alice", "violet umbrella 7", "1001", "2468", "100.00"},
                                {"bob", "paper lantern 3", "1002", "1357", "100.00"},
                                {"carol", "brass kettle 11", "1003", "9753", "100.00"}})
                    .release();
  }
  static void TearDownTestSuite() { delete shopping_; }
  void SetUp() override { ASSERT_NE(shopping_, nullptr); }
  void TearDown() override {
    if (shopping_ != nullptr) shopping_->ExpectBooksRight();
  }

  Shopping& shopping() { return *shopping_; }
  Command BuyCommand(const std::string& username, const std::string& product) {
    return shopping().market().CliCommand(
        username,
        {"--json", "buy", product, "--yes", "--pin-file", shopping().market().pin_file(username)});
  }

 private:
  static Shopping* shopping_;
};
Shopping* PurchaseTest::shopping_ = nullptr;

TEST_F(PurchaseTest, FromCatalogueToVerifiedFile) {
  const std::string content = Content(300'000, 1);
  ProductSpec product = Goods("A quiet divorce", "12.50", content);
  product.description = "What the law says.";
  const std::string id = shopping().AddProduct("quiet-books", product);
  const int64_t before = shopping().Balance("alice");

  const json browsed = shopping().Browse("alice", "quiet-books");
  ASSERT_TRUE(browsed.is_object());
  json item;
  for (const json& candidate : browsed["items"]) {
    if (candidate["product_id_hex"] == id) item = candidate;
  }
  ASSERT_TRUE(item.is_object()) << browsed.dump(2);
  EXPECT_EQ(item["title"], "A quiet divorce");
  EXPECT_EQ(Int(item["price_minor"]), 12'50);
  EXPECT_EQ(Int(item["size_bytes"]), 300'000);

  const json found = shopping().Ask("alice", {"search", "DIVORCE", "law"});
  ASSERT_EQ(found["items"].size(), 1u) << found.dump(2);
  EXPECT_EQ(found["items"][0]["product_id_hex"], id);
  const json shown = shopping().Ask("alice", {"show", id.substr(0, 8)});
  EXPECT_EQ(shown["item"], item);

  const json ordered = shopping().Ask("alice", {"checkout", id.substr(0, 8)});
  ASSERT_EQ(ordered["outcome"], "CHECKOUT_OUTCOME_ORDERED");
  const std::string order = ordered["purchase"]["order_id_hex"];
  EXPECT_EQ(Int(ordered["purchase"]["price_minor"]), 12'50);
  EXPECT_EQ(Int(ordered["purchase"]["charge_minor"]), 13);  // One per cent, rounded up.
  EXPECT_EQ(Int(ordered["purchase"]["total_minor"]), 12'63);
  EXPECT_EQ(shopping().StatusAtShop("quiet-books", order), "ORDER_STATUS_CREATED");
  EXPECT_EQ(shopping().Balance("alice"), before);

  const json paid = shopping().Pay("alice", order);
  EXPECT_EQ(paid["outcome"], "PAY_OUTCOME_SUCCESSFUL");
  EXPECT_EQ(paid["purchase"]["status"], "ORDER_STATUS_PAID");
  EXPECT_EQ(shopping().Balance("alice"), before - 12'63);

  const json done = shopping().Download("alice", order);
  ASSERT_TRUE(done.is_object());
  EXPECT_EQ(Int(done["total_bytes"]), 300'000);
  EXPECT_EQ(Int(done["resumed_from_bytes"]), 0);
  EXPECT_EQ(done["content_sha256_hex"], item["content_sha256_hex"]);
  EXPECT_TRUE(FileContent(done["file_path"]) == content);

  const json verified = shopping().Ask("alice", {"verify", order});
  EXPECT_EQ(verified["ok"], true);
  EXPECT_EQ(verified["checks"].size(), 6u) << verified.dump(2);
  const json purchase = shopping().Purchase("alice", order);
  EXPECT_EQ(purchase["title"], "A quiet divorce");
  EXPECT_EQ(purchase["status"], "ORDER_STATUS_DELIVERED");
  EXPECT_EQ(purchase["file_path"], done["file_path"]);
  shopping().WaitForStatusAtShop("quiet-books", order, "ORDER_STATUS_DELIVERED");
}

TEST_F(PurchaseTest, MoneyGoesToTheShopAndTheChargeToTheBroker) {
  const std::string id = shopping().Offer("small-music", Goods("Nocturnes", "20.00", "notes"));
  const int64_t shop_before = shopping().AccountBalance("2002");
  const int64_t broker_before = shopping().AccountBalance("BROKER");
  const int64_t bob_before = shopping().AccountBalance("1002");
  const std::string order = shopping().Checkout("bob", id);
  shopping().Pay("bob", order);
  EXPECT_EQ(shopping().AccountBalance("2002"), shop_before + 20'00);
  EXPECT_EQ(shopping().AccountBalance("BROKER"), broker_before + 20);
  EXPECT_EQ(shopping().AccountBalance("1002"), bob_before - 20'20);
  EXPECT_EQ(shopping().AccountBalance("1002"), shopping().Balance("bob"));
}

TEST_F(PurchaseTest, ASecondDownloadNeedsNoSecondPayment) {
  const std::string content = Content(70'000, 2);
  const std::string id = shopping().Offer("quiet-books", Goods("Twice", "1.00", content));
  const std::string order = shopping().Checkout("bob", id);
  shopping().Pay("bob", order);
  const json first = shopping().Download("bob", order);
  const int64_t balance = shopping().Balance("bob");
  // As it stands, the file is there and is kept.
  const json kept = shopping().Download("bob", order);
  EXPECT_EQ(kept["file_path"], first["file_path"]);
  const json again = shopping().Download("bob", order, {"--again"});
  ASSERT_TRUE(again.is_object());
  EXPECT_NE(again["file_path"], first["file_path"]) << "a file was overwritten";
  EXPECT_TRUE(FileContent(again["file_path"]) == content);
  EXPECT_TRUE(FileContent(first["file_path"]) == content);
  EXPECT_EQ(shopping().Balance("bob"), balance);
}

TEST_F(PurchaseTest, BuyInOneCommand) {
  const std::string content = Content(1'000, 3);
  const std::string id = shopping().Offer("small-music", Goods("One go", "3.00", content));
  const int64_t before = shopping().Balance("carol");
  const absl::StatusOr<Output> output = RunToEnd(BuyCommand("carol", id));
  ASSERT_TRUE(output.ok()) << output.status();
  ASSERT_EQ(output->exit_code, kOk) << output->out << output->err;
  const json reply = json::parse(output->out);
  EXPECT_EQ(reply["pay"]["outcome"], "PAY_OUTCOME_SUCCESSFUL");
  EXPECT_TRUE(FileContent(reply["download"]["file_path"]) == content);
  EXPECT_EQ(shopping().Balance("carol"), before - 3'03);
}

TEST_F(PurchaseTest, BuyAsksBeforeItOrders) {
  const std::string id = shopping().Offer("small-music", Goods("Unasked", "3.00", "x"));
  const int64_t before = shopping().Balance("carol");
  const json purchases = shopping().Ask("carol", {"purchases"});
  const Answer answer =
      shopping().Run("carol", {"buy", id, "--pin-file", shopping().market().pin_file("carol")});
  EXPECT_EQ(answer.exit_code, kUsage);
  EXPECT_THAT(answer.err, HasSubstr("--yes"));
  EXPECT_EQ(shopping().Ask("carol", {"purchases"}), purchases);
  EXPECT_EQ(shopping().Balance("carol"), before);
}

TEST_F(PurchaseTest, SeveralCustomersBuyFromSeveralShopsAtOnce) {
  std::map<std::string, std::string> content_of;
  std::vector<std::string> products;
  for (const char* shop : {"quiet-books", "small-music"}) {
    for (uint32_t i = 0; i < 2; ++i) {
      const std::string content = Content(200'000 + i, 10 + i);
      products.push_back(shopping().Offer(shop, Goods("At once", "2.00", content)));
      content_of[products.back()] = content;
    }
  }
  const std::vector<std::string> customers = {"alice", "bob", "carol"};
  std::map<std::string, int64_t> before;
  std::vector<Command> commands;
  for (const std::string& customer : customers) {
    before[customer] = shopping().Balance(customer);
    for (const std::string& product : products) commands.push_back(BuyCommand(customer, product));
  }
  const absl::StatusOr<std::vector<Output>> outputs = RunAllToEnd(commands);
  ASSERT_TRUE(outputs.ok()) << outputs.status();
  for (size_t i = 0; i < outputs->size(); ++i) {
    const Output& output = (*outputs)[i];
    ASSERT_EQ(output.exit_code, kOk) << output.out << output.err;
    const json reply = json::parse(output.out);
    EXPECT_TRUE(FileContent(reply["download"]["file_path"]) ==
                content_of[products[i % products.size()]]);
  }
  for (const std::string& customer : customers) {
    EXPECT_EQ(shopping().Balance(customer), before[customer] - 4 * 2'02);
  }
}

TEST_F(PurchaseTest, TheLastOneIsSoldOnce) {
  ProductSpec product = Goods("The last copy", "5.00", "content");
  product.stock = 1;
  const std::string id = shopping().Offer("quiet-books", product);
  const int64_t before = shopping().Balance("alice") + shopping().Balance("bob");
  const absl::StatusOr<std::vector<Output>> outputs =
      RunAllToEnd({BuyCommand("alice", id), BuyCommand("bob", id)});
  ASSERT_TRUE(outputs.ok()) << outputs.status();
  const bool alice_has_it = (*outputs)[0].exit_code == kOk;
  const Output& loser = (*outputs)[alice_has_it ? 1 : 0];
  EXPECT_EQ((*outputs)[alice_has_it ? 0 : 1].exit_code, kOk);
  EXPECT_EQ(loser.exit_code, kRefused) << loser.out << loser.err;
  EXPECT_THAT(loser.err, HasSubstr("sold out"));
  EXPECT_EQ(shopping().Balance("alice") + shopping().Balance("bob"), before - 5'05);

  const json reply = shopping().Ask("carol", {"checkout", id}, kRefused);
  EXPECT_EQ(reply["outcome"], "CHECKOUT_OUTCOME_SOLD_OUT");
  for (const json& item : shopping().Browse("carol", "quiet-books")["items"]) {
    if (item["product_id_hex"] == id) {
      EXPECT_EQ(item["sold_out"], true);
    }
  }
}

TEST_F(PurchaseTest, AgentsOnOneMachineKeepToThemselves) {
  const std::string id = shopping().Offer("quiet-books", Goods("Mine", "1.00", "content"));
  const std::string order = shopping().Checkout("alice", id);
  EXPECT_TRUE(shopping().Purchase("bob", order).is_null());
  EXPECT_EQ(shopping().Ask("alice", {"status"})["username"], "alice");
  EXPECT_EQ(shopping().Ask("bob", {"status"})["username"], "bob");
  // A logout ends one agent's session and no other's.
  shopping().Ask("bob", {"logout"});
  shopping().Ask("bob", {"balance"}, kLogin);
  EXPECT_LE(shopping().Balance("alice"), kOpeningBalanceMinor);
  shopping().LogIn("bob");
  shopping().Ask("bob", {"balance"});
}

}  // namespace
}  // namespace blindcart::testing
