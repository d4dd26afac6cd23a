// A broker's certificate authority (protocol.md, "Certificates and direct sessions"): a self-signed
// ECDSA P-384 certificate that issues the kinds of certificate.h, and revocation lists (RFC 5280,
// section 5: version 2, CRL number, authority key identifier).
//
// The key signs nothing else: it is apart from the broker's identity, which decrypts and signs in
// the protocol. At rest it is a PKCS#8 file under the pass phrase (key_file.h, SavePrivateKey).
//
// Times have a precision of seconds: fractions are cut off.
//
// Thread safety: const methods are safe to call concurrently.
#ifndef BLINDCART_CRYPTO_CERTIFICATE_AUTHORITY_H_
#define BLINDCART_CRYPTO_CERTIFICATE_AUTHORITY_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "crypto/certificate.h"
#include "crypto/internal/openssl_ptr.h"
#include "crypto/random.h"
#include "crypto/rsa.h"
#include "crypto/secret_bytes.h"

namespace blindcart::crypto {

// The first bit is set, so that every serial has the same length and is positive.
inline constexpr size_t kCertificateSerialBytes = 16;

// Below an arc that a random UUID gives (ITU-T X.667).
// Attribute of a certification request: the requester's RSA SubjectPublicKeyInfo.
inline constexpr char kRequestRsaKeyOid[] = "2.25.109486286526708809435171363983258308998.1";

struct ValidityPeriod {
  absl::Time not_before;
  absl::Time not_after;
};

struct RevokedSerial {
  std::string serial;  // As Certificate::serial().
  absl::Time revoked_at;
};

class CertificateAuthority {
 public:
  // A new authority with a key of its own. `common_name` is 1 to 64 characters without control
  // characters. InvalidArgument for another name or an empty period (so everywhere below).
  static absl::StatusOr<CertificateAuthority> Create(absl::string_view common_name,
                                                     const ValidityPeriod& validity,
                                                     RandomSource& random = SystemRandom());
  // From an unencrypted PKCS#8 PrivateKeyInfo and the certificate that belongs to it;
  // InvalidArgument when one of them is none or they do not fit each other.
  static absl::StatusOr<CertificateAuthority> FromKey(absl::string_view pkcs8_der,
                                                      Certificate certificate);
  SecretBytes Pkcs8Der() const;

  const Certificate& certificate() const { return certificate_; }

  // A customer's Ed25519 key, for signatures.
  absl::StatusOr<Certificate> IssueSigning(absl::string_view username,
                                           absl::string_view ed25519_public_key,
                                           const ValidityPeriod& validity,
                                           RandomSource& random = SystemRandom()) const;
  // A customer's RSA key, which decrypts.
  absl::StatusOr<Certificate> IssueEncryption(absl::string_view username, const RsaPublicKey& key,
                                              const ValidityPeriod& validity,
                                              RandomSource& random = SystemRandom()) const;
  // The notary's RSA key, which signs time stamps and nothing else.
  absl::StatusOr<Certificate> IssueTimeStamping(absl::string_view common_name,
                                                const RsaPublicKey& key,
                                                const ValidityPeriod& validity,
                                                RandomSource& random = SystemRandom()) const;

  // `number` has to grow from list to list. ResourceExhausted for more than kMaxRevokedInList.
  absl::StatusOr<RevocationList> MakeRevocationList(const std::vector<RevokedSerial>& revoked,
                                                    uint64_t number, absl::Time this_update,
                                                    absl::Time next_update) const;

 private:
  CertificateAuthority(internal::PkeyPtr key, Certificate certificate);
  absl::StatusOr<Certificate> Issue(CertificatePurpose purpose, absl::string_view common_name,
                                    evp_pkey_st* key, const ValidityPeriod& validity,
                                    RandomSource& random) const;

  internal::PkeyPtr key_;
  Certificate certificate_;
};

}  // namespace blindcart::crypto

#endif  // BLINDCART_CRYPTO_CERTIFICATE_AUTHORITY_H_
