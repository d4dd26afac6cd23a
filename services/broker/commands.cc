#include "services/broker/commands.h"

#include <utility>

#include "services/broker/config.h"
#include "services/broker/open_store.h"

namespace blindcart::broker {

void AddDataDirFlag(CLI::App& command, std::string* data_dir) {
  *data_dir = "./broker";
  command.add_option("--data-dir", *data_dir, "The broker's folder")->capture_default_str();
}

absl::StatusOr<OpenedBroker> OpenBroker(const std::string& data_dir) {
  absl::StatusOr<v1::BrokerConfig> config = LoadConfig(data_dir);
  if (!config.ok()) return config.status();
  absl::StatusOr<std::unique_ptr<storage::Store>> store = OpenStore(*config);
  if (!store.ok()) return store.status();
  return OpenedBroker{*std::move(config), *std::move(store)};
}

}  // namespace blindcart::broker
