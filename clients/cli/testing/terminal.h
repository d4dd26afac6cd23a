// Runs a program on a pseudo-terminal of its own and types on it, as a person would.
#ifndef BLINDCART_CLIENTS_CLI_TESTING_TERMINAL_H_
#define BLINDCART_CLIENTS_CLI_TESTING_TERMINAL_H_

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace blindcart::cli {

struct TerminalRun {
  int exit_code = -1;
  std::string screen;  // Everything that was written to the terminal.
  bool echo_at_end = false;
};

// What to wait for on the screen (after what was waited for before), and what to type then.
using Dialogue = std::vector<std::pair<std::string, std::string>>;

// DeadlineExceeded when the program neither ends nor writes what is waited for within a minute; it
// is killed then. `environment` is added to this process's. Starts a process: call it from the main
// thread only.
absl::StatusOr<TerminalRun> RunOnTerminal(const std::vector<std::string>& command,
                                          const Dialogue& dialogue,
                                          const std::map<std::string, std::string>& environment);

}  // namespace blindcart::cli

#endif  // BLINDCART_CLIENTS_CLI_TESTING_TERMINAL_H_
