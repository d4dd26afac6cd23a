#include "tests/support/marketplace.h"

#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>
#include <utility>

#include <nlohmann/json.hpp>
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"

namespace blindcart::testing {
namespace {

constexpr char kBroker[] = "services/broker/broker";
constexpr char kMerchant[] = "services/merchant/merchant";
constexpr char kAgent[] = "services/agent/agent";
constexpr char kCli[] = "clients/cli/blindcart";
constexpr char kAnyPort[] = "127.0.0.1:0";
// How often a state is asked for before it is given up; each question is a process of its own.
constexpr int kMaxQuestions = 600;

absl::Status Expect(const absl::StatusOr<Output>& output, const std::string& what) {
  if (!output.ok()) return output.status();
  if (output->exit_code == 0) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat(what, " exited with ", output->exit_code, ": ", output->out, output->err));
}

std::vector<std::string> Join(std::vector<std::string> first,
                              const std::vector<std::string>& rest) {
  first.insert(first.end(), rest.begin(), rest.end());
  return first;
}

absl::Status WriteFile(const std::string& path, const std::string& content) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << content;
  file.close();
  if (!file) return absl::UnavailableError(absl::StrCat("cannot write ", path));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Marketplace>> Marketplace::Create(
    const std::string& folder, const std::vector<std::string>& broker_init_arguments) {
  std::error_code error;
  std::filesystem::create_directories(folder + "/secrets", error);
  if (error) return absl::UnavailableError(absl::StrCat(folder, ": ", error.message()));
  auto market = std::unique_ptr<Marketplace>(new Marketplace(folder));
  const absl::Status initialised =
      Expect(market->RunService(
                 kBroker, Join({"init", "--data-dir", market->broker_dir(), "--listen", kAnyPort},
                               broker_init_arguments)),
             "broker init");
  if (!initialised.ok()) return initialised;
  return market;
}

Marketplace::~Marketplace() = default;

absl::StatusOr<Output> Marketplace::RunService(const std::string& program,
                                               std::vector<std::string> arguments) const {
  return RunToEnd({program, std::move(arguments), {{"BLINDCART_PASSPHRASE", kPassphrase}}, ""});
}

absl::Status Marketplace::WriteSecret(const std::string& name, const std::string& secret) const {
  const absl::Status written = WriteFile(secret_path(name), secret + "\n");
  if (!written.ok()) return written;
  chmod(secret_path(name).c_str(), 0600);
  return absl::OkStatus();
}

std::string Marketplace::broker_dir(size_t number) const {
  return number == 0 ? folder_ + "/broker" : absl::StrCat(folder_, "/broker-", number + 1);
}

absl::Status Marketplace::StartBroker(size_t number) {
  Broker& broker = brokers_[number];
  std::vector<std::string> arguments = {"serve", "--data-dir", broker_dir(number)};
  if (!broker.address.empty()) {
    arguments.push_back("--listen");
    arguments.push_back(broker.address);
  }
  auto process = Process::Start({kBroker, arguments, {{"BLINDCART_PASSPHRASE", kPassphrase}}, ""});
  if (!process.ok()) return process.status();
  static constexpr char kReady[] = "ready address=";
  auto line = (*process)->WaitForLine(kReady);
  if (!line.ok()) return line.status();
  broker.address = line->substr(sizeof(kReady) - 1);
  broker.process = *std::move(process);
  return absl::OkStatus();
}

void Marketplace::KillBroker(size_t number) { brokers_[number].process.reset(); }

absl::Status Marketplace::StopBroker(size_t number) {
  std::unique_ptr<Process>& process = brokers_[number].process;
  const absl::StatusOr<int> exit_code = process->Terminate();
  const std::string err = process->err();
  process.reset();
  if (!exit_code.ok()) return exit_code.status();
  if (*exit_code != 0) {
    return absl::InternalError(absl::StrCat("the broker exited with ", *exit_code, ": ", err));
  }
  return absl::OkStatus();
}

absl::Status Marketplace::JoinBroker() {
  const size_t number = brokers_.size();
  if (number == 1) {
    const absl::Status named = PutOnCard(broker_address());
    if (!named.ok()) return named;
  }
  const absl::Status joined =
      Expect(RunService(kBroker, {"join", "--from", broker_dir(), "--data-dir", broker_dir(number),
                                  "--listen", kAnyPort}),
             "broker join");
  if (!joined.ok()) return joined;
  brokers_.emplace_back();
  const absl::Status started = StartBroker(number);
  return started.ok() ? PutOnCard(broker_address(number)) : started;
}

absl::Status Marketplace::PutOnCard(const std::string& address) {
  std::ifstream file(broker_card());
  const std::string card((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  return WriteFile(broker_card(), absl::StrReplaceAll(card, {{kAnyPort, address}}));
}

absl::StatusOr<Output> Marketplace::BrokerCommand(std::vector<std::string> arguments) {
  return RunService(kBroker, Join(std::move(arguments), {"--data-dir", broker_dir()}));
}

absl::Status Marketplace::AddMerchant(const std::string& name, const std::string& account,
                                      const std::string& broker_address) {
  absl::Status status = Expect(
      RunService(kMerchant, {"init", "--data-dir", merchant_dir(name), "--name", name,
                             "--broker-card", broker_card(), "--broker-address",
                             broker_address.empty() ? this->broker_address() : broker_address}),
      "merchant init");
  if (!status.ok()) return status;
  return Expect(BrokerCommand({"add-merchant", "--name", name, "--identity",
                               merchant_dir(name) + "/merchant.identity", "--account", account}),
                "add-merchant");
}

absl::Status Marketplace::StartMerchant(const std::string& name) {
  auto process = Process::Start({kMerchant,
                                 {"serve", "--data-dir", merchant_dir(name)},
                                 {{"BLINDCART_PASSPHRASE", kPassphrase}},
                                 ""});
  if (!process.ok()) return process.status();
  auto line = (*process)->WaitForLine("ready socket=");
  if (!line.ok()) return line.status();
  merchants_[name] = *std::move(process);
  return absl::OkStatus();
}

void Marketplace::KillMerchant(const std::string& name) { merchants_.erase(name); }

absl::StatusOr<Output> Marketplace::MerchantCommand(const std::string& name,
                                                    std::vector<std::string> arguments) {
  return RunService(kMerchant, Join(std::move(arguments), {"--data-dir", merchant_dir(name)}));
}

absl::StatusOr<std::string> Marketplace::AddProduct(const std::string& merchant,
                                                    const ProductSpec& product) {
  std::string path = product.content_path;
  if (path.empty()) {
    path = absl::StrCat(folder_, "/upload.", product.format);
    const absl::Status written = WriteFile(path, product.content);
    if (!written.ok()) return written;
  }
  std::vector<std::string> arguments = {
      "add-product", "--title",     product.title,  "--description", product.description,
      "--price",     product.price, "--currency",   "EUR",           "--file",
      path,          "--format",    product.format, "--json"};
  if (!product.picture_path.empty()) {
    arguments = Join(arguments, {"--picture", product.picture_path});
  }
  if (product.stock.has_value()) {
    arguments = Join(arguments, {"--stock", absl::StrCat(*product.stock)});
  }
  if (!product.replace_id.empty()) {
    arguments = Join(arguments, {"--replace", product.replace_id});
  }
  const absl::StatusOr<Output> output = MerchantCommand(merchant, arguments);
  const absl::Status status = Expect(output, "add-product");
  if (!status.ok()) return status;
  const auto reply = nlohmann::json::parse(output->out, nullptr, /*allow_exceptions=*/false);
  if (!reply.is_object() || !reply.contains("product_id_hex")) {
    return absl::InternalError(absl::StrCat("add-product printed: ", output->out));
  }
  return reply["product_id_hex"].get<std::string>();
}

absl::StatusOr<std::string> Marketplace::ShopLink(const std::string& merchant) {
  const absl::StatusOr<Output> output = MerchantCommand(merchant, {"shop-link"});
  const absl::Status status = Expect(output, "shop-link");
  if (!status.ok()) return status;
  return std::string(absl::StripAsciiWhitespace(output->out));
}

absl::Status Marketplace::AddCustomer(const CustomerSpec& customer,
                                      const std::string& broker_address) {
  const std::string& name = customer.username;
  customers_[name] = customer;
  absl::Status status = WriteSecret(name + ".password", customer.password);
  if (!status.ok()) return status;
  status = WriteSecret(name + ".pin", customer.pin);
  if (!status.ok()) return status;
  status =
      Expect(RunService(kAgent, {"init", "--data-dir", agent_dir(name), "--broker-card",
                                 broker_card(), "--broker-address",
                                 broker_address.empty() ? this->broker_address() : broker_address}),
             "agent init");
  if (!status.ok()) return status;
  return Expect(BrokerCommand({"add-customer", "--username", name, "--identity",
                               agent_dir(name) + "/customer.identity", "--account",
                               customer.account, "--password-file", password_file(name),
                               "--pin-file", pin_file(name), "--balance", customer.balance}),
                "add-customer");
}

absl::Status Marketplace::StartAgent(const std::string& username) {
  auto process = Process::Start({kAgent,
                                 {"serve", "--data-dir", agent_dir(username)},
                                 {{"BLINDCART_PASSPHRASE", kPassphrase}},
                                 ""});
  if (!process.ok()) return process.status();
  auto line = (*process)->WaitForLine("ready socket=");
  if (!line.ok()) return line.status();
  agents_[username] = *std::move(process);
  return absl::OkStatus();
}

void Marketplace::KillAgent(const std::string& username) { agents_.erase(username); }

Command Marketplace::CliCommand(const std::string& username,
                                std::vector<std::string> arguments) const {
  return {kCli, Join({"--socket", agent_socket(username)}, arguments), {}, ""};
}

absl::StatusOr<Output> Marketplace::Cli(const std::string& username,
                                        std::vector<std::string> arguments) {
  return RunToEnd(CliCommand(username, std::move(arguments)));
}

absl::StatusOr<std::string> Marketplace::CliJson(const std::string& username,
                                                 std::vector<std::string> arguments,
                                                 int expected_exit_code) {
  const std::string what = absl::StrJoin(arguments, " ");
  const absl::StatusOr<Output> output = Cli(username, Join({"--json"}, arguments));
  if (!output.ok()) return output.status();
  if (output->exit_code != expected_exit_code) {
    return absl::InternalError(absl::StrCat("blindcart ", what, " exited with ", output->exit_code,
                                            ", not ", expected_exit_code, ": ", output->out,
                                            output->err));
  }
  return output->out;
}

absl::Status Marketplace::Login(const std::string& username) {
  const std::string& name = customer(username).username;
  return Expect(
      Cli(username, {"login", "--username", name, "--password-file", password_file(name)}),
      "login");
}

absl::Status Marketplace::CopyAgent(const std::string& username, const std::string& copy) {
  std::error_code error;
  std::filesystem::remove(agent_socket(username), error);  // What a killed agent left: no file.
  std::filesystem::copy(agent_dir(username), agent_dir(copy),
                        std::filesystem::copy_options::recursive, error);
  if (error) return absl::UnavailableError(absl::StrCat("copying an agent: ", error.message()));
  customers_[copy] = customer(username);
  return absl::OkStatus();
}

const CustomerSpec& Marketplace::customer(const std::string& username) const {
  return customers_.at(username);
}

std::string Marketplace::password_file(const std::string& username) const {
  return secret_path(username + ".password");
}

std::string Marketplace::pin_file(const std::string& username) const {
  return secret_path(username + ".pin");
}

absl::Status Marketplace::WaitUntilOnline(const std::string& username, const std::string& shop) {
  for (int i = 0; i < kMaxQuestions; ++i) {
    const absl::StatusOr<std::string> text = CliJson(username, {"shops"});
    if (!text.ok()) return text.status();
    const auto reply = nlohmann::json::parse(*text, nullptr, /*allow_exceptions=*/false);
    if (reply.is_object() && reply.contains("shops")) {
      for (const auto& entry : reply["shops"]) {
        if (entry.value("name", "") == shop && entry.value("online", false)) {
          return absl::OkStatus();
        }
      }
    }
  }
  return absl::DeadlineExceededError(absl::StrCat(shop, " does not come online"));
}

}  // namespace blindcart::testing
