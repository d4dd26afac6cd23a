// How far a long command is, on standard error: a bar that redraws itself on a terminal, a line at
// every tenth elsewhere. Not thread-safe.
#ifndef BLINDCART_SERVICES_BROKER_PROGRESS_BAR_H_
#define BLINDCART_SERVICES_BROKER_PROGRESS_BAR_H_

#include <cstdint>
#include <string>

namespace blindcart::broker {

class ProgressBar {
 public:
  // What is being done, in one word: "Moving".
  explicit ProgressBar(std::string doing);

  void Show(int64_t done, int64_t total);
  // Leaves the line, so that a message can follow.
  void End();

 private:
  const std::string doing_;
  const bool terminal_;
  int64_t shown_percent_ = -1;
};

}  // namespace blindcart::broker

#endif  // BLINDCART_SERVICES_BROKER_PROGRESS_BAR_H_
