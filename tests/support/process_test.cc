#include "tests/support/process.h"

#include <signal.h>

#include <string>

#include "gtest/gtest.h"

namespace blindcart::testing {
namespace {

Command Shell(const std::string& script) { return {"/bin/sh", {"-c", script}, {}, ""}; }

TEST(ProcessTest, CapturesOutputInputEnvironmentAndExitCode) {
  Command command = Shell("cat; echo \"$WORD\" >&2; exit 7");
  command.input = "typed";
  command.environment = {{"WORD", "from the environment"}};
  const auto output = RunToEnd(command);
  ASSERT_TRUE(output.ok()) << output.status();
  EXPECT_EQ(output->exit_code, 7);
  EXPECT_EQ(output->out, "typed");
  EXPECT_EQ(output->err, "from the environment\n");
}

TEST(ProcessTest, WaitsForALineOrSaysWhyItDoesNotCome) {
  auto process = Process::Start(Shell("echo starting; echo ready port=7; exec cat /dev/zero"));
  ASSERT_TRUE(process.ok());
  EXPECT_EQ(*(*process)->WaitForLine("ready "), "ready port=7");
  (*process)->Kill();
  auto failing = Process::Start(Shell("echo broken >&2; exit 3"));
  ASSERT_TRUE(failing.ok());
  const auto line = (*failing)->WaitForLine("ready ");
  EXPECT_EQ(line.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_NE(line.status().message().find("broken"), absl::string_view::npos);
}

TEST(ProcessTest, TerminateAndKillReachTheChild) {
  auto polite = Process::Start(Shell("trap 'exit 5' TERM; echo up; while :; do :; done"));
  ASSERT_TRUE((*polite)->WaitForLine("up").ok());
  EXPECT_EQ(*(*polite)->Terminate(), 5);
  EXPECT_FALSE((*polite)->running());
  auto stubborn = Process::Start(Shell("echo up; while :; do :; done"));
  ASSERT_TRUE((*stubborn)->WaitForLine("up").ok());
  (*stubborn)->Kill();
  EXPECT_EQ(*(*stubborn)->Wait(0), 128 + SIGKILL);
}

TEST(ProcessTest, TooLongARunIsCutShort) {
  EXPECT_EQ(RunToEnd(Shell("while :; do :; done"), 50).status().code(),
            absl::StatusCode::kDeadlineExceeded);
}

TEST(ProcessTest, MissingProgramExitsWith127) {
  const auto output = RunToEnd({"./no-such-program", {}, {}, ""});
  ASSERT_TRUE(output.ok());
  EXPECT_EQ(output->exit_code, 127);
}

}  // namespace
}  // namespace blindcart::testing
