#include "services/broker/attempts.h"

#include <algorithm>
#include <limits>

namespace blindcart::broker {

int64_t DelayAfterMs(int64_t failures, int64_t free_failures) {
  if (failures < free_failures) return 0;
  const int64_t doublings = std::min<int64_t>(failures - free_failures, 20);
  return std::min(kFirstDelayMs << doublings, kLongestDelayMs);
}

int64_t RemainingDelayMs(const AttemptState& state, int64_t now_ms) {
  if (state.blocked_until_ms <= now_ms) return 0;
  const int64_t remaining_ms = state.blocked_until_ms - now_ms;
  return remaining_ms > kLongestDelayMs ? 0 : remaining_ms;
}

AttemptVerdict JudgeAttempt(const AttemptState& state, bool secret_matches, int64_t free_failures,
                            int64_t now_ms) {
  AttemptVerdict verdict;
  verdict.state = state;
  verdict.retry_after_ms = RemainingDelayMs(state, now_ms);
  if (verdict.retry_after_ms > 0) return verdict;
  if (secret_matches) {
    verdict.outcome = AttemptOutcome::kAllowed;
    verdict.state = AttemptState();
    return verdict;
  }
  verdict.outcome = AttemptOutcome::kWrong;
  if (state.failures < std::numeric_limits<int64_t>::max()) ++verdict.state.failures;
  verdict.retry_after_ms = DelayAfterMs(verdict.state.failures, free_failures);
  verdict.state.blocked_until_ms =
      verdict.retry_after_ms == 0 ? 0 : now_ms + verdict.retry_after_ms;
  return verdict;
}

}  // namespace blindcart::broker
