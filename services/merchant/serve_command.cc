// merchant serve: runs the shop until it is told to stop.
#include <iostream>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "crypto/key_file.h"
#include "services/common/broker_card.h"
#include "services/common/log.h"
#include "services/common/secret_input.h"
#include "services/common/transport.h"
#include "services/merchant/commands.h"
#include "services/merchant/config.h"
#include "services/merchant/shop_server.h"

namespace blindcart::merchant {
namespace {

struct ServeOptions {
  std::string data_dir;
  std::string passphrase_file;
};

absl::Status Serve(const ServeOptions& options) {
  absl::StatusOr<v1::MerchantConfig> config = LoadConfig(options.data_dir);
  if (!config.ok()) return config.status();
  const absl::Status logging = InitLog("merchant", config->log_level());
  if (!logging.ok()) return logging;
  std::vector<LoadedBrokerCard> cards;
  for (const v1::BrokerContact& broker : config->brokers()) {
    absl::StatusOr<LoadedBrokerCard> card = LoadBrokerCard(broker.card_path());
    if (!card.ok()) return card.status();
    cards.push_back(*std::move(card));
  }
  absl::StatusOr<crypto::SecretBytes> pass_phrase =
      ReadSecret({"pass phrase", options.passphrase_file, "--passphrase-file",
                  kPassphraseEnvironment, /*confirm=*/false});
  if (!pass_phrase.ok()) return pass_phrase.status();
  absl::StatusOr<crypto::Identity> identity =
      crypto::LoadIdentity(DataPaths(config->data_dir()).identity_dir, pass_phrase->view());
  if (!identity.ok()) return identity.status();
  absl::StatusOr<std::unique_ptr<ShopServer>> server =
      ShopServer::Start(*config, *std::move(identity), std::move(cards));
  if (!server.ok()) return server.status();
  if (const std::string metrics = (*server)->metrics_address(); !metrics.empty()) {
    std::cout << "metrics address=" << metrics << "\n";
  }
  std::cout << "ready socket=" << (*server)->socket_path() << std::endl;
  WaitForTerminationSignal();
  (*server)->Drain();
  (*server)->Stop();
  return absl::OkStatus();
}

}  // namespace

void AddServeCommand(CLI::App& app, int* exit_code) {
  auto options = std::make_shared<ServeOptions>();
  CLI::App* command =
      app.add_subcommand("serve", "Run the shop: link to its brokers, sell, deliver");
  AddDataDirOption(*command, &options->data_dir);
  command->add_option("--passphrase-file", options->passphrase_file,
                      "File with the pass phrase of the keys (else $BLINDCART_PASSPHRASE, else "
                      "you are asked)");
  command->footer(
      "Prints `ready socket=PATH` when its own commands can be used (and before it `metrics\n"
      "address=ADDRESS` if that port is wanted). On SIGTERM it takes nothing new, finishes what "
      "is\n"
      "under way, for drain_timeout_ms at most, and ends; a second signal ends it at once.\n"
      "Example:\n"
      "  merchant serve --data-dir bookshop --passphrase-file bookshop.secret");
  command->callback([options, exit_code] { *exit_code = ExitCode(Serve(*options)); });
}

}  // namespace blindcart::merchant
