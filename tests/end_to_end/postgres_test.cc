// A marketplace whose broker keeps its store in PostgreSQL: from its beginning, or moved there from
// SQLite.
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/storage/testing/postgres_server.h"
#include "tests/end_to_end/shopping.h"

namespace blindcart::testing {
namespace {

using nlohmann::json;
using storage::testing::PostgresServer;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kShop[] = "quiet-books";

class PostgresTest : public ::testing::Test {
 protected:
  void SetUp() override {
    absl::StatusOr<std::unique_ptr<PostgresServer>> server = PostgresServer::Start();
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    url_ = *server_->CreateDatabase();
  }

  void OpenShopping(const std::vector<std::string>& broker_init_arguments) {
    shopping_ = Shopping::Open({{kShop, "2001", 0}},
                               {{"alice", "violet umbrella 7", "1001", "2468", "100.00"}},
                               broker_init_arguments);
    ASSERT_NE(shopping_, nullptr);
  }
  Output BrokerCommand(const std::vector<std::string>& arguments) {
    const absl::StatusOr<Output> output = shopping_->market().BrokerCommand(arguments);
    EXPECT_TRUE(output.ok()) << output.status();
    return output.ok() ? *output : Output();
  }
  std::string BuyWhole(const std::string& title) {
    const std::string content = Content(100'000, 3);
    const std::string order =
        shopping_->Checkout("alice", shopping_->Offer(kShop, Goods(title, "2.00", content)));
    shopping_->Pay("alice", order);
    shopping_->ExpectDelivered("alice", order, content);
    return order;
  }

  std::unique_ptr<PostgresServer> server_;
  std::string url_;
  std::unique_ptr<Shopping> shopping_;
};

TEST_F(PostgresTest, PurchasesSurviveTheDatabasesCrash) {
  OpenShopping({"--store", url_});
  ASSERT_NE(shopping_, nullptr);
  BuyWhole("Before the crash");
  const std::string content = Content(100'000, 4);
  const std::string order = shopping_->Checkout(
      "alice", shopping_->Offer(kShop, Goods("During the crash", "2.00", content)));

  server_->Crash();
  auto paying = Process::Start(shopping_->PayCommand("alice", order));
  ASSERT_TRUE(paying.ok()) << paying.status();
  ASSERT_TRUE(server_->StartAgain().ok());
  ASSERT_TRUE((*paying)->Wait(60'000).ok());
  // Whatever came of it: the same again settles it.
  const Answer paid =
      shopping_->RunUntilReachable("alice", shopping_->PayArguments("alice", order));
  EXPECT_EQ(paid.exit_code, kOk) << paid.err;
  EXPECT_EQ(paid.json["outcome"], "PAY_OUTCOME_SUCCESSFUL");
  shopping_->ExpectDelivered("alice", order, content);
  EXPECT_EQ(shopping_->Balance("alice"), 100'00 - 2 * 2'02);
  EXPECT_EQ(shopping_->AccountBalance("2001"), 2 * 2'00);
  shopping_->ExpectBooksRight();

  // Nobody makes a second broker over the first one's accounts by mistake.
  const absl::Status again =
      Marketplace::Create(shopping_->market().folder() + "/other", {"--store", url_}).status();
  EXPECT_THAT(std::string(again.message()),
              HasSubstr("there is a broker in that database already"));
}

TEST_F(PostgresTest, ARunningShopMovesFromSqlite) {
  OpenShopping({});
  ASSERT_NE(shopping_, nullptr);
  const std::string first = BuyWhole("On SQLite");
  const json before = json::parse(BrokerCommand({"list", "--json"}).out);

  // While the broker serves.
  const Output moved = BrokerCommand({"migrate", "--to", url_});
  ASSERT_EQ(moved.exit_code, 0) << moved.err;
  EXPECT_THAT(moved.out, HasSubstr("Moved 4 accounts, 1 customers, 1 merchants, 1 orders, 2 "
                                   "transfers, 5 entries."));
  EXPECT_THAT(moved.err, HasSubstr("moving: 100 %"));
  const std::string late = shopping_->Offer(kShop, Goods("Too late", "2.00", Content(1'000, 5)));
  const Answer refused = shopping_->Run("alice", {"checkout", late});
  EXPECT_NE(refused.exit_code, kOk) << "the old store took an order after it had moved";
  const Output old = BrokerCommand({"audit"});
  EXPECT_EQ(old.exit_code, 1);
  EXPECT_THAT(old.err, HasSubstr("has been moved to PostgreSQL"));
  const Output twice = BrokerCommand({"migrate", "--to", url_});
  EXPECT_EQ(twice.exit_code, 1);
  EXPECT_THAT(twice.err, HasSubstr("not empty"));

  ReplaceInFile(shopping_->market().broker_dir() + "/broker.textproto", "url: \"\"",
                "url: \"" + url_ + "\"");
  EXPECT_EQ(json::parse(BrokerCommand({"list", "--json"}).out), before);
  shopping_->RestartBroker();
  shopping_->LogIn("alice");
  shopping_->WaitUntilOnline("alice", kShop);
  BuyWhole("On PostgreSQL");
  EXPECT_EQ(shopping_->Balance("alice"), 100'00 - 2 * 2'02);
  EXPECT_EQ(shopping_->Ask("alice", {"verify", first})["ok"], true);
  shopping_->ExpectBooksRight();
}

TEST_F(PostgresTest, MistakesAreSaidInWordsAndChangeNothing) {
  OpenShopping({});
  ASSERT_NE(shopping_, nullptr);
  const struct {
    std::vector<std::string> arguments;
    std::string expected;
  } cases[] = {
      {{"migrate", "--to", "mysql://db/x"}, "--to: a database's address begins with postgres://"},
      {{"migrate", "--to", "postgres://b:secret@db.example.org/x?sslmode=require"},
       "needs sslmode=verify-full"},
      {{"migrate", "--from", "/tmp/x.db", "--to", url_}, "--from: write sqlite:PATH"},
      {{"migrate", "--from", "sqlite:/no/such/file.db", "--to", url_}, "there is no database file"},
      {{"migrate", "--to", "postgres:///nothing?host=" + server_->folder() + "&user=owner"},
       "does not exist"},
  };
  for (const auto& [arguments, expected] : cases) {
    const Output output = BrokerCommand(arguments);
    EXPECT_EQ(output.exit_code, 1) << expected;
    EXPECT_THAT(output.err, HasSubstr(expected));
    EXPECT_THAT(output.err, Not(HasSubstr("secret")));
  }
  BuyWhole("Still on SQLite");
  shopping_->ExpectBooksRight();
}

}  // namespace
}  // namespace blindcart::testing
