// The broker's certificate authority on disk (docs/certificates.md): data_dir/authority with the key
// (ECDSA P-384, encrypted under the broker's pass phrase) and the self-signed certificate, which also
// stands on the broker's card.
//
// Made by `broker init`. A broker that was made before there were authorities gets one, and a card
// that names it, when it is next served.
//
// Errors, with words for the operator: as crypto/key_file.h; FailedPrecondition when one of the two
// files is missing. Call before there are threads that do the same.
#ifndef BLINDCART_SERVICES_BROKER_AUTHORITY_H_
#define BLINDCART_SERVICES_BROKER_AUTHORITY_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "crypto/certificate_authority.h"
#include "crypto/identity.h"
#include "crypto/random.h"
#include "services/broker/config.h"

namespace blindcart::broker {

// How long the authority's own certificate is good, and with it everything that it issues.
inline constexpr absl::Duration kAuthorityLifetime = absl::Hours(24 * 3650);

// Makes key, certificate and files; AlreadyExists when they are there.
absl::StatusOr<crypto::CertificateAuthority> MakeAuthority(const DataPaths& paths,
                                                           const crypto::PublicIdentity& broker,
                                                           absl::string_view pass_phrase,
                                                           absl::Time now,
                                                           crypto::RandomSource& random);

// Reads them, or makes them and names the certificate on the card when there is nothing at all yet.
absl::StatusOr<crypto::CertificateAuthority> LoadAuthority(const DataPaths& paths,
                                                           const crypto::PublicIdentity& broker,
                                                           absl::string_view pass_phrase,
                                                           absl::Time now,
                                                           crypto::RandomSource& random);

}  // namespace blindcart::broker

#endif  // BLINDCART_SERVICES_BROKER_AUTHORITY_H_
