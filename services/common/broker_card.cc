#include "services/common/broker_card.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "crypto/encoding.h"
#include "protocol/identity_chain.h"
#include "services/common/files.h"

namespace blindcart {

absl::StatusOr<LoadedBrokerCard> LoadBrokerCard(const std::string& path) {
  v1::BrokerCard card;
  const absl::Status read = ReadTextProto(path, &card);
  if (!read.ok()) return read;
  if (AddressesOf(card).size() > kMaxBrokerAddresses) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, " names more than ", kMaxBrokerAddresses, " addresses"));
  }
  absl::StatusOr<crypto::PublicIdentity> identity =
      crypto::PublicIdentity::ParsePem(card.identity_pem());
  if (!identity.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, " holds no broker's identity: ", identity.status().message()));
  }
  const absl::StatusOr<std::string> fingerprint = crypto::HexDecode(card.fingerprint_hex());
  if (!fingerprint.ok() || *fingerprint != identity->fingerprint()) {
    return absl::InvalidArgumentError(absl::StrCat(
        path,
        " was altered: its fingerprint is not that of the identity in it. Ask the broker's "
        "operator for a new card"));
  }
  if (card.history().links_size() > 0) {
    const absl::StatusOr<protocol::IdentityLineage> lineage =
        protocol::IdentityLineage::FromHistory(
            card.history(), std::vector<int64_t>(static_cast<size_t>(card.history().links_size())));
    if (!lineage.ok() || lineage->current().fingerprint() != identity->fingerprint() ||
        card.followed_at_ms_size() > card.history().links_size()) {
      return absl::InvalidArgumentError(absl::StrCat(
          path,
          " was altered: its history does not lead to the identity in it. Ask the broker's "
          "operator for a new card"));
    }
  }
  return LoadedBrokerCard{std::move(card), *std::move(identity)};
}

std::vector<std::string> AddressesOf(const v1::BrokerCard& card) {
  std::vector<std::string> addresses = {card.address()};
  for (const std::string& address : card.further_addresses()) {
    if (std::find(addresses.begin(), addresses.end(), address) == addresses.end()) {
      addresses.push_back(address);
    }
  }
  return addresses;
}

std::vector<std::string> AddressesOf(const v1::BrokerContact& contact, const v1::BrokerCard& card) {
  std::vector<std::string> addresses = AddressesOf(card);
  const auto own = std::find(addresses.begin(), addresses.end(), contact.address());
  if (own == addresses.end()) return {contact.address()};
  std::rotate(addresses.begin(), own, own + 1);
  return addresses;
}

}  // namespace blindcart
