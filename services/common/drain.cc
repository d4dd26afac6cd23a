#include "services/common/drain.h"

#include "services/common/transport.h"

namespace blindcart {
namespace {

constexpr int kPauseMs = 20;

}  // namespace

bool WaitUntilDrained(const std::function<bool()>& done,
                      std::chrono::steady_clock::time_point deadline) {
  while (!done()) {
    if (std::chrono::steady_clock::now() >= deadline) return false;
    if (WaitForTerminationSignal(kPauseMs)) return false;
  }
  return true;
}

}  // namespace blindcart
