#include "services/common/log.h"

#include <limits>
#include <string>

#include <nlohmann/json.hpp>
#include "gtest/gtest.h"

namespace blindcart {
namespace {

TEST(LogTest, EachLineIsOneJsonObject) {
  ASSERT_TRUE(InitLog("broker", "info").ok());
  ::testing::internal::CaptureStderr();
  LogInfo("link.closed", {{"open_links", 3}, {"lowest", std::numeric_limits<int64_t>::min()}});
  LogDebug("not.shown");
  LogError("store.failed");
  const std::string output = ::testing::internal::GetCapturedStderr();
  const size_t line_end = output.find('\n');
  const nlohmann::json first = nlohmann::json::parse(output.substr(0, line_end));
  EXPECT_EQ(first["event"], "link.closed");
  EXPECT_EQ(first["service"], "broker");
  EXPECT_EQ(first["level"], "info");
  EXPECT_EQ(first["open_links"], 3);
  EXPECT_EQ(first["lowest"], std::numeric_limits<int64_t>::min());
  const nlohmann::json second = nlohmann::json::parse(output.substr(line_end + 1));
  EXPECT_EQ(second["event"], "store.failed");
  EXPECT_EQ(output.find("not.shown"), std::string::npos);
}

TEST(LogTest, UnknownLevelIsRefused) {
  EXPECT_EQ(InitLog("broker", "loud").code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace blindcart
