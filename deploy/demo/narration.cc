#include "deploy/demo/narration.h"

#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"

namespace blindcart::demo {
namespace {

// As one types it into a shell.
std::string Quoted(const std::string& argument) {
  static constexpr char kPlain[] =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:=,@%+";
  if (!argument.empty() && argument.find_first_not_of(kPlain) == std::string::npos) return argument;
  return absl::StrCat("'", absl::StrReplaceAll(argument, {{"'", "'\\''"}}), "'");
}

}  // namespace

void Headline(const std::string& text) {
  std::cout << "\n== " << text << " " << std::string(text.size() < 70 ? 70 - text.size() : 0, '=')
            << std::endl;
}

void Say(const std::string& text) { std::cout << text << std::endl; }

absl::Status ShowCommand(const testing::Marketplace& market, const std::string& username,
                         const std::vector<std::string>& arguments, int expected_exit_code,
                         const std::string& input) {
  std::vector<std::string> words;
  for (const std::string& argument : arguments) {
    words.push_back(Quoted(absl::StrReplaceAll(argument, {{market.folder() + "/", ""}})));
  }
  const std::string typed = absl::StrJoin(words, " ");
  std::cout << "\n" << username << "$ blindcart " << typed << std::endl;
  for (const absl::string_view line : absl::StrSplit(input, '\n', absl::SkipEmpty())) {
    std::cout << "(types) " << line << std::endl;
  }
  testing::Command command = market.CliCommand(username, arguments);
  command.shared_output = true;  // So that a terminal shows a progress bar that moves.
  command.input = input;
  const absl::StatusOr<testing::Output> output = testing::RunToEnd(command);
  if (!output.ok()) return output.status();
  if (expected_exit_code != 0) {
    std::cout << "(exit code " << output->exit_code << ")" << std::endl;
  }
  if (output->exit_code != expected_exit_code) {
    return absl::InternalError(absl::StrCat("this should have exited with ", expected_exit_code,
                                            ", not ", output->exit_code));
  }
  return absl::OkStatus();
}

}  // namespace blindcart::demo
