// Values as people read them. Pure functions except for the time zone; thread-safe.
#ifndef BLINDCART_CLIENTS_CLI_FORMAT_H_
#define BLINDCART_CLIENTS_CLI_FORMAT_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace blindcart::cli {

// "12.50 EUR". An amount in a currency without a known number of decimals is shown in minor units,
// and says so.
std::string FormatMoney(int64_t amount_minor, absl::string_view currency);

// "317 B", "1.5 KiB", "20.0 MiB".
std::string FormatSize(uint64_t size_bytes);

// "45 s", "2 min 05 s", "3 h 20 min". Rounded up: a wait that is shown is long enough.
std::string FormatDuration(int64_t duration_ms);

// ISO 8601 in the local time zone, "2026-05-01 18:30:00+02:00"; "-" for 0.
std::string FormatTime(int64_t unix_ms);

// A day or minute of the local time zone, "2026-05-01" or "2026-05-01 18:30". InvalidArgument for
// anything else, with how to write it.
absl::StatusOr<int64_t> ParseLocalTime(absl::string_view text);

// The first 8 digits of an id in hex: enough to name it to another command.
std::string ShortId(absl::string_view id_hex);

}  // namespace blindcart::cli

#endif  // BLINDCART_CLIENTS_CLI_FORMAT_H_
