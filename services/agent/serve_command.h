// `agent serve`: runs the agent until SIGINT or SIGTERM.
#ifndef BLINDCART_SERVICES_AGENT_SERVE_COMMAND_H_
#define BLINDCART_SERVICES_AGENT_SERVE_COMMAND_H_

#include <iosfwd>
#include <string>

#include "absl/status/status.h"

namespace blindcart::agent {

struct ServeOptions {
  std::string data_dir = "agent";
  std::string socket;  // Empty: the configuration's.
  std::string passphrase_file;
};

// BlockTerminationSignals was called before. Prints "ready socket=PATH" to `out` when it is.
absl::Status ServeAgent(const ServeOptions& options, std::ostream& out);

}  // namespace blindcart::agent

#endif  // BLINDCART_SERVICES_AGENT_SERVE_COMMAND_H_
