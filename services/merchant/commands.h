// The merchant's commands. Each function adds one group of them to the program's command line; when a
// command was given, its callback runs and leaves the exit code: 0 done, 1 not (with a message on
// standard error that says what to do). Not thread-safe.
#ifndef BLINDCART_SERVICES_MERCHANT_COMMANDS_H_
#define BLINDCART_SERVICES_MERCHANT_COMMANDS_H_

#include <string>

#include <CLI/CLI.hpp>

#include "absl/status/status.h"

namespace blindcart::merchant {

inline constexpr char kDefaultDataDir[] = "merchant";

// Prints an error, if it is one, and returns the exit code.
int ExitCode(const absl::Status& status);

// Adds --data-dir to a command.
void AddDataDirOption(CLI::App& command, std::string* data_dir);

void AddInitCommand(CLI::App& app, int* exit_code);      // init
void AddServeCommand(CLI::App& app, int* exit_code);     // serve
void AddShopLinkCommand(CLI::App& app, int* exit_code);  // shop-link
// add-product, products, remove-product, orders, status: over the running shop's socket.
void AddAdminCommands(CLI::App& app, int* exit_code);

}  // namespace blindcart::merchant

#endif  // BLINDCART_SERVICES_MERCHANT_COMMANDS_H_
