// Self-signed server certificates for TLS 1.3 between machines (X.509 v3, RFC 5280, ECDSA P-256),
// made once by `init`. TLS is only the outer layer: identities are proved inside it.
#ifndef BLINDCART_CRYPTO_TLS_CERTIFICATE_H_
#define BLINDCART_CRYPTO_TLS_CERTIFICATE_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace blindcart::crypto {

struct TlsCertificate {
  std::string certificate_pem;
  std::string private_key_pem;  // PKCS#8, not encrypted: store it with mode 0600
};

// `subject_alternative_names` are DNS names or IPv4 / IPv6 addresses in text, at least one. Valid
// from an hour before `now` for `days` days. InvalidArgument for a common name that is empty, above
// 64 bytes or not printable ASCII, a name or address that is none, or days outside [1, 36,500].
absl::StatusOr<TlsCertificate> MakeSelfSignedCertificate(
    const std::string& common_name, const std::vector<std::string>& subject_alternative_names,
    int days, absl::Time now = absl::Now());

}  // namespace blindcart::crypto

#endif  // BLINDCART_CRYPTO_TLS_CERTIFICATE_H_
