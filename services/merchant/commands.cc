#include "services/merchant/commands.h"

#include <iostream>

namespace blindcart::merchant {

int ExitCode(const absl::Status& status) {
  if (status.ok()) return 0;
  std::cerr << "merchant: " << status.message() << "\n";
  return 1;
}

void AddDataDirOption(CLI::App& command, std::string* data_dir) {
  *data_dir = kDefaultDataDir;
  command.add_option("--data-dir", *data_dir, "The shop's folder")->capture_default_str();
}

}  // namespace blindcart::merchant
