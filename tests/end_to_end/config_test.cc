// What people get wrong when they set things up, and what the programs say then: over the real
// programs.
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/end_to_end/shopping.h"

namespace blindcart::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr char kBroker[] = "services/broker/broker";
constexpr char kMerchant[] = "services/merchant/merchant";
constexpr char kAgent[] = "services/agent/agent";
constexpr char kCli[] = "clients/cli/blindcart";
constexpr char kShop[] = "quiet-books";

Output RunProgram(const std::string& program, std::vector<std::string> arguments,
                  const std::string& pass_phrase = Marketplace::kPassphrase) {
  absl::StatusOr<Output> output =
      RunToEnd({program, std::move(arguments), {{"BLINDCART_PASSPHRASE", pass_phrase}}, ""});
  EXPECT_TRUE(output.ok()) << output.status();
  return output.value_or(Output());
}

TEST(HelpTest, EveryCommandOfEveryProgramExplainsItself) {
  const std::vector<std::pair<std::string, std::vector<std::string>>> programs = {
      {kBroker, {"init", "serve", "add-customer", "add-merchant", "list", "audit"}},
      {kMerchant,
       {"init", "serve", "add-product", "products", "remove-product", "orders", "shop-link",
        "status"}},
      {kAgent, {"init", "serve"}},
      {kCli,
       {"login", "logout", "status", "shops", "add-shop", "browse", "search", "show", "checkout",
        "pay", "decline", "buy", "download", "purchases", "verify", "balance", "message",
        "contacts"}}};
  for (const auto& [program, commands] : programs) {
    const Output help = RunProgram(program, {"--help"});
    EXPECT_EQ(help.exit_code, 0) << program;
    for (const std::string& command : commands) {
      EXPECT_THAT(help.out, HasSubstr(command)) << program;
      const Output explained = RunProgram(program, {command, "--help"});
      EXPECT_EQ(explained.exit_code, 0) << program << " " << command;
      EXPECT_THAT(explained.out, HasSubstr("Example")) << program << " " << command;
      EXPECT_EQ(explained.err, "") << program << " " << command;
    }
  }
}

TEST(UsageTest, WhatIsNoCommandIsRefusedAsSuch) {
  for (const char* program : {kBroker, kMerchant, kAgent, kCli}) {
    for (const std::vector<std::string>& arguments :
         std::vector<std::vector<std::string>>{{"frobnicate"}, {"--frobnicate"}, {}}) {
      const Output output = RunProgram(program, arguments);
      EXPECT_EQ(output.exit_code, kUsage) << program;
      EXPECT_NE(output.err, "") << program;
    }
  }
}

TEST(UsageTest, ACommandLineWithoutAnAgentSaysHowToStartOne) {
  const Output output =
      RunProgram(kCli, {"--socket", "/tmp/blindcart-no-such-folder/sock", "balance"});
  EXPECT_EQ(output.exit_code, kUnreachable);
  EXPECT_THAT(output.err, HasSubstr("agent serve"));
}

class ConfigTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    shopping_ = Shopping::Open({{kShop, "2001", 0}},
                               {{"alice", "violet umbrella 7", "10017", "2468", "100.00"}})
                    .release();
  }
  static void TearDownTestSuite() { delete shopping_; }
  void SetUp() override { ASSERT_NE(shopping_, nullptr); }

  Shopping& shopping() { return *shopping_; }
  Marketplace& market() { return shopping_->market(); }
  // A folder that is a copy of another one, without its sockets.
  std::string CopyOf(const std::string& folder) {
    const std::string copy = market().folder() + "/copy";
    std::filesystem::remove_all(copy);
    std::filesystem::create_directories(copy);
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      if (entry.is_socket()) continue;
      std::filesystem::copy(entry.path(), copy + "/" + entry.path().filename().string(),
                            std::filesystem::copy_options::recursive);
    }
    return copy;
  }

 private:
  static Shopping* shopping_;
};
Shopping* ConfigTest::shopping_ = nullptr;

TEST_F(ConfigTest, InitNeverOverwrites) {
  const std::string card = market().broker_card();
  const std::vector<std::pair<std::string, std::vector<std::string>>> commands = {
      {kBroker, {"init", "--data-dir", market().broker_dir()}},
      {kMerchant,
       {"init", "--data-dir", market().merchant_dir(kShop), "--name", kShop, "--broker-card",
        card}},
      {kAgent, {"init", "--data-dir", market().agent_dir("alice"), "--broker-card", card}}};
  const std::string broker_config = FileContent(market().broker_dir() + "/broker.textproto");
  const std::string broker_card = FileContent(card);
  for (const auto& [program, arguments] : commands) {
    const Output output = RunProgram(program, arguments);
    EXPECT_EQ(output.exit_code, kFailure) << program << output.out;
    EXPECT_THAT(output.err, HasSubstr("already")) << program;
  }
  EXPECT_EQ(FileContent(market().broker_dir() + "/broker.textproto"), broker_config);
  EXPECT_EQ(FileContent(card), broker_card);
}

TEST_F(ConfigTest, ABrokenConfigurationIsNamedWithLineAndField) {
  struct Break {
    const char* from;
    const char* to;
    const char* said;
  };
  for (const Break& b :
       {Break{"charge_basis_points: 100", "charge_basis_pionts: 100", "charge_basis_pionts"},
        Break{"charge_basis_points: 100", "charge_basis_points: many", "line "},
        Break{"charge_basis_points: 100", "charge_basis_points: 10001", "charge_basis_points"},
        Break{"max_customer_links: 12000", "max_customer_links: -1", "max_customer_links"},
        Break{"currency: \"EUR\"", "currency: \"EURO\"", "currency"},
        Break{"listen: \"127.0.0.1:0\"", "listen: \"nowhere\"", "listen"}}) {
    const std::string copy = CopyOf(market().broker_dir());
    ReplaceInFile(copy + "/broker.textproto", b.from, b.to);
    const Output output = RunProgram(kBroker, {"serve", "--data-dir", copy});
    EXPECT_EQ(output.exit_code, kFailure) << b.to;
    EXPECT_THAT(output.err, AllOf(HasSubstr("broker.textproto"), HasSubstr(b.said))) << b.to;
    EXPECT_EQ(output.out, "");
  }
  std::string copy = CopyOf(market().merchant_dir(kShop));
  ReplaceInFile(copy + "/merchant.textproto", "order_lifetime_ms: 900000", "order_lifetime_ms: 5");
  const Output merchant = RunProgram(kMerchant, {"serve", "--data-dir", copy});
  EXPECT_EQ(merchant.exit_code, kFailure);
  EXPECT_THAT(merchant.err, HasSubstr("order_lifetime_ms"));
  copy = CopyOf(market().agent_dir("alice"));
  ReplaceInFile(copy + "/agent.textproto", "log_level", "log_levle");
  const Output agent = RunProgram(kAgent, {"serve", "--data-dir", copy});
  EXPECT_EQ(agent.exit_code, kFailure);
  EXPECT_THAT(agent.err, AllOf(HasSubstr("agent.textproto"), HasSubstr("log_levle")));
}

TEST_F(ConfigTest, AWrongPassPhraseIsSaidToBeWrong) {
  const std::vector<std::pair<std::string, std::string>> services = {
      {kBroker, market().broker_dir()},
      {kMerchant, market().merchant_dir(kShop)},
      {kAgent, market().agent_dir("alice")}};
  for (const auto& [program, folder] : services) {
    const Output output =
        RunProgram(program, {"serve", "--data-dir", CopyOf(folder)}, "not the pass phrase");
    EXPECT_EQ(output.exit_code, kFailure) << program;
    EXPECT_THAT(output.err, HasSubstr("pass phrase")) << program;
    EXPECT_EQ(output.out, "") << program;
  }
}

TEST_F(ConfigTest, AFolderThatHoldsNothingSaysHowToMakeIt) {
  for (const char* program : {kBroker, kMerchant, kAgent}) {
    const Output output =
        RunProgram(program, {"serve", "--data-dir", market().folder() + "/no-such-folder"});
    EXPECT_EQ(output.exit_code, kFailure) << program;
    EXPECT_THAT(output.err, HasSubstr("init")) << program;
  }
}

TEST_F(ConfigTest, AnAddressInUseIsNamed) {
  const Output output = RunProgram(kBroker, {"serve", "--data-dir", CopyOf(market().broker_dir()),
                                             "--listen", market().broker_address()});
  EXPECT_EQ(output.exit_code, kFailure);
  EXPECT_THAT(output.err, HasSubstr(market().broker_address()));
  EXPECT_EQ(output.out, "");
  shopping().Ask("alice", {"balance"});
}

TEST_F(ConfigTest, ABrokerOnSqliteHasNobodyBesideIt) {
  const std::string further = market().folder() + "/broker-further";
  const Output output = RunProgram(kBroker, {"join", "--from", market().broker_dir(), "--data-dir",
                                             further, "--listen", "127.0.0.1:7999"});
  EXPECT_EQ(output.exit_code, kFailure);
  EXPECT_THAT(output.err, HasSubstr("broker migrate --to postgres://"));
  EXPECT_FALSE(std::filesystem::exists(further));
}

TEST_F(ConfigTest, AServiceThatRunsAlreadyIsNotStartedTwice) {
  const Output merchant =
      RunProgram(kMerchant, {"serve", "--data-dir", market().merchant_dir(kShop)});
  EXPECT_EQ(merchant.exit_code, kFailure);
  EXPECT_NE(merchant.err, "");
  const Output agent = RunProgram(kAgent, {"serve", "--data-dir", market().agent_dir("alice")});
  EXPECT_EQ(agent.exit_code, kFailure);
  EXPECT_NE(agent.err, "");
  // The running ones still answer.
  shopping().Ask("alice", {"browse", kShop});
  const absl::StatusOr<Output> products = market().MerchantCommand(kShop, {"products"});
  ASSERT_TRUE(products.ok()) << products.status();
  EXPECT_EQ(products->exit_code, 0) << products->err;
}

TEST_F(ConfigTest, ABadEnrolmentSaysWhichValueIsWrong) {
  const std::string identity = market().agent_dir("alice") + "/customer.identity";
  const auto enrol = [&](const std::string& username, const std::string& account,
                         const std::string& balance) {
    const absl::StatusOr<Output> output = market().BrokerCommand(
        {"add-customer", "--username", username, "--identity", identity, "--account", account,
         "--password-file", market().password_file("alice"), "--pin-file",
         market().pin_file("alice"), "--balance", balance});
    EXPECT_TRUE(output.ok()) << output.status();
    if (!output.ok()) return std::string();
    EXPECT_EQ(output->exit_code, kFailure) << output->out;
    return output->err;
  };
  EXPECT_THAT(enrol("alice", "1002", "1.00"), HasSubstr("alice"));
  EXPECT_THAT(enrol("Alice Smith", "1002", "1.00"), HasSubstr("user name"));
  EXPECT_THAT(enrol("bob", "no account!", "1.00"), HasSubstr("account"));
  EXPECT_THAT(enrol("bob", "1002", "-1.00"), HasSubstr("--balance"));
  EXPECT_THAT(enrol("bob", "1002", "1.005"), HasSubstr("--balance"));
  shopping().ExpectBooksRight();
}

TEST_F(ConfigTest, NoLogNamesPeopleProductsOrMoney) {
  const auto debug = [](const std::string& config) {
    ReplaceInFile(config, "log_level: \"info\"", "log_level: \"debug\"");
  };
  market().KillMerchant(kShop);
  market().KillAgent("alice");
  debug(market().broker_dir() + "/broker.textproto");
  debug(market().merchant_dir(kShop) + "/merchant.textproto");
  debug(market().agent_dir("alice") + "/agent.textproto");
  shopping().RestartBroker();
  const absl::Status started = market().StartMerchant(kShop);
  ASSERT_TRUE(started.ok()) << started;
  shopping().RestartAgent("alice");
  shopping().WaitUntilOnline("alice", kShop);

  ProductSpec product = Goods("Nightingale almanac", "54.31", Content(100'000, 30));
  product.description = "Peppermint weather";
  const std::string id = shopping().Offer(kShop, product);
  shopping().Ask("alice", {"search", "nightingale"});
  const std::string order = shopping().Checkout("alice", id);
  // A failure is logged no more freely than a success.
  shopping().Ask(
      "alice", {"pay", order, "--account", "10017", "--pin-file", market().password_file("alice")},
      kRefused);
  shopping().Pay("alice", order);
  shopping().ExpectDelivered("alice", order, product.content);
  shopping().WaitForStatusAtShop(kShop, order, "ORDER_STATUS_DELIVERED");

  for (Process* process : {market().broker(), market().merchant(kShop), market().agent("alice")}) {
    const std::string log = process->err();
    EXPECT_NE(log, "") << "nothing is logged: nothing is shown";
    for (const std::string& secret : std::vector<std::string>{
             "alice", "10017", "violet", "2468", "Nightingale", "nightingale", "almanac",
             "Peppermint", "5431", "54.31", "5486", "54.86", id, order}) {
      EXPECT_FALSE(absl::StrContains(log, secret)) << secret << " in the log: " << log;
    }
  }
}

}  // namespace
}  // namespace blindcart::testing
