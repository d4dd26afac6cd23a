// Tells whoever listens, step by step, what a protocol does as it happens ("challenge sent", "keys
// established"): what `blindcart --explain` shows. A step says what was done and checked, never a
// secret, and is written here as a whole sentence's worth of plain words without a full stop.
//
// Thread-safe. Costs next to nothing while nobody listens.
#ifndef BLINDCART_SERVICES_AGENT_NARRATOR_H_
#define BLINDCART_SERVICES_AGENT_NARRATOR_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "absl/strings/string_view.h"

namespace blindcart::agent {

class Narrator {
 public:
  // Called with a step on whatever thread took it; must not block.
  using Listener = std::function<void(const std::string& step)>;

  // Steps that are said from now on reach `listener`, until Remove has returned.
  uint64_t Add(Listener listener);
  void Remove(uint64_t id);

  // `part` is what the step belongs to: "login", "shop", "checkout", "payment", "delivery", "bank",
  // "messages", "notary", "certificates", "peer".
  void Say(absl::string_view part, absl::string_view step);

 private:
  std::mutex mutex_;
  uint64_t next_id_ = 1;                    // Under mutex_.
  std::map<uint64_t, Listener> listeners_;  // Under mutex_.
};

// The one of this process.
Narrator& Narration();

}  // namespace blindcart::agent

#endif  // BLINDCART_SERVICES_AGENT_NARRATOR_H_
