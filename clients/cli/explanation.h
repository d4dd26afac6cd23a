// `--explain`: follows what the agent says about its steps (proto/agent_explain.proto) and prints each
// on standard error, "  · login: challenge verified", while a command runs.
//
// Thread safety: Start, CatchUp and the destructor belong to one thread; steps are printed on a thread
// of the object's own.
#ifndef BLINDCART_CLIENTS_CLI_EXPLANATION_H_
#define BLINDCART_CLIENTS_CLI_EXPLANATION_H_

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "clients/cli/agent_client.h"
#include "proto/agent_explain.grpc.pb.h"

namespace blindcart::cli {

class Explanation {
 public:
  // Steps that the agent takes after this has returned are printed. `print` is called with a line at
  // a time, sanitised, on another thread.
  static absl::StatusOr<std::unique_ptr<Explanation>> Start(
      AgentClient& agent, std::function<void(const std::string& line)> print);
  // Prints what was said until now, and ends.
  ~Explanation();

  // Waits until every step that was taken so far is printed.
  void CatchUp();

 private:
  using Stream = grpc::ClientReaderWriterInterface<v1::ExplainRequest, v1::ExplainMessage>;

  Explanation() = default;
  void Read();

  grpc::ClientContext context_;
  std::unique_ptr<v1::AgentExplain::StubInterface> stub_;
  std::unique_ptr<Stream> stream_;
  std::function<void(const std::string&)> print_;
  uint64_t asked_ = 0;
  std::thread reader_;

  std::mutex mutex_;
  std::condition_variable changed_;
  uint64_t reached_ = 0;  // Under mutex_.
  bool ended_ = false;    // Under mutex_.
};

}  // namespace blindcart::cli

#endif  // BLINDCART_CLIENTS_CLI_EXPLANATION_H_
