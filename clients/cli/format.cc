#include "clients/cli/format.h"

#include <time.h>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "services/ledger/money.h"

namespace blindcart::cli {
namespace {

constexpr size_t kShortIdDigits = 8;

}  // namespace

std::string FormatMoney(int64_t amount_minor, absl::string_view currency) {
  const absl::StatusOr<std::string> amount = ledger::FormatAmount(amount_minor, currency);
  if (!amount.ok()) {
    return absl::StrCat(amount_minor, " minor units of ", currency.empty() ? "?" : currency);
  }
  return absl::StrCat(*amount, " ", currency);
}

std::string FormatSize(uint64_t size_bytes) {
  static constexpr const char* kUnits[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (size_bytes < 1024) return absl::StrCat(size_bytes, " B");
  double size = static_cast<double>(size_bytes) / 1024;
  size_t unit = 0;
  // Beyond this it would be rounded to "1024.0".
  while (size >= 1023.95 && unit + 1 < sizeof(kUnits) / sizeof(kUnits[0])) {
    size /= 1024;
    ++unit;
  }
  return absl::StrFormat("%.1f %s", size, kUnits[unit]);
}

std::string FormatDuration(int64_t duration_ms) {
  if (duration_ms <= 0) return "0 s";
  const int64_t seconds = (duration_ms - 1) / 1000 + 1;
  if (seconds < 60) return absl::StrCat(seconds, " s");
  if (seconds < 3600) return absl::StrFormat("%d min %02d s", seconds / 60, seconds % 60);
  const int64_t minutes = (seconds - 1) / 60 + 1;
  return absl::StrFormat("%d h %02d min", minutes / 60, minutes % 60);
}

std::string FormatTime(int64_t unix_ms) {
  if (unix_ms == 0) return "-";
  const time_t seconds = static_cast<time_t>(unix_ms / 1000);
  struct tm local;
  if (localtime_r(&seconds, &local) == nullptr) return absl::StrCat(unix_ms, " ms");
  char text[48];
  if (strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S%z", &local) == 0) {
    return absl::StrCat(unix_ms, " ms");
  }
  std::string formatted = text;
  formatted.insert(formatted.size() - 2, ":");  // strftime writes the offset without its colon.
  return formatted;
}

absl::StatusOr<int64_t> ParseLocalTime(absl::string_view text) {
  const std::string given(absl::StripAsciiWhitespace(text));
  for (const char* layout : {"%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M"}) {
    struct tm local {};
    const char* end = strptime(given.c_str(), layout, &local);
    if (end == nullptr || *end != '\0') continue;
    const struct tm asked = local;
    local.tm_isdst = -1;
    const time_t seconds = mktime(&local);
    // mktime makes 2 March of 30 February.
    if (seconds < 0 || local.tm_mday != asked.tm_mday || local.tm_mon != asked.tm_mon) break;
    return int64_t{seconds} * 1000;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("'", given,
                   "' is no date from 1970 on. Write it like 2026-05-01, or with a time "
                   "of day like '2026-05-01 18:30'"));
}

std::string ShortId(absl::string_view id_hex) {
  return std::string(id_hex.substr(0, kShortIdDigits));
}

}  // namespace blindcart::cli
