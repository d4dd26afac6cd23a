// The unit files, as systemd itself reads and judges them. Nothing is started.
#include <unistd.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/common/files.h"
#include "tests/support/process.h"

namespace blindcart::testing {
namespace {

using ::testing::HasSubstr;

constexpr char kAnalyze[] = "/usr/bin/systemd-analyze";
// Of ten; systemd calls a service "OK" below 4.4 and "SAFE" below 2.
constexpr char kWorstExposure[] = "20";  // In tenths.

class UnitFileTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (access(kAnalyze, X_OK) != 0) {
      GTEST_SKIP() << "there is no " << kAnalyze << " (Debian's package systemd): not checked";
    }
    const absl::StatusOr<std::string> text =
        ReadFile(absl::StrCat("deploy/systemd/blindcart-", GetParam(), ".service"));
    ASSERT_TRUE(text.ok()) << text.status();
    unit_ = *text;
  }
  // The unit as it is but for its program, which is not installed here.
  std::string WriteUnit() {
    const std::string path =
        absl::StrCat(::testing::TempDir(), "/blindcart-", GetParam(), ".service");
    const std::string text = absl::StrReplaceAll(
        unit_, {{absl::StrCat("/usr/local/lib/blindcart/", GetParam()), "/bin/true"}});
    EXPECT_NE(text, unit_);
    EXPECT_TRUE(WriteFileAtomically(path, text, 0644, /*replace=*/true).ok());
    return path;
  }
  static Output Analyze(std::vector<std::string> arguments) {
    absl::StatusOr<Output> output =
        RunToEnd({kAnalyze, std::move(arguments), {{"SYSTEMD_LOG_TARGET", "console"}}, ""});
    EXPECT_TRUE(output.ok()) << output.status();
    return output.value_or(Output());
  }

  std::string unit_;
};

TEST_P(UnitFileTest, SystemdUnderstandsAllOfIt) {
  const Output verified = Analyze({"verify", "--man=no", WriteUnit()});
  EXPECT_EQ(verified.exit_code, 0) << verified.out << verified.err;
  // An unknown setting is only warned of.
  EXPECT_EQ(verified.err, "");
}

TEST_P(UnitFileTest, SystemdCallsItSafe) {
  const std::string unit = WriteUnit();
  const Output judged = Analyze({"security", "--no-pager", "--offline=true",
                                 absl::StrCat("--threshold=", kWorstExposure), unit});
  EXPECT_EQ(judged.exit_code, 0) << judged.out << judged.err;
  // The question can be answered with no.
  EXPECT_NE(Analyze({"security", "--no-pager", "--offline=true", "--threshold=1", unit}).exit_code,
            0);
}

TEST_P(UnitFileTest, ThePassPhraseIsACredentialAndTheEndIsWaitedFor) {
  EXPECT_THAT(unit_, HasSubstr("LoadCredential=passphrase:"));
  EXPECT_THAT(unit_, HasSubstr("--passphrase-file ${CREDENTIALS_DIRECTORY}/passphrase"));
  EXPECT_THAT(unit_, HasSubstr("Restart=on-failure"));
  // Beyond the default of drain_timeout_ms.
  const std::string key = "TimeoutStopSec=";
  const size_t at = unit_.find(key);
  ASSERT_NE(at, std::string::npos);
  EXPECT_GE(std::stoi(unit_.substr(at + key.size())), std::string(GetParam()) == "agent" ? 10 : 30);
}

INSTANTIATE_TEST_SUITE_P(All, UnitFileTest, ::testing::Values("broker", "merchant", "agent"),
                         [](const auto& tested) { return std::string(tested.param); });

}  // namespace
}  // namespace blindcart::testing
