// The store that a broker's configuration names: SQLite in its folder, or PostgreSQL.
//
// Thread-safe. Errors: those of the backends; kFailedPrecondition for a SQLite file whose content
// `broker migrate` has moved away.
#ifndef BLINDCART_SERVICES_BROKER_OPEN_STORE_H_
#define BLINDCART_SERVICES_BROKER_OPEN_STORE_H_

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/config.pb.h"
#include "services/storage/store.h"

namespace blindcart::broker {

// `config` is complete (see config.h).
absl::StatusOr<std::unique_ptr<storage::Store>> OpenStore(const v1::BrokerConfig& config);

// Whether there is no account in it yet; kAlreadyExists when there is.
absl::Status CheckUnused(storage::Store& store);

}  // namespace blindcart::broker

#endif  // BLINDCART_SERVICES_BROKER_OPEN_STORE_H_
