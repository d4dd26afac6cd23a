#include "clients/cli/format.h"

#include <time.h>

#include "absl/status/statusor.h"
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

std::string ShortId(absl::string_view id_hex) {
  return std::string(id_hex.substr(0, kShortIdDigits));
}

}  // namespace blindcart::cli
