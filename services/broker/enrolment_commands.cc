#include <iostream>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "crypto/encoding.h"
#include "protocol/clock.h"
#include "services/broker/commands.h"
#include "services/broker/enrolment.h"
#include "services/common/files.h"
#include "services/common/secret_input.h"
#include "services/ledger/money.h"

namespace blindcart::broker {
namespace {

struct CustomerOptions {
  std::string data_dir;
  std::string username;
  std::string identity;
  std::string account;
  std::string password_file;
  std::string pin_file;
  std::string balance = "0";
};

struct MerchantOptions {
  std::string data_dir;
  std::string name;
  std::string identity;
  std::string account;
};

Enroller EnrollerFor(const OpenedBroker& broker) {
  return {*broker.store, broker.config.currency(), protocol::SystemClock().NowUnixMs(),
          crypto::SystemRandom()};
}

absl::Status AddCustomer(const CustomerOptions& options) {
  const absl::StatusOr<OpenedBroker> broker = OpenBroker(options.data_dir);
  if (!broker.ok()) return broker.status();
  NewCustomer customer;
  customer.username = options.username;
  customer.account_number = options.account;
  absl::StatusOr<std::string> identity =
      ReadFile(options.identity, crypto::kMaxPublicIdentityPemBytes);
  if (!identity.ok()) return identity.status();
  customer.identity_pem = *std::move(identity);
  const absl::StatusOr<int64_t> balance = ledger::ParseAmount(
      options.balance, broker->config.currency(), ledger::AmountRange::kNonNegative);
  if (!balance.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("--balance: ", balance.status().message()));
  }
  customer.opening_balance_minor = *balance;
  absl::StatusOr<crypto::SecretBytes> password = ReadSecret(
      {absl::StrCat("password for ", options.username), options.password_file, "--password-file",
       /*environment=*/"", /*confirm=*/true});
  if (!password.ok()) return password.status();
  customer.password = *std::move(password);
  absl::StatusOr<crypto::SecretBytes> pin =
      ReadSecret({absl::StrCat("PIN for account ", options.account), options.pin_file, "--pin-file",
                  /*environment=*/"", /*confirm=*/true});
  if (!pin.ok()) return pin.status();
  customer.pin = *std::move(pin);
  const absl::StatusOr<std::string> fingerprint = EnrolCustomer(EnrollerFor(*broker), customer);
  if (!fingerprint.ok()) return fingerprint.status();
  std::cout << "Enrolled customer " << options.username << " with account " << options.account
            << "\n  fingerprint " << crypto::HexEncode(*fingerprint) << "\n";
  return absl::OkStatus();
}

absl::Status AddMerchant(const MerchantOptions& options) {
  const absl::StatusOr<OpenedBroker> broker = OpenBroker(options.data_dir);
  if (!broker.ok()) return broker.status();
  absl::StatusOr<std::string> identity =
      ReadFile(options.identity, crypto::kMaxPublicIdentityPemBytes);
  if (!identity.ok()) return identity.status();
  const absl::StatusOr<std::string> fingerprint =
      EnrolMerchant(EnrollerFor(*broker), {options.name, *std::move(identity), options.account});
  if (!fingerprint.ok()) return fingerprint.status();
  std::cout << "Enrolled merchant " << options.name << " with account " << options.account
            << "\n  fingerprint " << crypto::HexEncode(*fingerprint) << "\n";
  return absl::OkStatus();
}

}  // namespace

void AddEnrolmentCommands(CLI::App& app, Run* run) {
  auto customer = std::make_shared<CustomerOptions>();
  CLI::App* add_customer =
      app.add_subcommand("add-customer", "Enrol a customer; also while the broker serves");
  AddDataDirFlag(*add_customer, &customer->data_dir);
  add_customer->add_option("--username", customer->username, "For the login")->required();
  add_customer
      ->add_option("--identity", customer->identity,
                   "The file customer.identity that `agent init` wrote")
      ->required();
  add_customer->add_option("--account", customer->account, "Number of the new account")->required();
  add_customer->add_option("--password-file", customer->password_file,
                           "The first password [asked for]");
  add_customer->add_option("--pin-file", customer->pin_file, "The account's PIN [asked for]");
  add_customer->add_option("--balance", customer->balance, "Money to begin with, such as 100.00")
      ->capture_default_str();
  add_customer->footer(
      "Example:\n"
      "  broker add-customer --username alice --identity agent/customer.identity \\\n"
      "      --account 1001 --balance 100.00");
  add_customer->callback([customer, run] { *run = [customer] { return AddCustomer(*customer); }; });

  auto merchant = std::make_shared<MerchantOptions>();
  CLI::App* add_merchant =
      app.add_subcommand("add-merchant", "Enrol a merchant; also while the broker serves");
  AddDataDirFlag(*add_merchant, &merchant->data_dir);
  add_merchant->add_option("--name", merchant->name, "The shop's name")->required();
  add_merchant
      ->add_option("--identity", merchant->identity,
                   "The file merchant.identity that `merchant init` wrote")
      ->required();
  add_merchant->add_option("--account", merchant->account, "Number of the new account")->required();
  add_merchant->footer(
      "Example:\n"
      "  broker add-merchant --name quiet-books --identity merchant/merchant.identity "
      "--account 2001");
  add_merchant->callback([merchant, run] { *run = [merchant] { return AddMerchant(*merchant); }; });
}

}  // namespace blindcart::broker
