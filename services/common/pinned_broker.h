// The broker that a customer's agent or a merchant trusts, and how that trust moves on when the broker
// changes its identity (docs/protocol.md, "Key rotation"; protocol/identity_chain.h).
//
// What was followed rests on this party's copy of the broker's card, which is replaced whole.
// Thread-safe. Follow blocks on the disk, so never from a network thread.
#ifndef BLINDCART_SERVICES_COMMON_PINNED_BROKER_H_
#define BLINDCART_SERVICES_COMMON_PINNED_BROKER_H_

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "crypto/identity.h"
#include "proto/identity.pb.h"
#include "protocol/clock.h"
#include "protocol/identity_chain.h"
#include "services/common/broker_card.h"

namespace blindcart {

class PinnedBroker {
 public:
  // Keeps elsewhere, too, that this lineage is the one from now on; after the card has been written.
  using Keep = std::function<absl::Status(const protocol::IdentityLineage& lineage)>;

  // Over the card at `card_path`. What an operator's card knows of earlier identities counts as
  // followed now, or a week after its announcement if that is over. Errors: those of files and of `keep`, which is also called here, since an end
  // between card and `keep` may have left the second behind.
  static absl::StatusOr<std::unique_ptr<PinnedBroker>> Open(const LoadedBrokerCard& card,
                                                            const std::string& card_path,
                                                            const protocol::Clock& clock,
                                                            Keep keep);
  // Keeps nothing.
  PinnedBroker(crypto::PublicIdentity identity, const protocol::Clock& clock);

  std::shared_ptr<const protocol::IdentityLineage> lineage() const;
  // The identity to speak with now.
  std::shared_ptr<const crypto::PublicIdentity> current() const;

  // Moves on along `links`, which a broker has answered. Ok when the new identity is kept and in use;
  // after an error the old one stands. Errors: as IdentityLineage::Follow, and those of keeping.
  absl::Status Follow(const std::vector<v1::IdentityLink>& links);

 private:
  PinnedBroker(v1::BrokerCard card, std::string card_path, protocol::IdentityLineage lineage,
               const protocol::Clock& clock, Keep keep);
  // What stands in the file by now when that is of the same broker: the operator's newer card may have been
  // put there, with further addresses. Else the card of the beginning.
  v1::BrokerCard LatestCard() const;
  absl::Status Write(const protocol::IdentityLineage& lineage) const;

  const v1::BrokerCard card_;  // As it was at the beginning.
  const std::string card_path_;
  const protocol::Clock& clock_;
  const Keep keep_;
  std::mutex follow_mutex_;  // One at a time.
  mutable std::mutex mutex_;
  std::shared_ptr<const protocol::IdentityLineage> lineage_;  // Under mutex_.
};

}  // namespace blindcart

#endif  // BLINDCART_SERVICES_COMMON_PINNED_BROKER_H_
