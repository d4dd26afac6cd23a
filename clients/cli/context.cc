#include "clients/cli/context.h"

#include <iostream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "google/protobuf/util/json_util.h"

namespace blindcart::cli {
namespace {

// What to do about an error whose words do not say it.
const char* HintFor(ExitCode code) {
  switch (code) {
    case ExitCode::kUsage:
      return "Run the command with --help to see how it is used";
    case ExitCode::kLogin:
      return "Check them and try again: blindcart login";
    case ExitCode::kUnreachable:
      return "Try again later";
    case ExitCode::kVerification:
      return "Nothing was accepted; tell the broker's operator";
    default:
      return "";
  }
}

std::string Sentences(absl::string_view message, ExitCode code) {
  const std::string what(message.empty() ? "the agent gave no reason" : message);
  const std::string hint = HintFor(code);
  if (hint.empty() || absl::StrContains(what, ". ") || absl::StrContains(what, "; ")) return what;
  return absl::StrCat(what, absl::EndsWith(what, ".") ? " " : ". ", hint);
}

}  // namespace

absl::StatusOr<AgentClient*> Context::Agent() {
  if (agent_ == nullptr) {
    absl::StatusOr<std::unique_ptr<AgentClient>> agent =
        AgentClient::Connect(options_.socket.empty() ? DefaultSocketPath() : options_.socket);
    if (!agent.ok()) return agent.status();
    if (options_.explain) {
      absl::StatusOr<std::unique_ptr<Explanation>> explanation = Explanation::Start(
          **agent,
          [this](const std::string& line) { console_.WriteRaw(absl::StrCat(line, "\n")); });
      if (!explanation.ok()) return explanation.status();
      explanation_ = *std::move(explanation);
    }
    agent_ = *std::move(agent);
  }
  return agent_.get();
}

void Context::AddPart(const std::string& name, const google::protobuf::Message& reply) {
  // What was just written as JSON can be read as such.
  (void)google::protobuf::util::JsonStringToMessage(
      ToJson(reply, /*one_line=*/true), (*parts_.mutable_fields())[name].mutable_struct_value());
}

void Context::PrintParts() { console_.PrintJson(parts_, /*one_line=*/true); }

ExitCode Context::Fail(const absl::Status& status) { return Fail(ExitCodeOf(status), status); }

ExitCode Context::Fail(ExitCode code, const absl::Status& status) {
  const std::string words = Sentences(status.message(), code);
  if (json()) {
    auto* error = (*parts_.mutable_fields())["error"].mutable_struct_value()->mutable_fields();
    (*error)["code"].set_string_value(absl::StatusCodeToString(status.code()));
    (*error)["message"].set_string_value(words);
    (*error)["exit_code"].set_number_value(static_cast<int>(code));
    PrintParts();
  }
  console_.Complain(words);
  return code;
}

ExitCode Context::FailLocally(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kFailedPrecondition:
      return Fail(ExitCode::kUsage, status);
    default:
      return Fail(ExitCode::kFailure, status);
  }
}

ExitCode Context::Refuse(ExitCode code, const std::string& words) {
  if (json() && parts_.fields_size() > 0) PrintParts();
  console_.Complain(words);
  return code;
}

absl::StatusOr<std::string> AskLine(Context& context, const std::string& prompt,
                                    const std::string& otherwise) {
  if (!context.console().options().in_is_terminal) return absl::FailedPreconditionError(otherwise);
  context.console().WriteRaw(prompt);
  std::string line;
  if (!std::getline(std::cin, line)) {
    context.console().WriteRaw("\n");
    return absl::CancelledError("nothing was typed. Nothing was done");
  }
  return line;
}

}  // namespace blindcart::cli
