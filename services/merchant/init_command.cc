// merchant init: makes a shop's folder, and merchant shop-link: prints its link.
#include <filesystem>
#include <iostream>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "crypto/encoding.h"
#include "crypto/identity.h"
#include "crypto/key_file.h"
#include "protocol/shop_link.h"
#include "services/common/broker_card.h"
#include "services/common/files.h"
#include "services/common/secret_input.h"
#include "services/merchant/commands.h"
#include "services/merchant/config.h"
#include "services/merchant/shop_database.h"

namespace blindcart::merchant {
namespace {

struct InitOptions {
  std::string data_dir;
  std::string name;
  std::string broker_card;
  std::string broker_address;
  std::string passphrase_file;
  bool plain_tcp = false;
  std::string metrics_listen;
};

absl::Status Init(const InitOptions& options) {
  const DataPaths paths(options.data_dir);
  std::error_code error;
  if (std::filesystem::exists(paths.config, error)) {
    return absl::AlreadyExistsError(absl::StrCat(
        options.data_dir, " already holds a shop; choose another --data-dir or remove it first"));
  }
  absl::StatusOr<LoadedBrokerCard> card = LoadBrokerCard(options.broker_card);
  if (!card.ok()) return card.status();
  v1::MerchantConfig config = DefaultConfig(
      options.name, options.broker_address.empty() ? card->card.address() : options.broker_address);
  config.mutable_brokers(0)->set_plain_tcp(options.plain_tcp);
  config.set_metrics_listen(options.metrics_listen);
  absl::Status status = CompleteConfig(&config);
  if (!status.ok()) return status;
  absl::StatusOr<crypto::SecretBytes> pass_phrase =
      ReadSecret({"pass phrase", options.passphrase_file, "--passphrase-file",
                  kPassphraseEnvironment, /*confirm=*/true});
  if (!pass_phrase.ok()) return pass_phrase.status();

  status = MakePrivateDirectory(options.data_dir);
  if (!status.ok()) return status;
  status = MakePrivateDirectory(paths.identity_dir);
  if (!status.ok()) return status;
  absl::StatusOr<crypto::Identity> identity = crypto::Identity::Generate();
  if (!identity.ok()) return identity.status();
  status = crypto::SaveIdentity(paths.identity_dir, *identity, pass_phrase->view());
  if (!status.ok()) return status;
  status = WriteFileAtomically(paths.public_identity, identity->public_identity().ToPem(), 0644,
                               /*replace=*/false);
  if (!status.ok()) return status;
  status = WriteFileAtomically(paths.broker_card, ToTextProto(card->card), 0644,
                               /*replace=*/false);
  if (!status.ok()) return status;
  status = ShopDatabase::Open(paths.database).status();
  if (!status.ok()) return status;
  // Last: a folder with a configuration is a whole shop.
  status = WriteFileAtomically(paths.config, CommentedConfig(config), 0600, /*replace=*/false);
  if (!status.ok()) return status;

  std::cout << "Made the shop \"" << options.name << "\" in " << options.data_dir << ".\n"
            << "  fingerprint:          "
            << crypto::HexEncode(identity->public_identity().fingerprint()) << "\n"
            << "  broker's fingerprint: " << crypto::HexEncode(card->identity.fingerprint())
            << "\n                        (compare it with the operator's, by telephone say)\n"
            << "Next:\n"
            << "  1. Hand " << paths.public_identity << " to the broker's operator, who runs\n"
            << "     broker add-merchant --name " << options.name
            << " --identity merchant.identity --account NUMBER\n"
            << "  2. merchant serve --data-dir " << options.data_dir << "\n"
            << "  3. merchant add-product --data-dir " << options.data_dir << " --title ...\n"
            << "  4. Publish the link that `merchant shop-link --data-dir " << options.data_dir
            << "` prints.\n";
  return absl::OkStatus();
}

struct ShopLinkOptions {
  std::string data_dir;
  std::string broker_address;
};

absl::Status PrintShopLink(const ShopLinkOptions& options) {
  absl::StatusOr<v1::MerchantConfig> config = LoadConfig(options.data_dir);
  if (!config.ok()) return config.status();
  absl::StatusOr<std::string> pem =
      ReadFile(DataPaths(config->data_dir()).public_identity, crypto::kMaxPublicIdentityPemBytes);
  if (!pem.ok()) return pem.status();
  absl::StatusOr<crypto::PublicIdentity> identity = crypto::PublicIdentity::ParsePem(*pem);
  if (!identity.ok()) return identity.status();
  protocol::ShopLink link;
  link.name = config->name();
  link.broker_address =
      options.broker_address.empty() ? config->brokers(0).address() : options.broker_address;
  link.fingerprint = identity->fingerprint();
  absl::StatusOr<std::string> text = protocol::FormatShopLink(link);
  if (!text.ok()) return text.status();
  std::cout << *text << "\n";
  return absl::OkStatus();
}

}  // namespace

void AddInitCommand(CLI::App& app, int* exit_code) {
  auto options = std::make_shared<InitOptions>();
  CLI::App* command = app.add_subcommand("init", "Make a new shop: keys, configuration, database");
  AddDataDirOption(*command, &options->data_dir);
  command->add_option("--name", options->name, "The shop's name: a-z, 0-9 and '-'")->required();
  command
      ->add_option("--broker-card", options->broker_card, "The card that the operator handed out")
      ->required();
  command->add_option("--broker-address", options->broker_address,
                      "HOST:PORT or unix:PATH of the broker, instead of the card's");
  command->add_flag("--plain-tcp", options->plain_tcp,
                    "No TLS, towards a broker on this machine that allows it");
  command->add_option("--metrics-listen", options->metrics_listen,
                      "HOST:PORT for metrics and health, on loopback say [none]");
  command->add_option("--passphrase-file", options->passphrase_file,
                      "File with the pass phrase of the keys (else $BLINDCART_PASSPHRASE, else "
                      "you are asked)");
  command->footer(
      "Example:\n"
      "  merchant init --data-dir bookshop --name bookshop --broker-card broker.card");
  command->callback([options, exit_code] { *exit_code = ExitCode(Init(*options)); });
}

void AddShopLinkCommand(CLI::App& app, int* exit_code) {
  auto options = std::make_shared<ShopLinkOptions>();
  CLI::App* command = app.add_subcommand(
      "shop-link", "Print the link that customers add the shop with (works offline)");
  AddDataDirOption(*command, &options->data_dir);
  command->add_option("--broker-address", options->broker_address,
                      "The broker's address as customers reach it, instead of the shop's own");
  command->footer("Example:\n  merchant shop-link --data-dir bookshop");
  command->callback([options, exit_code] { *exit_code = ExitCode(PrintShopLink(*options)); });
}

}  // namespace blindcart::merchant
