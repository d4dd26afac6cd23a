#include "services/broker/pre_key_throttle.h"

#include "gtest/gtest.h"
#include "protocol/testing/fake_clock.h"

namespace blindcart::broker {
namespace {

TEST(PreKeyThrottleTest, OneOfEachOwnersADay) {
  protocol::FakeClock clock;
  PreKeyThrottle throttle(clock);
  EXPECT_TRUE(throttle.MayTake(1, 2));
  EXPECT_FALSE(throttle.MayTake(1, 2));
  EXPECT_TRUE(throttle.MayTake(1, 3)) << "another owner";
  EXPECT_TRUE(throttle.MayTake(2, 1)) << "the other way round";
  EXPECT_FALSE(throttle.MayTake(4, 4)) << "one's own";
  clock.Advance(PreKeyThrottle::kIntervalMs - 1);
  throttle.Sweep();
  EXPECT_FALSE(throttle.MayTake(1, 2)) << "asking again does not begin the day anew";
  clock.Advance(1);
  EXPECT_TRUE(throttle.MayTake(1, 2));
  EXPECT_FALSE(throttle.MayTake(1, 2));
}

TEST(PreKeyThrottleTest, ForgetsTheLongestAgoWhenThereAreTooMany) {
  protocol::FakeClock clock;
  PreKeyThrottle throttle(clock, 3);
  for (int64_t owner = 10; owner < 14; ++owner) EXPECT_TRUE(throttle.MayTake(1, owner));
  // Of four the first is forgotten: askers in great number cannot lock others out.
  for (int64_t owner = 11; owner < 14; ++owner) EXPECT_FALSE(throttle.MayTake(1, owner));
  EXPECT_TRUE(throttle.MayTake(1, 10));
}

}  // namespace
}  // namespace blindcart::broker
