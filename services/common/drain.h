// Waiting for what is under way when a service has been told to stop.
#ifndef BLINDCART_SERVICES_COMMON_DRAIN_H_
#define BLINDCART_SERVICES_COMMON_DRAIN_H_

#include <chrono>
#include <functional>

namespace blindcart {

// Asks until `done` says yes, for which it may do a bit of the work itself each time. False when the
// deadline comes first, or another SIGTERM or SIGINT (which BlockTerminationSignals has blocked), which
// asks for haste.
bool WaitUntilDrained(const std::function<bool()>& done,
                      std::chrono::steady_clock::time_point deadline);

}  // namespace blindcart

#endif  // BLINDCART_SERVICES_COMMON_DRAIN_H_
