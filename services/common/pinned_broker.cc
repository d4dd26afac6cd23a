#include "services/common/pinned_broker.h"

#include <sys/types.h>

#include <utility>

#include "crypto/encoding.h"
#include "services/common/files.h"

namespace blindcart {
namespace {

constexpr mode_t kCardMode = 0644;

// A broker that has announced its next identity serves with it within this time.
constexpr int64_t kRotationTakesMs = int64_t{7} * 24 * 3'600'000;

// When an identity counts as retired whose successor an operator's card tells of: now, but for one that
// was announced long ago, which may have been followed then, and whose thief must gain no time by a
// new card.
int64_t RetiredAtMs(const v1::IdentityLink& link, int64_t now_ms) {
  return link.announced_at_ms() < now_ms - kRotationTakesMs
             ? link.announced_at_ms() + kRotationTakesMs
             : now_ms;
}

}  // namespace

absl::StatusOr<std::unique_ptr<PinnedBroker>> PinnedBroker::Open(const LoadedBrokerCard& card,
                                                                 const std::string& card_path,
                                                                 const protocol::Clock& clock,
                                                                 Keep keep) {
  const size_t links = static_cast<size_t>(card.card.history().links_size());
  std::vector<int64_t> followed_at_ms(card.card.followed_at_ms().begin(),
                                      card.card.followed_at_ms().end());
  const bool complete = followed_at_ms.size() == links;
  for (size_t i = followed_at_ms.size(); i < links; ++i) {
    followed_at_ms.push_back(
        RetiredAtMs(card.card.history().links(static_cast<int>(i)), clock.NowUnixMs()));
  }
  protocol::IdentityLineage lineage(card.identity);
  if (links > 0) {
    absl::StatusOr<protocol::IdentityLineage> read =
        protocol::IdentityLineage::FromHistory(card.card.history(), followed_at_ms);
    if (!read.ok()) return read.status();
    lineage = *std::move(read);
  }
  auto pinned = std::unique_ptr<PinnedBroker>(
      new PinnedBroker(card.card, card_path, lineage, clock, std::move(keep)));
  if (!complete) {
    const absl::Status written = pinned->Write(lineage);
    if (!written.ok()) return written;
  }
  const absl::Status kept = pinned->keep_(lineage);
  if (!kept.ok()) return kept;
  return pinned;
}

PinnedBroker::PinnedBroker(crypto::PublicIdentity identity, const protocol::Clock& clock)
    : PinnedBroker(v1::BrokerCard(), "", protocol::IdentityLineage(std::move(identity)), clock,
                   [](const protocol::IdentityLineage&) { return absl::OkStatus(); }) {}

PinnedBroker::PinnedBroker(v1::BrokerCard card, std::string card_path,
                           protocol::IdentityLineage lineage, const protocol::Clock& clock,
                           Keep keep)
    : card_(std::move(card)),
      card_path_(std::move(card_path)),
      clock_(clock),
      keep_(std::move(keep)),
      lineage_(std::make_shared<const protocol::IdentityLineage>(std::move(lineage))) {}

std::shared_ptr<const protocol::IdentityLineage> PinnedBroker::lineage() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return lineage_;
}

std::shared_ptr<const crypto::PublicIdentity> PinnedBroker::current() const {
  std::shared_ptr<const protocol::IdentityLineage> lineage = this->lineage();
  const crypto::PublicIdentity* const identity = &lineage->current();
  return std::shared_ptr<const crypto::PublicIdentity>(std::move(lineage), identity);
}

absl::Status PinnedBroker::Follow(const std::vector<v1::IdentityLink>& links) {
  std::lock_guard<std::mutex> one_at_a_time(follow_mutex_);
  absl::StatusOr<protocol::IdentityLineage> followed = lineage()->Follow(links, clock_.NowUnixMs());
  if (!followed.ok()) return followed.status();
  absl::Status status = Write(*followed);
  if (status.ok()) status = keep_(*followed);
  if (!status.ok()) return status;
  auto next = std::make_shared<const protocol::IdentityLineage>(*std::move(followed));
  std::lock_guard<std::mutex> lock(mutex_);
  lineage_ = std::move(next);
  return absl::OkStatus();
}

v1::BrokerCard PinnedBroker::LatestCard() const {
  absl::StatusOr<LoadedBrokerCard> latest = LoadBrokerCard(card_path_);
  if (!latest.ok()) return card_;
  const v1::IdentityHistory& history = latest->card.history();
  if (!history.links().empty()) {
    const absl::StatusOr<protocol::IdentityLineage> known = protocol::IdentityLineage::FromHistory(
        history, std::vector<int64_t>(static_cast<size_t>(history.links_size())));
    if (!known.ok() || !known->Knows(current()->fingerprint())) return card_;
  } else if (latest->identity.fingerprint() != current()->fingerprint()) {
    return card_;
  }
  return std::move(latest->card);
}

absl::Status PinnedBroker::Write(const protocol::IdentityLineage& lineage) const {
  if (card_path_.empty()) return absl::OkStatus();
  v1::BrokerCard card = LatestCard();
  card.set_identity_pem(lineage.current().ToPem());
  card.set_fingerprint_hex(crypto::HexEncode(lineage.current().fingerprint()));
  *card.mutable_history() = lineage.ToHistory();
  card.clear_followed_at_ms();
  for (int64_t time_ms : lineage.all_followed_at_ms()) card.add_followed_at_ms(time_ms);
  return WriteFileAtomically(card_path_, ToTextProto(card), kCardMode, /*replace=*/true);
}

}  // namespace blindcart
