// `--explain` over the real programs: the steps stand on standard error, in their order, all of them,
// and standard output stays what it is without.
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/end_to_end/shopping.h"

namespace blindcart::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kPassword[] = "violet umbrella 7";

class ExplainTest : public ::testing::Test {
 protected:
  void SetUp() override {
    shopping_ = Shopping::Open({}, {{"alice", kPassword, "1001", "2468", "100.00"}});
    ASSERT_NE(shopping_, nullptr);
  }
  // The steps of one part. The agent tells also what it does by itself meanwhile, such as fetching
  // mail after a login.
  static std::vector<std::string> Steps(const std::string& err, const std::string& part) {
    std::vector<std::string> steps;
    for (const absl::string_view line : absl::StrSplit(err, '\n', absl::SkipEmpty())) {
      EXPECT_TRUE(absl::StartsWith(line, "  \xc2\xb7 ")) << line;
      if (absl::StartsWith(line, absl::StrCat("  \xc2\xb7 ", part, ": "))) {
        steps.emplace_back(line);
      }
    }
    return steps;
  }
  std::unique_ptr<Shopping> shopping_;
};

TEST_F(ExplainTest, ShowsALoginStepByStepAndNoSecret) {
  shopping_->Ask("alice", {"--json", "logout"});
  const Answer answer =
      shopping_->Run("alice", {"--explain", "login", "--username", "alice", "--password-file",
                               shopping_->market().password_file("alice")});
  ASSERT_EQ(answer.exit_code, kOk) << answer.err;
  const std::vector<std::string> steps = Steps(answer.err, "login");
  ASSERT_EQ(steps.size(), 7u) << answer.err;
  EXPECT_THAT(steps[0], HasSubstr("hello sent"));
  EXPECT_THAT(steps[1], HasSubstr("challenge received"));
  EXPECT_THAT(steps[2], HasSubstr("challenge verified"));
  EXPECT_THAT(steps[3], HasSubstr("keys established"));
  EXPECT_THAT(steps[4], HasSubstr("Finished checked"));
  EXPECT_THAT(steps[5], HasSubstr("hash of the password"));
  EXPECT_THAT(steps[6], HasSubstr("logged in"));
  EXPECT_THAT(answer.err, Not(HasSubstr(kPassword)));
  EXPECT_THAT(answer.err, Not(HasSubstr("alice")));
}

TEST_F(ExplainTest, LeavesStandardOutputAsItIs) {
  const Answer plain = shopping_->Run("alice", {"balance"});
  const Answer explained = shopping_->Run("alice", {"balance", "--explain"});
  EXPECT_EQ(explained.exit_code, kOk);
  EXPECT_EQ(explained.out, plain.out);
  EXPECT_THAT(plain.err, Not(HasSubstr("\xc2\xb7")));
  EXPECT_EQ(Steps(explained.err, "bank").size(), 2u) << explained.err;
}

TEST_F(ExplainTest, TellsWhereALoginFailed) {
  const Answer answer =
      shopping_->Run("alice", {"login", "--explain", "--username", "nobody", "--password-file",
                               shopping_->market().password_file("alice")});
  EXPECT_EQ(answer.exit_code, kLogin);
  EXPECT_THAT(answer.err, HasSubstr("challenge failed its check"));
  EXPECT_THAT(answer.err, Not(HasSubstr("keys established")));
}

}  // namespace
}  // namespace blindcart::testing
