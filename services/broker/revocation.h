// Revoking certificates, and the list that says so (docs/certificates.md), inside a transaction of the
// store: for the broker that serves and for the operator's commands beside it.
//
// A list can name kMaxRevokedInList certificates (crypto/certificate.h); a revocation counts for a day
// after its certificate has expired, for readers whose clocks are behind. Long before a list is full
// nothing is issued any more, so that there is room to revoke what was.
//
// Errors: the store's. Thread-safe.
#ifndef BLINDCART_SERVICES_BROKER_REVOCATION_H_
#define BLINDCART_SERVICES_BROKER_REVOCATION_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/optional.h"
#include "crypto/certificate.h"
#include "crypto/certificate_authority.h"
#include "services/storage/store.h"

namespace blindcart::broker {

// All certificates of the customer that are neither expired nor revoked; how many they were.
absl::StatusOr<int> RevokeAll(storage::Transaction& transaction, int64_t customer_id,
                              int64_t now_ms);

// The stored revocation list, or nothing when a new one is due: there is none, or it is another
// authority's, lacks a revocation or has less than half of its lifetime left.
absl::StatusOr<absl::optional<storage::StoredRevocationList>> FindCurrentRevocationList(
    storage::Transaction& transaction, const crypto::Certificate& authority, int64_t now_ms,
    int64_t lifetime_ms);

// Whether the list, with what was revoked since, leaves little room.
absl::StatusOr<bool> IsRevocationListNearlyFull(storage::Transaction& transaction);

// Signs and stores the next list, which is good for `lifetime_ms`, and returns it. Its number is above
// those of all before, also of those that a restored database does not know. Certificates that have
// long expired are left out. ResourceExhausted when more are revoked than a list can name: the
// revocations stay as they are, and so does the list before.
absl::StatusOr<storage::StoredRevocationList> MakeRevocationList(
    storage::Transaction& transaction, const crypto::CertificateAuthority& authority,
    int64_t now_ms, int64_t lifetime_ms);

}  // namespace blindcart::broker

#endif  // BLINDCART_SERVICES_BROKER_REVOCATION_H_
