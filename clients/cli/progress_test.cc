#include "clients/cli/progress.h"

#include "clients/cli/display_text.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace blindcart::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr uint64_t kMiB = 1024 * 1024;

TEST(ProgressTest, DrawsABarThatStaysOnOneLine) {
  Progress progress(80);
  const std::string first = progress.Update(0, 100 * kMiB, 1'000);
  EXPECT_THAT(first, StartsWith("\r\x1b[K[...."));
  EXPECT_THAT(first, HasSubstr("  0%  0 B of 100.0 MiB"));
  EXPECT_EQ(progress.Update(kMiB, 100 * kMiB, 1'050), "") << "drawn a moment ago";
  const std::string later = progress.Update(50 * kMiB, 100 * kMiB, 6'000);
  EXPECT_THAT(later, HasSubstr(" 50%  50.0 MiB of 100.0 MiB  10.0 MiB/s  5 s left"));
  EXPECT_THAT(later, HasSubstr("#."));
  EXPECT_THAT(later, Not(HasSubstr("\n")));
  const std::string last = progress.Update(100 * kMiB, 100 * kMiB, 6'001);
  EXPECT_THAT(last, HasSubstr("100%")) << "the end is drawn however early";
  EXPECT_THAT(last, Not(HasSubstr("left")));
  EXPECT_EQ(progress.Clear(), "\r\x1b[K");
  EXPECT_EQ(progress.Clear(), "") << "only once";
}

TEST(ProgressTest, FitsANarrowTerminal) {
  for (size_t width : {10u, 30u, 60u, 80u, 300u}) {
    Progress progress(width);
    progress.Update(0, 100 * kMiB, 0);
    const std::string line = progress.Update(33 * kMiB, 100 * kMiB, 60'000);
    ASSERT_THAT(line, StartsWith("\r\x1b[K"));
    EXPECT_LT(DisplayWidth(line.substr(4)), width);
  }
}

TEST(ProgressTest, DoesNotCountAResumedPartForTheRate) {
  Progress progress(0);
  EXPECT_EQ(progress.Update(90 * kMiB, 100 * kMiB, 0), "");
  EXPECT_EQ(progress.Update(95 * kMiB, 100 * kMiB, 5'000),
            " 95%  95.0 MiB of 100.0 MiB  1.0 MiB/s  5 s left\n");
}

TEST(ProgressTest, WritesALineNowAndThenWithoutATerminal) {
  Progress progress(0);
  int lines = 0;
  for (int second = 0; second <= 20; ++second) {
    const std::string text = progress.Update(second * kMiB, 20 * kMiB, second * 1'000);
    EXPECT_THAT(text, Not(HasSubstr("\x1b")));
    if (!text.empty()) ++lines;
  }
  EXPECT_EQ(lines, 4);
  EXPECT_EQ(progress.Clear(), "");
}

TEST(ProgressTest, SaysHundredPercentOnlyAtTheEnd) {
  Progress progress(80);
  EXPECT_THAT(progress.Update(100 * kMiB - 1, 100 * kMiB, 0), HasSubstr(" 99%"));
}

TEST(ProgressTest, StandsNonsense) {
  Progress progress(80);
  EXPECT_THAT(progress.Update(0, 0, 0), HasSubstr("100%"));
  EXPECT_THAT(progress.Update(7, 5, 200), HasSubstr("100%  5 B of 5 B"));
  EXPECT_THAT(progress.Update(3, 5, 400), HasSubstr(" 60%  3 B of 5 B"));
  Progress backwards(80);
  backwards.Update(4, 5, 0);
  EXPECT_THAT(backwards.Update(3, 5, 400), Not(HasSubstr("/s"))) << "less than before: no rate";
}

}  // namespace
}  // namespace blindcart::cli
