// How far a download is: a bar that redraws itself on a terminal, a line now and then elsewhere.
// Returns what is to be written and writes nothing; time is handed in. Not thread-safe.
#ifndef BLINDCART_CLIENTS_CLI_PROGRESS_H_
#define BLINDCART_CLIENTS_CLI_PROGRESS_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/types/optional.h"

namespace blindcart::cli {

class Progress {
 public:
  static constexpr int64_t kRedrawMs = 100;
  static constexpr int64_t kLineMs = 5'000;

  // `terminal_width` 0: no terminal.
  explicit Progress(size_t terminal_width) : width_(terminal_width) {}

  // Text to write, empty when it is too early for more. The first call starts the clock, and what
  // was there by then does not count for the rate.
  std::string Update(uint64_t received_bytes, uint64_t total_bytes, int64_t now_ms);
  // Takes the bar away, so that a message can follow on a clean line.
  std::string Clear();

 private:
  struct Start {
    uint64_t bytes = 0;
    int64_t at_ms = 0;
  };
  std::string Numbers(uint64_t received_bytes, uint64_t total_bytes, int64_t now_ms) const;

  const size_t width_;
  absl::optional<Start> start_;
  int64_t written_at_ms_ = 0;
  bool bar_shown_ = false;
};

}  // namespace blindcart::cli

#endif  // BLINDCART_CLIENTS_CLI_PROGRESS_H_
