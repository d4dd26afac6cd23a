#include "services/common/metrics.h"

#include <type_traits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace blindcart {
namespace {

using ::testing::HasSubstr;

TEST(MetricPageTest, SamplesOfOneNameFormAFamily) {
  MetricPage page;
  page.AddCounter("apples_total", "Apples.", 3, {{"colour", "red"}});
  page.AddGauge("temperature", "Now.", -1.5);
  page.AddCounter("apples_total", "Apples.", 4, {{"colour", "green"}});
  EXPECT_EQ(page.Text(),
            "# HELP apples_total Apples.\n"
            "# TYPE apples_total counter\n"
            "apples_total{colour=\"red\"} 3\n"
            "apples_total{colour=\"green\"} 4\n"
            "# HELP temperature Now.\n"
            "# TYPE temperature gauge\n"
            "temperature -1.5\n");
}

TEST(MetricPageTest, HistogramsAreCumulative) {
  prometheus::Histogram histogram{{1, 2}};
  for (const double value : {0.5, 1.5, 1.6, 9.0}) histogram.Observe(value);
  MetricPage page;
  page.AddHistogram("wait_seconds", "Waiting.", histogram, {{"who", "all"}});
  const std::string text = page.Text();
  EXPECT_THAT(text, HasSubstr("# TYPE wait_seconds histogram\n"));
  EXPECT_THAT(text, HasSubstr("wait_seconds_count{who=\"all\"} 4\n"));
  EXPECT_THAT(text, HasSubstr("wait_seconds_bucket{who=\"all\",le=\"1\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("wait_seconds_bucket{who=\"all\",le=\"2\"} 3\n"));
  EXPECT_THAT(text, HasSubstr("wait_seconds_bucket{who=\"all\",le=\"+Inf\"} 4\n"));
}

TEST(MetricPageTest, OnlyWhatTheSourceSaysBecomesText) {
  static_assert(std::is_convertible_v<const char(&)[4], MetricText>);
  static_assert(!std::is_convertible_v<std::string, MetricText>);
  static_assert(!std::is_convertible_v<absl::string_view, MetricText>);
  static_assert(!std::is_constructible_v<MetricText, const char*>);
}

}  // namespace
}  // namespace blindcart
