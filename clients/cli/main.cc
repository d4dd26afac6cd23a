// blindcart: the command line. A client of the agent's local API; it holds no keys.
#include <cstdlib>
#include <exception>
#include <iostream>

#include <CLI/CLI.hpp>
#include "absl/strings/str_cat.h"
#include "clients/cli/commands.h"
#include "clients/cli/context.h"
#include "crypto/secret_bytes.h"
#include "services/common/working_directory.h"

namespace {

int Run(int argc, char** argv) {
  using namespace blindcart::cli;  // NOLINT(google-build-using-namespace)
  blindcart::crypto::DisableCoreDumps();
  blindcart::EnterInvocationDirectory();
  // What gRPC has to say about connections is said here in words.
  setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);

  // Static: the connection ends with the process, see main.
  static Console console(Console::Detect(), std::cout, std::cerr);
  static Context context(console);
  Action chosen;
  CLI::App app;
  SetUp(app, context.options(), chosen);
  try {
    app.parse(argc, argv);
    if (chosen == nullptr) throw CLI::RequiredError("A command");
    const ExitCode code = chosen(context);
    context.CatchUpExplanation();
    return static_cast<int>(code);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success)) return app.exit(e);
    console.Complain(absl::StrCat(e.what(), ". Run it with --help to see how it is used"));
    return static_cast<int>(ExitCode::kUsage);
  } catch (const std::exception& e) {
    console.Complain(e.what());
    return static_cast<int>(ExitCode::kFailure);
  }
}

}  // namespace

int main(int argc, char** argv) {
  int code = Run(argc, argv);
  if (!std::cout.flush() && code == 0) {
    std::cerr << "blindcart: cannot write the result to standard output. Is the disk full?\n";
    code = 1;
  }
  // Everything is written; taking gRPC down in order can cost ten seconds and serves nobody.
  std::_Exit(code);
}
