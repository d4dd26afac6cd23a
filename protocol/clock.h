// Time as the protocol machines see it: handed in, so that tests decide what time it is.
//
// Units: Unix milliseconds for what two machines compare, monotonic milliseconds for durations.
// Thread safety: implementations must be safe to call from any thread.
#ifndef BLINDCART_PROTOCOL_CLOCK_H_
#define BLINDCART_PROTOCOL_CLOCK_H_

#include <cstdint>

namespace blindcart::protocol {

class Clock {
 public:
  virtual ~Clock() = default;
  virtual int64_t NowUnixMs() const = 0;
  virtual int64_t NowMonotonicMs() const = 0;
};

// The machine's own clocks. Never destroyed.
const Clock& SystemClock();

}  // namespace blindcart::protocol

#endif  // BLINDCART_PROTOCOL_CLOCK_H_
