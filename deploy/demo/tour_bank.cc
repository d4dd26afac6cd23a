// The bank: deposits, withdrawals, statement and teller, and what `--explain` tells of them.
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "deploy/demo/narration.h"
#include "deploy/demo/tour.h"

namespace blindcart::demo {
namespace {

constexpr int kExitUsage = 2;
constexpr int kExitRefused = 4;
constexpr int kExitUnreachable = 5;
constexpr int kMaxQuestions = 600;

struct Step {
  std::vector<std::string> arguments;
  int expected_exit_code = 0;
  std::string input = {};
};

absl::Status ShowAll(Stage& stage, const std::vector<Step>& steps) {
  for (const Step& step : steps) {
    const absl::Status shown =
        stage.Show(Stage::kAlice, step.arguments, step.expected_exit_code, step.input);
    if (!shown.ok()) return shown;
  }
  return absl::OkStatus();
}

// The agent comes back by itself; until then it says that the broker cannot be reached.
absl::Status AwaitConnection(Stage& stage) {
  absl::Status status;
  for (int i = 0; i < kMaxQuestions; ++i) {
    status = stage.Ask(Stage::kAlice, {"balance"}).status();
    if (status.ok()) break;
  }
  return status;
}

}  // namespace

absl::Status TourBank(Stage& stage) {
  Headline("The bank, and every step of a login with --explain");
  absl::Status status =
      ShowAll(stage, {{{"--explain", "login", "--username", Stage::kAlice, "--password-file",
                        stage.market().password_file(Stage::kAlice)}},
                      {{"--explain", "deposit", "12.50"}},
                      {{"withdraw", "20"}}});
  if (!status.ok()) return status;

  Headline("What is no amount, and what is not there, is refused");
  status = ShowAll(stage, {{{"withdraw", "1.234"}, kExitUsage},
                           {{"deposit", "0"}, kExitUsage},
                           {{"withdraw", "1000"}, kExitRefused}});
  if (!status.ok()) return status;

  Headline("A teller at a prompt (here typed by the demo)");
  status = ShowAll(stage, {{{"teller"}, 0, "CHECK\nWITHDRAW 10\nDEPOSIT 5.50\nQUIT\n"}});
  if (!status.ok()) return status;

  Headline("The broker goes away in between: nothing is lost, nothing counts twice");
  stage.market().KillBroker();
  Say("The broker was killed.");
  status = ShowAll(stage, {{{"withdraw", "5"}, kExitUnreachable}});
  if (!status.ok()) return status;
  status = stage.market().StartBroker();
  if (status.ok()) status = AwaitConnection(stage);
  if (!status.ok()) return status;
  Say("The broker runs again, and the agent has logged in by itself.");
  status = ShowAll(stage, {{{"withdraw", "5"}}});
  if (!status.ok()) return status;

  Headline("The statement, and the broker's books behind it");
  status = ShowAll(stage, {{{"statement"}}, {{"statement", "--csv"}}});
  if (!status.ok()) return status;
  status = stage.ShowBroker({"list", "accounts"});
  if (!status.ok()) return status;
  return stage.ShowBroker({"audit"});
}

}  // namespace blindcart::demo
