#include "services/broker/progress_bar.h"

#include <unistd.h>

#include <iostream>
#include <utility>

#include "absl/strings/ascii.h"

namespace blindcart::broker {
namespace {

constexpr int kCells = 40;

}  // namespace

ProgressBar::ProgressBar(std::string doing)
    : doing_(std::move(doing)), terminal_(isatty(STDERR_FILENO) != 0) {}

void ProgressBar::Show(int64_t done, int64_t total) {
  const int64_t percent = total == 0 ? 100 : done * 100 / total;
  if (percent == shown_percent_) return;
  if (terminal_) {
    const auto filled = static_cast<size_t>(percent * kCells / 100);
    std::cerr << "\r" << doing_ << "  [" << std::string(filled, '#')
              << std::string(kCells - filled, '.') << "] " << percent << " %" << std::flush;
  } else if (percent / 10 != shown_percent_ / 10) {
    std::cerr << absl::AsciiStrToLower(doing_) << ": " << percent << " %\n";
  }
  shown_percent_ = percent;
}

void ProgressBar::End() {
  if (terminal_ && shown_percent_ >= 0) std::cerr << "\n";
  shown_percent_ = -1;
}

}  // namespace blindcart::broker
