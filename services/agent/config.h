// The agent's configuration (proto/config.proto): defaults, bounds, and the commented file that
// `agent init` writes. Everything is checked before anything is opened.
//
// Errors: InvalidArgument names the field, its bounds and the file. Thread-safe.
#ifndef BLINDCART_SERVICES_AGENT_CONFIG_H_
#define BLINDCART_SERVICES_AGENT_CONFIG_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/config.pb.h"

namespace blindcart::agent {

// Where things lie below the data folder.
struct DataPaths {
  explicit DataPaths(const std::string& data_dir);
  std::string config;           // agent.textproto
  std::string identity_dir;     // identity/, see crypto/key_file.h
  std::string public_identity;  // customer.identity, to be handed to the broker's operator
  std::string broker_card;      // broker.card
  std::string database;         // agent.db
  std::string received_dir;     // received/: files from direct sessions
};

// A complete configuration for a broker at that address.
v1::AgentConfig DefaultConfig(const std::string& broker_address, bool plain_tcp);

// Fills in what is left out, then checks every field.
absl::Status CompleteConfig(v1::AgentConfig* config);

// Reads data_dir/agent.textproto; complete and checked, its paths resolved against data_dir
// and absolute.
absl::StatusOr<v1::AgentConfig> LoadConfig(const std::string& data_dir);

// The file's text, each field explained.
std::string CommentedConfig(const v1::AgentConfig& config);

}  // namespace blindcart::agent

#endif  // BLINDCART_SERVICES_AGENT_CONFIG_H_
