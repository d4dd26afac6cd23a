// Child processes for tests and the demo: real programs with their output captured. Every child
// gets SIGKILL when its Process is destroyed or when this process dies, so nothing is left behind.
//
// Thread safety: a Process belongs to one thread; its output is read on a thread of its own. Start
// children from a thread that outlives them (the kernel ties them to the thread).
#ifndef BLINDCART_TESTS_SUPPORT_PROCESS_H_
#define BLINDCART_TESTS_SUPPORT_PROCESS_H_

#include <sys/types.h>

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace blindcart::testing {

struct Command {
  std::string program;  // Path, relative to the working directory (the runfiles, under Bazel).
  std::vector<std::string> arguments;
  std::map<std::string, std::string> environment;  // Added to this process's.
  std::string input;                               // Standard input; empty: none.
  bool open_input = false;                         // More is to come, by Process::Write.
  bool shared_output = false;  // Writes to this process's own output instead of being captured.
};

struct Output {
  int exit_code = -1;  // 128 + N for a child that signal N ended.
  std::string out;
  std::string err;
};

// Runs to the end. DeadlineExceeded (the child is killed) after `timeout_ms`.
absl::StatusOr<Output> RunToEnd(const Command& command, int timeout_ms = 120'000);
// Runs all of them at once, each to its end; their outputs in the same order.
absl::StatusOr<std::vector<Output>> RunAllToEnd(const std::vector<Command>& commands,
                                                int timeout_ms = 120'000);

class Process {
 public:
  static absl::StatusOr<std::unique_ptr<Process>> Start(const Command& command);
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  // Waits for a line of standard output that begins with `prefix` and returns it whole. An error
  // holds what the child wrote to standard error.
  absl::StatusOr<std::string> WaitForLine(const std::string& prefix, int timeout_ms = 60'000);
  // The same for the first line that `wanted` says yes to; called under this object's lock.
  absl::StatusOr<std::string> WaitForLineThat(
      const std::function<bool(const std::string& line)>& wanted, int timeout_ms = 60'000);
  // Into the standard input of a child that was started with open_input; a child that is gone is no
  // matter.
  void Write(const std::string& text);
  // The end of that input.
  void CloseInput();
  // SIGTERM, then waits for the end; the exit code.
  absl::StatusOr<int> Terminate(int timeout_ms = 30'000);
  // SIGKILL, then waits for the end.
  void Kill();
  // Waits for the end by itself.
  absl::StatusOr<int> Wait(int timeout_ms);
  void Signal(int signal);

  pid_t pid() const { return pid_; }
  bool running();
  std::string out() const;
  std::string err() const;

 private:
  Process() = default;
  void ReadOutput();

  pid_t pid_ = -1;
  int in_fd_ = -1;
  int out_fd_ = -1;
  int err_fd_ = -1;
  std::thread reader_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::string out_;
  std::string err_;
  bool output_ended_ = false;
  int exit_code_ = -1;
  bool reaped_ = false;
};

}  // namespace blindcart::testing

#endif  // BLINDCART_TESTS_SUPPORT_PROCESS_H_
