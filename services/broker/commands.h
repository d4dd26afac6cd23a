// The subcommands of the program `broker`. Each adds its flags to the command line and, when it is
// the one that was typed, puts itself into `run`.
#ifndef BLINDCART_SERVICES_BROKER_COMMANDS_H_
#define BLINDCART_SERVICES_BROKER_COMMANDS_H_

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/config.pb.h"
#include "services/storage/store.h"

namespace blindcart::broker {

// The error's message is for the operator.
using Run = std::function<absl::Status()>;

void AddInitCommand(CLI::App& app, Run* run);
void AddJoinCommand(CLI::App& app, Run* run);
void AddServeCommand(CLI::App& app, Run* run);
void AddEnrolmentCommands(CLI::App& app, Run* run);
void AddListingCommands(CLI::App& app, Run* run);
void AddMigrateCommand(CLI::App& app, Run* run);
void AddCertificateCommands(CLI::App& app, Run* run);
void AddBackupCommands(CLI::App& app, Run* run);
void AddRotateCommand(CLI::App& app, Run* run);

// The flag that every command has.
void AddDataDirFlag(CLI::App& command, std::string* data_dir);

// A broker's configuration and database, for the commands that also work while it serves.
struct OpenedBroker {
  v1::BrokerConfig config;
  std::unique_ptr<storage::Store> store;
};
absl::StatusOr<OpenedBroker> OpenBroker(const std::string& data_dir);

}  // namespace blindcart::broker

#endif  // BLINDCART_SERVICES_BROKER_COMMANDS_H_
