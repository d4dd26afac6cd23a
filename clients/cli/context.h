// What every command works with: the global options, the console and the agent; and how a command
// ends. Not thread-safe.
#ifndef BLINDCART_CLIENTS_CLI_CONTEXT_H_
#define BLINDCART_CLIENTS_CLI_CONTEXT_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "clients/cli/agent_client.h"
#include "clients/cli/exit_code.h"
#include "clients/cli/explanation.h"
#include "clients/cli/output.h"
#include "google/protobuf/message.h"
#include "google/protobuf/struct.pb.h"

namespace blindcart::cli {

struct GlobalOptions {
  std::string socket;  // Empty: DefaultSocketPath().
  bool json = false;
  bool explain = false;
};

class Context {
 public:
  // The console must outlive the context.
  explicit Context(Console& console) : console_(console) {}

  GlobalOptions& options() { return options_; }
  bool json() const { return options_.json; }
  Console& console() { return console_; }

  // Connects at the first call, and begins to explain if that is asked for.
  absl::StatusOr<AgentClient*> Agent();
  template <typename Service = v1::Agent, typename Request, typename Reply>
  absl::StatusOr<Reply> Ask(AgentClient::Method<Service, Request, Reply> method,
                            const Request& request, int timeout_ms) {
    absl::StatusOr<AgentClient*> agent = Agent();
    if (!agent.ok()) return agent.status();
    absl::StatusOr<Reply> reply = (*agent)->Call<Service>(method, request, timeout_ms);
    CatchUpExplanation();
    return reply;
  }

  // With --explain: waits until every step that the agent took so far is shown.
  void CatchUpExplanation() {
    if (explanation_ != nullptr) explanation_->CatchUp();
  }

  // With --json, one document holds all that a command of several steps learned: each reply under
  // its step's name, and the error of the step that failed.
  void AddPart(const std::string& name, const google::protobuf::Message& reply);
  void PrintParts();

  // Say what went wrong on standard error and, with --json, as a document {"error": ...} on
  // standard output. Fail is for what the agent answered, or that there is none.
  ExitCode Fail(const absl::Status& status);
  ExitCode Fail(ExitCode code, const absl::Status& status);
  // For secrets and files of this side: a secret that there is no way to ask for is a matter of the
  // command line.
  ExitCode FailLocally(const absl::Status& status);
  // A business answer that is no error: only words, for the reply says it with --json.
  ExitCode Refuse(ExitCode code, const std::string& words);

 private:
  Console& console_;
  GlobalOptions options_;
  std::unique_ptr<AgentClient> agent_;
  std::unique_ptr<Explanation> explanation_;
  google::protobuf::Struct parts_;
};

// One command's work, once its arguments are read.
using Action = std::function<ExitCode(Context&)>;

// A line that a person types. FailedPrecondition with `otherwise` when standard input is no
// terminal; Cancelled at its end.
absl::StatusOr<std::string> AskLine(Context& context, const std::string& prompt,
                                    const std::string& otherwise);

}  // namespace blindcart::cli

#endif  // BLINDCART_CLIENTS_CLI_CONTEXT_H_
