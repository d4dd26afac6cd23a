#include "services/broker/source_throttle.h"

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "protocol/testing/fake_clock.h"

namespace blindcart::broker {
namespace {

class SourceThrottleTest : public ::testing::Test {
 protected:
  void Fail(const std::string& source, int times) {
    for (int i = 0; i < times; ++i) throttle_.AddFailure(source);
  }

  protocol::FakeClock clock_;
  SourceThrottle throttle_{clock_};
};

TEST_F(SourceThrottleTest, BlocksASourceAfterTheFreeFailuresAndLetsItBackLater) {
  Fail("ipv4:192.0.2.1", SourceThrottle::kFreeFailures - 1);
  EXPECT_FALSE(throttle_.IsBlocked("ipv4:192.0.2.1"));
  Fail("ipv4:192.0.2.1", 1);
  EXPECT_TRUE(throttle_.IsBlocked("ipv4:192.0.2.1"));
  EXPECT_FALSE(throttle_.IsBlocked("ipv4:192.0.2.2"));
  clock_.Advance(1'000);
  EXPECT_FALSE(throttle_.IsBlocked("ipv4:192.0.2.1"));
}

TEST_F(SourceThrottleTest, NeverDelaysLongerThanTheLongest) {
  Fail("ipv4:192.0.2.1", 10'000);
  clock_.Advance(SourceThrottle::kLongestSourceDelayMs);
  EXPECT_FALSE(throttle_.IsBlocked("ipv4:192.0.2.1"));
}

TEST_F(SourceThrottleTest, ForgetsASourceThatWasSilent) {
  Fail("ipv4:192.0.2.1", SourceThrottle::kFreeFailures - 1);
  clock_.Advance(SourceThrottle::kForgetAfterMs);
  Fail("ipv4:192.0.2.1", 1);
  EXPECT_FALSE(throttle_.IsBlocked("ipv4:192.0.2.1"));
}

TEST_F(SourceThrottleTest, NeverBlocksTheEmptySource) {
  Fail("", 1'000);
  EXPECT_FALSE(throttle_.IsBlocked(""));
}

TEST_F(SourceThrottleTest, ForgetsTheLongestSilentWhenThereAreTooMany) {
  Fail("first", SourceThrottle::kFreeFailures);
  for (size_t i = 0; i < SourceThrottle::kMaxSources - 1; ++i) Fail(absl::StrCat("s", i), 1);
  EXPECT_TRUE(throttle_.IsBlocked("first"));
  Fail("one more", 1);
  EXPECT_FALSE(throttle_.IsBlocked("first"));
}

}  // namespace
}  // namespace blindcart::broker
