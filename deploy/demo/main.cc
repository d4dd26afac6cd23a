// `bazel run //:demo`: a marketplace of real processes in a temporary folder, and a walk through
// it.

#include <signal.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "deploy/demo/demo.h"
#include "deploy/demo/tour.h"
#include "services/common/transport.h"

namespace {

absl::Status Walk(const std::string& folder, bool serve) {
  const auto demo = blindcart::demo::Demo::Create(folder);
  if (!demo.ok()) return demo.status();
  const absl::Status status = (*demo)->Walk();
  if (!status.ok() || !serve) return status;
  (*demo)->PrintCommandsToTry();
  blindcart::WaitForTerminationSignal();
  std::cout << "\nStopping.\n";
  return absl::OkStatus();
}

}  // namespace

int main(int argc, char** argv) {
  blindcart::BlockTerminationSignals();
  CLI::App app(
      "Starts a broker, two merchants with example shops and two customers' agents as processes "
      "of\n"
      "their own in a temporary folder, and walks through purchases with the blindcart command\n"
      "line. Ends with what each party saw, read from its real files and traffic.\n"
      "With --tour it shows one of the other parts instead.\n"
      "Everything it starts it also stops.");
  bool serve = false;
  std::string tour;
  CLI::Option* serve_flag = app.add_flag(
      "--serve", serve, "Leave everything running, print commands to try, stop at Ctrl-C");
  app.add_option("--tour", tour,
                 absl::StrCat("Show one of the other parts: ", blindcart::demo::TourNames()))
      ->excludes(serve_flag);
  CLI11_PARSE(app, argc, argv);

  std::string folder = "/tmp/blindcart-demo-XXXXXX";
  if (mkdtemp(folder.data()) == nullptr) {
    std::cerr << "demo: cannot make a temporary folder in /tmp\n";
    return 1;
  }
  const absl::Status status =
      tour.empty() ? Walk(folder, serve) : blindcart::demo::RunTour(tour, folder + "/tour");
  std::error_code error;
  std::filesystem::remove_all(folder, error);
  if (!status.ok()) {
    std::cerr << "\ndemo: " << status.message() << "\n";
    return 1;
  }
  return 0;
}
