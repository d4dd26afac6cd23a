#include "crypto/certificate.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <utility>

#include "crypto/ed25519.h"
#include "crypto/internal/library.h"
#include "crypto/internal/x509.h"

namespace blindcart::crypto {
namespace {

using internal::AsBytes;

constexpr char kCertificateLabel[] = "CERTIFICATE";
constexpr char kRevocationListLabel[] = "X509 CRL";
constexpr long kVersion3 = 2;  // as X.509 counts
constexpr long kCrlVersion2 = 1;

constexpr size_t PemBytes(size_t der_bytes) { return 2 * der_bytes + 256; }

absl::Status NoCertificate() { return absl::InvalidArgumentError("not a certificate"); }
absl::Status NoRevocationList() { return absl::InvalidArgumentError("not a revocation list"); }

// Extensions that a kind of certificate has to have, and no others.
struct Profile {
  CertificatePurpose purpose;
  uint32_t key_usage;
  bool is_authority;
  bool is_time_stamping;
};

constexpr Profile kProfiles[] = {
    {CertificatePurpose::kAuthority, KU_KEY_CERT_SIGN | KU_CRL_SIGN, true, false},
    {CertificatePurpose::kSigning, KU_DIGITAL_SIGNATURE, false, false},
    {CertificatePurpose::kEncryption, KU_KEY_ENCIPHERMENT, false, false},
    {CertificatePurpose::kTimeStamping, KU_DIGITAL_SIGNATURE | KU_NON_REPUDIATION, false, true},
};

bool IsCritical(const X509* certificate, int nid) {
  const int at = X509_get_ext_by_NID(certificate, nid, -1);
  return at >= 0 && X509_EXTENSION_get_critical(X509_get_ext(certificate, at)) == 1;
}

// The fields of RFC 5280 that OpenSSL caches on first use; it locks, though it takes the
// certificate as mutable.
X509* Mutable(const X509* certificate) { return const_cast<X509*>(certificate); }

bool HasExtensionsOf(const X509* certificate, const Profile& profile) {
  X509* const mutable_certificate = Mutable(certificate);
  const uint32_t flags = X509_get_extension_flags(mutable_certificate);
  const int expected_extensions = profile.is_time_stamping ? 5 : 4;
  if ((flags & (EXFLAG_INVALID | EXFLAG_CRITICAL)) != 0 || (flags & EXFLAG_BCONS) == 0 ||
      X509_get_ext_count(certificate) != expected_extensions ||
      !IsCritical(certificate, NID_basic_constraints) || !IsCritical(certificate, NID_key_usage) ||
      ((flags & EXFLAG_CA) != 0) != profile.is_authority ||
      X509_get_key_usage(mutable_certificate) != profile.key_usage ||
      X509_get0_subject_key_id(mutable_certificate) == nullptr ||
      X509_get0_authority_key_id(mutable_certificate) == nullptr) {
    return false;
  }
  if (profile.is_authority && X509_get_pathlen(mutable_certificate) != 0) return false;
  if (!profile.is_time_stamping) return (flags & EXFLAG_XKUSAGE) == 0;
  return IsCritical(certificate, NID_ext_key_usage) &&
         X509_get_extended_key_usage(mutable_certificate) == XKU_TIMESTAMP;
}

bool IsP384(const X509* certificate) {
  const EVP_PKEY* key = X509_get0_pubkey(certificate);
  char group[32] = {};
  size_t size = 0;
  return key != nullptr && EVP_PKEY_is_a(key, "EC") == 1 &&
         EVP_PKEY_get_group_name(const_cast<EVP_PKEY*>(key), group, sizeof(group), &size) == 1 &&
         absl::string_view(group, size) == "secp384r1";
}

// Names, key identifiers and the signature all say that `authority` made it.
bool IsIssuedBy(const Certificate& certificate, const Certificate& authority) {
  X509* const issuer = Mutable(authority.x509());
  const bool issued =
      X509_check_issued(issuer, Mutable(certificate.x509())) == X509_V_OK &&
      X509_get_signature_nid(certificate.x509()) == NID_ecdsa_with_SHA384 &&
      X509_verify(Mutable(certificate.x509()), X509_get0_pubkey(authority.x509())) == 1;
  ERR_clear_error();
  return issued;
}

CertificateVerdict Verify(const Certificate& certificate, const Certificate& authority,
                          CertificatePurpose purpose, absl::Time at, bool with_revocation,
                          const RevocationList* revocation_list) {
  if (!authority.IsFor(CertificatePurpose::kAuthority) || !IsIssuedBy(authority, authority) ||
      !IsIssuedBy(certificate, authority)) {
    return CertificateVerdict::kWrongAuthority;
  }
  if (!certificate.IsFor(purpose)) return CertificateVerdict::kWrongPurpose;
  if (at < certificate.not_before() || at < authority.not_before()) {
    return CertificateVerdict::kNotYetValid;
  }
  if (at > certificate.not_after() || at > authority.not_after()) {
    return CertificateVerdict::kExpired;
  }
  if (!with_revocation || purpose == CertificatePurpose::kAuthority) {
    return CertificateVerdict::kGood;
  }
  if (revocation_list == nullptr) return CertificateVerdict::kRevocationMissing;
  if (!revocation_list->IsSignedBy(authority) || at < revocation_list->this_update()) {
    return CertificateVerdict::kRevocationInvalid;
  }
  if (revocation_list->RevokedAt(certificate).has_value()) return CertificateVerdict::kRevoked;
  if (at > revocation_list->next_update()) return CertificateVerdict::kRevocationExpired;
  return CertificateVerdict::kGood;
}

}  // namespace

absl::StatusOr<Certificate> Certificate::Parse(absl::string_view der) {
  if (der.empty() || der.size() > kMaxCertificateBytes) return NoCertificate();
  const uint8_t* in = AsBytes(der);
  internal::X509Ptr parsed(d2i_X509(nullptr, &in, static_cast<long>(der.size())));
  ERR_clear_error();
  if (parsed == nullptr || X509_get_version(parsed.get()) != kVersion3 ||
      internal::ToDer(parsed.get(), i2d_X509) != der || X509_get0_pubkey(parsed.get()) == nullptr) {
    ERR_clear_error();
    return NoCertificate();
  }
  const auto serial = internal::SerialOf(X509_get0_serialNumber(parsed.get()));
  const auto subject = internal::CommonNameOf(X509_get_subject_name(parsed.get()));
  const auto issuer = internal::CommonNameOf(X509_get_issuer_name(parsed.get()));
  const auto not_before = internal::TimeOf(X509_get0_notBefore(parsed.get()));
  const auto not_after = internal::TimeOf(X509_get0_notAfter(parsed.get()));
  if (!serial.ok() || !subject.ok() || !issuer.ok() || !not_before.ok() || !not_after.ok()) {
    return NoCertificate();
  }
  Certificate certificate;
  certificate.der_ = std::string(der);
  certificate.serial_ = *serial;
  certificate.subject_ = *subject;
  certificate.issuer_ = *issuer;
  certificate.not_before_ = *not_before;
  certificate.not_after_ = *not_after;
  certificate.public_key_der_ =
      internal::ToDer(X509_get_X509_PUBKEY(parsed.get()), i2d_X509_PUBKEY);
  certificate.x509_ = std::shared_ptr<X509>(parsed.release(), X509_free);
  return certificate;
}

absl::StatusOr<Certificate> Certificate::ParsePem(absl::string_view pem) {
  const absl::StatusOr<std::string> der =
      internal::DecodePem(kCertificateLabel, pem, PemBytes(kMaxCertificateBytes));
  if (!der.ok()) return der.status();
  return Parse(*der);
}

std::string Certificate::ToPem() const { return internal::EncodePem(kCertificateLabel, der_); }

absl::StatusOr<std::string> Certificate::Ed25519Key() const {
  const EVP_PKEY* key = X509_get0_pubkey(x509_.get());
  std::string raw(kEd25519PublicKeyBytes, '\0');
  size_t size = raw.size();
  const bool is_ed25519 =
      EVP_PKEY_is_a(key, "ED25519") == 1 &&
      EVP_PKEY_get_raw_public_key(key, reinterpret_cast<uint8_t*>(&raw[0]), &size) == 1 &&
      size == raw.size();
  ERR_clear_error();
  if (!is_ed25519 || !IsValidEd25519PublicKey(raw)) {
    return absl::InvalidArgumentError("the certificate holds no Ed25519 key");
  }
  return raw;
}

absl::StatusOr<RsaPublicKey> Certificate::RsaKey() const {
  return RsaPublicKey::FromSpkiDer(public_key_der_);
}

bool Certificate::IsFor(CertificatePurpose purpose) const {
  for (const Profile& profile : kProfiles) {
    if (profile.purpose != purpose) continue;
    if (!HasExtensionsOf(x509_.get(), profile)) return false;
  }
  switch (purpose) {
    case CertificatePurpose::kAuthority:
      return subject_ == issuer_ && IsP384(x509_.get());
    case CertificatePurpose::kSigning:
      return Ed25519Key().ok();
    case CertificatePurpose::kEncryption:
    case CertificatePurpose::kTimeStamping:
      return RsaKey().ok();
  }
  return false;
}

absl::StatusOr<RevocationList> RevocationList::Parse(absl::string_view der) {
  if (der.empty() || der.size() > kMaxRevocationListBytes) return NoRevocationList();
  const uint8_t* in = AsBytes(der);
  internal::X509CrlPtr parsed(d2i_X509_CRL(nullptr, &in, static_cast<long>(der.size())));
  ERR_clear_error();
  if (parsed == nullptr || X509_CRL_get_version(parsed.get()) != kCrlVersion2 ||
      internal::ToDer(parsed.get(), i2d_X509_CRL) != der) {
    return NoRevocationList();
  }
  const auto issuer = internal::CommonNameOf(X509_CRL_get_issuer(parsed.get()));
  const auto this_update = internal::TimeOf(X509_CRL_get0_lastUpdate(parsed.get()));
  const auto next_update = internal::TimeOf(X509_CRL_get0_nextUpdate(parsed.get()));
  const internal::Asn1IntegerPtr number(static_cast<ASN1_INTEGER*>(
      X509_CRL_get_ext_d2i(parsed.get(), NID_crl_number, nullptr, nullptr)));
  RevocationList list;
  const bool numbered =
      number != nullptr && ASN1_INTEGER_get_uint64(&list.number_, number.get()) == 1;
  ERR_clear_error();
  // Two extensions, authority key identifier and CRL number: none that limits what it covers.
  if (!issuer.ok() || !this_update.ok() || !next_update.ok() || !numbered ||
      X509_CRL_get_ext_count(parsed.get()) != 2 ||
      X509_CRL_get_ext_by_NID(parsed.get(), NID_authority_key_identifier, -1) < 0) {
    return NoRevocationList();
  }
  list.der_ = std::string(der);
  list.issuer_ = *issuer;
  list.this_update_ = *this_update;
  list.next_update_ = *next_update;
  list.crl_ = std::shared_ptr<X509_CRL>(parsed.release(), X509_CRL_free);
  return list;
}

absl::StatusOr<RevocationList> RevocationList::ParsePem(absl::string_view pem) {
  const absl::StatusOr<std::string> der =
      internal::DecodePem(kRevocationListLabel, pem, PemBytes(kMaxRevocationListBytes));
  if (!der.ok()) return der.status();
  return Parse(*der);
}

std::string RevocationList::ToPem() const {
  return internal::EncodePem(kRevocationListLabel, der_);
}

size_t RevocationList::size() const {
  const auto* revoked = X509_CRL_get_REVOKED(crl_.get());
  return revoked == nullptr ? 0 : static_cast<size_t>(sk_X509_REVOKED_num(revoked));
}

absl::optional<absl::Time> RevocationList::RevokedAt(const Certificate& certificate) const {
  X509_REVOKED* entry = nullptr;
  const int found = X509_CRL_get0_by_cert(crl_.get(), &entry, Mutable(certificate.x509()));
  if (found == 0) return absl::nullopt;
  const absl::StatusOr<absl::Time> at =
      entry == nullptr ? absl::StatusOr<absl::Time>(absl::InfinitePast())
                       : internal::TimeOf(X509_REVOKED_get0_revocationDate(entry));
  return at.ok() ? *at : absl::InfinitePast();
}

bool RevocationList::IsSignedBy(const Certificate& authority) const {
  const bool is_signed = X509_NAME_cmp(X509_CRL_get_issuer(crl_.get()),
                                       X509_get_subject_name(authority.x509())) == 0 &&
                         X509_CRL_get_signature_nid(crl_.get()) == NID_ecdsa_with_SHA384 &&
                         X509_CRL_verify(crl_.get(), X509_get0_pubkey(authority.x509())) == 1;
  ERR_clear_error();
  return is_signed;
}

absl::string_view Describe(CertificateVerdict verdict) {
  switch (verdict) {
    case CertificateVerdict::kGood:
      return "is good";
    case CertificateVerdict::kMalformed:
      return "is damaged, or of a kind that no broker here issues";
    case CertificateVerdict::kWrongAuthority:
      return "was not issued by this authority";
    case CertificateVerdict::kWrongPurpose:
      return "was issued for another purpose";
    case CertificateVerdict::kNotYetValid:
      return "is not valid yet";
    case CertificateVerdict::kExpired:
      return "has expired";
    case CertificateVerdict::kRevocationMissing:
      return "cannot be checked: there is no revocation list";
    case CertificateVerdict::kRevocationInvalid:
      return "cannot be checked: the revocation list is not this authority's, or from the future";
    case CertificateVerdict::kRevoked:
      return "was revoked";
    case CertificateVerdict::kRevocationExpired:
      return "cannot be checked: the revocation list is too old";
  }
  return "cannot be judged";
}

CertificateVerdict VerifyCertificate(const Certificate& certificate, const Certificate& authority,
                                     CertificatePurpose purpose, absl::Time at,
                                     const RevocationList* revocation_list) {
  return Verify(certificate, authority, purpose, at, /*with_revocation=*/true, revocation_list);
}

CertificateVerdict VerifyCertificateWithoutRevocation(const Certificate& certificate,
                                                      const Certificate& authority,
                                                      CertificatePurpose purpose, absl::Time at) {
  return Verify(certificate, authority, purpose, at, /*with_revocation=*/false, nullptr);
}

CertificateVerdict VerifyCertificate(absl::string_view certificate_der,
                                     const Certificate& authority, CertificatePurpose purpose,
                                     absl::Time at, const RevocationList* revocation_list) {
  const absl::StatusOr<Certificate> certificate = Certificate::Parse(certificate_der);
  if (!certificate.ok()) return CertificateVerdict::kMalformed;
  return VerifyCertificate(*certificate, authority, purpose, at, revocation_list);
}

}  // namespace blindcart::crypto
