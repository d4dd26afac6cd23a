// How a broker changes its identity, and how those who pinned an earlier one follow (docs/protocol.md,
// "Key rotation").
//
// A link is the statement "my next identity is this one":
//   Ed25519_old("blindcart/v1 next-identity" ‖
//               (counter ‖ announced_at_ms ‖ fingerprint(old) ‖ next identity, serialised))
// with counter and time as 8 bytes, most significant first. Nobody without the old private key can make
// one. Whoever follows pins the next identity and asks its signature of everything after: the old key
// moves nobody twice.
//
// Errors: InvalidArgument out of bounds; Unauthenticated for a link that does not follow from the one
// before: another signer, an altered byte, a counter that is not one more, an identity that was there
// before. IdentityLineage is immutable and therefore thread-safe.
#ifndef BLINDCART_PROTOCOL_IDENTITY_CHAIN_H_
#define BLINDCART_PROTOCOL_IDENTITY_CHAIN_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "crypto/identity.h"
#include "proto/identity.pb.h"
#include "proto/order.pb.h"

namespace blindcart::protocol {

// Of one history, and so of one answer.
inline constexpr int kMaxIdentityLinks = 64;

v1::IdentityLink MakeIdentityLink(const crypto::Identity& old_identity,
                                  const crypto::PublicIdentity& next, int64_t counter,
                                  int64_t announced_at_ms);

// The identities of one broker as somebody came to believe in them, the present one last.
class IdentityLineage {
 public:
  // A card without a history, or with one that leads to its identity. `followed_at_ms` are the times
  // at which the holder of this lineage followed each link.
  explicit IdentityLineage(crypto::PublicIdentity first);
  static absl::StatusOr<IdentityLineage> FromHistory(const v1::IdentityHistory& history,
                                                     const std::vector<int64_t>& followed_at_ms);

  // With `links` appended, which lead on from the present identity; at least one.
  absl::StatusOr<IdentityLineage> Follow(const std::vector<v1::IdentityLink>& links,
                                         int64_t now_ms) const;

  const crypto::PublicIdentity& current() const { return identities_.back(); }
  // How often the identity has changed.
  int64_t counter() const { return static_cast<int64_t>(links_.size()); }
  // When the present one was followed; 0 when it is the first.
  int64_t followed_at_ms() const { return links_.empty() ? 0 : followed_at_ms_.back(); }
  const std::vector<int64_t>& all_followed_at_ms() const { return followed_at_ms_; }
  // Whether this is or was the broker's.
  bool Knows(absl::string_view fingerprint) const;
  // Fingerprints of the identities before the present one.
  std::vector<std::string> Former() const;
  // Empty without links.
  v1::IdentityHistory ToHistory() const;
  // What leads on from an identity of this lineage; none from the present one or a stranger.
  std::vector<v1::IdentityLink> LinksAfter(absl::string_view fingerprint) const;

  // The identity to check a receipt by. That is the present one, except for an order made (by the
  // clock of whoever asks) before that was followed: then it may be the one before, if it has
  // signed the receipt, and so on. A retired key can therefore not pay for anything new. The receipt's
  // own time says nothing here: whoever signs it chooses it.
  const crypto::PublicIdentity& SignerOf(const v1::Receipt& receipt,
                                         int64_t order_made_at_ms) const;

 private:
  IdentityLineage() = default;
  absl::Status Append(const v1::IdentityLink& link, int64_t followed_at_ms);

  std::vector<crypto::PublicIdentity> identities_;  // One more than links_.
  std::vector<v1::IdentityLink> links_;
  std::vector<int64_t> followed_at_ms_;  // As many as links_.
};

}  // namespace blindcart::protocol

#endif  // BLINDCART_PROTOCOL_IDENTITY_CHAIN_H_
