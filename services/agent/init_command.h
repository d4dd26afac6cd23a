// `agent init`: makes a customer's identity, pins a broker, writes the configuration and the
// database. Never writes over anything.
//
// Errors: AlreadyExists when there is an agent, PermissionDenied when the broker's fingerprint is
// not the expected one, and those of the files and keys, each with words for people.
#ifndef BLINDCART_SERVICES_AGENT_INIT_COMMAND_H_
#define BLINDCART_SERVICES_AGENT_INIT_COMMAND_H_

#include <iosfwd>
#include <string>

#include "absl/status/status.h"
#include "crypto/secret_bytes.h"

namespace blindcart::agent {

struct InitOptions {
  std::string data_dir = "agent";
  std::string broker_card;           // Path of the operator's card.
  std::string broker_address;        // Empty: the card's.
  std::string expected_fingerprint;  // Hexadecimal, or empty.
  std::string passphrase_file;
  bool plain_tcp = false;
};

// What can be known to fail before a pass phrase is asked for.
absl::Status CheckInit(const InitOptions& options);
// Does it and tells `out` what to do next.
absl::Status InitAgent(const InitOptions& options, const crypto::SecretBytes& pass_phrase,
                       std::ostream& out);

}  // namespace blindcart::agent

#endif  // BLINDCART_SERVICES_AGENT_INIT_COMMAND_H_
