#include "services/common/log.h"

#include <memory>

#include "absl/strings/str_cat.h"
#include "spdlog/sinks/stdout_sinks.h"
#include "spdlog/spdlog.h"

namespace blindcart {
namespace {

std::shared_ptr<spdlog::logger>& Logger() {
  static auto* logger = new std::shared_ptr<spdlog::logger>();
  return *logger;
}

void Write(spdlog::level::level_enum level, LogName event, LogFields fields) {
  const std::shared_ptr<spdlog::logger>& logger = Logger();
  if (logger == nullptr || !logger->should_log(level)) return;
  std::string line = absl::StrCat("\"event\":\"", event.c_str(), "\"");
  for (const auto& [name, value] : fields) {
    absl::StrAppend(&line, ",\"", name.c_str(), "\":", value);
  }
  logger->log(level, "{}", line);
}

}  // namespace

absl::Status InitLog(LogName service, const std::string& level) {
  spdlog::level::level_enum spdlog_level;
  if (level.empty() || level == "info") {
    spdlog_level = spdlog::level::info;
  } else if (level == "debug") {
    spdlog_level = spdlog::level::debug;
  } else if (level == "warning") {
    spdlog_level = spdlog::level::warn;
  } else if (level == "error") {
    spdlog_level = spdlog::level::err;
  } else {
    return absl::InvalidArgumentError(
        "log_level has to be debug, info, warning or error (or be left out for info)");
  }
  auto logger = std::make_shared<spdlog::logger>(service.c_str(),
                                                 std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_pattern(R"({"time":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l","service":"%n",%v})",
                      spdlog::pattern_time_type::utc);
  logger->set_level(spdlog_level);
  logger->flush_on(spdlog::level::debug);
  Logger() = std::move(logger);
  return absl::OkStatus();
}

void LogDebug(LogName event, LogFields fields) { Write(spdlog::level::debug, event, fields); }
void LogInfo(LogName event, LogFields fields) { Write(spdlog::level::info, event, fields); }
void LogWarning(LogName event, LogFields fields) { Write(spdlog::level::warn, event, fields); }
void LogError(LogName event, LogFields fields) { Write(spdlog::level::err, event, fields); }

}  // namespace blindcart
