// A man in the middle between two agents: it ends TLS on both sides, as anybody on the way can (the
// agents do not look at each other's TLS certificates), sees every message of a direct session as it
// is on the wire, and may alter, drop, repeat, reorder and insert. It holds nobody's keys.
//
// Thread safety: every method may be called from any thread; the hook runs on the threads of the
// calls, one at a time for each direction of a session.
#ifndef BLINDCART_TESTS_SUPPORT_PEER_INTERPOSER_H_
#define BLINDCART_TESTS_SUPPORT_PEER_INTERPOSER_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "proto/frame.pb.h"

namespace blindcart::testing {

class PeerInterposer {
 public:
  enum class Towards { kListener, kCaller };
  struct Seen {
    int session = 0;  // From 0, in the order in which they came.
    Towards towards = Towards::kListener;
    v1::LinkMessage message;
  };
  // What to pass on instead.
  struct Onward {
    std::vector<v1::LinkMessage> onward;
    std::vector<v1::LinkMessage> back;  // To where it came from.
  };
  using Hook = std::function<Onward(const Seen& seen)>;

  static absl::StatusOr<std::unique_ptr<PeerInterposer>> Start();
  ~PeerInterposer();

  const std::string& address() const;
  // Where the listening agent really is; before anybody calls.
  void SetUpstream(const std::string& address);
  // Null: as it is.
  void SetHook(Hook hook);
  // Everything that came in so far.
  std::vector<Seen> All() const;

 private:
  struct State;
  explicit PeerInterposer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace blindcart::testing

#endif  // BLINDCART_TESTS_SUPPORT_PEER_INTERPOSER_H_
