// Structured logs: one JSON object a line on standard error, over spdlog. An event has a fixed name
// and integer fields, so that no name, product, key, amount or address can get into a log: there is
// no way to pass a string that was not written in the source.
//
// Example: LogInfo("link.closed", {{"open_links", 3}});
// Thread-safe after InitLog.
#ifndef BLINDCART_SERVICES_COMMON_LOG_H_
#define BLINDCART_SERVICES_COMMON_LOG_H_

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <utility>

#include "absl/status/status.h"

namespace blindcart {

// A string literal, by construction.
class LogName {
 public:
  template <size_t N>
  constexpr LogName(const char (&literal)[N]) : text_(literal) {}  // NOLINT(*-explicit-*)
  constexpr const char* c_str() const { return text_; }

 private:
  const char* text_;
};

using LogFields = std::initializer_list<std::pair<LogName, int64_t>>;

// `service` appears in each line. `level`: debug, info, warning, error; else InvalidArgument.
absl::Status InitLog(LogName service, const std::string& level);

void LogDebug(LogName event, LogFields fields = {});
void LogInfo(LogName event, LogFields fields = {});
void LogWarning(LogName event, LogFields fields = {});
void LogError(LogName event, LogFields fields = {});

}  // namespace blindcart

#endif  // BLINDCART_SERVICES_COMMON_LOG_H_
