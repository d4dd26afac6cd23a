#include "services/agent/narrator.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace blindcart::agent {

uint64_t Narrator::Add(Listener listener) {
  std::lock_guard<std::mutex> lock(mutex_);
  listeners_.emplace(next_id_, std::move(listener));
  return next_id_++;
}

void Narrator::Remove(uint64_t id) {
  std::lock_guard<std::mutex> lock(mutex_);
  listeners_.erase(id);
}

void Narrator::Say(absl::string_view part, absl::string_view step) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (listeners_.empty()) return;
  const std::string line = absl::StrCat(part, ": ", step);
  for (const auto& [id, listener] : listeners_) listener(line);
}

Narrator& Narration() {
  static auto* const narrator = new Narrator();
  return *narrator;
}

}  // namespace blindcart::agent
