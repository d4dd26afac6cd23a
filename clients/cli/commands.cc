#include "clients/cli/commands.h"

#include "absl/strings/str_cat.h"

namespace blindcart::cli {
namespace {

constexpr char kDescription[] = R"(Buy digital goods from shops that do not learn who you are,
through a broker that does not learn what you buy.)";
constexpr char kFooter[] = R"(Examples:
  blindcart login --username alice
  blindcart browse quiet-books
  blindcart buy 3f9a12bc
  blindcart --json purchases
  blindcart --explain login --username alice

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

void SetUp(CLI::App& app, GlobalOptions& options, Action& chosen) {
  app.name("blindcart");
  app.description(kDescription);
  app.set_version_flag("--version", "blindcart 0.1.0");
  app.add_option("--socket", options.socket, "The agent's Unix socket")
      ->envname("BLINDCART_AGENT_SOCKET");
  app.add_flag("--json", options.json, "Print JSON, for scripts");
  app.add_flag("--explain", options.explain,
               "Tell on standard error each protocol step as it happens");
  app.require_subcommand(0, 1);
  app.footer(kFooter);
  AddSessionCommands(app, chosen);
  AddBankCommands(app, chosen);
  AddShopCommands(app, chosen);
  AddOrderCommands(app, chosen);
  AddPurchaseCommands(app, chosen);
  AddMessageCommands(app, chosen);
  AddPeerCommands(app, chosen);
  AddCertificateCommands(app, chosen);
}

CLI::App* AddCommand(CLI::App& app, const std::string& name, const std::string& description,
                     const std::string& examples) {
  CLI::App* command = app.add_subcommand(name, description);
  command->fallthrough();
  command->footer(
      absl::StrCat("Examples:\n", examples,
                   "\nGlobal options: --socket PATH, --json, --explain. More: blindcart --help"));
  return command;
}

void OnCommand(CLI::App* command, Action& chosen, ExitCode (*work)(Context&)) {
  command->callback([&chosen, work] { chosen = work; });
}

}  // namespace blindcart::cli
