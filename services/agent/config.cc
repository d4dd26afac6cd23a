#include "services/agent/config.h"

#include <filesystem>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "protocol/shop_link.h"
#include "services/agent/received_folder.h"
#include "services/common/files.h"

namespace blindcart::agent {
namespace {

// Of what came in direct sessions.
constexpr int64_t kReceivedPerUserBytes =
    static_cast<int64_t>(ReceivedFolder::Limits().per_sender_bytes);
constexpr int64_t kReceivedTotalBytes = static_cast<int64_t>(ReceivedFolder::Limits().total_bytes);
constexpr int64_t kMaxReceivedBytes = int64_t{1} << 50;

std::string Quoted(const std::string& text) {
  return absl::StrCat("\"", absl::CEscape(text), "\"");
}

}  // namespace

DataPaths::DataPaths(const std::string& data_dir)
    : config(ResolvePath(data_dir, "agent.textproto")),
      identity_dir(ResolvePath(data_dir, "identity")),
      public_identity(ResolvePath(data_dir, "customer.identity")),
      broker_card(ResolvePath(data_dir, "broker.card")),
      database(ResolvePath(data_dir, "agent.db")),
      received_dir(ResolvePath(data_dir, "received")) {}

v1::AgentConfig DefaultConfig(const std::string& broker_address, bool plain_tcp) {
  v1::AgentConfig config;
  config.set_data_dir(".");
  config.mutable_broker()->set_address(broker_address);
  config.mutable_broker()->set_card_path("broker.card");
  config.mutable_broker()->set_plain_tcp(plain_tcp);
  config.set_socket("agent.sock");
  config.set_purchases_dir("purchases");
  config.set_log_level("info");
  config.set_received_per_user_bytes(kReceivedPerUserBytes);
  config.set_received_total_bytes(kReceivedTotalBytes);
  return config;
}

absl::Status CompleteConfig(v1::AgentConfig* config) {
  if (config->data_dir().empty()) config->set_data_dir(".");
  if (config->socket().empty()) config->set_socket("agent.sock");
  if (config->purchases_dir().empty()) config->set_purchases_dir("purchases");
  if (config->log_level().empty()) config->set_log_level("info");
  if (config->received_per_user_bytes() == 0) {
    config->set_received_per_user_bytes(kReceivedPerUserBytes);
  }
  if (config->received_total_bytes() == 0) config->set_received_total_bytes(kReceivedTotalBytes);
  if (config->broker().card_path().empty()) {
    config->mutable_broker()->set_card_path("broker.card");
  }

  const absl::Status address = protocol::ValidateBrokerAddress(config->broker().address());
  if (!address.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("broker.address: ", address.message()));
  }
  if (config->log_level() != "debug" && config->log_level() != "info" &&
      config->log_level() != "warning" && config->log_level() != "error") {
    return absl::InvalidArgumentError("log_level has to be debug, info, warning or error");
  }
  for (const auto& [name, bytes] :
       {std::make_pair("received_per_user_bytes", config->received_per_user_bytes()),
        std::make_pair("received_total_bytes", config->received_total_bytes())}) {
    if (bytes < 0 || bytes > kMaxReceivedBytes) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, " has to be from 1 to ", kMaxReceivedBytes));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::AgentConfig> LoadConfig(const std::string& data_dir) {
  const DataPaths paths(data_dir);
  v1::AgentConfig config;
  const absl::Status read = ReadTextProto(paths.config, &config);
  if (absl::IsNotFound(read)) {
    return absl::NotFoundError(
        absl::StrCat("there is no agent in ", data_dir, " (no ", paths.config,
                     "); make one with: agent init --data-dir ", data_dir, " --broker-card FILE"));
  }
  if (!read.ok()) return read;
  const absl::Status complete = CompleteConfig(&config);
  if (!complete.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(paths.config, ": ", complete.message()));
  }
  // Absolute, since the command line that is told of them runs in another folder.
  const std::string folder =
      (std::filesystem::current_path() / data_dir).lexically_normal().string();
  config.set_data_dir(ResolvePath(folder, config.data_dir()));
  config.set_socket(ResolvePath(folder, config.socket()));
  config.set_purchases_dir(ResolvePath(folder, config.purchases_dir()));
  config.mutable_broker()->set_card_path(ResolvePath(folder, config.broker().card_path()));
  return config;
}

std::string CommentedConfig(const v1::AgentConfig& config) {
  return absl::StrCat(
      "# Configuration of a Blindcart customer's agent, read once by `agent serve`. Paths are\n"
      "# relative to this file.\n\n"
      "# Where keys and the database lie. The database is secret: it holds what was bought and "
      "the\n"
      "# keys that fetch it again.\n"
      "data_dir: ",
      Quoted(config.data_dir()),
      "\n\n"
      "# The broker. address: HOST:PORT (TLS) or unix:PATH; when the card names it, the card's "
      "other\n"
      "# addresses are used as well. card_path: the card that the operator handed out; its key is\n"
      "# pinned and another one is refused. plain_tcp: true only towards a broker on the same\n"
      "# machine that allows it.\n"
      "broker {\n  address: ",
      Quoted(config.broker().address()), "\n  card_path: ", Quoted(config.broker().card_path()),
      "\n  plain_tcp: ", config.broker().plain_tcp() ? "true" : "false",
      "\n}\n\n"
      "# The Unix socket of the local API, which the command line `blindcart` uses. Only its "
      "owner\n"
      "# can open it.\n"
      "socket: ",
      Quoted(config.socket()),
      "\n\n"
      "# Where purchases are put.\n"
      "purchases_dir: ",
      Quoted(config.purchases_dir()),
      "\n\n"
      "# debug, info, warning or error. No level logs names, amounts or products.\n"
      "log_level: ",
      Quoted(config.log_level()),
      "\n\n"
      "# What files from direct sessions may take up in the folder received: those of one user, "
      "and\n"
      "# all. What is full takes no more until files are moved elsewhere.\n"
      "received_per_user_bytes: ",
      config.received_per_user_bytes(), "\nreceived_total_bytes: ", config.received_total_bytes(),
      "\n");
}

}  // namespace blindcart::agent
