#include <string>

#include <nlohmann/json.hpp>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "deploy/demo/narration.h"
#include "deploy/demo/tour.h"

namespace blindcart::demo {
namespace {

constexpr int kMaxQuestions = 600;

// Waits until a customer's inbox holds `text`.
absl::Status Await(Stage& stage, const std::string& username, const std::string& text) {
  for (int i = 0; i < kMaxQuestions; ++i) {
    const absl::StatusOr<std::string> inbox = stage.Ask(username, {"message", "inbox"});
    if (!inbox.ok()) return inbox.status();
    if (absl::StrContains(*inbox, text)) return absl::OkStatus();
  }
  return absl::DeadlineExceededError(absl::StrCat("no message for ", username));
}

// Waits until a customer's agent has published its keys.
absl::Status AwaitKeys(Stage& stage, const std::string& asker, const std::string& username) {
  absl::Status status;
  for (int i = 0; i < kMaxQuestions; ++i) {
    status = stage.Ask(asker, {"contacts", "verify", username}).status();
    if (status.ok()) break;
  }
  return status;
}

absl::StatusOr<std::string> SafetyNumber(Stage& stage, const std::string& username,
                                         const std::string& contact) {
  const absl::StatusOr<std::string> answer = stage.Ask(username, {"contacts", "verify", contact});
  if (!answer.ok()) return answer.status();
  const auto json = nlohmann::json::parse(*answer, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("safety_number")) {
    return absl::InternalError("no safety number");
  }
  return json["safety_number"].get<std::string>();
}

absl::Status WriteToSomebodyAway(Stage& stage) {
  Headline("Messages: written to somebody who is away");
  absl::Status status = AwaitKeys(stage, Stage::kAlice, Stage::kBob);
  if (!status.ok()) return status;
  Say("Bob's agent is switched off. His keys are with the broker, so Alice can begin all the "
      "same.");
  stage.market().KillAgent(Stage::kBob);
  status = stage.Show(Stage::kAlice, {"--explain", "message", "send", "bob",
                                      "The key is under the third flowerpot.", "--timings"});
  if (!status.ok()) return status;
  Say("The broker keeps what it cannot read. Bob's agent comes back:");
  status = stage.market().StartAgent(Stage::kBob);
  if (status.ok()) status = stage.Login(Stage::kBob);
  if (status.ok()) status = Await(stage, Stage::kBob, "flowerpot");
  if (status.ok()) status = stage.Show(Stage::kBob, {"message", "inbox"});
  if (status.ok()) status = stage.Show(Stage::kBob, {"message", "read"});
  return status;
}

absl::Status Answer(Stage& stage) {
  Headline("An answer, under a key of its own");
  absl::Status status =
      stage.Show(Stage::kBob, {"--explain", "message", "reply", "1", "Third from which side?"});
  if (status.ok()) status = Await(stage, Stage::kAlice, "Third from");
  if (status.ok()) status = stage.Show(Stage::kAlice, {"message", "read"});
  return status;
}

absl::Status CompareSafetyNumbers(Stage& stage) {
  Headline("Is it really Bob?");
  Say("The broker handed Bob's key out. Whether it is his, the two find out by telephone.");
  absl::Status status = stage.Show(Stage::kAlice, {"contacts", "verify", "bob"});
  if (!status.ok()) return status;
  const absl::StatusOr<std::string> number = SafetyNumber(stage, Stage::kBob, Stage::kAlice);
  if (!number.ok()) return number.status();
  Say("Bob reads out the number that his agent shows:");
  status = stage.Show(Stage::kAlice, {"contacts", "verify", "bob", "--matches", *number});
  if (status.ok()) status = stage.Show(Stage::kAlice, {"contacts"});
  return status;
}

}  // namespace

absl::Status TourMessages(Stage& stage) {
  absl::Status status = WriteToSomebodyAway(stage);
  if (status.ok()) status = Answer(stage);
  if (status.ok()) status = CompareSafetyNumbers(stage);
  return status;
}

}  // namespace blindcart::demo
