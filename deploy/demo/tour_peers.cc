// Certificates and direct sessions: two agents that talk and send a file to each other, also with the
// broker switched off, and what happens to somebody whose certificate was revoked.
#include <fstream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "deploy/demo/narration.h"
#include "deploy/demo/tour.h"

namespace blindcart::demo {
namespace {

constexpr int kExitRefused = 4;
constexpr int kExitVerification = 6;
constexpr int kMaxQuestions = 600;
constexpr int kFileBytes = 3 * 1024 * 1024;

struct Step {
  std::string username;
  std::vector<std::string> arguments;
  int expected_exit_code = 0;
};

absl::Status ShowAll(Stage& stage, const std::vector<Step>& steps) {
  for (const Step& step : steps) {
    const absl::Status shown = stage.Show(step.username, step.arguments, step.expected_exit_code);
    if (!shown.ok()) return shown;
  }
  return absl::OkStatus();
}

// The agent comes back by itself; until then it says that the broker cannot be reached.
absl::Status AwaitConnection(Stage& stage, const std::string& username) {
  absl::Status status;
  for (int i = 0; i < kMaxQuestions; ++i) {
    status = stage.Ask(username, {"balance"}).status();
    if (status.ok()) break;
  }
  return status;
}

}  // namespace

absl::Status TourPeers(Stage& stage) {
  const std::string alice = Stage::kAlice;
  const std::string bob = Stage::kBob;
  Headline("The broker certifies both customers' keys");
  absl::Status status = ShowAll(stage, {{alice, {"certificate", "request"}},
                                        {bob, {"certificate", "request"}},
                                        {alice, {"certificate", "show"}}});
  if (!status.ok()) return status;

  Headline("Bob listens; Alice connects, and --explain tells each step");
  status = ShowAll(stage, {{bob, {"peer", "listen", "--accept-files", "10MB"}},
                           {alice, {"--explain", "peer", "connect", bob}},
                           {bob, {"peer", "sessions"}}});
  if (!status.ok()) return status;

  Headline("The broker is switched off. Texts and a file go on from agent to agent");
  stage.market().KillBroker();
  Say("The broker was killed.");
  const std::string path = stage.scratch() + "/thesis.pdf";
  std::ofstream(path, std::ios::binary) << std::string(kFileBytes, 't');
  status = ShowAll(stage, {{alice, {"peer", "send", bob, "The broker is gone. Can you hear me?"}},
                           {bob, {"peer", "send", alice, "Loud and clear."}},
                           {alice, {"peer", "send-file", bob, path}},
                           {bob, {"peer", "inbox"}},
                           {alice, {"peer", "close", bob}},
                           {alice, {"peer", "send", bob, "At the address where you were last."}}});
  if (!status.ok()) return status;

  Headline("The broker is back, and its operator revokes Bob's certificates");
  status = stage.market().StartBroker();
  for (const std::string& username : {alice, bob}) {
    if (status.ok()) status = AwaitConnection(stage, username);
  }
  if (status.ok()) status = stage.ShowBroker({"revoke", bob});
  if (!status.ok()) return status;
  status = ShowAll(stage, {{alice, {"peer", "connect", bob}, kExitVerification}});
  if (!status.ok()) return status;

  Headline("The operator lifts it, and with new certificates Bob is himself again");
  status = ShowAll(stage, {{bob, {"certificate", "request"}, kExitRefused}});
  if (status.ok()) status = stage.ShowBroker({"revoke", "--lift", bob});
  if (!status.ok()) return status;
  return ShowAll(stage, {{bob, {"certificate", "request"}},
                         {alice, {"peer", "connect", bob}},
                         {alice, {"peer", "close", bob}},
                         {bob, {"peer", "listen", "--stop"}}});
}

}  // namespace blindcart::demo
