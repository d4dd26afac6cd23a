// The broker's own identity: where it rests, and how it is changed (docs/protocol.md, "Key rotation";
// docs/operating.md).
//
// A rotation makes the next identity in identity.next/, has the old one sign the link to it
// (protocol/identity_chain.h) and stores that in the store's meta table: this is the moment at which it
// has happened. Then identity.next/ takes the place of identity/, the old private keys are removed,
// since nothing needs them any more, and the card names the new identity. Whatever of this is missing
// after a crash is done by the next call of either function. A store that knows less than the card, since
// it was restored, gets the history back from there.
//
// Errors: FailedPrecondition when the store knows of another identity than the folder has; those of
// keys, files and stores. Thread-safe, also among processes.
#ifndef BLINDCART_SERVICES_BROKER_BROKER_IDENTITY_H_
#define BLINDCART_SERVICES_BROKER_BROKER_IDENTITY_H_

#include <cstdint>
#include <functional>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "crypto/identity.h"
#include "proto/identity.pb.h"
#include "protocol/identity_chain.h"
#include "services/broker/config.h"
#include "services/storage/store.h"

namespace blindcart::broker {

// Where the store keeps the serialised v1::IdentityHistory; not there, or empty, before the first
// rotation.
inline constexpr char kIdentityHistoryMetaKey[] = "identity_history";

struct BrokerIdentity {
  crypto::Identity identity;
  protocol::IdentityLineage lineage;  // Leads to it.
};

// The fingerprint of the identity that NoteServed was last called with; not there before.
inline constexpr char kServedIdentityMetaKey[] = "identity_served";

// As the store has it; empty before the first rotation.
absl::StatusOr<v1::IdentityHistory> ReadIdentityHistory(storage::Store& store);

// The identity to serve with.
absl::StatusOr<BrokerIdentity> LoadBrokerIdentity(const DataPaths& paths, storage::Store& store,
                                                  absl::string_view pass_phrase);

// Tells the other brokers over this store that one serves with this identity now; for one that can.
// kFailedPrecondition when there has been a rotation since it was loaded.
absl::Status NoteServed(storage::Store& store, const protocol::IdentityLineage& own);

// Whether a broker over this store serves with another identity than `own` by now: its successor, since
// NoteServed takes no earlier one. Whoever serves with `own` has to end then: customers and merchants
// who have followed believe nothing that it signs for what is new.
absl::StatusOr<bool> IsReplaced(storage::Store& store, const crypto::PublicIdentity& own);

// Makes the next identity, under the same pass phrase. A broker that runs goes on with the old one,
// which it has in memory, until it is started again. `between` is called after each step, for tests:
// an error ends the rotation there as a crash would.
absl::StatusOr<BrokerIdentity> RotateBrokerIdentity(
    const DataPaths& paths, storage::Store& store, absl::string_view pass_phrase, int64_t now_ms,
    const std::function<absl::Status()>& between = [] { return absl::OkStatus(); });

}  // namespace blindcart::broker

#endif  // BLINDCART_SERVICES_BROKER_BROKER_IDENTITY_H_
