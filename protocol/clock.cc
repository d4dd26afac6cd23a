#include "protocol/clock.h"

#include <chrono>

namespace blindcart::protocol {
namespace {

template <typename StdClock>
int64_t NowMs() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(StdClock::now().time_since_epoch())
      .count();
}

class StdClocks : public Clock {
 public:
  int64_t NowUnixMs() const override { return NowMs<std::chrono::system_clock>(); }
  int64_t NowMonotonicMs() const override { return NowMs<std::chrono::steady_clock>(); }
};

}  // namespace

const Clock& SystemClock() {
  static const Clock* const clock = new StdClocks;
  return *clock;
}

}  // namespace blindcart::protocol
