#include <iostream>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "deploy/demo/narration.h"
#include "deploy/demo/tour.h"
#include "services/common/files.h"
#include "tests/support/process.h"

namespace blindcart::demo {
namespace {

constexpr char kWill[] = "My books go to the library, my records to Bob.\n";
constexpr char kForgedWill[] = "My books go to the library, my records to Eve.\n";
constexpr mode_t kMode = 0644;

// What another tool says to the same files.
absl::Status ShowOpenSsl(const std::vector<std::string>& arguments) {
  testing::Command command;
  command.program = "/usr/bin/openssl";
  command.arguments = arguments;
  const absl::StatusOr<testing::Output> output = testing::RunToEnd(command);
  if (!output.ok()) return output.status();
  std::cout << "\n$ openssl " << absl::StrJoin(arguments, " ") << "\n"
            << output->out << output->err << std::flush;
  if (output->exit_code == 0) return absl::OkStatus();
  return absl::InternalError("openssl does not accept the time stamp");
}

}  // namespace

absl::Status TourNotary(Stage& stage) {
  Headline("The notary: proof that a document existed");
  const std::string will = absl::StrCat(stage.scratch(), "/will.txt");
  const std::string time_stamp = will + ".tsr";
  const std::string forged = absl::StrCat(stage.scratch(), "/forged.txt");
  absl::Status status = WriteFileAtomically(will, kWill, kMode, /*replace=*/true);
  if (!status.ok()) return status;
  Say("Alice has her will stamped. The file is hashed on her machine; only the hash leaves it.");
  status = stage.Show(Stage::kAlice, {"notarize", will});
  if (!status.ok()) return status;

  Say("She hands both files to Bob, who has the broker's card. He asks nobody: no agent, no "
      "broker.");
  const std::string card = stage.market().broker_card();
  status = stage.Show(Stage::kBob, {"notary", "verify", will, time_stamp, "--card", card});
  if (!status.ok()) return status;
  Say("It is an ordinary RFC 3161 time stamp, so other tools verify it too.");
  status = ShowOpenSsl({"ts", "-verify", "-data", will, "-in", time_stamp, "-CAfile",
                        stage.market().broker_dir() + "/authority/certificate.pem"});
  if (!status.ok()) return status;

  Say("One letter changed, and it proves nothing.");
  status = WriteFileAtomically(forged, kForgedWill, kMode, /*replace=*/true);
  if (!status.ok()) return status;
  constexpr int kVerificationFailed = 6;
  return stage.Show(Stage::kBob, {"notary", "verify", forged, time_stamp, "--card", card},
                    kVerificationFailed);
}

}  // namespace blindcart::demo
