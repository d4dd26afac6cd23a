// X.509 v3 certificates and revocation lists of a broker's authority (RFC 5280; protocol.md,
// "Certificates and direct sessions"), read and checked. certificate_authority.h makes them.
//
// What an authority of ours issues, and all that is accepted:
//   authority      ECDSA P-384, self-signed with SHA-384; basicConstraints critical CA:TRUE,
//                  pathlen:0; keyUsage critical keyCertSign, cRLSign
//   signing        Ed25519 key; basicConstraints critical CA:FALSE; keyUsage critical
//                  digitalSignature
//   encryption     RSA key of 3072 or 4096 bits; CA:FALSE; keyUsage critical keyEncipherment
//   time stamping  RSA key; CA:FALSE; keyUsage critical digitalSignature, nonRepudiation;
//                  extKeyUsage critical timeStamping alone
// Every name is one common name in UTF-8: a customer's username, the broker's name for itself.
// Subject and authority key identifiers are always there. Serials are random, 128 bits.
//
// Thread safety: const methods are safe to call concurrently; copies share the parsed object.
#ifndef BLINDCART_CRYPTO_CERTIFICATE_H_
#define BLINDCART_CRYPTO_CERTIFICATE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/optional.h"
#include "crypto/rsa.h"

struct X509_crl_st;
struct x509_st;

namespace blindcart::crypto {

inline constexpr size_t kMaxCertificateBytes = 4096;
// Fits a sealed frame.
inline constexpr size_t kMaxRevocationListBytes = 960 * 1024;
// A revoked certificate takes so many bytes of a list at most (serial of 16 bytes, date), and all the
// rest of it so many.
inline constexpr size_t kRevocationListEntryBytes = 40;
inline constexpr size_t kRevocationListFrameBytes = 1024;
// So many always fit: 24,550.
inline constexpr size_t kMaxRevokedInList =
    (kMaxRevocationListBytes - kRevocationListFrameBytes) / kRevocationListEntryBytes;

enum class CertificatePurpose {
  kAuthority,
  kSigning,
  kEncryption,
  kTimeStamping,
};

class Certificate {
 public:
  // Bounded and strict: exactly one certificate of version 3, encoded as DER encodes it, with names
  // as above. InvalidArgument otherwise. Says nothing about who signed it.
  static absl::StatusOr<Certificate> Parse(absl::string_view der);
  // One PEM block "CERTIFICATE".
  static absl::StatusOr<Certificate> ParsePem(absl::string_view pem);

  const std::string& der() const { return der_; }
  std::string ToPem() const;
  // Big-endian, 1 to 20 bytes, without leading zeros.
  const std::string& serial() const { return serial_; }
  const std::string& subject() const { return subject_; }
  const std::string& issuer() const { return issuer_; }
  absl::Time not_before() const { return not_before_; }
  absl::Time not_after() const { return not_after_; }
  // SubjectPublicKeyInfo, DER.
  const std::string& public_key_der() const { return public_key_der_; }
  // The raw 32 bytes; InvalidArgument when the key is none of Ed25519, or an unfit one.
  absl::StatusOr<std::string> Ed25519Key() const;
  // InvalidArgument when the key is no RSA key within the limits of rsa.h.
  absl::StatusOr<RsaPublicKey> RsaKey() const;
  // Key and extensions are exactly those of that purpose (see above).
  bool IsFor(CertificatePurpose purpose) const;

  // For the files of crypto/ alone.
  const x509_st* x509() const { return x509_.get(); }

 private:
  Certificate() = default;
  std::shared_ptr<x509_st> x509_;
  std::string der_, serial_, subject_, issuer_, public_key_der_;
  absl::Time not_before_, not_after_;
};

class RevocationList {
 public:
  // Bounded and strict, version 2 with a CRL number. InvalidArgument otherwise. Says nothing about
  // who signed it.
  static absl::StatusOr<RevocationList> Parse(absl::string_view der);
  // One PEM block "X509 CRL".
  static absl::StatusOr<RevocationList> ParsePem(absl::string_view pem);

  const std::string& der() const { return der_; }
  std::string ToPem() const;
  const std::string& issuer() const { return issuer_; }
  // Grows with each list of an authority.
  uint64_t number() const { return number_; }
  absl::Time this_update() const { return this_update_; }
  // The authority makes a newer one before then; a list is worth nothing later.
  absl::Time next_update() const { return next_update_; }
  size_t size() const;
  // When it was revoked, or none.
  absl::optional<absl::Time> RevokedAt(const Certificate& certificate) const;

  // Made by that authority.
  bool IsSignedBy(const Certificate& authority) const;

 private:
  RevocationList() = default;
  std::shared_ptr<X509_crl_st> crl_;
  std::string der_, issuer_;
  uint64_t number_ = 0;
  absl::Time this_update_, next_update_;
};

// In order of precedence: the first that applies is the answer.
enum class CertificateVerdict {
  kGood,
  kMalformed,          // No certificate of the kinds above.
  kWrongAuthority,     // Not signed by that authority, or the authority is none.
  kWrongPurpose,       // Made for something else.
  kNotYetValid,        // Or its authority is not.
  kExpired,            // Or its authority is.
  kRevocationMissing,  // A revocation list is wanted and there is none.
  kRevocationInvalid,  // The revocation list is not this authority's, or is from the future.
  kRevoked,
  kRevocationExpired,  // The revocation list is too old to say that nothing was revoked since.
};

// In words, to be said after "the certificate": "is good", "has expired", ...
absl::string_view Describe(CertificateVerdict verdict);

// Whether `certificate` was made by `authority` for that purpose, is valid at `at`, and is not
// revoked. `revocation_list` null means that none is at hand: then nothing is good but the
// authority's own certificate (which no list covers).
CertificateVerdict VerifyCertificate(const Certificate& certificate, const Certificate& authority,
                                     CertificatePurpose purpose, absl::Time at,
                                     const RevocationList* revocation_list);
// For what is judged as of another time than now, where a list of today cannot be asked for (a
// time stamp's certificate): everything but revocation.
CertificateVerdict VerifyCertificateWithoutRevocation(const Certificate& certificate,
                                                      const Certificate& authority,
                                                      CertificatePurpose purpose, absl::Time at);
// The same from bytes: kMalformed instead of an error.
CertificateVerdict VerifyCertificate(absl::string_view certificate_der,
                                     const Certificate& authority, CertificatePurpose purpose,
                                     absl::Time at, const RevocationList* revocation_list);

}  // namespace blindcart::crypto

#endif  // BLINDCART_CRYPTO_CERTIFICATE_H_
