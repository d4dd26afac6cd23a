// A broker's card (proto/config.proto): what an operator hands to customers and merchants, so that
// they know whom to expect at which address.
//
// Errors: NotFound and InvalidArgument with words for the person who was given the card.
// Thread-safe.
#ifndef BLINDCART_SERVICES_COMMON_BROKER_CARD_H_
#define BLINDCART_SERVICES_COMMON_BROKER_CARD_H_

#include <string>

#include "absl/status/statusor.h"
#include "crypto/identity.h"
#include "proto/config.pb.h"

namespace blindcart {

struct LoadedBrokerCard {
  v1::BrokerCard card;
  crypto::PublicIdentity identity;
};

// Reads the card and checks that its fingerprint is its identity's, and that its history, if it has
// one, leads there.
absl::StatusOr<LoadedBrokerCard> LoadBrokerCard(const std::string& path);

}  // namespace blindcart

#endif  // BLINDCART_SERVICES_COMMON_BROKER_CARD_H_
