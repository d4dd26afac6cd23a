// `bazel run //:demo`: a marketplace of real processes in a temporary folder, and a walk through
// it.

#include <signal.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <string>

#include "CLI/CLI.hpp"
#include "deploy/demo/demo.h"
#include "services/common/transport.h"

int main(int argc, char** argv) {
  blindcart::BlockTerminationSignals();
  CLI::App app(
      "Starts a broker, two merchants with example shops and two customers' agents as processes "
      "of\n"
      "their own in a temporary folder, and walks through purchases with the blindcart command\n"
      "line. Ends with what each party saw, read from its real files and traffic.\n"
      "Everything it starts it also stops.");
  bool serve = false;
  app.add_flag("--serve", serve, "Leave everything running, print commands to try, stop at Ctrl-C");
  CLI11_PARSE(app, argc, argv);

  std::string folder = "/tmp/blindcart-demo-XXXXXX";
  if (mkdtemp(folder.data()) == nullptr) {
    std::cerr << "demo: cannot make a temporary folder in /tmp\n";
    return 1;
  }
  absl::Status status;
  {
    auto demo = blindcart::demo::Demo::Create(folder);
    status = demo.status();
    if (status.ok()) status = (*demo)->Walk();
    if (status.ok() && serve) {
      (*demo)->PrintCommandsToTry();
      blindcart::WaitForTerminationSignal();
      std::cout << "\nStopping.\n";
    }
  }
  std::error_code error;
  std::filesystem::remove_all(folder, error);
  if (!status.ok()) {
    std::cerr << "\ndemo: " << status.message() << "\n";
    return 1;
  }
  return 0;
}
