#include "services/common/secret_input.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace blindcart {
namespace {

using ::testing::HasSubstr;

std::string SecretFile(const std::string& content, mode_t mode = 0600) {
  const std::string path =
      ::testing::TempDir() + "/" + ::testing::UnitTest::GetInstance()->current_test_info()->name();
  std::ofstream(path, std::ios::trunc) << content;
  chmod(path.c_str(), mode);
  return path;
}

SecretSource From(const std::string& file, const std::string& environment = "") {
  SecretSource source;
  source.what = "pass phrase";
  source.file = file;
  source.file_flag = "--passphrase-file";
  source.environment = environment;
  return source;
}

TEST(SecretInputTest, FileLosesItsLastLineEndOnly) {
  EXPECT_EQ(ReadSecret(From(SecretFile("a b c \n")))->view(), "a b c ");
  EXPECT_EQ(ReadSecret(From(SecretFile("windows\r\n")))->view(), "windows");
  EXPECT_EQ(ReadSecret(From(SecretFile("two\nlines")))->view(), "two\nlines");
}

TEST(SecretInputTest, BadFilesAreRefusedWithAdvice) {
  EXPECT_EQ(ReadSecret(From(SecretFile("\n"))).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReadSecret(From(SecretFile(std::string(1025, 'x')))).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(ReadSecret(From(SecretFile(std::string(1024, 'x') + "\n"))).ok());
  EXPECT_EQ(ReadSecret(From("/nowhere/at/all")).status().code(), absl::StatusCode::kNotFound);
  const absl::Status open = ReadSecret(From(SecretFile("shared", 0640))).status();
  EXPECT_EQ(open.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(open.message()), HasSubstr("chmod 600"));
}

TEST(SecretInputTest, EnvironmentServesWhenThereIsNoFile) {
  setenv("BLINDCART_TEST_SECRET", "from the environment", 1);
  EXPECT_EQ(ReadSecret(From("", "BLINDCART_TEST_SECRET"))->view(), "from the environment");
  EXPECT_EQ(ReadSecret(From(SecretFile("from the file"), "BLINDCART_TEST_SECRET"))->view(),
            "from the file");
  unsetenv("BLINDCART_TEST_SECRET");
}

TEST(SecretInputTest, WithoutATerminalTheErrorNamesTheFlag) {
  // A process in a new session has no controlling terminal.
  EXPECT_EXIT(
      {
        setsid();
        const absl::Status status = ReadSecret(From("", "BLINDCART_NOT_SET")).status();
        const bool named =
            status.code() == absl::StatusCode::kFailedPrecondition &&
            std::string(status.message()).find("--passphrase-file") != std::string::npos;
        _exit(named ? 0 : 1);
      },
      ::testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace blindcart
