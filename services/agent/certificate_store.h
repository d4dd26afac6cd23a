// The customer's certificates, the broker's authority and its latest revocation list, kept in the
// agent's database; and the judgement of other people's certificates by them, which needs no broker
// (docs/certificates.md).
//
// The authority is pinned: from the broker's card, or where the card is an old one, from the broker
// itself under S1, whose identity is pinned. A revocation list is only ever replaced by one with a
// number at least as high, so nobody can hide a revocation that was seen once.
//
// Errors, with words for people: NotFound (there is none yet), FailedPrecondition (another authority
// than the pinned one; a list that is missing or too old), PermissionDenied (a certificate that is
// not good), and the database's.
// Thread-safe. Calls block on the disk, so never from a network thread.
#ifndef BLINDCART_SERVICES_AGENT_CERTIFICATE_STORE_H_
#define BLINDCART_SERVICES_AGENT_CERTIFICATE_STORE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "crypto/certificate.h"
#include "crypto/identity.h"
#include "protocol/clock.h"
#include "services/agent/agent_database.h"

namespace blindcart::agent {

struct UserCertificates {
  crypto::Certificate signing;     // Of the Ed25519 key.
  crypto::Certificate encryption;  // Of the RSA key.
};

// Whom a pair of certificates belongs to.
struct CertifiedUser {
  std::string username;
  crypto::PublicIdentity identity;  // Both keys.
};

class CertificateStore {
 public:
  // Both must outlive the object.
  CertificateStore(AgentDatabase& database, const protocol::Clock& clock)
      : database_(database), clock_(clock) {}

  // Keeps the authority at the first call; FailedPrecondition when a later one brings another.
  absl::Status PinAuthority(const crypto::Certificate& authority);
  absl::StatusOr<crypto::Certificate> Authority();

  absl::StatusOr<UserCertificates> Own();
  // After they have been found good. Nothing: forgets them.
  absl::Status SetOwn(const absl::optional<UserCertificates>& own);

  absl::StatusOr<crypto::RevocationList> RevocationList();
  // Only the authority's own; an older one than the one that is here is left out without an error.
  absl::Status SetRevocationList(const crypto::RevocationList& list);

  // The two certificates as somebody else presents them, DER: made by the pinned authority, for one
  // user and for these purposes, valid now, and not in a revocation list that is not too old.
  absl::StatusOr<CertifiedUser> Verify(absl::string_view signing_der,
                                       absl::string_view encryption_der);

 private:
  struct Row;
  absl::StatusOr<Row> ReadRow();

  AgentDatabase& database_;
  const protocol::Clock& clock_;
};

// As Verify, by what is handed in.
absl::StatusOr<CertifiedUser> VerifyUserCertificates(absl::string_view signing_der,
                                                     absl::string_view encryption_der,
                                                     const crypto::Certificate& authority,
                                                     const crypto::RevocationList& list,
                                                     absl::Time now);

}  // namespace blindcart::agent

#endif  // BLINDCART_SERVICES_AGENT_CERTIFICATE_STORE_H_
