#include "tests/end_to_end/shopping.h"

#include <stdlib.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "gtest/gtest.h"

namespace blindcart::testing {
namespace {

using nlohmann::json;

constexpr int kPatienceMs = 60'000;

json Parse(const std::string& text) {
  json parsed = json::parse(text, nullptr, /*allow_exceptions=*/false);
  return parsed.is_discarded() ? json() : parsed;
}

Answer ToAnswer(const Output& output) {
  const std::vector<std::string> lines = absl::StrSplit(output.out, '\n', absl::SkipEmpty());
  return {output.exit_code, lines.empty() ? json() : Parse(lines.back()), output.out, output.err};
}

std::vector<std::string> Join(std::vector<std::string> first,
                              const std::vector<std::string>& rest) {
  first.insert(first.end(), rest.begin(), rest.end());
  return first;
}

}  // namespace

std::unique_ptr<Shopping> Shopping::Open(const std::vector<ShopSpec>& shops,
                                         const std::vector<CustomerSpec>& customers,
                                         const std::vector<std::string>& broker_init_arguments,
                                         size_t brokers) {
  // Not in the test's own folder: the path of a Unix socket is short.
  std::string folder = "/tmp/blindcart-test-XXXXXX";
  if (mkdtemp(folder.data()) == nullptr) {
    ADD_FAILURE() << "no temporary folder";
    return nullptr;
  }
  auto shopping = std::unique_ptr<Shopping>(new Shopping(folder));
  const absl::Status started = shopping->Start(shops, customers, broker_init_arguments, brokers);
  if (!started.ok()) {
    ADD_FAILURE() << started;
    return nullptr;
  }
  return shopping;
}

Shopping::~Shopping() {
  market_.reset();
  std::error_code error;
  std::filesystem::remove_all(folder_, error);
}

absl::Status Shopping::Start(const std::vector<ShopSpec>& shops,
                             const std::vector<CustomerSpec>& customers,
                             const std::vector<std::string>& broker_init_arguments,
                             size_t brokers) {
  customers_ = customers;
  auto market = Marketplace::Create(folder_, broker_init_arguments);
  if (!market.ok()) return market.status();
  market_ = *std::move(market);
  absl::Status status = market_->StartBroker();
  if (!status.ok()) return status;
  while (market_->brokers() < brokers) {
    status = market_->JoinBroker();
    if (!status.ok()) return status;
  }
  for (const ShopSpec& shop : shops) {
    status = market_->AddMerchant(shop.name, shop.account);
    if (!status.ok()) return status;
    if (shop.order_lifetime_ms != 0) {
      ReplaceInFile(market_->merchant_dir(shop.name) + "/merchant.textproto",
                    "order_lifetime_ms: 900000",
                    absl::StrCat("order_lifetime_ms: ", shop.order_lifetime_ms));
    }
    if (!shop.metrics_listen.empty()) {
      ReplaceInFile(market_->merchant_dir(shop.name) + "/merchant.textproto",
                    "metrics_listen: \"\"",
                    absl::StrCat("metrics_listen: \"", shop.metrics_listen, "\""));
    }
    status = market_->StartMerchant(shop.name);
    if (!status.ok()) return status;
  }
  for (const CustomerSpec& customer : customers) {
    const std::string& name = customer.username;
    status = market_->AddCustomer(customer);
    if (!status.ok()) return status;
    status = market_->StartAgent(name);
    if (!status.ok()) return status;
    status = market_->Login(name);
    if (!status.ok()) return status;
    for (const ShopSpec& shop : shops) {
      status = market_->WaitUntilOnline(name, shop.name);
      if (!status.ok()) return status;
      const absl::StatusOr<std::string> link = market_->ShopLink(shop.name);
      if (!link.ok()) return link.status();
      status = market_->CliJson(name, {"add-shop", *link}).status();
      if (!status.ok()) return status;
    }
  }
  return absl::OkStatus();
}

void Shopping::LogIn(const std::string& username) {
  absl::Status status;
  WaitUntil(absl::StrCat(username, " is logged in"), [&] {
    status = market_->Login(username);
    return status.ok();
  });
  EXPECT_TRUE(status.ok()) << status;
}

void Shopping::WaitUntilOnline(const std::string& username, const std::string& shop) {
  WaitUntil(absl::StrCat(username, " sees ", shop, " online"), [&] {
    const Answer answer = Run(username, {"shops"});
    if (answer.exit_code != kOk || !answer.json.is_object()) return false;
    for (const json& entry : answer.json["shops"]) {
      if (entry["name"] == shop) return entry["online"].get<bool>();
    }
    return false;
  });
}

void Shopping::RestartBroker() {
  market_->KillBroker();
  const absl::Status started = market_->StartBroker();
  EXPECT_TRUE(started.ok()) << started;
}

void Shopping::RestartAgent(const std::string& username) {
  market_->KillAgent(username);
  const absl::Status started = market_->StartAgent(username);
  EXPECT_TRUE(started.ok()) << started;
  LogIn(username);
}

std::string Shopping::AddProduct(const std::string& shop, const ProductSpec& product) {
  const absl::StatusOr<std::string> id = market_->AddProduct(shop, product);
  EXPECT_TRUE(id.ok()) << id.status();
  return id.value_or("");
}

json Shopping::Browse(const std::string& username, const std::string& shop) {
  return Ask(username, {"browse", shop});
}

std::string Shopping::Offer(const std::string& shop, const ProductSpec& product) {
  std::string id = AddProduct(shop, product);
  for (const CustomerSpec& customer : customers_) Browse(customer.username, shop);
  return id;
}

Answer Shopping::Run(const std::string& username, const std::vector<std::string>& arguments) {
  const absl::StatusOr<Output> output = market_->Cli(username, Join({"--json"}, arguments));
  EXPECT_TRUE(output.ok()) << output.status();
  return output.ok() ? ToAnswer(*output) : Answer();
}

json Shopping::Ask(const std::string& username, const std::vector<std::string>& arguments,
                   int expected_exit_code) {
  const Answer answer = Run(username, arguments);
  EXPECT_EQ(answer.exit_code, expected_exit_code)
      << username << ": blindcart " << absl::StrJoin(arguments, " ") << "\n"
      << answer.out << answer.err;
  return answer.exit_code == expected_exit_code ? answer.json : json();
}

Answer Shopping::RunUntilReachable(const std::string& username,
                                   const std::vector<std::string>& arguments) {
  Answer answer;
  WaitUntil(absl::StrCat("blindcart ", absl::StrJoin(arguments, " "), " reaches everybody"), [&] {
    answer = Run(username, arguments);
    return answer.exit_code != kUnreachable;
  });
  return answer;
}

std::string Shopping::Checkout(const std::string& username, const std::string& product) {
  const json reply = Ask(username, {"checkout", product});
  if (!reply.is_object()) return "";
  EXPECT_EQ(reply["outcome"], "CHECKOUT_OUTCOME_ORDERED");
  EXPECT_EQ(reply["purchase"]["status"], "ORDER_STATUS_CREATED");
  return reply["purchase"]["order_id_hex"].get<std::string>();
}

std::vector<std::string> Shopping::PayArguments(const std::string& username,
                                                const std::string& order) const {
  const CustomerSpec& customer = market_->customer(username);
  return {"pay",        order,
          "--account",  customer.account,
          "--pin-file", market_->pin_file(customer.username)};
}

Command Shopping::PayCommand(const std::string& username, const std::string& order) const {
  return market_->CliCommand(username, Join({"--json"}, PayArguments(username, order)));
}

json Shopping::Pay(const std::string& username, const std::string& order, int expected_exit_code) {
  return Ask(username, PayArguments(username, order), expected_exit_code);
}

json Shopping::Download(const std::string& username, const std::string& order,
                        const std::vector<std::string>& more_arguments) {
  const Answer answer = Run(username, Join({"download", order}, more_arguments));
  if (answer.exit_code == kOk && answer.json.is_object() && answer.json.value("done", false)) {
    return answer.json;
  }
  ADD_FAILURE() << "the download exited with " << answer.exit_code << ": " << answer.out
                << answer.err;
  return json();
}

std::unique_ptr<Process> Shopping::StartDownload(const std::string& username,
                                                 const std::string& order, int64_t bytes) {
  auto process = Process::Start(market_->CliCommand(username, {"--json", "download", order}));
  EXPECT_TRUE(process.ok()) << process.status();
  if (!process.ok()) return nullptr;
  const absl::StatusOr<std::string> line =
      (*process)->WaitForLineThat([bytes](const std::string& candidate) {
        const json progress = Parse(candidate);
        return progress.is_object() && progress.contains("received_bytes") &&
               Int(progress["received_bytes"]) >= bytes;
      });
  EXPECT_TRUE(line.ok()) << line.status();
  if (!line.ok()) return nullptr;
  const bool ended = Parse(*line).value("done", true);
  EXPECT_FALSE(ended) << "the download was over before it could be cut";
  return ended ? nullptr : *std::move(process);
}

void Shopping::ExpectDelivered(const std::string& username, const std::string& order,
                               const std::string& content) {
  const json done = Download(username, order);
  if (!done.is_object()) return;
  EXPECT_TRUE(FileContent(done["file_path"]) == content) << "another file than was bought";
}

int64_t Shopping::Balance(const std::string& username) {
  const json reply = Ask(username, {"balance"});
  return reply.is_object() ? Int(reply["balance_minor"]) : -1;
}

json Shopping::Purchase(const std::string& username, const std::string& order) {
  const json reply = Ask(username, {"purchases"});
  if (!reply.is_object()) return json();
  for (const json& purchase : reply["purchases"]) {
    if (purchase["order_id_hex"] == order) return purchase;
  }
  return json();
}

std::string Shopping::StatusAtShop(const std::string& shop, const std::string& order) {
  const absl::StatusOr<Output> output = market_->MerchantCommand(shop, {"orders", "--json"});
  EXPECT_TRUE(output.ok()) << output.status();
  if (!output.ok()) return "";
  EXPECT_EQ(output->exit_code, 0) << output->err;
  const json reply = Parse(output->out);
  if (!reply.is_object()) return "";
  for (const json& row : reply["orders"]) {
    if (row["order_id_hex"] == order) return row["status"];
  }
  return "";
}

void Shopping::WaitForStatusAtShop(const std::string& shop, const std::string& order,
                                   const std::string& status) {
  std::string now;
  WaitUntil(absl::StrCat(shop, " has the order as ", status), [&] {
    now = StatusAtShop(shop, order);
    return now == status;
  });
  EXPECT_EQ(now, status);
}

int64_t Shopping::AccountBalance(const std::string& account) {
  const absl::StatusOr<Output> output = market_->BrokerCommand({"list", "accounts", "--json"});
  EXPECT_TRUE(output.ok()) << output.status();
  const json listing = output.ok() ? Parse(output->out) : json();
  if (listing.is_object()) {
    for (const json& row : listing["accounts"]) {
      if (row["number"] == account) return Int(row["balance_minor"]);
    }
  }
  ADD_FAILURE() << "no account " << account;
  return -1;
}

void Shopping::ExpectBooksRight() {
  const absl::StatusOr<Output> output = market_->BrokerCommand({"audit"});
  ASSERT_TRUE(output.ok()) << output.status();
  EXPECT_EQ(output->exit_code, 0) << output->out << output->err;
}

ProductSpec Goods(const std::string& title, const std::string& price, const std::string& content) {
  ProductSpec product;
  product.title = title;
  product.price = price;
  product.content = content;
  return product;
}

int64_t Int(const json& value) {
  return value.is_string() ? std::stoll(value.get<std::string>()) : value.get<int64_t>();
}

void WaitUntil(const std::string& what, const std::function<bool()>& question) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(kPatienceMs);
  while (!question()) {
    if (std::chrono::steady_clock::now() > end) {
      ADD_FAILURE() << "waited in vain until " << what;
      return;
    }
  }
}

std::string Content(size_t bytes, uint32_t seed) {
  std::mt19937 generator(seed);
  std::string content(bytes, '\0');
  for (size_t at = 0; at < bytes; at += sizeof(uint32_t)) {
    const uint32_t random = static_cast<uint32_t>(generator());
    std::memcpy(&content[at], &random, std::min(sizeof(random), bytes - at));
  }
  return content;
}

std::string FileContent(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.is_open()) << path;
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

void ReplaceInFile(const std::string& path, const std::string& from, const std::string& to) {
  std::string text = FileContent(path);
  const size_t at = text.find(from);
  ASSERT_NE(at, std::string::npos) << "no \"" << from << "\" in " << path;
  text.replace(at, from.size(), to);
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text;
}

std::vector<std::string> FilesIn(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    names.push_back(entry.path().filename().string());
  }
  return names;
}

}  // namespace blindcart::testing
