// The real program against an agent that answers as told: what it prints, asks for and exits with.
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>
#include "clients/cli/testing/fake_agent.h"
#include "clients/cli/testing/terminal.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/process.h"

namespace blindcart::cli {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

constexpr char kProgram[] = "clients/cli/blindcart";
constexpr char kOrderId[] = "ab12cd34000000000000000000000001";
constexpr char kProductId[] = "3f9a12bc000000000000000000000002";
constexpr char kHash[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

v1::Purchase SamplePurchase(v1::OrderStatus status) {
  v1::Purchase purchase;
  purchase.set_order_id_hex(kOrderId);
  purchase.set_shop("quiet-books");
  purchase.set_product_id_hex(kProductId);
  purchase.set_title("A quiet book");
  purchase.set_price_minor(1000);
  purchase.set_charge_minor(30);
  purchase.set_total_minor(1030);
  purchase.set_currency("EUR");
  purchase.set_status(status);
  purchase.set_created_at_ms(1'700'000'000'000);
  purchase.set_expires_at_ms(1'700'000'900'000);
  purchase.set_size_bytes(1536);
  return purchase;
}

v1::CatalogueItem SampleItem() {
  v1::CatalogueItem item;
  item.set_shop("quiet-books");
  item.set_product_id_hex(kProductId);
  item.set_title("A quiet book");
  item.set_description("First line.\nSecond line.");
  item.set_price_minor(1000);
  item.set_currency("EUR");
  item.set_size_bytes(1536);
  item.set_format("pdf");
  item.set_content_sha256_hex(kHash);
  return item;
}

v1::DownloadProgress Received(uint64_t bytes, bool done) {
  v1::DownloadProgress progress;
  progress.set_received_bytes(bytes);
  progress.set_total_bytes(1536);
  if (done) {
    progress.set_done(true);
    progress.set_file_path("/home/alice/purchases/A quiet book.pdf");
    progress.set_content_sha256_hex(kHash);
  }
  return progress;
}

class BlindcartTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/blindcart-cli-XXXXXX";  // Short: a socket's path has 107 bytes.
    ASSERT_NE(mkdtemp(path), nullptr);
    folder_ = path;
    auto agent = FakeAgent::Start(socket());
    ASSERT_TRUE(agent.ok()) << agent.status();
    agent_ = *std::move(agent);
  }
  void TearDown() override {
    agent_.reset();
    std::filesystem::remove_all(folder_);
  }

  std::string socket() const { return folder_ + "/agent.sock"; }

  std::string WriteSecret(const std::string& name, const std::string& secret, mode_t mode = 0600) {
    const std::string path = folder_ + "/" + name;
    std::ofstream(path) << secret;
    chmod(path.c_str(), mode);
    return path;
  }

  ::blindcart::testing::Output Run(std::vector<std::string> arguments,
                                   const std::string& input = "") {
    arguments.insert(arguments.begin(), {"--socket", socket()});
    const auto output =
        ::blindcart::testing::RunToEnd({kProgram, arguments, {{"TZ", "UTC"}}, input});
    EXPECT_TRUE(output.ok()) << output.status();
    return output.ok() ? *output : ::blindcart::testing::Output();
  }
  // The document on standard output, which is the only thing there.
  json RunJson(std::vector<std::string> arguments, int expected_exit_code = 0) {
    arguments.push_back("--json");
    const ::blindcart::testing::Output output = Run(arguments);
    EXPECT_EQ(output.exit_code, expected_exit_code) << output.out << output.err;
    json document = json::parse(output.out, nullptr, /*allow_exceptions=*/false);
    EXPECT_TRUE(document.is_object()) << output.out;
    return document;
  }
  TerminalRun OnTerminal(std::vector<std::string> arguments, const Dialogue& dialogue,
                         std::map<std::string, std::string> environment = {}) {
    arguments.insert(arguments.begin(), {kProgram, "--socket", socket()});
    environment.insert({{"TZ", "UTC"}, {"TERM", "xterm"}});
    const auto run = RunOnTerminal(arguments, dialogue, environment);
    EXPECT_TRUE(run.ok()) << run.status();
    return run.ok() ? *run : TerminalRun();
  }

  void ScriptPurchase(v1::OrderStatus status) {
    v1::ListPurchasesReply list;
    *list.add_purchases() = SamplePurchase(status);
    agent_->Script("ListPurchases", list);
  }
  void ScriptBalance() {
    v1::BalanceReply reply;
    reply.set_account_number("1001");
    reply.set_balance_minor(9999);
    reply.set_currency("EUR");
    agent_->Script("Balance", reply);
  }
  void ScriptCheckout(v1::CheckoutOutcome outcome) {
    v1::PurchaseReply reply;
    reply.set_outcome(outcome);
    if (outcome == v1::CHECKOUT_OUTCOME_ORDERED) {
      *reply.mutable_purchase() = SamplePurchase(v1::ORDER_STATUS_CREATED);
    }
    agent_->Script("Checkout", reply);
  }
  void ScriptPay(v1::PayOutcome outcome) {
    v1::PayReply reply;
    reply.set_outcome(outcome);
    *reply.mutable_purchase() = SamplePurchase(
        outcome == v1::PAY_OUTCOME_SUCCESSFUL ? v1::ORDER_STATUS_PAID : v1::ORDER_STATUS_CREATED);
    agent_->Script("Pay", reply);
  }
  void ScriptDecline() {
    v1::PurchaseReply reply;
    reply.set_outcome(v1::CHECKOUT_OUTCOME_ORDERED);
    *reply.mutable_purchase() = SamplePurchase(v1::ORDER_STATUS_DECLINED);
    agent_->Script("Decline", reply);
  }
  void ScriptPurchaseInOneGo() {
    ScriptBalance();
    ScriptCheckout(v1::CHECKOUT_OUTCOME_ORDERED);
    ScriptPay(v1::PAY_OUTCOME_SUCCESSFUL);
    agent_->ScriptDownload({Received(512, false), Received(1536, true)}, grpc::Status::OK);
  }

  std::string folder_;
  std::unique_ptr<FakeAgent> agent_;
};

TEST_F(BlindcartTest, EveryCommandHasHelpWithExamples) {
  const ::blindcart::testing::Output all = Run({"--help"});
  EXPECT_EQ(all.exit_code, 0);
  EXPECT_THAT(all.out, HasSubstr("Exit codes:"));
  for (const char* command :
       {"login", "logout", "status", "balance", "shops", "add-shop", "browse", "search", "show",
        "checkout", "pay", "decline", "buy", "purchases", "download", "verify"}) {
    EXPECT_THAT(all.out, HasSubstr(command));
    const ::blindcart::testing::Output help = Run({command, "--help"});
    EXPECT_EQ(help.exit_code, 0) << command;
    EXPECT_THAT(help.out, HasSubstr(std::string("Examples:\n  blindcart ") + command));
  }
  EXPECT_THAT(Run({"--version"}).out, StartsWith("blindcart "));
}

TEST_F(BlindcartTest, WrongUsageExitsWith2AndSaysWhy) {
  const std::vector<std::vector<std::string>> wrong = {
      {},           {"frobnicate"},       {"show"},           {"browse"},
      {"search"},   {"status", "extra"},  {"buy", "--oops"},  {"login", "--password-file"},
      {"download"}, {"status", "logout"}, {"pay", "--total"}, {"add-shop"}};
  for (const auto& arguments : wrong) {
    const ::blindcart::testing::Output output = Run(arguments);
    const std::string shown = arguments.empty() ? "(none)" : arguments[0];
    EXPECT_EQ(output.exit_code, 2) << shown;
    EXPECT_THAT(output.err, StartsWith("blindcart: ")) << shown;
    EXPECT_THAT(output.err, HasSubstr("--help")) << shown;
    EXPECT_THAT(output.out, IsEmpty()) << shown;
  }
}

TEST_F(BlindcartTest, SaysHowToStartAnAgentThatIsNotThere) {
  agent_.reset();
  for (const bool left_behind : {false, true}) {
    if (left_behind) std::ofstream(socket()) << "no socket";
    const ::blindcart::testing::Output output = Run({"status"});
    EXPECT_EQ(output.exit_code, 5);
    EXPECT_THAT(output.err, StartsWith("blindcart: no agent answers on " + socket()));
    EXPECT_THAT(output.err, HasSubstr("agent serve"));
    const json document = RunJson({"status"}, 5);
    EXPECT_EQ(document["error"]["code"], "UNAVAILABLE");
    EXPECT_EQ(document["error"]["exit_code"], 5);
  }
  const auto long_path = ::blindcart::testing::RunToEnd(
      {kProgram, {"--socket", "/tmp/" + std::string(200, 'x'), "status"}, {}, ""});
  EXPECT_EQ(long_path->exit_code, 2);
  EXPECT_THAT(long_path->err, HasSubstr("107 bytes"));
}

TEST_F(BlindcartTest, FindsTheSocketInTheEnvironment) {
  agent_->Script("Status", v1::StatusReply());
  for (const auto& environment : std::vector<std::map<std::string, std::string>>{
           {{"BLINDCART_AGENT_SOCKET", socket()}},
           {{"XDG_RUNTIME_DIR", folder_ + "/run"}},
           {{"BUILD_WORKING_DIRECTORY", folder_ + "/home"}}}) {
    std::filesystem::create_directories(folder_ + "/run/blindcart");
    std::filesystem::create_directories(folder_ + "/home/agent");
    std::error_code ignored;
    std::filesystem::create_symlink(socket(), folder_ + "/run/blindcart/agent.sock", ignored);
    std::filesystem::create_symlink(socket(), folder_ + "/home/agent/agent.sock", ignored);
    const auto output = ::blindcart::testing::RunToEnd({kProgram, {"status"}, environment, ""});
    EXPECT_EQ(output->exit_code, 0) << environment.begin()->first << output->err;
  }
}

TEST_F(BlindcartTest, EveryStatusOfTheAgentHasItsExitCodeAndWords) {
  struct Case {
    grpc::StatusCode code;
    const char* words;
    int exit_code;
    const char* shown;
  };
  for (const Case& c :
       {Case{grpc::StatusCode::UNAUTHENTICATED, "not logged in. Log in first: blindcart login", 3,
             "blindcart: not logged in. Log in first: blindcart login\n"},
        Case{grpc::StatusCode::NOT_FOUND, "no shop 'x' there. Look again", 1,
             "blindcart: no shop 'x' there. Look again\n"},
        Case{grpc::StatusCode::FAILED_PRECONDITION, "the key has changed. Ask the shop", 4,
             "blindcart: the key has changed. Ask the shop\n"},
        Case{grpc::StatusCode::INVALID_ARGUMENT, "a name has 1 to 64 letters", 2,
             "blindcart: a name has 1 to 64 letters. Run the command with --help to see how it is "
             "used\n"},
        Case{grpc::StatusCode::UNAVAILABLE, "the shop is offline", 5,
             "blindcart: the shop is offline. Try again later\n"},
        Case{grpc::StatusCode::DEADLINE_EXCEEDED, "the broker did not answer in time", 5,
             "blindcart: the broker did not answer in time. Try again later\n"},
        Case{grpc::StatusCode::DATA_LOSS, "the catalogue is out of bounds", 6,
             "blindcart: the catalogue is out of bounds. Nothing was accepted; tell the broker's "
             "operator\n"},
        Case{grpc::StatusCode::INTERNAL, "a bad \x1b[2J thing", 1,
             "blindcart: a bad \uFFFD[2J thing\n"},
        Case{grpc::StatusCode::UNIMPLEMENTED, "", 4,
             "blindcart: the agent does not know this command. Use agent and blindcart of the same "
             "version\n"}}) {
    agent_->Script("Browse", c.code, c.words);
    const ::blindcart::testing::Output output = Run({"browse", "x"});
    EXPECT_EQ(output.exit_code, c.exit_code) << c.words;
    EXPECT_EQ(output.err, c.shown);
    EXPECT_THAT(output.out, IsEmpty());
    EXPECT_EQ(RunJson({"browse", "x"}, c.exit_code)["error"]["exit_code"], c.exit_code);
  }
}

TEST_F(BlindcartTest, LogsInWithAPasswordFile) {
  v1::LoginReply reply;
  reply.set_username("alice");
  reply.set_broker_fingerprint_hex("00ff");
  agent_->Script("Login", reply);
  const std::string password = WriteSecret("password", "correct horse\n");
  const ::blindcart::testing::Output output =
      Run({"login", "--username", "alice", "--password-file", password});
  EXPECT_EQ(output.exit_code, 0) << output.err;
  EXPECT_THAT(output.out, HasSubstr("Logged in as  alice\n"));
  const auto request = agent_->Last<v1::LoginRequest>("Login");
  EXPECT_EQ(request.username(), "alice");
  EXPECT_EQ(request.password(), "correct horse");
  EXPECT_EQ(RunJson({"login", "--username", "alice", "--password-file", password})["username"],
            "alice");
}

TEST_F(BlindcartTest, LogsInAsWhoeverWasLoggedInLast) {
  v1::StatusReply status;
  status.set_username("alice");
  agent_->Script("Status", status);
  agent_->Script("Login", v1::LoginReply());
  EXPECT_EQ(Run({"login", "--password-file", WriteSecret("p", "x")}).exit_code, 0);
  EXPECT_EQ(agent_->Last<v1::LoginRequest>("Login").username(), "alice");
}

TEST_F(BlindcartTest, RefusesToLogInWithoutTheMeans) {
  agent_->Script("Status", v1::StatusReply());
  agent_->Script("Login", v1::LoginReply());
  ::blindcart::testing::Output output =
      Run({"login", "--password-file", WriteSecret("p", "x")}, "alice\n");
  EXPECT_EQ(output.exit_code, 2) << "standard input is no terminal";
  EXPECT_THAT(output.err, HasSubstr("--username"));
  output = Run({"login", "--username", "alice"}, "password\n");
  EXPECT_EQ(output.exit_code, 2);
  EXPECT_THAT(output.err, HasSubstr("--password-file"));
  output = Run({"login", "--username", "alice", "--password-file", folder_ + "/none"});
  EXPECT_EQ(output.exit_code, 1);
  output = Run({"login", "--username", "alice", "--password-file", WriteSecret("empty", "")});
  EXPECT_EQ(output.exit_code, 2);
  output = Run({"login", "--username", "a", "--password-file", WriteSecret("open", "x", 0644)});
  EXPECT_EQ(output.exit_code, 2);
  EXPECT_THAT(output.err, HasSubstr("chmod 600"));
  EXPECT_EQ(agent_->Calls("Login"), 0);
}

TEST_F(BlindcartTest, AsksForNameAndPasswordOnATerminalWithoutShowingIt) {
  agent_->Script("Status", v1::StatusReply());
  v1::LoginReply reply;
  reply.set_username("alice");
  agent_->Script("Login", reply);
  const TerminalRun run =
      OnTerminal({"login"}, {{"User name: ", "alice\n"}, {"password: ", "correct horse\n"}});
  EXPECT_EQ(run.exit_code, 0) << run.screen;
  EXPECT_THAT(run.screen, Not(HasSubstr("correct horse")));
  EXPECT_EQ(agent_->Last<v1::LoginRequest>("Login").username(), "alice");
  EXPECT_EQ(agent_->Last<v1::LoginRequest>("Login").password(), "correct horse");
}

TEST_F(BlindcartTest, CanBeInterruptedAtThePasswordPrompt) {
  const TerminalRun run =
      OnTerminal({"login", "--username", "alice"}, {{"password: ", "half\x03"}});
  EXPECT_EQ(run.exit_code, 1) << run.screen;
  EXPECT_THAT(run.screen, HasSubstr("interrupted. Nothing was done"));
  EXPECT_TRUE(run.echo_at_end) << "the terminal is as it was";
  EXPECT_EQ(agent_->Calls("Login"), 0);
}

TEST_F(BlindcartTest, FailedLoginExitsWith3) {
  agent_->Script("Login", grpc::StatusCode::UNAUTHENTICATED, "the login failed. Check both");
  EXPECT_EQ(Run({"login", "--username", "a", "--password-file", WriteSecret("p", "x")}).exit_code,
            3);
}

TEST_F(BlindcartTest, LogoutStatusBalance) {
  agent_->Script("Logout", v1::LogoutReply());
  EXPECT_EQ(Run({"logout"}).out, "Logged out.\n");
  EXPECT_TRUE(RunJson({"logout"}).empty());

  v1::StatusReply status;
  status.set_logged_in(true);
  status.set_username("alice");
  status.set_broker_address("127.0.0.1:7443");
  agent_->Script("Status", status);
  EXPECT_THAT(Run({"status"}).out, HasSubstr("as alice\nConnection    none at the moment\n"));
  const json document = RunJson({"status"});
  EXPECT_EQ(document["logged_in"], true);
  EXPECT_EQ(document["connected"], false) << "printed though not set";

  ScriptBalance();
  EXPECT_EQ(Run({"balance"}).out, "Account  1001\nBalance  99.99 EUR\n");
  EXPECT_EQ(RunJson({"balance"})["balance_minor"], "9999");
}

TEST_F(BlindcartTest, ListsShopsAndTheirKeys) {
  agent_->Script("ListShops", v1::ListShopsReply());
  EXPECT_EQ(Run({"shops"}).out, "The broker knows no shop.\n");
  v1::ListShopsReply reply;
  v1::Shop* shop = reply.add_shops();
  shop->set_name("quiet-books");
  shop->set_fingerprint_hex(kHash);
  shop->set_online(true);
  shop->set_pinned(true);
  shop = reply.add_shops();
  shop->set_name("evil");
  shop->set_pinned(true);
  shop->set_key_changed(true);
  agent_->Script("ListShops", reply);
  const ::blindcart::testing::Output output = Run({"shops"});
  EXPECT_THAT(output.out,
              HasSubstr(std::string("quiet-books  online   pinned by shop link  ") + kHash + "\n"));
  EXPECT_THAT(output.out, HasSubstr("evil         offline  CHANGED, refused\n"));
  EXPECT_EQ(RunJson({"shops"})["shops"][0]["online"], true);
}

TEST_F(BlindcartTest, AddsAShop) {
  v1::AddShopReply reply;
  reply.mutable_shop()->set_name("quiet-books");
  agent_->Script("AddShop", reply);
  const std::string link = "blindcart:shop/quiet-books?broker=127.0.0.1:1#00";
  EXPECT_THAT(Run({"add-shop", link}).out, HasSubstr("Added       quiet-books\n"));
  EXPECT_EQ(agent_->Last<v1::AddShopRequest>("AddShop").link(), link);
  EXPECT_FALSE(agent_->Last<v1::AddShopRequest>("AddShop").accept_new_key());
  EXPECT_EQ(RunJson({"add-shop", link, "--accept-new-key"})["shop"]["name"], "quiet-books");
  EXPECT_TRUE(agent_->Last<v1::AddShopRequest>("AddShop").accept_new_key());
}

TEST_F(BlindcartTest, BrowsesAndWarns) {
  v1::BrowseReply reply;
  reply.set_warning("pinned on first use");
  *reply.add_items() = SampleItem();
  v1::CatalogueItem* item = reply.add_items();
  *item = SampleItem();
  item->set_title("Screen\x1b[2J wiper\nfake");
  item->set_sold_out(true);
  agent_->Script("Browse", reply);
  const ::blindcart::testing::Output output = Run({"browse", "quiet-books"});
  EXPECT_EQ(output.exit_code, 0);
  EXPECT_THAT(output.out, HasSubstr("PRODUCT   TITLE"));
  EXPECT_THAT(output.out, HasSubstr("3f9a12bc  A quiet book"));
  EXPECT_THAT(output.out, HasSubstr("10.00 EUR  1.5 KiB  pdf\n"));
  EXPECT_THAT(output.out, HasSubstr("Screen\uFFFD[2J wiper\uFFFDfake  10.00 EUR  1.5 KiB  pdf "
                                    "    sold out\n"));
  EXPECT_THAT(output.out, Not(HasSubstr("\x1b")));
  EXPECT_EQ(output.err, "blindcart: warning: pinned on first use\n");
  EXPECT_EQ(agent_->Last<v1::BrowseRequest>("Browse").shop(), "quiet-books");
  const json document = RunJson({"browse", "quiet-books"});
  EXPECT_EQ(document["items"][1]["title"], "Screen\x1b[2J wiper\nfake");
  EXPECT_EQ(document["items"][0]["price_minor"], "1000");
}

TEST_F(BlindcartTest, TakesACatalogueOfManyMegabytes) {
  v1::BrowseReply reply;
  for (int i = 0; i < 500; ++i) {
    *reply.add_items() = SampleItem();
    reply.mutable_items(i)->set_description(std::string(8 * 1024, 'x'));
  }
  agent_->Script("Browse", reply);
  EXPECT_EQ(RunJson({"browse", "quiet-books"})["items"].size(), 500u);
}

TEST_F(BlindcartTest, Searches) {
  agent_->Script("Search", v1::SearchReply());
  EXPECT_THAT(Run({"search", "nothing"}).out, StartsWith("Nothing found"));
  v1::SearchReply reply;
  *reply.add_items() = SampleItem();
  agent_->Script("Search", reply);
  EXPECT_THAT(Run({"search", "quiet", "book", "--shop", "quiet-books"}).out,
              HasSubstr("3f9a12bc  quiet-books  A quiet book  10.00 EUR"));
  const auto request = agent_->Last<v1::SearchRequest>("Search");
  EXPECT_EQ(request.text(), "quiet book");
  EXPECT_EQ(request.shop(), "quiet-books");
  EXPECT_EQ(RunJson({"search", "x"})["items"].size(), 1u);
}

TEST_F(BlindcartTest, ShowsAProductAndSavesItsPicture) {
  v1::ShowReply reply;
  *reply.mutable_item() = SampleItem();
  reply.mutable_item()->set_has_picture(true);
  reply.set_picture("\x89PNG...");
  agent_->Script("Show", reply);
  const std::string picture = folder_ + "/cover.png";
  ::blindcart::testing::Output output = Run({"show", "3f9a", "--picture-to", picture});
  EXPECT_EQ(output.exit_code, 0) << output.err;
  EXPECT_THAT(output.out, HasSubstr("\nFirst line.\nSecond line.\n"));
  EXPECT_THAT(output.out, HasSubstr(kProductId));
  std::ifstream file(picture);
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(file), {}), reply.picture());
  output = Run({"show", "3f9a", "--picture-to", picture});
  EXPECT_EQ(output.exit_code, 1) << "nothing is overwritten";
  EXPECT_THAT(output.err, HasSubstr("is there already"));
  EXPECT_EQ(RunJson({"show", "3f9a"})["item"]["title"], "A quiet book");
  reply.clear_picture();
  agent_->Script("Show", reply);
  EXPECT_EQ(Run({"show", "3f9a", "--picture-to", folder_ + "/other"}).exit_code, 1);
}

TEST_F(BlindcartTest, ChecksOut) {
  ScriptCheckout(v1::CHECKOUT_OUTCOME_ORDERED);
  const ::blindcart::testing::Output output = Run({"checkout", "3f9a"});
  EXPECT_EQ(output.exit_code, 0);
  EXPECT_THAT(output.out, HasSubstr("Price   10.00 EUR\nCharge  0.30 EUR\nTotal   10.30 EUR\n"));
  EXPECT_THAT(output.out, HasSubstr("open until 2023-11-14 22:28:20+00:00"));
  EXPECT_THAT(output.out, HasSubstr("blindcart pay ab12cd34"));
  EXPECT_EQ(agent_->Last<v1::CheckoutOrderRequest>("Checkout").product(), "3f9a");
  const json document = RunJson({"checkout", "3f9a"});
  EXPECT_EQ(document["outcome"], "CHECKOUT_OUTCOME_ORDERED");
  EXPECT_EQ(document["purchase"]["order_id_hex"], kOrderId);
  EXPECT_EQ(document["purchase"]["total_minor"], "1030");
}

TEST_F(BlindcartTest, CheckoutRefusals) {
  for (const auto& [outcome, code] : std::map<v1::CheckoutOutcome, int>{
           {v1::CHECKOUT_OUTCOME_SOLD_OUT, 4}, {v1::CHECKOUT_OUTCOME_BUSY, 5}}) {
    ScriptCheckout(outcome);
    const ::blindcart::testing::Output output = Run({"checkout", "3f9a"});
    EXPECT_EQ(output.exit_code, code);
    EXPECT_THAT(output.out, IsEmpty());
    EXPECT_THAT(output.err, StartsWith("blindcart: "));
    EXPECT_EQ(RunJson({"checkout", "3f9a"}, code)["outcome"], v1::CheckoutOutcome_Name(outcome));
  }
}

TEST_F(BlindcartTest, PaysWhatItShows) {
  ScriptPurchase(v1::ORDER_STATUS_CREATED);
  ScriptBalance();
  ScriptPay(v1::PAY_OUTCOME_SUCCESSFUL);
  const std::string pin = WriteSecret("pin", "2468\n");
  const ::blindcart::testing::Output output = Run({"pay", "AB12", "--pin-file", pin});
  EXPECT_EQ(output.exit_code, 0) << output.err;
  EXPECT_THAT(output.out, HasSubstr("blindcart download ab12cd34"));
  auto request = agent_->Last<v1::PayRequest>("Pay");
  EXPECT_EQ(request.order(), kOrderId);
  EXPECT_EQ(request.account_number(), "1001") << "the customer's own";
  EXPECT_EQ(request.pin(), "2468");
  EXPECT_EQ(request.agreed_total_minor(), 1030);

  EXPECT_EQ(
      RunJson({"pay", "ab12", "--account", "7", "--pin-file", pin, "--total", "10.31"})["outcome"],
      "PAY_OUTCOME_SUCCESSFUL");
  request = agent_->Last<v1::PayRequest>("Pay");
  EXPECT_EQ(request.account_number(), "7");
  EXPECT_EQ(request.agreed_total_minor(), 1031) << "as the person said, for the broker to refuse";
}

TEST_F(BlindcartTest, PaysNothingOnBadInput) {
  ScriptPurchase(v1::ORDER_STATUS_CREATED);
  ScriptBalance();
  ScriptPay(v1::PAY_OUTCOME_SUCCESSFUL);
  const std::string pin = WriteSecret("pin", "2468");
  for (const char* total : {"x", "1.2.3", "-1", "0", "1e3", "10.305", "99999999999999999999"}) {
    EXPECT_EQ(Run({"pay", "ab12", "--pin-file", pin, "--total", total}).exit_code, 2) << total;
  }
  EXPECT_EQ(Run({"pay", "ffff", "--pin-file", pin}).exit_code, 1) << "no such order";
  const ::blindcart::testing::Output output = Run({"pay", "ab12"}, "2468\n");
  EXPECT_EQ(output.exit_code, 2) << "the PIN is never read from a pipe";
  EXPECT_THAT(output.err, HasSubstr("--pin-file"));
  v1::ListPurchasesReply two;
  *two.add_purchases() = SamplePurchase(v1::ORDER_STATUS_CREATED);
  *two.add_purchases() = SamplePurchase(v1::ORDER_STATUS_CREATED);
  two.mutable_purchases(1)->set_order_id_hex("ab12ff");
  agent_->Script("ListPurchases", two);
  EXPECT_EQ(Run({"pay", "ab12", "--pin-file", pin}).exit_code, 2) << "ambiguous";
  EXPECT_EQ(agent_->Calls("Pay"), 0);
}

TEST_F(BlindcartTest, PayRefusals) {
  ScriptPurchase(v1::ORDER_STATUS_CREATED);
  ScriptBalance();
  const std::string pin = WriteSecret("pin", "2468");
  for (const auto& [outcome, code] :
       std::map<v1::PayOutcome, int>{{v1::PAY_OUTCOME_ACCOUNT_OR_PIN, 4},
                                     {v1::PAY_OUTCOME_INSUFFICIENT_BALANCE, 4},
                                     {v1::PAY_OUTCOME_ORDER_EXPIRED, 4},
                                     {v1::PAY_OUTCOME_BUSY, 5}}) {
    ScriptPay(outcome);
    const ::blindcart::testing::Output output = Run({"pay", "ab12", "--pin-file", pin});
    EXPECT_EQ(output.exit_code, code) << outcome;
    EXPECT_THAT(output.err, HasSubstr(outcome == v1::PAY_OUTCOME_BUSY ? "never charged twice"
                                                                      : "Nothing was charged"));
    EXPECT_THAT(output.out, IsEmpty());
    EXPECT_EQ(RunJson({"pay", "ab12", "--pin-file", pin}, code)["outcome"],
              v1::PayOutcome_Name(outcome));
  }
}

TEST_F(BlindcartTest, AsksForThePinAfterShowingTheOrder) {
  ScriptPurchase(v1::ORDER_STATUS_CREATED);
  ScriptBalance();
  ScriptPay(v1::PAY_OUTCOME_SUCCESSFUL);
  const TerminalRun run = OnTerminal({"pay", "ab12"}, {{"10.30 EUR", ""}, {"PIN: ", "2468\n"}});
  EXPECT_EQ(run.exit_code, 0) << run.screen;
  EXPECT_THAT(run.screen, Not(HasSubstr("2468")));
  EXPECT_EQ(agent_->Last<v1::PayRequest>("Pay").pin(), "2468");
}

TEST_F(BlindcartTest, Declines) {
  ScriptDecline();
  EXPECT_THAT(Run({"decline", "ab12"}).out, HasSubstr("Status  declined\n"));
  EXPECT_EQ(agent_->Last<v1::DeclineRequest>("Decline").order(), "ab12");
  EXPECT_EQ(RunJson({"decline", "ab12"})["purchase"]["status"], "ORDER_STATUS_DECLINED");
}

TEST_F(BlindcartTest, BuysInOneGo) {
  ScriptPurchaseInOneGo();
  const std::string pin = WriteSecret("pin", "2468");
  const ::blindcart::testing::Output output = Run({"buy", "3f9a", "--pin-file", pin, "--yes"});
  EXPECT_EQ(output.exit_code, 0) << output.err;
  EXPECT_THAT(output.out, HasSubstr("Total   10.30 EUR\n"));
  EXPECT_THAT(output.out, HasSubstr("Paid 10.30 EUR.\n"));
  EXPECT_THAT(output.out, HasSubstr("A quiet book.pdf"));
  EXPECT_EQ(agent_->Last<v1::PayRequest>("Pay").agreed_total_minor(), 1030);
  EXPECT_EQ(agent_->Last<v1::DownloadRequest>("Download").order(), kOrderId);

  const json document = RunJson({"buy", "3f9a", "--pin-file", pin, "--yes"});
  EXPECT_EQ(document["checkout"]["purchase"]["order_id_hex"], kOrderId);
  EXPECT_EQ(document["pay"]["outcome"], "PAY_OUTCOME_SUCCESSFUL");
  EXPECT_EQ(document["download"]["done"], true);
}

TEST_F(BlindcartTest, BuysNothingWithoutATerminalOrYes) {
  ScriptPurchaseInOneGo();
  const std::string pin = WriteSecret("pin", "2468");
  ::blindcart::testing::Output output = Run({"buy", "3f9a", "--pin-file", pin}, "y\n");
  EXPECT_EQ(output.exit_code, 2);
  EXPECT_THAT(output.err, HasSubstr("--yes"));
  output = Run({"buy", "3f9a", "--yes"}, "2468\n");
  EXPECT_EQ(output.exit_code, 2);
  EXPECT_THAT(output.err, HasSubstr("--pin-file"));
  EXPECT_EQ(Run({"buy", "3f9a", "--yes", "--pin-file", folder_ + "/none"}).exit_code, 1);
  EXPECT_EQ(agent_->Calls("Checkout"), 0);
}

TEST_F(BlindcartTest, BuysWhenAPersonConfirms) {
  ScriptPurchaseInOneGo();
  const TerminalRun run = OnTerminal(
      {"buy", "3f9a"}, {{"Pay 10.30 EUR from account 1001? [y/N] ", "y\n"}, {"PIN: ", "2468\n"}});
  EXPECT_EQ(run.exit_code, 0) << run.screen;
  EXPECT_THAT(run.screen, HasSubstr("100%"));
  EXPECT_THAT(run.screen, Not(HasSubstr("2468")));
}

TEST_F(BlindcartTest, DeclinesWhatAPersonDoesNotConfirm) {
  ScriptPurchaseInOneGo();
  ScriptDecline();
  for (const char* answer : {"n\n", "\n", "maybe\n", "\x04"}) {
    const TerminalRun run = OnTerminal({"buy", "3f9a"}, {{"[y/N] ", answer}});
    EXPECT_EQ(run.exit_code, 1) << run.screen;
    EXPECT_THAT(run.screen, HasSubstr("nothing was paid"));
  }
  EXPECT_EQ(agent_->Calls("Decline"), 4);
  EXPECT_EQ(agent_->Calls("Pay"), 0);
}

TEST_F(BlindcartTest, TellsAfterAFailedDownloadThatTheOrderIsPaid) {
  ScriptPurchaseInOneGo();
  agent_->ScriptDownload({}, grpc::Status(grpc::StatusCode::UNAVAILABLE, "the shop is offline"));
  const std::string pin = WriteSecret("pin", "2468");
  const ::blindcart::testing::Output output = Run({"buy", "3f9a", "--pin-file", pin, "--yes"});
  EXPECT_EQ(output.exit_code, 5);
  EXPECT_EQ(output.err,
            "blindcart: the shop is offline. The order is paid; fetch it with: blindcart download "
            "ab12cd34\n");
  const json document = RunJson({"buy", "3f9a", "--pin-file", pin, "--yes"}, 5);
  EXPECT_EQ(document["pay"]["outcome"], "PAY_OUTCOME_SUCCESSFUL");
  EXPECT_EQ(document["error"]["code"], "UNAVAILABLE");
}

TEST_F(BlindcartTest, ShowsInOneDocumentHowFarAPurchaseCame) {
  ScriptPurchaseInOneGo();
  ScriptPay(v1::PAY_OUTCOME_INSUFFICIENT_BALANCE);
  const std::string pin = WriteSecret("pin", "2468");
  json document = RunJson({"buy", "3f9a", "--pin-file", pin, "--yes"}, 4);
  EXPECT_EQ(document["checkout"]["outcome"], "CHECKOUT_OUTCOME_ORDERED");
  EXPECT_EQ(document["pay"]["outcome"], "PAY_OUTCOME_INSUFFICIENT_BALANCE");
  ScriptCheckout(v1::CHECKOUT_OUTCOME_SOLD_OUT);
  document = RunJson({"buy", "3f9a", "--pin-file", pin, "--yes"}, 4);
  EXPECT_EQ(document["checkout"]["outcome"], "CHECKOUT_OUTCOME_SOLD_OUT");
  EXPECT_FALSE(document.contains("pay"));
}

TEST_F(BlindcartTest, ListsPurchases) {
  agent_->Script("ListPurchases", v1::ListPurchasesReply());
  EXPECT_EQ(Run({"purchases"}).out, "No purchases yet.\n");
  ScriptPurchase(v1::ORDER_STATUS_DELIVERED);
  EXPECT_THAT(Run({"purchases"}).out,
              HasSubstr("ab12cd34  2023-11-14 22:13:20+00:00  quiet-books  A quiet book  10.30 EUR "
                        " delivered  -\n"));
  EXPECT_EQ(RunJson({"purchases"})["purchases"][0]["title"], "A quiet book");
}

TEST_F(BlindcartTest, Downloads) {
  agent_->ScriptDownload({Received(0, false), Received(512, false), Received(1536, true)},
                         grpc::Status::OK);
  const ::blindcart::testing::Output output = Run({"download", "ab12", "--again"});
  EXPECT_EQ(output.exit_code, 0) << output.err;
  EXPECT_THAT(output.out, HasSubstr("File     /home/alice/purchases/A quiet book.pdf\n"));
  EXPECT_THAT(output.out, HasSubstr(kHash));
  EXPECT_THAT(output.err, IsEmpty()) << "a quick one needs no progress";
  EXPECT_TRUE(agent_->Last<v1::DownloadRequest>("Download").again());

  const ::blindcart::testing::Output lines = Run({"download", "ab12", "--json"});
  EXPECT_EQ(lines.exit_code, 0);
  std::vector<json> events;
  std::istringstream stream(lines.out);
  for (std::string line; std::getline(stream, line);) events.push_back(json::parse(line));
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[1]["received_bytes"], "512");
  EXPECT_EQ(events[2]["done"], true);
  EXPECT_EQ(events[2]["content_sha256_hex"], kHash);
}

TEST_F(BlindcartTest, FailedDownloads) {
  agent_->ScriptDownload({Received(512, false)},
                         grpc::Status(grpc::StatusCode::DATA_LOSS, "the hash differs"));
  EXPECT_EQ(Run({"download", "ab12"}).exit_code, 6);
  const ::blindcart::testing::Output lines = Run({"download", "ab12", "--json"});
  EXPECT_EQ(lines.exit_code, 6);
  const json last = json::parse(lines.out.substr(lines.out.find('\n') + 1));
  EXPECT_EQ(last["error"]["code"], "DATA_LOSS");
  agent_->ScriptDownload({Received(512, false)}, grpc::Status::OK);
  EXPECT_EQ(Run({"download", "ab12"}).exit_code, 1) << "an end without a result is none";
}

TEST_F(BlindcartTest, DrawsABarOnATerminalAndClearsIt) {
  agent_->ScriptDownload({Received(512, false), Received(1536, true)}, grpc::Status::OK);
  const TerminalRun run = OnTerminal({"download", "ab12"}, {});
  EXPECT_EQ(run.exit_code, 0);
  EXPECT_THAT(run.screen, HasSubstr("\r\x1b[K["));
  EXPECT_THAT(run.screen, HasSubstr("100%  1.5 KiB of 1.5 KiB"));
  EXPECT_THAT(run.screen, HasSubstr("\r\x1b[K\x1b[2mFile"));
}

TEST_F(BlindcartTest, VerifiesAndExitsWith6WhenACheckFails) {
  v1::VerifyReply reply;
  reply.set_ok(true);
  v1::VerifyReply::Check* check = reply.add_checks();
  check->set_name("receipt");
  check->set_ok(true);
  check->set_detail("signed by the broker");
  agent_->Script("Verify", reply);
  EXPECT_EQ(Run({"verify", "ab12"}).out,
            "CHECK    RESULT  DETAIL\nreceipt  ok      signed by the broker\n");
  reply.set_ok(false);
  reply.mutable_checks(0)->set_ok(false);
  agent_->Script("Verify", reply);
  const ::blindcart::testing::Output output = Run({"verify", "ab12"});
  EXPECT_EQ(output.exit_code, 6);
  EXPECT_THAT(output.out, HasSubstr("receipt  FAILED"));
  EXPECT_THAT(output.err, StartsWith("blindcart: a check failed. "));
  EXPECT_EQ(RunJson({"verify", "ab12"}, 6)["ok"], false);
}

TEST_F(BlindcartTest, SaysWhenTheResultCannotBeWritten) {
  ScriptPurchase(v1::ORDER_STATUS_PAID);
  const auto output = ::blindcart::testing::RunToEnd(
      {"/bin/sh",
       {"-c", std::string("exec ") + kProgram + " --socket " + socket() + " purchases > /dev/full"},
       {},
       ""});
  ASSERT_TRUE(output.ok());
  EXPECT_EQ(output->exit_code, 1);
  EXPECT_THAT(output->err, HasSubstr("cannot write"));
}

TEST_F(BlindcartTest, ColoursOnlyOnATerminalThatWantsThem) {
  ScriptPurchase(v1::ORDER_STATUS_PAID);
  EXPECT_THAT(OnTerminal({"purchases"}, {}).screen, HasSubstr("\x1b[32mpaid\x1b[0m"));
  EXPECT_THAT(OnTerminal({"purchases"}, {}, {{"NO_COLOR", "1"}}).screen, Not(HasSubstr("\x1b")));
  EXPECT_THAT(OnTerminal({"purchases"}, {}, {{"TERM", "dumb"}}).screen, Not(HasSubstr("\x1b")));
  EXPECT_THAT(Run({"purchases"}).out, Not(HasSubstr("\x1b")));
}

}  // namespace
}  // namespace blindcart::cli
