#include "services/common/service_metrics.h"

#include <string>

#include "gtest/gtest.h"
#include "protocol/refusal.h"

namespace blindcart {
namespace {

std::string RefusalsAfter(protocol::RefusalReason reason) {
  protocol::RefusalCounters counters;
  counters.Add(reason);
  MetricPage page;
  AddRefusalMetrics(page, counters);
  return page.Text();
}

TEST(ServiceMetricsTest, RefusalsDoNotTellWhichUsernamesThereAre) {
  const std::string known = RefusalsAfter(protocol::RefusalReason::kFinished);
  EXPECT_EQ(RefusalsAfter(protocol::RefusalReason::kUnknownPeer), known);
  EXPECT_NE(RefusalsAfter(protocol::RefusalReason::kPassword), known);
}

}  // namespace
}  // namespace blindcart
