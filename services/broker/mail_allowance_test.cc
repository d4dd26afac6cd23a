#include "services/broker/mail_allowance.h"

#include "gtest/gtest.h"
#include "protocol/testing/fake_clock.h"

namespace blindcart::broker {
namespace {

constexpr int64_t kDayMs = 24 * 3'600'000LL;

TEST(MailAllowanceTest, HoldsADaysWorthAndFillsEvenly) {
  protocol::FakeClock clock;
  MailAllowance allowance({24, 1'000'000}, clock);
  for (int i = 0; i < 24; ++i) EXPECT_TRUE(allowance.Take(1, 10)) << i;
  EXPECT_FALSE(allowance.Take(1, 10));
  EXPECT_TRUE(allowance.Take(2, 10)) << "another customer's";
  clock.Advance(kDayMs / 24 - 1);
  EXPECT_FALSE(allowance.Take(1, 10)) << "what is refused costs nothing, and not yet";
  clock.Advance(1'000);
  EXPECT_TRUE(allowance.Take(1, 10));
  EXPECT_FALSE(allowance.Take(1, 10));
  clock.Advance(10 * kDayMs);
  for (int i = 0; i < 24; ++i) EXPECT_TRUE(allowance.Take(1, 10)) << i;
  EXPECT_FALSE(allowance.Take(1, 10)) << "more than a day's worth does not gather";
}

TEST(MailAllowanceTest, BytesCountToo) {
  protocol::FakeClock clock;
  MailAllowance allowance({1'000, 1'000}, clock);
  EXPECT_TRUE(allowance.Take(1, 900));
  EXPECT_FALSE(allowance.Take(1, 101));
  EXPECT_TRUE(allowance.Take(1, 100));
  EXPECT_FALSE(allowance.Take(1, 1));
  clock.Advance(kDayMs / 2);
  EXPECT_FALSE(allowance.Take(1, 501));
  EXPECT_TRUE(allowance.Take(1, 499));
}

TEST(MailAllowanceTest, SweepingGivesNobodyAnything) {
  protocol::FakeClock clock;
  MailAllowance allowance({2, 1'000}, clock);
  EXPECT_TRUE(allowance.Take(1, 1));
  EXPECT_TRUE(allowance.Take(1, 1));
  allowance.Sweep();
  EXPECT_FALSE(allowance.Take(1, 1));
  clock.Advance(kDayMs / 2 + 1'000);
  allowance.Sweep();
  EXPECT_TRUE(allowance.Take(1, 1));
  EXPECT_FALSE(allowance.Take(1, 1));
  clock.Advance(2 * kDayMs);
  allowance.Sweep();
  EXPECT_TRUE(allowance.Take(1, 1));
}

}  // namespace
}  // namespace blindcart::broker
