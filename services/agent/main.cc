// The customer's agent: `agent init`, `agent serve`.

#include <CLI/CLI.hpp>
#include <iostream>

#include "crypto/secret_bytes.h"
#include "services/agent/init_command.h"
#include "services/agent/serve_command.h"
#include "services/common/secret_input.h"
#include "services/common/transport.h"
#include "services/common/working_directory.h"

namespace {

constexpr int kFailure = 1;
constexpr int kUsage = 2;

absl::Status RunInit(const blindcart::agent::InitOptions& options) {
  const absl::Status checked = blindcart::agent::CheckInit(options);
  if (!checked.ok()) return checked;
  const absl::StatusOr<blindcart::crypto::SecretBytes> pass_phrase =
      blindcart::ReadSecret({"pass phrase", options.passphrase_file, "--passphrase-file",
                             blindcart::kPassphraseEnvironment, true});
  if (!pass_phrase.ok()) return pass_phrase.status();
  return blindcart::agent::InitAgent(options, *pass_phrase, std::cout);
}

}  // namespace

int main(int argc, char** argv) {
  blindcart::BlockTerminationSignals();
  blindcart::crypto::DisableCoreDumps();
  blindcart::EnterInvocationDirectory();

  CLI::App app(
      "The customer's agent of Blindcart: holds your keys and speaks with broker and shops.",
      "agent");
  app.require_subcommand(1);
  constexpr char kPassphraseHelp[] =
      "file with the pass phrase of the keys (or $BLINDCART_PASSPHRASE)";

  blindcart::agent::InitOptions init;
  CLI::App* init_command = app.add_subcommand("init", "make an identity and pin a broker");
  init_command->footer("Example: agent init --data-dir alice --broker-card broker.card");
  init_command->add_option("--data-dir", init.data_dir, "folder to make")->capture_default_str();
  init_command->add_option("--broker-card", init.broker_card, "the card from the broker's operator")
      ->required();
  init_command->add_option("--broker-address", init.broker_address,
                           "HOST:PORT or unix:PATH, instead of the card's");
  init_command->add_option("--expect-fingerprint", init.expected_fingerprint,
                           "refuse a card of another broker");
  init_command->add_option("--passphrase-file", init.passphrase_file, kPassphraseHelp);
  init_command->add_flag("--plain-tcp", init.plain_tcp, "no TLS, towards loopback only");

  blindcart::agent::ServeOptions serve;
  CLI::App* serve_command = app.add_subcommand("serve", "run the agent until it is told to stop");
  serve_command->footer("Example: agent serve --data-dir alice --passphrase-file phrase.txt");
  serve_command->add_option("--data-dir", serve.data_dir, "folder made by init")
      ->capture_default_str();
  serve_command->add_option("--socket", serve.socket, "path of the local socket");
  serve_command->add_option("--passphrase-file", serve.passphrase_file, kPassphraseHelp);

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kUsage;
  }
  const absl::Status status =
      init_command->parsed() ? RunInit(init) : blindcart::agent::ServeAgent(serve, std::cout);
  if (status.ok()) return 0;
  std::cerr << "agent: " << status.message() << "\n";
  return kFailure;
}
