#include "services/broker/attempts.h"

#include "gtest/gtest.h"

namespace blindcart::broker {
namespace {

constexpr int64_t kNow = 1'800'000'000'000;

TEST(AttemptsTest, DelaysBeginAfterTheFreeFailuresAndGrowToTheLongest) {
  EXPECT_EQ(DelayAfterMs(0, 3), 0);
  EXPECT_EQ(DelayAfterMs(2, 3), 0);
  EXPECT_EQ(DelayAfterMs(3, 3), 1'000);
  EXPECT_EQ(DelayAfterMs(4, 3), 2'000);
  EXPECT_EQ(DelayAfterMs(5, 3), 4'000);
  EXPECT_EQ(DelayAfterMs(50, 3), kLongestDelayMs);
  EXPECT_EQ(DelayAfterMs(INT64_MAX, 3), kLongestDelayMs);
}

TEST(AttemptsTest, WrongSecretsAreCountedAndARightOneClearsTheCount) {
  AttemptState state;
  for (int i = 1; i <= 3; ++i) {
    const AttemptVerdict verdict = JudgeAttempt(state, false, 3, kNow);
    EXPECT_EQ(verdict.outcome, AttemptOutcome::kWrong);
    EXPECT_EQ(verdict.state.failures, i);
    EXPECT_EQ(verdict.retry_after_ms, i == 3 ? 1'000 : 0);
    state = verdict.state;
  }
  const AttemptVerdict right = JudgeAttempt(state, true, 3, kNow + 1'000);
  EXPECT_EQ(right.outcome, AttemptOutcome::kAllowed);
  EXPECT_EQ(right.state.failures, 0);
  EXPECT_EQ(right.state.blocked_until_ms, 0);
}

TEST(AttemptsTest, WhileADelayRunsARightSecretIsAnsweredLikeAWrongOne) {
  const AttemptState state = {5, kNow + 4'000};
  for (bool matches : {true, false}) {
    const AttemptVerdict verdict = JudgeAttempt(state, matches, 3, kNow);
    EXPECT_EQ(verdict.outcome, AttemptOutcome::kBlocked);
    EXPECT_EQ(verdict.retry_after_ms, 4'000);
    EXPECT_EQ(verdict.state.failures, 5);
    EXPECT_EQ(verdict.state.blocked_until_ms, kNow + 4'000);
  }
}

TEST(AttemptsTest, TheOwnerGetsInAfterAnyNumberOfFailures) {
  AttemptState state;
  int64_t now = kNow;
  for (int i = 0; i < 1'000; ++i) {
    const AttemptVerdict verdict = JudgeAttempt(state, false, 3, now);
    ASSERT_EQ(verdict.outcome, AttemptOutcome::kWrong);
    state = verdict.state;
    now += verdict.retry_after_ms;
  }
  EXPECT_EQ(JudgeAttempt(state, true, 3, now).outcome, AttemptOutcome::kAllowed);
}

TEST(AttemptsTest, AClockSetBackLocksNobodyOut) {
  const AttemptState state = {9, kNow + 365LL * 24 * 3'600'000};
  EXPECT_EQ(RemainingDelayMs(state, kNow), 0);
  EXPECT_EQ(JudgeAttempt(state, true, 3, kNow).outcome, AttemptOutcome::kAllowed);
}

}  // namespace
}  // namespace blindcart::broker
