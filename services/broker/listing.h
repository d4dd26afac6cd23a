// What the operator can list: the store's rows as messages, and messages as a table for people.
// Everything that text from outside could do to a terminal is bounded at enrolment already. Not for
// logs: names and amounts stand in it.
//
// Thread-safe. Errors: the store's.
#ifndef BLINDCART_SERVICES_BROKER_LISTING_H_
#define BLINDCART_SERVICES_BROKER_LISTING_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "proto/broker_listing.pb.h"
#include "services/ledger/audit.h"
#include "services/storage/store.h"

namespace blindcart::broker {

struct ListingParts {
  bool customers = false;
  bool merchants = false;
  bool orders = false;
  bool accounts = false;
  bool certificates = false;
};

absl::StatusOr<v1::BrokerListing> ListStore(storage::Store& store, const ListingParts& parts);
v1::BrokerAudit ToMessage(const ledger::AuditReport& report);

// Tables of the parts asked for, each with its heading when there are several.
std::string ToText(const v1::BrokerListing& listing, const ListingParts& parts);
std::string ToText(const v1::BrokerAudit& audit);
// One JSON document, fields by their names in the .proto, zeros included.
absl::StatusOr<std::string> ToJson(const google::protobuf::Message& message);

}  // namespace blindcart::broker

#endif  // BLINDCART_SERVICES_BROKER_LISTING_H_
