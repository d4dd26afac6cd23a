#include "clients/cli/testing/terminal.h"

#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"

namespace blindcart::cli {
namespace {

constexpr int kPatienceMs = 60'000;

}  // namespace

absl::StatusOr<TerminalRun> RunOnTerminal(const std::vector<std::string>& command,
                                          const Dialogue& dialogue,
                                          const std::map<std::string, std::string>& environment) {
  // All memory is had before the fork: the child may only make system calls.
  std::vector<std::string> arguments = {"/usr/bin/env"};
  for (const auto& [name, value] : environment) arguments.push_back(absl::StrCat(name, "=", value));
  arguments.insert(arguments.end(), command.begin(), command.end());
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  winsize size{};
  size.ws_row = 24;
  size.ws_col = 80;
  int terminal = -1;
  const pid_t pid = forkpty(&terminal, nullptr, nullptr, &size);
  if (pid < 0) return absl::UnavailableError(strerror(errno));
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    execv(argv[0], argv.data());
    _exit(127);
  }
  absl::Cleanup close_terminal = [terminal] { close(terminal); };

  TerminalRun run;
  size_t step = 0;
  size_t seen = 0;
  bool in_time = true;
  while (true) {
    pollfd entry{terminal, POLLIN, 0};
    const int ready = poll(&entry, 1, kPatienceMs);
    if (ready < 0 && errno == EINTR) continue;
    in_time = ready > 0;
    if (!in_time) break;
    char buffer[4096];
    const ssize_t got = read(terminal, buffer, sizeof(buffer));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;  // EIO: the program has ended.
    run.screen.append(buffer, static_cast<size_t>(got));
    while (step < dialogue.size()) {
      const size_t at = run.screen.find(dialogue[step].first, seen);
      if (at == std::string::npos) break;
      seen = at + dialogue[step].first.size();
      const std::string& typed = dialogue[step].second;
      if (write(terminal, typed.data(), typed.size()) < 0) break;
      ++step;
    }
  }
  termios settings{};
  run.echo_at_end = tcgetattr(terminal, &settings) == 0 && (settings.c_lflag & ECHO) != 0;
  if (!in_time) kill(pid, SIGKILL);
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (!in_time) {
    return absl::DeadlineExceededError(absl::StrCat("the screen shows: ", run.screen));
  }
  run.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return run;
}

}  // namespace blindcart::cli
