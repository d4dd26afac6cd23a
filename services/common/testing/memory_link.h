// Two linked ends within one process, with the real pump between them: what one end writes, the
// other receives, on one thread of the pair's own, in order. For tests of use cases without gRPC.
//
// Thread safety: as link.h. Destroying the pair breaks the link and joins its thread.
#ifndef BLINDCART_SERVICES_COMMON_TESTING_MEMORY_LINK_H_
#define BLINDCART_SERVICES_COMMON_TESTING_MEMORY_LINK_H_

#include <functional>
#include <memory>

#include "protocol/refusal.h"
#include "services/common/link.h"

namespace blindcart::testing {

class MemoryLinkPair {
 public:
  using MakeHandler = std::function<std::unique_ptr<LinkHandler>(std::shared_ptr<Link>)>;

  // Makes the accepting end's handler first, then the dialling end's, which may send at once. Both
  // are destroyed after their OnClosed. `counters` must outlive the pair.
  MemoryLinkPair(const MakeHandler& accept, const MakeHandler& dial,
                 protocol::RefusalCounters& counters);
  ~MemoryLinkPair();
  MemoryLinkPair(const MemoryLinkPair&) = delete;
  MemoryLinkPair& operator=(const MemoryLinkPair&) = delete;

  // Breaks the stream as a lost network would: both ends are closed with Unavailable.
  void Break();

  std::shared_ptr<Link> accepting_end() const;
  std::shared_ptr<Link> dialling_end() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace blindcart::testing

#endif  // BLINDCART_SERVICES_COMMON_TESTING_MEMORY_LINK_H_
