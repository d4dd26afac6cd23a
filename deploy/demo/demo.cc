#include "deploy/demo/demo.h"

#include <algorithm>
#include <iostream>
#include <utility>

#include <nlohmann/json.hpp>
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "deploy/demo/example_shop.h"
#include "deploy/demo/narration.h"
#include "deploy/demo/views.h"
#include "services/common/files.h"

namespace blindcart::demo {
namespace {

using nlohmann::json;

constexpr char kAlice[] = "alice";
constexpr char kBob[] = "bob";
constexpr char kBookTitle[] = "Leaving a faith, keeping a family";
constexpr char kLargeTitle[] = "Conversations about dying";
constexpr int kExitLoginFailed = 3;
constexpr int kExitBusinessRefusal = 4;

absl::StatusOr<json> Parse(const std::string& text) {
  json parsed = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!parsed.is_object()) return absl::InternalError(absl::StrCat("no JSON object: ", text));
  return parsed;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Demo>> Demo::Create(const std::string& folder) {
  auto demo = std::unique_ptr<Demo>(new Demo());
  demo->folder_ = folder;
  for (absl::Status (Demo::*step)() :
       {&Demo::StartBrokerAndRecorder, &Demo::OpenShops, &Demo::EnrolCustomers}) {
    const absl::Status status = (demo.get()->*step)();
    if (!status.ok()) return status;
  }
  return demo;
}

absl::Status Demo::StartBrokerAndRecorder() {
  Headline("A broker");
  auto parties = testing::InterposedMarketplace::Create(folder_, {"--customers-may-deposit"});
  if (!parties.ok()) return parties.status();
  parties_ = *std::move(parties);
  Say(absl::StrCat("The broker runs as process ", market().broker()->pid(), " and listens on ",
                   market().broker_address(), " (TLS 1.3)."));
  Say("So that you can see later what a broker sees, a recorder that was lent the broker's own "
      "keys\n"
      "stands in front of it: it opens all that a broker can open, and writes it down.");
  return absl::OkStatus();
}

absl::Status Demo::OpenShops() {
  Headline("Two merchants, each with a shop");
  const std::string goods = folder_ + "/goods";
  const absl::Status made = MakePrivateDirectory(goods);
  if (!made.ok()) return made;
  for (const ExampleShop& shop : ExampleShops()) {
    const absl::Status status = parties_->AddMerchant(shop.name, shop.account);
    if (!status.ok()) return status;
    for (const ExampleProduct& product : shop.products) {
      auto spec = MakeGoods(goods, product);
      if (!spec.ok()) return spec.status();
      auto id = market().AddProduct(shop.name, *spec);
      if (!id.ok()) return id.status();
    }
    Say(absl::StrCat(shop.name, " runs as process ", market().merchant(shop.name)->pid(),
                     ", sells ", shop.products.size(), " products and opens no network port."));
  }
  return absl::OkStatus();
}

absl::Status Demo::EnrolCustomers() {
  Headline("Two customers, each with an agent that holds their keys");
  for (const testing::CustomerSpec& customer :
       {testing::CustomerSpec{kAlice, "violet umbrella 7", "1001", "2468", "120.00"},
        testing::CustomerSpec{kBob, "paper lantern 3", "1002", "1357", "5.00"}}) {
    const absl::Status status = parties_->AddCustomer(customer);
    if (!status.ok()) return status;
    Say(absl::StrCat(customer.username, " is enrolled with account ", customer.account,
                     " and a balance of ", customer.balance, " EUR; the agent runs as process ",
                     market().agent(customer.username)->pid(), "."));
  }
  return absl::OkStatus();
}

absl::Status Demo::Walk() {
  for (absl::Status (Demo::*step)() :
       {&Demo::WrongPassword, &Demo::LoginAndPinShops, &Demo::BrowseAndSearch,
        &Demo::DeclineAnOrder, &Demo::PayWithoutMoney, &Demo::Purchase, &Demo::CheckAndFetchAgain,
        &Demo::AuditBooks, &Demo::ShowViews}) {
    const absl::Status status = (this->*step)();
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status Demo::WrongPassword() {
  Headline("A wrong password is refused");
  return Show(kAlice,
              {"login", "--username", kAlice, "--password-file", market().password_file(kBob)},
              kExitLoginFailed);
}

absl::Status Demo::LoginAndPinShops() {
  Headline("Login, and shops pinned by the links that they publish themselves");
  for (const char* customer : {kAlice, kBob}) {
    // After a failed login the broker makes an account wait a little; the agent says how long.
    absl::Status status;
    for (int attempt = 0; attempt < 200; ++attempt) {
      status = market().Login(customer);
      if (status.ok()) break;
    }
    if (!status.ok()) return status;
    Say(absl::StrCat("$ blindcart login --username ", customer, "\nlogged in as ", customer));
  }
  for (const ExampleShop& shop : ExampleShops()) {
    auto link = market().ShopLink(shop.name);
    if (!link.ok()) return link.status();
    absl::Status status = Show(kAlice, {"add-shop", *link});
    if (!status.ok()) return status;
    status = market().WaitUntilOnline(kAlice, shop.name);
    if (!status.ok()) return status;
  }
  return Show(kAlice, {"shops"});
}

absl::Status Demo::BrowseAndSearch() {
  Headline("Browse and search: the catalogue is fetched whole, the rest happens at home");
  for (const ExampleShop& shop : ExampleShops()) {
    const absl::Status status = Show(kAlice, {"browse", shop.name});
    if (!status.ok()) return status;
  }
  return Show(kAlice, {"search", "faith"});
}

absl::Status Demo::DeclineAnOrder() {
  Headline("An order that Alice thinks better of");
  auto order = Checkout(kAlice, "The divorce workbook");
  if (!order.ok()) return order.status();
  return Show(kAlice, {"decline", *order});
}

absl::Status Demo::PayWithoutMoney() {
  Headline("A payment that fails: Bob has 5.00 EUR");
  auto order = Checkout(kBob, "Nocturnes for a small room");
  if (!order.ok()) return order.status();
  const absl::Status status = Show(kBob,
                                   {"pay", *order, "--account", market().customer(kBob).account,
                                    "--pin-file", market().pin_file(kBob)},
                                   kExitBusinessRefusal);
  if (!status.ok()) return status;
  return Show(kBob, {"balance"});
}

absl::Status Demo::Purchase() {
  Headline("Alice buys a book");
  recording().Clear();
  auto order = Checkout(kAlice, kBookTitle);
  if (!order.ok()) return order.status();
  bought_order_ = *order;
  const std::vector<std::string> account = {"--account", market().customer(kAlice).account,
                                            "--pin-file", market().pin_file(kAlice)};
  std::vector<std::string> pay = {"pay", *order};
  pay.insert(pay.end(), account.begin(), account.end());
  absl::Status status = Show(kAlice, pay);
  if (!status.ok()) return status;
  status = Show(kAlice, {"download", *order});
  if (!status.ok()) return status;
  Headline("And a large one, in one command");
  auto product = ProductId(kAlice, kLargeTitle);
  if (!product.ok()) return product.status();
  std::vector<std::string> buy = {"buy", product->substr(0, 8), "--yes"};
  buy.insert(buy.end(), account.begin(), account.end());
  return Show(kAlice, buy);
}

absl::Status Demo::CheckAndFetchAgain() {
  Headline("Every promise is checked again, and the goods fetched a second time");
  absl::Status status = Show(kAlice, {"verify", bought_order_});
  if (!status.ok()) return status;
  status = Show(kAlice, {"download", bought_order_, "--again"});
  if (!status.ok()) return status;
  status = Show(kAlice, {"purchases"});
  if (!status.ok()) return status;
  return Show(kAlice, {"balance"});
}

absl::Status Demo::AuditBooks() {
  Headline("The broker's books balance");
  auto output = market().BrokerCommand({"audit"});
  if (!output.ok()) return output.status();
  std::cout << "$ broker audit\n" << output->out << output->err;
  if (output->exit_code != 0) return absl::InternalError("the audit found something wrong");
  return absl::OkStatus();
}

absl::Status Demo::ShowViews() {
  Headline("What each party saw of Alice's book");
  auto text = Ask(kAlice, {"purchases"});
  if (!text.ok()) return text.status();
  auto parsed = Parse(*text);
  if (!parsed.ok()) return parsed.status();
  json purchase;
  for (const json& candidate : (*parsed)["purchases"]) {
    if (candidate["order_id_hex"] == bought_order_) purchase = candidate;
  }
  if (purchase.is_null()) return absl::InternalError("the purchase is not in the agent's list");

  testing::Haystack broker;
  testing::Haystack merchant;
  testing::Haystack customer;
  for (const auto& [haystack, path] : {std::pair{&broker, market().broker_dir()},
                                       std::pair{&merchant, market().merchant_dir("quiet-books")},
                                       std::pair{&customer, market().agent_dir(kAlice)}}) {
    const absl::Status added = haystack->AddPath(path);
    if (!added.ok()) return added;
  }
  const std::vector<testing::Recorded> traffic = recording().All();
  for (const testing::Recorded& recorded : traffic) {
    broker.AddBytes("traffic", recorded.bytes);
    if (recorded.leg == testing::Leg::kToMerchant) merchant.AddBytes("traffic", recorded.bytes);
  }
  broker.AddBytes("log", market().broker()->err());
  merchant.AddBytes("log", market().merchant("quiet-books")->err());

  const std::string account = market().customer(kAlice).account;
  const std::string product_id = purchase["product_id_hex"];
  const std::string hash = purchase["content_sha256_hex"];
  const std::string commitment = purchase["commitment_hex"];
  const std::vector<Fact> facts = {
      {"who bought", kAlice, kAlice},
      {"buyer's account", account, account},
      {"the shop", "quiet-books", "quiet-books"},
      {"order id", bought_order_, absl::HexStringToBytes(bought_order_)},
      {"commitment", commitment, absl::HexStringToBytes(commitment)},
      {"the title", kBookTitle, kBookTitle},
      {"product id", product_id, absl::HexStringToBytes(product_id)},
      {"hash of the content", hash, absl::HexStringToBytes(hash)},
  };
  std::cout
      << "Each line is searched for, as it is, in hex and in base64, in every file the party\n"
         "has and in all traffic it could open. A dash means: it is nowhere.\n\n"
      << SideBySide(
             facts,
             {{"the broker", &broker}, {"the merchant", &merchant}, {"the customer", &customer}});
  std::cout
      << "\nPrice and total are known to all three: the broker moves the money. See \"What is not\n"
      << "hidden\" in the README.\n"
      << "\nThe broker's traffic, beginning with that purchase, as the broker can read it:\n\n"
      << BrokerTraffic(
             {traffic.begin(),
              traffic.begin() + static_cast<std::ptrdiff_t>(std::min<size_t>(traffic.size(), 40))});
  for (const char* secret : {kBookTitle}) {
    if (!broker.Find(secret).empty()) {
      return absl::InternalError("the broker holds the title: this must not be");
    }
  }
  if (!merchant.Find(kAlice).empty() || !broker.Find(absl::HexStringToBytes(product_id)).empty()) {
    return absl::InternalError("a party holds what it must not: this must not be");
  }
  return absl::OkStatus();
}

void Demo::PrintCommandsToTry() const {
  Headline("Everything keeps running. Try, in another terminal");
  const std::string cli = "bazel run //clients:blindcart -- --socket ";
  Say(absl::StrCat(
      cli, market().agent_socket(kAlice), " browse quiet-books\n", cli,
      market().agent_socket(kAlice), " search piano\n", cli, market().agent_socket(kAlice),
      " buy ID --account 1001   (PIN: ", market().customer(kAlice).pin, ")\n", cli,
      market().agent_socket(kAlice), " purchases\n", cli, market().agent_socket(kAlice),
      " teller\n", cli, market().agent_socket(kAlice), " notarize FILE\n",
      "bazel run //services:merchant -- orders --data-dir ", market().merchant_dir("quiet-books"),
      "\n", "bazel run //services:broker -- list orders --data-dir ", market().broker_dir(),
      "\n\nThe pass phrase of every key here is \"", market().kPassphrase,
      "\". Ctrl-C stops everything and removes it."));
}

absl::Status Demo::Show(const std::string& username, const std::vector<std::string>& arguments,
                        int expected_exit_code) {
  return ShowCommand(market(), username, arguments, expected_exit_code);
}

absl::StatusOr<std::string> Demo::Ask(const std::string& username,
                                      const std::vector<std::string>& arguments) {
  return market().CliJson(username, arguments);
}

absl::StatusOr<std::string> Demo::ProductId(const std::string& username, const std::string& title) {
  for (const ExampleShop& shop : ExampleShops()) {
    auto text = Ask(username, {"browse", shop.name});
    if (!text.ok()) return text.status();
    auto parsed = Parse(*text);
    if (!parsed.ok()) return parsed.status();
    for (const json& item : (*parsed)["items"]) {
      if (item["title"] == title) return item["product_id_hex"].get<std::string>();
    }
  }
  return absl::NotFoundError(absl::StrCat("no shop sells ", title));
}

absl::StatusOr<std::string> Demo::Checkout(const std::string& username, const std::string& title) {
  auto product = ProductId(username, title);
  if (!product.ok()) return product.status();
  const std::string beginning = product->substr(0, 8);
  std::cout << "\n" << username << "$ blindcart checkout " << beginning << std::endl;
  auto text = Ask(username, {"checkout", beginning});
  if (!text.ok()) return text.status();
  auto parsed = Parse(*text);
  if (!parsed.ok()) return parsed.status();
  const std::string order = (*parsed)["purchase"]["order_id_hex"];
  const absl::Status shown = Show(username, {"purchases"});
  if (!shown.ok()) return shown;
  return order;
}

}  // namespace blindcart::demo
