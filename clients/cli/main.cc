// blindcart: the command line. A client of the agent's local API; it holds no keys.
#include <cstdlib>
#include <exception>
#include <iostream>

#include <CLI/CLI.hpp>
#include "absl/strings/str_cat.h"
#include "clients/cli/commands.h"
#include "clients/cli/context.h"
#include "crypto/secret_bytes.h"
#include "services/common/working_directory.h"

namespace {

constexpr char kFooter[] = R"(Examples:
  blindcart login --username alice
  blindcart browse quiet-books
  blindcart buy 3f9a12bc
  blindcart --json purchases

The agent's socket: --socket, else $BLINDCART_AGENT_SOCKET, else agent/agent.sock
below this folder, else $XDG_RUNTIME_DIR/blindcart/agent.sock.

Exit codes:
  0 done   1 failed   2 wrong usage   3 not logged in, or the login failed
  4 refused: insufficient balance, sold out, expired, wrong PIN...
  5 agent, broker or shop not reachable; try again
  6 verification failed: somebody lied or content is damaged, nothing was accepted

With --json each command prints one document; its 64-bit numbers are strings.
An amount is in minor units: "1250" is 12.50 EUR.)";

}  // namespace

int main(int argc, char** argv) {
  using namespace blindcart::cli;  // NOLINT(google-build-using-namespace)
  blindcart::crypto::DisableCoreDumps();
  blindcart::EnterInvocationDirectory();
  // What gRPC has to say about connections is said here in words.
  setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);

  Console console(Console::Detect(), std::cout, std::cerr);
  Context context(console);
  Action chosen;
  CLI::App app(
      "Buy digital goods from shops that do not learn who you are,\n"
      "through a broker that does not learn what you buy.",
      "blindcart");
  app.set_version_flag("--version", "blindcart 0.1.0");
  app.add_option("--socket", context.options().socket, "The agent's Unix socket")
      ->envname("BLINDCART_AGENT_SOCKET");
  app.add_flag("--json", context.options().json, "Print JSON, for scripts");
  app.require_subcommand(0, 1);
  app.footer(kFooter);
  AddSessionCommands(app, chosen);
  AddShopCommands(app, chosen);
  AddOrderCommands(app, chosen);
  AddPurchaseCommands(app, chosen);

  try {
    app.parse(argc, argv);
    if (chosen == nullptr) throw CLI::RequiredError("A command");
    return static_cast<int>(chosen(context));
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success)) return app.exit(e);
    console.Complain(absl::StrCat(e.what(), ". Run it with --help to see how it is used"));
    return static_cast<int>(ExitCode::kUsage);
  } catch (const std::exception& e) {
    console.Complain(e.what());
    return static_cast<int>(ExitCode::kFailure);
  }
}
