// How wrong passwords and PINs slow further attempts down (docs/protocol.md section 1b): per account
// and durably, with a delay that grows and never becomes a lock.
//
// A secret is compared first and the verdict reached afterwards, in one write transaction that reads
// the account's count: while a delay runs, a right secret is answered like a wrong one, so that many
// guesses sent at once learn no more than as many sent one after the other.
//
// Pure; thread-safe. Times are Unix milliseconds.
#ifndef BLINDCART_SERVICES_BROKER_ATTEMPTS_H_
#define BLINDCART_SERVICES_BROKER_ATTEMPTS_H_

#include <cstdint>

namespace blindcart::broker {

inline constexpr int64_t kFirstDelayMs = 1'000;
inline constexpr int64_t kLongestDelayMs = 15 * 60'000;

struct AttemptState {
  int64_t failures = 0;  // In a row.
  int64_t blocked_until_ms = 0;
};

enum class AttemptOutcome {
  kAllowed,
  kWrong,
  kBlocked,  // Not looked at: the delay still runs. Changes nothing.
};

struct AttemptVerdict {
  AttemptOutcome outcome = AttemptOutcome::kBlocked;
  AttemptState state;          // To be stored when it differs from the one handed in.
  int64_t retry_after_ms = 0;  // 0: at once.
};

// Below `free_failures` wrong attempts in a row no delay; from there 1 s, doubling up to 15 min.
int64_t DelayAfterMs(int64_t failures, int64_t free_failures);

// 0 when an attempt is allowed now. A delay that lies further ahead than any this code sets means
// that the clock was set back, and does not count: nobody is locked out by that.
int64_t RemainingDelayMs(const AttemptState& state, int64_t now_ms);

AttemptVerdict JudgeAttempt(const AttemptState& state, bool secret_matches, int64_t free_failures,
                            int64_t now_ms);

}  // namespace blindcart::broker

#endif  // BLINDCART_SERVICES_BROKER_ATTEMPTS_H_
