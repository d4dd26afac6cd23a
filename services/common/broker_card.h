// A broker's card (proto/config.proto): what an operator hands to customers and merchants, so that
// they know whom to expect at which address.
//
// Errors: NotFound and InvalidArgument with words for the person who was given the card.
// Thread-safe.
#ifndef BLINDCART_SERVICES_COMMON_BROKER_CARD_H_
#define BLINDCART_SERVICES_COMMON_BROKER_CARD_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "crypto/identity.h"
#include "proto/config.pb.h"

namespace blindcart {

// The addresses of one market.
inline constexpr size_t kMaxBrokerAddresses = 16;

struct LoadedBrokerCard {
  v1::BrokerCard card;
  crypto::PublicIdentity identity;
};

// Reads the card and checks that its fingerprint is its identity's, and that its history, if it has
// one, leads there.
absl::StatusOr<LoadedBrokerCard> LoadBrokerCard(const std::string& path);

// All of the card's, each once.
std::vector<std::string> AddressesOf(const v1::BrokerCard& card);

// Where a contact with that card is dialled: all of the card's, the contact's own first, or the
// contact's own alone when the card does not name it.
std::vector<std::string> AddressesOf(const v1::BrokerContact& contact, const v1::BrokerCard& card);

}  // namespace blindcart

#endif  // BLINDCART_SERVICES_COMMON_BROKER_CARD_H_
