#include "tests/support/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/types/optional.h"

extern char** environ;

namespace blindcart::testing {
namespace {

using std::chrono::milliseconds;

std::vector<std::string> MergedEnvironment(const std::map<std::string, std::string>& added) {
  std::vector<std::string> merged;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string line = *entry;
    if (added.count(line.substr(0, line.find('='))) == 0) merged.push_back(line);
  }
  for (const auto& [name, value] : added) merged.push_back(absl::StrCat(name, "=", value));
  return merged;
}

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (std::string& s : strings) pointers.push_back(s.data());
  pointers.push_back(nullptr);
  return pointers;
}

int ExitCode(int wait_status) {
  return WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 128 + WTERMSIG(wait_status);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Process>> Process::Start(const Command& command) {
  int in[2];
  int out[2];
  int err[2];
  if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0 || pipe2(err, O_CLOEXEC) != 0) {
    return absl::UnavailableError(strerror(errno));
  }
  // All memory is had before the fork: the child may only make system calls.
  std::vector<std::string> arguments = {command.program};
  arguments.insert(arguments.end(), command.arguments.begin(), command.arguments.end());
  std::vector<char*> argv = Pointers(arguments);
  std::vector<std::string> environment = MergedEnvironment(command.environment);
  std::vector<char*> envp = Pointers(environment);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0) return absl::UnavailableError(strerror(errno));
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(127);
    // A session of its own: no controlling terminal to ask for secrets on.
    setsid();
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    signal(SIGPIPE, SIG_DFL);
    dup2(in[0], STDIN_FILENO);
    if (!command.shared_output) {
      dup2(out[1], STDOUT_FILENO);
      dup2(err[1], STDERR_FILENO);
    }
    execve(argv[0], argv.data(), envp.data());
    static const char kMessage[] = "cannot start the program\n";
    (void)!write(STDERR_FILENO, kMessage, sizeof(kMessage) - 1);
    _exit(127);
  }
  close(in[0]);
  close(out[1]);
  close(err[1]);
  (void)!write(in[1], command.input.data(), command.input.size());
  auto process = std::unique_ptr<Process>(new Process());
  process->pid_ = pid;
  process->in_fd_ = in[1];
  if (!command.open_input) process->CloseInput();
  process->out_fd_ = out[0];
  process->err_fd_ = err[0];
  process->reader_ = std::thread([p = process.get()] { p->ReadOutput(); });
  return process;
}

Process::~Process() {
  Kill();
  reader_.join();
  CloseInput();
  close(out_fd_);
  close(err_fd_);
}

void Process::ReadOutput() {
  pollfd fds[2] = {{out_fd_, POLLIN, 0}, {err_fd_, POLLIN, 0}};
  int open_count = 2;
  char buffer[16 * 1024];
  while (open_count > 0) {
    if (poll(fds, 2, -1) < 0 && errno != EINTR) break;
    for (pollfd& entry : fds) {
      if (entry.fd < 0 || (entry.revents & (POLLIN | POLLHUP | POLLERR)) == 0) continue;
      const ssize_t got = read(entry.fd, buffer, sizeof(buffer));
      if (got <= 0) {
        if (got < 0 && errno == EINTR) continue;
        entry.fd = -1;
        --open_count;
        continue;
      }
      std::lock_guard<std::mutex> lock(mutex_);
      (entry.fd == out_fd_ ? out_ : err_).append(buffer, static_cast<size_t>(got));
      changed_.notify_all();
    }
  }
  int status = 0;
  // The pipes may end before the process does, never for long.
  while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  std::lock_guard<std::mutex> lock(mutex_);
  exit_code_ = ExitCode(status);
  output_ended_ = true;
  reaped_ = true;
  changed_.notify_all();
}

absl::StatusOr<std::string> Process::WaitForLine(const std::string& prefix, int timeout_ms) {
  absl::StatusOr<std::string> line = WaitForLineThat(
      [&](const std::string& candidate) { return absl::StartsWith(candidate, prefix); },
      timeout_ms);
  if (line.ok()) return line;
  return absl::Status(line.status().code(),
                      absl::StrCat("no line \"", prefix, "\"; ", line.status().message()));
}

absl::StatusOr<std::string> Process::WaitForLineThat(
    const std::function<bool(const std::string& line)>& wanted, int timeout_ms) {
  std::unique_lock<std::mutex> lock(mutex_);
  absl::optional<std::string> found;
  size_t looked_at = 0;
  const bool in_time = changed_.wait_for(lock, milliseconds(timeout_ms), [&] {
    for (size_t end = out_.find('\n', looked_at); end != std::string::npos;
         end = out_.find('\n', looked_at)) {
      std::string line = out_.substr(looked_at, end - looked_at);
      looked_at = end + 1;
      if (wanted(line)) {
        found = std::move(line);
        return true;
      }
    }
    return output_ended_;
  });
  if (found.has_value()) return *std::move(found);
  return absl::Status(
      in_time ? absl::StatusCode::kUnavailable : absl::StatusCode::kDeadlineExceeded,
      absl::StrCat("the line waited for did not come; exit code ", exit_code_, "; it said: ", out_,
                   err_));
}

absl::StatusOr<int> Process::Wait(int timeout_ms) {
  std::unique_lock<std::mutex> lock(mutex_);
  if (!changed_.wait_for(lock, milliseconds(timeout_ms), [&] { return reaped_; })) {
    return absl::DeadlineExceededError("the process is still running");
  }
  return exit_code_;
}

void Process::Write(const std::string& text) {
  // Writing to a pipe that nobody reads raises a signal, which nobody here wants to die of.
  static const bool ignored = signal(SIGPIPE, SIG_IGN) != SIG_ERR;
  (void)ignored;
  size_t written = 0;
  while (written < text.size()) {
    const ssize_t count = write(in_fd_, text.data() + written, text.size() - written);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return;
    written += static_cast<size_t>(count);
  }
}

void Process::CloseInput() {
  if (in_fd_ >= 0) close(in_fd_);
  in_fd_ = -1;
}

absl::StatusOr<int> Process::Terminate(int timeout_ms) {
  Signal(SIGTERM);
  return Wait(timeout_ms);
}

void Process::Kill() {
  Signal(SIGKILL);
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [&] { return reaped_; });
}

void Process::Signal(int signal) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (!reaped_) kill(pid_, signal);
}

bool Process::running() {
  std::lock_guard<std::mutex> lock(mutex_);
  return !reaped_;
}

std::string Process::out() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return out_;
}

std::string Process::err() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return err_;
}

absl::StatusOr<Output> RunToEnd(const Command& command, int timeout_ms) {
  absl::StatusOr<std::vector<Output>> outputs = RunAllToEnd({command}, timeout_ms);
  if (!outputs.ok()) return outputs.status();
  return std::move(outputs->front());
}

absl::StatusOr<std::vector<Output>> RunAllToEnd(const std::vector<Command>& commands,
                                                int timeout_ms) {
  std::vector<std::unique_ptr<Process>> processes;
  for (const Command& command : commands) {
    absl::StatusOr<std::unique_ptr<Process>> process = Process::Start(command);
    if (!process.ok()) return process.status();
    processes.push_back(*std::move(process));
  }
  std::vector<Output> outputs;
  for (size_t i = 0; i < processes.size(); ++i) {
    absl::StatusOr<int> exit_code = processes[i]->Wait(timeout_ms);
    if (!exit_code.ok()) {
      return absl::DeadlineExceededError(
          absl::StrCat(commands[i].program, " took too long; it said: ", processes[i]->out(),
                       processes[i]->err()));
    }
    outputs.push_back({*exit_code, processes[i]->out(), processes[i]->err()});
  }
  return outputs;
}

}  // namespace blindcart::testing
