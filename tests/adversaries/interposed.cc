#include "tests/adversaries/interposed.h"

#include <stdlib.h>

#include <filesystem>
#include <system_error>
#include <utility>

#include "gtest/gtest.h"
#include "services/common/files.h"

namespace blindcart::testing {
namespace {

using nlohmann::json;

constexpr size_t kMaxFileBytes = 64 * 1024 * 1024;

}  // namespace

std::unique_ptr<Interposed> Interposed::Open(const std::vector<CustomerSpec>& customers) {
  // Not in the test's own folder: the path of a Unix socket is short.
  std::string folder = "/tmp/blindcart-test-XXXXXX";
  if (mkdtemp(folder.data()) == nullptr) {
    ADD_FAILURE() << "no temporary folder";
    return nullptr;
  }
  auto opened = std::unique_ptr<Interposed>(new Interposed(folder));
  auto parties = InterposedMarketplace::Create(folder);
  if (!parties.ok()) {
    ADD_FAILURE() << parties.status();
    return nullptr;
  }
  opened->parties_ = *std::move(parties);
  absl::Status status = opened->parties_->AddMerchant(kShop, "2001");
  absl::StatusOr<std::string> link;
  if (status.ok()) {
    link = opened->market().ShopLink(kShop);
    status = link.status();
  }
  for (const CustomerSpec& customer : customers) {
    if (status.ok()) status = opened->parties_->AddCustomer(customer);
    if (status.ok()) status = opened->market().Login(customer.username);
    if (status.ok()) status = opened->market().WaitUntilOnline(customer.username, kShop);
    if (status.ok()) {
      status = opened->market().CliJson(customer.username, {"add-shop", *link}).status();
    }
  }
  if (!status.ok()) {
    ADD_FAILURE() << status;
    return nullptr;
  }
  return opened;
}

Interposed::~Interposed() {
  parties_.reset();
  std::error_code error;
  std::filesystem::remove_all(folder_, error);
}

std::string Interposed::AddProduct(const ProductSpec& product) {
  const absl::StatusOr<std::string> id = market().AddProduct(kShop, product);
  EXPECT_TRUE(id.ok()) << id.status();
  return id.value_or("");
}

Reply Interposed::Cli(const std::string& username, const std::vector<std::string>& arguments) {
  std::vector<std::string> with_json = {"--json"};
  with_json.insert(with_json.end(), arguments.begin(), arguments.end());
  const absl::StatusOr<Output> output = market().Cli(username, with_json);
  if (!output.ok()) {
    ADD_FAILURE() << output.status();
    return {};
  }
  Reply reply{output->exit_code, json::parse(output->out, nullptr, /*allow_exceptions=*/false),
              output->err};
  if (reply.json.is_discarded()) reply.json = json();
  return reply;
}

json Interposed::Do(const std::string& username, const std::vector<std::string>& arguments) {
  const Reply reply = Cli(username, arguments);
  EXPECT_EQ(reply.exit_code, 0) << arguments.front() << ": " << reply.err;
  return reply.json;
}

std::string Interposed::Checkout(const std::string& username, const std::string& product) {
  const json reply = Do(username, {"checkout", product});
  return reply.is_object() ? reply["purchase"]["order_id_hex"].get<std::string>() : "";
}

Reply Interposed::Pay(const std::string& username, const std::string& order) {
  return Cli(username, {"pay", order, "--account", market().customer(username).account,
                        "--pin-file", market().pin_file(username)});
}

std::string Interposed::Buy(const std::string& username, const std::string& product) {
  Do(username, {"browse", kShop});
  const std::string order = Checkout(username, product);
  const Reply paid = Pay(username, order);
  EXPECT_EQ(paid.exit_code, 0) << paid.err;
  const absl::StatusOr<Output> downloaded = market().Cli(username, {"download", order});
  EXPECT_TRUE(downloaded.ok() && downloaded->exit_code == 0) << downloaded->err;
  const json list = Do(username, {"purchases"});
  for (const json& purchase : list["purchases"]) {
    if (purchase["order_id_hex"] != order) continue;
    const auto content = ReadFile(purchase["file_path"].get<std::string>(), kMaxFileBytes);
    EXPECT_TRUE(content.ok()) << content.status();
    return content.value_or("");
  }
  ADD_FAILURE() << "the purchase is not listed";
  return "";
}

int64_t Interposed::BalanceMinor(const std::string& username) {
  const json balance = Do(username, {"balance"})["balance_minor"];
  return balance.is_string() ? std::stoll(balance.get<std::string>()) : balance.get<int64_t>();
}

std::string Interposed::StatusAtMerchant(const std::string& order) {
  const absl::StatusOr<Output> output =
      market().MerchantCommand(kShop, {"orders", "--json", "--limit", "0"});
  EXPECT_TRUE(output.ok() && output->exit_code == 0);
  const json orders = json::parse(output->out, nullptr, /*allow_exceptions=*/false);
  for (const json& entry : orders["orders"]) {
    if (entry["order_id_hex"] == order) return entry["status"];
  }
  return "none";
}

}  // namespace blindcart::testing
