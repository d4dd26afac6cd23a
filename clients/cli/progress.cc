#include "clients/cli/progress.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "clients/cli/display_text.h"
#include "clients/cli/format.h"

namespace blindcart::cli {
namespace {

constexpr size_t kMinBarWidth = 8;
constexpr size_t kMaxBarWidth = 40;
constexpr char kEraseLine[] = "\r\x1b[K";

}  // namespace

std::string Progress::Numbers(uint64_t received_bytes, uint64_t total_bytes, int64_t now_ms) const {
  // Rounded down: 100% means that all of it is here.
  const double part = total_bytes == 0
                          ? 1.0
                          : static_cast<double>(received_bytes) / static_cast<double>(total_bytes);
  std::string text = absl::StrFormat("%3d%%  %s of %s", static_cast<int>(part * 100),
                                     FormatSize(received_bytes), FormatSize(total_bytes));
  const int64_t elapsed_ms = now_ms - start_->at_ms;
  const uint64_t fetched = received_bytes - std::min(received_bytes, start_->bytes);
  if (elapsed_ms <= 0 || fetched == 0) return text;
  const double bytes_per_ms = static_cast<double>(fetched) / static_cast<double>(elapsed_ms);
  absl::StrAppend(&text, "  ", FormatSize(static_cast<uint64_t>(bytes_per_ms * 1000)), "/s");
  if (received_bytes < total_bytes) {
    const double left_ms = static_cast<double>(total_bytes - received_bytes) / bytes_per_ms;
    absl::StrAppend(&text, "  ", FormatDuration(static_cast<int64_t>(left_ms)), " left");
  }
  return text;
}

std::string Progress::Update(uint64_t received_bytes, uint64_t total_bytes, int64_t now_ms) {
  received_bytes = std::min(received_bytes, total_bytes);
  const bool first = !start_.has_value();
  if (first) {
    start_ = Start{received_bytes, now_ms};
    written_at_ms_ = now_ms;
  }
  const bool terminal = width_ > 0;
  const bool due = now_ms - written_at_ms_ >= (terminal ? kRedrawMs : kLineMs);
  // Without a terminal a quick download writes no line at all: its result says enough.
  if (!due && !(terminal && (first || received_bytes == total_bytes))) return "";
  written_at_ms_ = now_ms;
  const std::string numbers = Numbers(received_bytes, total_bytes, now_ms);
  if (!terminal) return absl::StrCat(numbers, "\n");

  bar_shown_ = true;
  const size_t beside = DisplayWidth(numbers) + 5;  // Brackets, two spaces, and the last column.
  if (width_ < beside + kMinBarWidth) {
    return absl::StrCat(kEraseLine, Shorten(numbers, width_ - 1));
  }
  const size_t bar = std::min(width_ - beside, kMaxBarWidth);
  const size_t filled = total_bytes == 0 ? bar
                                         : static_cast<size_t>(static_cast<double>(bar) *
                                                               static_cast<double>(received_bytes) /
                                                               static_cast<double>(total_bytes));
  return absl::StrCat(kEraseLine, "[", std::string(filled, '#'), std::string(bar - filled, '.'),
                      "]  ", numbers);
}

std::string Progress::Clear() {
  if (!bar_shown_) return "";
  bar_shown_ = false;
  return kEraseLine;
}

}  // namespace blindcart::cli
