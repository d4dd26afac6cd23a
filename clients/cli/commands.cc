#include "clients/cli/commands.h"

#include "absl/strings/str_cat.h"

namespace blindcart::cli {

CLI::App* AddCommand(CLI::App& app, const std::string& name, const std::string& description,
                     const std::string& examples) {
  CLI::App* command = app.add_subcommand(name, description);
  command->fallthrough();
  command->footer(absl::StrCat("Examples:\n", examples,
                               "\nGlobal options: --socket PATH, --json. More: blindcart --help"));
  return command;
}

void OnCommand(CLI::App* command, Action& chosen, ExitCode (*work)(Context&)) {
  command->callback([&chosen, work] { chosen = work; });
}

}  // namespace blindcart::cli
