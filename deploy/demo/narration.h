// How the demo and its tours tell what they do: headlines, sentences, and commands shown as a person
// would type them, with their own output.
//
// Thread safety: none; everything goes to standard output.
#ifndef BLINDCART_DEPLOY_DEMO_NARRATION_H_
#define BLINDCART_DEPLOY_DEMO_NARRATION_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "tests/support/marketplace.h"

namespace blindcart::demo {

void Headline(const std::string& text);
void Say(const std::string& text);

// Runs the command line as `username` and prints the command as typed; what it writes goes to this
// process's own output. `input` is what the person types into it, shown too. Internal unless it
// exits with `expected_exit_code`.
absl::Status ShowCommand(const testing::Marketplace& market, const std::string& username,
                         const std::vector<std::string>& arguments, int expected_exit_code = 0,
                         const std::string& input = "");

}  // namespace blindcart::demo

#endif  // BLINDCART_DEPLOY_DEMO_NARRATION_H_
