// A clock that stands still until a test moves it. Thread-safe.
#ifndef BLINDCART_PROTOCOL_TESTING_FAKE_CLOCK_H_
#define BLINDCART_PROTOCOL_TESTING_FAKE_CLOCK_H_

#include <atomic>
#include <cstdint>

#include "protocol/clock.h"

namespace blindcart::protocol {

class FakeClock : public Clock {
 public:
  int64_t NowUnixMs() const override { return unix_ms_; }
  int64_t NowMonotonicMs() const override { return monotonic_ms_; }

  // Time passes: both clocks go on.
  void Advance(int64_t ms) {
    unix_ms_ += ms;
    monotonic_ms_ += ms;
  }
  // Somebody sets the wall clock; durations do not notice.
  void ShiftUnix(int64_t ms) { unix_ms_ += ms; }

 private:
  std::atomic<int64_t> unix_ms_{1'800'000'000'000};
  std::atomic<int64_t> monotonic_ms_{5'000'000};
};

}  // namespace blindcart::protocol

#endif  // BLINDCART_PROTOCOL_TESTING_FAKE_CLOCK_H_
