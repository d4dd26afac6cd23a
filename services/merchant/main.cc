// The merchant's program; see commands.h.
#include <CLI/CLI.hpp>

#include "crypto/secret_bytes.h"
#include "services/common/transport.h"
#include "services/common/working_directory.h"
#include "services/merchant/commands.h"

int main(int argc, char** argv) {
  blindcart::BlockTerminationSignals();
  blindcart::crypto::DisableCoreDumps();
  blindcart::EnterInvocationDirectory();

  CLI::App app("A Blindcart shop: sells digital goods without learning who buys them.", "merchant");
  app.require_subcommand(1);
  int exit_code = 0;
  blindcart::merchant::AddInitCommand(app, &exit_code);
  blindcart::merchant::AddServeCommand(app, &exit_code);
  blindcart::merchant::AddAdminCommands(app, &exit_code);
  blindcart::merchant::AddShopLinkCommand(app, &exit_code);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  return exit_code;
}
