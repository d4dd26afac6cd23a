#include "protocol/identity_chain.h"

#include <utility>

#include "absl/status/status.h"
#include "crypto/ed25519.h"
#include "crypto/encoding.h"
#include "protocol/order.h"

namespace blindcart::protocol {
namespace {

constexpr absl::string_view kNextIdentityContext = "blindcart/v1 next-identity";

std::string Signed(const crypto::PublicIdentity& old_identity, const v1::IdentityLink& link) {
  return crypto::LengthPrefixed({Int64Bytes(link.counter()), Int64Bytes(link.announced_at_ms()),
                                 old_identity.fingerprint(), link.next_identity()});
}

absl::Status DoesNotFollow(absl::string_view why) { return absl::UnauthenticatedError(why); }

}  // namespace

v1::IdentityLink MakeIdentityLink(const crypto::Identity& old_identity,
                                  const crypto::PublicIdentity& next, int64_t counter,
                                  int64_t announced_at_ms) {
  v1::IdentityLink link;
  link.set_counter(counter);
  link.set_announced_at_ms(announced_at_ms);
  link.set_next_identity(next.Serialize());
  link.set_signature(
      old_identity.Sign(kNextIdentityContext, Signed(old_identity.public_identity(), link)));
  return link;
}

IdentityLineage::IdentityLineage(crypto::PublicIdentity first) {
  identities_.push_back(std::move(first));
}

absl::StatusOr<IdentityLineage> IdentityLineage::FromHistory(
    const v1::IdentityHistory& history, const std::vector<int64_t>& followed_at_ms) {
  if (history.links_size() > kMaxIdentityLinks ||
      followed_at_ms.size() != static_cast<size_t>(history.links_size())) {
    return absl::InvalidArgumentError("the history of identities is out of bounds");
  }
  absl::StatusOr<crypto::PublicIdentity> first =
      crypto::PublicIdentity::Parse(history.first_identity());
  if (!first.ok()) return first.status();
  IdentityLineage lineage(*std::move(first));
  for (int i = 0; i < history.links_size(); ++i) {
    const absl::Status appended =
        lineage.Append(history.links(i), followed_at_ms[static_cast<size_t>(i)]);
    if (!appended.ok()) return appended;
  }
  return lineage;
}

absl::StatusOr<IdentityLineage> IdentityLineage::Follow(const std::vector<v1::IdentityLink>& links,
                                                        int64_t now_ms) const {
  if (links.empty() || links.size() + links_.size() > static_cast<size_t>(kMaxIdentityLinks)) {
    return absl::InvalidArgumentError("no link or too many links to the next identity");
  }
  IdentityLineage followed = *this;
  for (const v1::IdentityLink& link : links) {
    const absl::Status appended = followed.Append(link, now_ms);
    if (!appended.ok()) return appended;
  }
  return followed;
}

absl::Status IdentityLineage::Append(const v1::IdentityLink& link, int64_t followed_at_ms) {
  // Bounded, then authenticated, and only then parsed.
  if (link.next_identity().size() > crypto::kMaxPublicIdentityBytes ||
      link.signature().size() != crypto::kEd25519SignatureBytes || link.announced_at_ms() < 0) {
    return absl::InvalidArgumentError("a link to the next identity is out of bounds");
  }
  if (link.counter() != counter() + 1) {
    return DoesNotFollow("a link has another counter than the next one");
  }
  if (!current()
           .VerifySignature(kNextIdentityContext, Signed(current(), link), link.signature())
           .ok()) {
    return DoesNotFollow("a link to the next identity is not signed by the one before");
  }
  absl::StatusOr<crypto::PublicIdentity> next = crypto::PublicIdentity::Parse(link.next_identity());
  if (!next.ok()) return next.status();
  if (Knows(next->fingerprint())) return DoesNotFollow("a link leads back to an earlier identity");
  identities_.push_back(*std::move(next));
  links_.push_back(link);
  followed_at_ms_.push_back(followed_at_ms);
  return absl::OkStatus();
}

bool IdentityLineage::Knows(absl::string_view fingerprint) const {
  for (const crypto::PublicIdentity& identity : identities_) {
    if (identity.fingerprint() == fingerprint) return true;
  }
  return false;
}

std::vector<std::string> IdentityLineage::Former() const {
  std::vector<std::string> former;
  for (size_t i = 0; i + 1 < identities_.size(); ++i) {
    former.push_back(identities_[i].fingerprint());
  }
  return former;
}

v1::IdentityHistory IdentityLineage::ToHistory() const {
  v1::IdentityHistory history;
  if (links_.empty()) return history;
  history.set_first_identity(identities_.front().Serialize());
  for (const v1::IdentityLink& link : links_) *history.add_links() = link;
  return history;
}

std::vector<v1::IdentityLink> IdentityLineage::LinksAfter(absl::string_view fingerprint) const {
  for (size_t i = 0; i < identities_.size(); ++i) {
    if (identities_[i].fingerprint() != fingerprint) continue;
    return std::vector<v1::IdentityLink>(links_.begin() + static_cast<std::ptrdiff_t>(i),
                                         links_.end());
  }
  return {};
}

const crypto::PublicIdentity& IdentityLineage::SignerOf(const v1::Receipt& receipt,
                                                        int64_t order_made_at_ms) const {
  for (size_t i = links_.size(); i > 0; --i) {
    // Those before were retired earlier still.
    if (order_made_at_ms > followed_at_ms_[i - 1]) break;
    if (VerifyReceipt(identities_[i - 1], receipt).ok()) return identities_[i - 1];
  }
  return current();
}

}  // namespace blindcart::protocol
