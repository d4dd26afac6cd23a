#include "clients/cli/format.h"

#include <stdlib.h>
#include <time.h>

#include <cstdint>
#include <limits>

#include "gtest/gtest.h"

namespace blindcart::cli {
namespace {

TEST(FormatMoneyTest, ShowsAllDecimalsOfTheCurrency) {
  EXPECT_EQ(FormatMoney(1250, "EUR"), "12.50 EUR");
  EXPECT_EQ(FormatMoney(5, "EUR"), "0.05 EUR");
  EXPECT_EQ(FormatMoney(-5, "EUR"), "-0.05 EUR");
  EXPECT_EQ(FormatMoney(1250, "JPY"), "1250 JPY");
}

TEST(FormatMoneyTest, NeverGuessesDecimals) {
  EXPECT_EQ(FormatMoney(1250, "QQQ"), "1250 minor units of QQQ");
  EXPECT_EQ(FormatMoney(1250, ""), "1250 minor units of ?");
}

TEST(FormatSizeTest, ChoosesTheUnit) {
  EXPECT_EQ(FormatSize(0), "0 B");
  EXPECT_EQ(FormatSize(1023), "1023 B");
  EXPECT_EQ(FormatSize(1024), "1.0 KiB");
  EXPECT_EQ(FormatSize(1536), "1.5 KiB");
  EXPECT_EQ(FormatSize(1024 * 1024 - 1), "1.0 MiB") << "not 1024.0 KiB";
  EXPECT_EQ(FormatSize(20 * 1024 * 1024), "20.0 MiB");
  EXPECT_EQ(FormatSize(std::numeric_limits<uint64_t>::max()), "16.0 EiB");
}

TEST(FormatDurationTest, RoundsUp) {
  EXPECT_EQ(FormatDuration(0), "0 s");
  EXPECT_EQ(FormatDuration(-1), "0 s");
  EXPECT_EQ(FormatDuration(1), "1 s");
  EXPECT_EQ(FormatDuration(59'000), "59 s");
  EXPECT_EQ(FormatDuration(59'001), "1 min 00 s");
  EXPECT_EQ(FormatDuration(125'000), "2 min 05 s");
  EXPECT_EQ(FormatDuration(3'600'000), "1 h 00 min");
  EXPECT_EQ(FormatDuration(3'600'001), "1 h 01 min");
  EXPECT_FALSE(FormatDuration(std::numeric_limits<int64_t>::max()).empty());
}

TEST(FormatTimeTest, IsIsoWithTheLocalOffset) {
  setenv("TZ", "UTC", 1);
  tzset();
  EXPECT_EQ(FormatTime(1'700'000'000'999), "2023-11-14 22:13:20+00:00");
  setenv("TZ", "XXX-05:30", 1);  // POSIX: east of Greenwich has a minus.
  tzset();
  EXPECT_EQ(FormatTime(1'700'000'000'000), "2023-11-15 03:43:20+05:30");
  EXPECT_EQ(FormatTime(0), "-");
}

TEST(ShortIdTest, CutsOnlyWhatIsLonger) {
  EXPECT_EQ(ShortId("0123456789abcdef"), "01234567");
  EXPECT_EQ(ShortId("0123"), "0123");
}

TEST(FormatTest, ReadsDatesOfTheLocalTimeZone) {
  setenv("TZ", "UTC", 1);
  tzset();
  EXPECT_EQ(*ParseLocalTime("1970-01-02"), 86'400'000);
  EXPECT_EQ(*ParseLocalTime(" 1970-01-01 01:30 "), 5'400'000);
  EXPECT_EQ(*ParseLocalTime("1970-01-01T01:30"), 5'400'000);
  for (const char* bad : {"", "yesterday", "2026-02-30", "2026-13-01", "01.05.2026", "2026-05-01x",
                          "2026-05-01 25:00", "1969-12-31"}) {
    EXPECT_FALSE(ParseLocalTime(bad).ok()) << bad;
  }
}

}  // namespace
}  // namespace blindcart::cli
