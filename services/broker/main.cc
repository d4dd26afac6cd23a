// The broker's program: picks the subcommand and says how it ended. 0 ok, 1 failure, 2 usage.
#include <CLI/CLI.hpp>
#include <iostream>

#include "crypto/secret_bytes.h"
#include "services/broker/commands.h"
#include "services/common/working_directory.h"

int main(int argc, char** argv) {
  blindcart::crypto::DisableCoreDumps();
  blindcart::EnterInvocationDirectory();

  CLI::App app{
      "The broker of a Blindcart marketplace: keeps accounts, carries sealed sessions between "
      "customers and merchants, and takes payments, without learning what is bought."};
  app.name("broker");
  app.require_subcommand(1);
  app.footer("broker COMMAND --help explains a command. Begin with: broker init");
  blindcart::broker::Run run;
  blindcart::broker::AddInitCommand(app, &run);
  blindcart::broker::AddJoinCommand(app, &run);
  blindcart::broker::AddServeCommand(app, &run);
  blindcart::broker::AddEnrolmentCommands(app, &run);
  blindcart::broker::AddListingCommands(app, &run);
  blindcart::broker::AddMigrateCommand(app, &run);
  blindcart::broker::AddCertificateCommands(app, &run);
  blindcart::broker::AddBackupCommands(app, &run);
  blindcart::broker::AddRotateCommand(app, &run);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  const absl::Status status = run();
  if (status.ok()) return 0;
  std::cerr << "broker: " << status.message() << "\n";
  return 1;
}
