// The commands, a group to a file. Each function adds its group to the command line; a command that
// was given leaves in `chosen` what is to be done.
#ifndef BLINDCART_CLIENTS_CLI_COMMANDS_H_
#define BLINDCART_CLIENTS_CLI_COMMANDS_H_

#include <memory>
#include <string>

#include <CLI/CLI.hpp>
#include "clients/cli/context.h"

namespace blindcart::cli {

// The whole command line. After parsing, `options` holds the global options; `chosen` is null when
// no command was given. Both must outlive the parsing.
void SetUp(CLI::App& app, GlobalOptions& options, Action& chosen);

void AddSessionCommands(CLI::App& app, Action& chosen);   // login, logout, status, balance
void AddBankCommands(CLI::App& app, Action& chosen);      // deposit, withdraw, statement, teller
void AddShopCommands(CLI::App& app, Action& chosen);      // shops, add-shop, browse, search, show
void AddOrderCommands(CLI::App& app, Action& chosen);     // checkout, pay, decline, buy
void AddPurchaseCommands(CLI::App& app, Action& chosen);  // purchases, download, verify
void AddMessageCommands(CLI::App& app, Action& chosen);   // message ..., contacts ...
void AddCertificateCommands(CLI::App& app, Action& chosen);  // certificate ...
void AddPeerCommands(CLI::App& app, Action& chosen);         // peer listen, connect, send, ...

// Logs in, asking for what is not given; complains when that fails.
ExitCode LogIn(Context& context, const std::string& username, const std::string& password_file,
               v1::LoginReply* reply);

// One command without its arguments. Global options may stand behind it too.
CLI::App* AddCommand(CLI::App& app, const std::string& name, const std::string& description,
                     const std::string& examples);

// The command runs `work` with the arguments that the parser has by then put into `arguments`.
template <typename Arguments>
void OnCommand(CLI::App* command, Action& chosen, std::shared_ptr<Arguments> arguments,
               ExitCode (*work)(Context&, const Arguments&)) {
  command->callback([&chosen, arguments, work] {
    chosen = [arguments, work](Context& context) { return work(context, *arguments); };
  });
}
void OnCommand(CLI::App* command, Action& chosen, ExitCode (*work)(Context&));

}  // namespace blindcart::cli

#endif  // BLINDCART_CLIENTS_CLI_COMMANDS_H_
