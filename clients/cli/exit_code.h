// What a script learns from a command's exit code. Part of the command line's interface: a code
// never changes its meaning.
//
// Pure functions; thread-safe.
#ifndef BLINDCART_CLIENTS_CLI_EXIT_CODE_H_
#define BLINDCART_CLIENTS_CLI_EXIT_CODE_H_

#include "absl/status/status.h"
#include "proto/agent.pb.h"
#include "proto/bank.pb.h"

namespace blindcart::cli {

enum class ExitCode : int {
  kOk = 0,
  kFailure = 1,
  kUsage = 2,         // The command line, or what was typed, makes no sense.
  kLogin = 3,         // Not logged in, or the login failed.
  kRefused = 4,       // A business answer: insufficient balance, sold out, expired, wrong PIN...
  kUnreachable = 5,   // Agent, broker or shop cannot be reached, or is too busy. Try again.
  kVerification = 6,  // Somebody lied or content is damaged; nothing was accepted.
};

// Of a status that the agent answered with, or that stands for not reaching it.
ExitCode ExitCodeOf(const absl::Status& status);
ExitCode ExitCodeOf(v1::CheckoutOutcome outcome);
ExitCode ExitCodeOf(v1::PayOutcome outcome);
ExitCode ExitCodeOf(v1::CashOutcome outcome);

}  // namespace blindcart::cli

#endif  // BLINDCART_CLIENTS_CLI_EXIT_CODE_H_
