// PKCS#10 certification requests (RFC 2986) of customers (protocol.md, "Certificates and direct
// sessions"): version 1, subject = the username as one common name, the Ed25519 key as subject
// public key (RFC 8410), which also signs, and one attribute kRequestRsaKeyOid with the RSA
// SubjectPublicKeyInfo as OCTET STRING.
//
// Why one request names both keys: one key never both decrypts and signs, so the RSA key cannot sign
// a request of its own. That the requester holds it is known from the login, whose challenge only
// that key opens; the authority compares both keys with the enrolled ones before it issues anything.
#ifndef BLINDCART_CRYPTO_CERTIFICATION_REQUEST_H_
#define BLINDCART_CRYPTO_CERTIFICATION_REQUEST_H_

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "crypto/identity.h"

namespace blindcart::crypto {

inline constexpr size_t kMaxCertificationRequestBytes = 2048;

// DER. InvalidArgument for a name that cannot stand in a certificate.
absl::StatusOr<std::string> MakeCertificationRequest(absl::string_view username,
                                                     const Identity& identity);

struct CertificationRequest {
  std::string subject;
  PublicIdentity identity;  // Both keys.
};

// Bounded and strict: exactly what MakeCertificationRequest gives. InvalidArgument for what is no
// such request, Unauthenticated for a signature that does not fit.
absl::StatusOr<CertificationRequest> ParseCertificationRequest(absl::string_view der);

}  // namespace blindcart::crypto

#endif  // BLINDCART_CRYPTO_CERTIFICATION_REQUEST_H_
