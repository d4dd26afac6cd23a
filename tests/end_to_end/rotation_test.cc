// A broker changes its keys. Those who trust the old ones follow without being touched, and nobody
// else moves them.
#include <filesystem>
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

namespace fs = std::filesystem;

constexpr char kShop[] = "quiet-books";

class RotationTest : public ::testing::Test {
 protected:
  void SetUp() override {
    shopping_ = Shopping::Open({{kShop, "2001", 0}},
                               {{"alice", "violet umbrella 7", "1001", "2468", "100.00"}});
    ASSERT_NE(shopping_, nullptr);
    first_card_ = market().folder() + "/first.card";
    fs::copy_file(market().broker_card(), first_card_);
  }
  Marketplace& market() { return shopping_->market(); }
  Output BrokerCommand(const std::vector<std::string>& arguments) {
    const absl::StatusOr<Output> output = market().BrokerCommand(arguments);
    EXPECT_TRUE(output.ok()) << output.status();
    return output.ok() ? *output : Output();
  }
  void Rotate() {
    const Output rotated = BrokerCommand({"rotate-key"});
    ASSERT_EQ(rotated.exit_code, 0) << rotated.err;
    EXPECT_THAT(rotated.out, HasSubstr("announced under the old one"));
  }
  std::string Buy(const std::string& username, const std::string& title) {
    const std::string content = Content(50'000, 3);
    const std::string order =
        shopping_->Checkout(username, shopping_->Offer(kShop, Goods(title, "2.00", content)));
    shopping_->Pay(username, order);
    shopping_->ExpectDelivered(username, order, content);
    return order;
  }
  std::string BrokersKey(const std::string& username) {
    return shopping_->Ask(username, {"status"}).value("broker_fingerprint_hex", "");
  }
  static void Replace(const std::string& file, const std::string& with) {
    fs::copy_file(with, file, fs::copy_options::overwrite_existing);
  }

  std::unique_ptr<Shopping> shopping_;
  std::string first_card_;
};

TEST_F(RotationTest, EverybodyFollowsAndWhatWasBoughtStaysProven) {
  const std::string first_key = BrokersKey("alice");
  const std::string before = Buy("alice", "Under the first key");
  Rotate();
  // What runs goes on.
  const std::string between = Buy("alice", "While the first key still serves");
  EXPECT_EQ(BrokersKey("alice"), first_key);

  shopping_->RestartBroker();
  shopping_->WaitUntilOnline("alice", kShop);
  const std::string second_key = BrokersKey("alice");
  EXPECT_NE(second_key, first_key);
  const json status = shopping_->Ask("alice", {"status"});
  EXPECT_EQ(Int(status["broker_key_changes"]), 1);
  EXPECT_GT(Int(status["broker_key_followed_at_ms"]), 0);
  EXPECT_THAT(market().agent("alice")->err(), HasSubstr("broker.identity_followed"));
  EXPECT_THAT(market().merchant(kShop)->err(), HasSubstr("broker.identity_followed"));
  const std::string after = Buy("alice", "Under the second key");
  for (const std::string& order : {before, between, after}) {
    EXPECT_EQ(shopping_->Ask("alice", {"verify", order})["ok"], true) << order;
  }
  // Goods of before, once more.
  shopping_->ExpectDelivered("alice", before, Content(50'000, 3));

  // It is remembered, and there is no way back: not even with the old card in the folder.
  shopping_->RestartAgent("alice");
  EXPECT_EQ(BrokersKey("alice"), second_key);
  market().KillAgent("alice");
  const std::string own_card = market().agent_dir("alice") + "/broker.card";
  fs::copy_file(own_card, own_card + ".kept");
  Replace(own_card, first_card_);
  const absl::Status back = market().StartAgent("alice");
  EXPECT_THAT(std::string(back.message()), HasSubstr("another key than the one"));
  Replace(own_card, own_card + ".kept");
  shopping_->RestartAgent("alice");
  shopping_->WaitUntilOnline("alice", kShop);
  EXPECT_EQ(shopping_->Ask("alice", {"verify", before})["ok"], true);

  // Nor has the shop one.
  market().KillMerchant(kShop);
  const std::string shops_card = market().merchant_dir(kShop) + "/broker.card";
  fs::copy_file(shops_card, shops_card + ".kept");
  Replace(shops_card, first_card_);
  const absl::Status shop_back = market().StartMerchant(kShop);
  EXPECT_THAT(std::string(shop_back.message()), HasSubstr("another key than the one"));
  Replace(shops_card, shops_card + ".kept");
  ASSERT_TRUE(market().StartMerchant(kShop).ok());
  shopping_->WaitUntilOnline("alice", kShop);

  // Two more changes while an agent that has the very first card has not even begun.
  Rotate();
  Rotate();
  shopping_->RestartBroker();
  const std::string last_card = market().folder() + "/last.card";
  fs::copy_file(market().broker_card(), last_card);
  Replace(market().broker_card(), first_card_);
  ASSERT_TRUE(market().AddCustomer({"bob", "orange bicycle 9", "1002", "1357", "50.00"}).ok());
  Replace(market().broker_card(), last_card);
  ASSERT_TRUE(market().StartAgent("bob").ok());
  ASSERT_TRUE(market().Login("bob").ok());
  const json bob = shopping_->Ask("bob", {"status"});
  EXPECT_EQ(Int(bob["broker_key_changes"]), 3);
  shopping_->WaitUntilOnline("alice", kShop);
  EXPECT_EQ(BrokersKey("alice"), bob["broker_fingerprint_hex"]);
  Buy("alice", "Under the fourth key");
  EXPECT_EQ(shopping_->Ask("alice", {"verify", before})["ok"], true);
  shopping_->ExpectBooksRight();
}

// Whoever has the broker's address, its TLS key and its database, but not its identity.
TEST_F(RotationTest, AnImpostorWithAKeyOfItsOwnMovesNobody) {
  const std::string key = BrokersKey("alice");
  const std::string first = Buy("alice", "From the real one");
  market().KillBroker();
  const std::string folder = market().broker_dir();
  const std::string other = market().folder() + "/other";
  auto impostor = Marketplace::Create(other);
  ASSERT_TRUE(impostor.ok()) << impostor.status();
  const std::string its_folder = (*impostor)->broker_dir();
  // It claims that its key is the next one, too.
  ASSERT_EQ((*impostor)->BrokerCommand({"rotate-key"})->exit_code, 0);
  fs::rename(folder, folder + ".real");
  fs::copy(its_folder, folder, fs::copy_options::recursive);
  fs::remove_all(folder + "/tls");
  fs::copy(folder + ".real/tls", folder + "/tls", fs::copy_options::recursive);
  ASSERT_TRUE(market().StartBroker().ok());
  const absl::Status login = market().Login("alice");
  EXPECT_THAT(std::string(login.message()), HasSubstr("not accepted"));
  EXPECT_EQ(BrokersKey("alice"), key);

  market().KillBroker();
  fs::remove_all(folder);
  fs::rename(folder + ".real", folder);
  ASSERT_TRUE(market().StartBroker().ok());
  shopping_->LogIn("alice");
  shopping_->WaitUntilOnline("alice", kShop);
  EXPECT_EQ(BrokersKey("alice"), key);
  EXPECT_EQ(shopping_->Ask("alice", {"verify", first})["ok"], true);
}

}  // namespace
}  // namespace blindcart::testing
