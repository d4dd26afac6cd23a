#include "crypto/certificate_authority.h"

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "crypto/ed25519.h"
#include "crypto/internal/library.h"
#include "crypto/internal/x509.h"

namespace blindcart::crypto {
namespace {

using internal::AsBytes;
using internal::CheckLibrary;
using internal::PkeyPtr;
using internal::X509Ptr;

constexpr char kCurve[] = "P-384";
constexpr long kVersion3 = 2;  // as X.509 counts
constexpr long kCrlVersion2 = 1;
constexpr size_t kMaxPkcs8Bytes = 512;

struct Pkcs8Deleter {
  void operator()(PKCS8_PRIV_KEY_INFO* info) const { PKCS8_PRIV_KEY_INFO_free(info); }
};
using Pkcs8Ptr = std::unique_ptr<PKCS8_PRIV_KEY_INFO, Pkcs8Deleter>;

absl::Status CheckArguments(absl::string_view common_name, const ValidityPeriod& validity) {
  if (!internal::IsUsableCommonName(common_name)) {
    return absl::InvalidArgumentError("this name cannot stand in a certificate");
  }
  if (validity.not_before >= validity.not_after) {
    return absl::InvalidArgumentError("a certificate has to be valid for some time");
  }
  return absl::OkStatus();
}

std::string NewSerial(RandomSource& random) {
  std::string serial = random.Bytes(kCertificateSerialBytes);
  serial[0] = static_cast<char>(static_cast<uint8_t>(serial[0]) | 0x80);
  return serial;
}

void AddExtension(X509* issuer, X509* subject, int nid, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, subject, nullptr, nullptr, 0);
  const internal::ExtensionPtr extension(X509V3_EXT_conf_nid(nullptr, &context, nid, value));
  CheckLibrary(extension != nullptr && X509_add_ext(subject, extension.get(), -1) == 1,
               "X509_add_ext");
}

// Subject key identifier before authority key identifier: a self-signed certificate takes the
// second from the first.
void AddExtensions(X509* issuer, X509* certificate, CertificatePurpose purpose) {
  const bool is_authority = purpose == CertificatePurpose::kAuthority;
  AddExtension(issuer, certificate, NID_basic_constraints,
               is_authority ? "critical,CA:TRUE,pathlen:0" : "critical,CA:FALSE");
  switch (purpose) {
    case CertificatePurpose::kAuthority:
      AddExtension(issuer, certificate, NID_key_usage, "critical,keyCertSign,cRLSign");
      break;
    case CertificatePurpose::kSigning:
      AddExtension(issuer, certificate, NID_key_usage, "critical,digitalSignature");
      break;
    case CertificatePurpose::kEncryption:
      AddExtension(issuer, certificate, NID_key_usage, "critical,keyEncipherment");
      break;
    case CertificatePurpose::kTimeStamping:
      AddExtension(issuer, certificate, NID_key_usage, "critical,digitalSignature,nonRepudiation");
      AddExtension(issuer, certificate, NID_ext_key_usage, "critical,timeStamping");
      break;
  }
  AddExtension(issuer, certificate, NID_subject_key_identifier, "hash");
  AddExtension(issuer, certificate, NID_authority_key_identifier, "keyid:always");
}

X509Ptr NewCertificate(absl::string_view common_name, EVP_PKEY* key, const ValidityPeriod& validity,
                       RandomSource& random) {
  X509Ptr certificate(X509_new());
  CheckLibrary(certificate != nullptr && X509_set_version(certificate.get(), kVersion3) == 1 &&
                   X509_set_pubkey(certificate.get(), key) == 1 &&
                   X509_set_serialNumber(certificate.get(),
                                         internal::IntegerOf(NewSerial(random)).get()) == 1,
               "X509_new");
  internal::SetCommonName(X509_get_subject_name(certificate.get()), common_name);
  internal::SetTime(X509_getm_notBefore(certificate.get()), validity.not_before);
  internal::SetTime(X509_getm_notAfter(certificate.get()), validity.not_after);
  return certificate;
}

absl::StatusOr<Certificate> SignAndParse(X509* certificate, EVP_PKEY* key) {
  CheckLibrary(X509_sign(certificate, key, EVP_sha384()) > 0, "X509_sign");
  return Certificate::Parse(internal::ToDer(certificate, i2d_X509));
}

PkeyPtr PkeyOf(const RsaPublicKey& key) {
  const uint8_t* in = AsBytes(key.SpkiDer());
  PkeyPtr pkey(d2i_PUBKEY(nullptr, &in, static_cast<long>(key.SpkiDer().size())));
  CheckLibrary(pkey != nullptr, "d2i_PUBKEY");
  return pkey;
}

}  // namespace

CertificateAuthority::CertificateAuthority(PkeyPtr key, Certificate certificate)
    : key_(std::move(key)), certificate_(std::move(certificate)) {}

absl::StatusOr<CertificateAuthority> CertificateAuthority::Create(absl::string_view common_name,
                                                                  const ValidityPeriod& validity,
                                                                  RandomSource& random) {
  const absl::Status usable = CheckArguments(common_name, validity);
  if (!usable.ok()) return usable;
  PkeyPtr key(EVP_EC_gen(kCurve));
  CheckLibrary(key != nullptr, "EVP_EC_gen");
  const X509Ptr made = NewCertificate(common_name, key.get(), validity, random);
  internal::SetCommonName(X509_get_issuer_name(made.get()), common_name);
  AddExtensions(made.get(), made.get(), CertificatePurpose::kAuthority);
  absl::StatusOr<Certificate> certificate = SignAndParse(made.get(), key.get());
  if (!certificate.ok()) return certificate.status();
  return CertificateAuthority(std::move(key), *std::move(certificate));
}

absl::StatusOr<CertificateAuthority> CertificateAuthority::FromKey(absl::string_view pkcs8_der,
                                                                   Certificate certificate) {
  PkeyPtr key;
  if (pkcs8_der.size() <= kMaxPkcs8Bytes) {
    const uint8_t* in = AsBytes(pkcs8_der);
    const Pkcs8Ptr info(d2i_PKCS8_PRIV_KEY_INFO(nullptr, &in, static_cast<long>(pkcs8_der.size())));
    if (info != nullptr) key.reset(EVP_PKCS82PKEY(info.get()));
  }
  const bool fits = key != nullptr && certificate.IsFor(CertificatePurpose::kAuthority) &&
                    X509_check_private_key(certificate.x509(), key.get()) == 1;
  ERR_clear_error();
  if (!fits) {
    return absl::InvalidArgumentError("the authority's key and certificate do not fit each other");
  }
  return CertificateAuthority(std::move(key), std::move(certificate));
}

SecretBytes CertificateAuthority::Pkcs8Der() const {
  const Pkcs8Ptr info(EVP_PKEY2PKCS8(key_.get()));
  CheckLibrary(info != nullptr, "EVP_PKEY2PKCS8");
  const int size = i2d_PKCS8_PRIV_KEY_INFO(info.get(), nullptr);
  CheckLibrary(size > 0, "i2d_PKCS8_PRIV_KEY_INFO");
  SecretBytes der(static_cast<size_t>(size));
  uint8_t* out = der.data();
  CheckLibrary(i2d_PKCS8_PRIV_KEY_INFO(info.get(), &out) == size, "i2d_PKCS8_PRIV_KEY_INFO");
  return der;
}

absl::StatusOr<Certificate> CertificateAuthority::Issue(CertificatePurpose purpose,
                                                        absl::string_view common_name,
                                                        EVP_PKEY* key,
                                                        const ValidityPeriod& validity,
                                                        RandomSource& random) const {
  const absl::Status usable = CheckArguments(common_name, validity);
  if (!usable.ok()) return usable;
  X509* const issuer = const_cast<X509*>(certificate_.x509());
  const X509Ptr made = NewCertificate(common_name, key, validity, random);
  CheckLibrary(X509_set_issuer_name(made.get(), X509_get_subject_name(issuer)) == 1,
               "X509_set_issuer_name");
  AddExtensions(issuer, made.get(), purpose);
  return SignAndParse(made.get(), key_.get());
}

absl::StatusOr<Certificate> CertificateAuthority::IssueSigning(absl::string_view username,
                                                               absl::string_view ed25519_public_key,
                                                               const ValidityPeriod& validity,
                                                               RandomSource& random) const {
  if (!IsValidEd25519PublicKey(ed25519_public_key)) {
    return absl::InvalidArgumentError("not an Ed25519 public key");
  }
  const PkeyPtr key(EVP_PKEY_new_raw_public_key(
      EVP_PKEY_ED25519, nullptr, AsBytes(ed25519_public_key), ed25519_public_key.size()));
  CheckLibrary(key != nullptr, "EVP_PKEY_new_raw_public_key");
  return Issue(CertificatePurpose::kSigning, username, key.get(), validity, random);
}

absl::StatusOr<Certificate> CertificateAuthority::IssueEncryption(absl::string_view username,
                                                                  const RsaPublicKey& key,
                                                                  const ValidityPeriod& validity,
                                                                  RandomSource& random) const {
  return Issue(CertificatePurpose::kEncryption, username, PkeyOf(key).get(), validity, random);
}

absl::StatusOr<Certificate> CertificateAuthority::IssueTimeStamping(absl::string_view common_name,
                                                                    const RsaPublicKey& key,
                                                                    const ValidityPeriod& validity,
                                                                    RandomSource& random) const {
  return Issue(CertificatePurpose::kTimeStamping, common_name, PkeyOf(key).get(), validity, random);
}

absl::StatusOr<RevocationList> CertificateAuthority::MakeRevocationList(
    const std::vector<RevokedSerial>& revoked, uint64_t number, absl::Time this_update,
    absl::Time next_update) const {
  if (this_update >= next_update) {
    return absl::InvalidArgumentError("a revocation list has to be good for some time");
  }
  if (revoked.size() > kMaxRevokedInList) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "more certificates are revoked than a revocation list can name (", kMaxRevokedInList, ")"));
  }
  const internal::X509CrlPtr list(X509_CRL_new());
  const internal::Asn1TimePtr time(ASN1_TIME_new());
  CheckLibrary(
      list != nullptr && time != nullptr && X509_CRL_set_version(list.get(), kCrlVersion2) == 1 &&
          X509_CRL_set_issuer_name(list.get(), X509_get_subject_name(certificate_.x509())) == 1,
      "X509_CRL_new");
  internal::SetTime(time.get(), this_update);
  CheckLibrary(X509_CRL_set1_lastUpdate(list.get(), time.get()) == 1, "X509_CRL_set1_lastUpdate");
  internal::SetTime(time.get(), next_update);
  CheckLibrary(X509_CRL_set1_nextUpdate(list.get(), time.get()) == 1, "X509_CRL_set1_nextUpdate");
  for (const RevokedSerial& entry : revoked) {
    internal::X509RevokedPtr item(X509_REVOKED_new());
    internal::SetTime(time.get(), entry.revoked_at);
    CheckLibrary(item != nullptr &&
                     X509_REVOKED_set_serialNumber(item.get(),
                                                   internal::IntegerOf(entry.serial).get()) == 1 &&
                     X509_REVOKED_set_revocationDate(item.get(), time.get()) == 1 &&
                     X509_CRL_add0_revoked(list.get(), item.get()) == 1,
                 "X509_CRL_add0_revoked");
    item.release();  // the list owns it now
  }
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, const_cast<X509*>(certificate_.x509()), nullptr, nullptr, list.get(), 0);
  const internal::ExtensionPtr key_identifier(
      X509V3_EXT_conf_nid(nullptr, &context, NID_authority_key_identifier, "keyid:always"));
  const internal::Asn1IntegerPtr crl_number(ASN1_INTEGER_new());
  CheckLibrary(key_identifier != nullptr && crl_number != nullptr &&
                   X509_CRL_add_ext(list.get(), key_identifier.get(), -1) == 1 &&
                   ASN1_INTEGER_set_uint64(crl_number.get(), number) == 1 &&
                   X509_CRL_add1_ext_i2d(list.get(), NID_crl_number, crl_number.get(), /*crit=*/0,
                                         X509V3_ADD_DEFAULT) == 1,
               "X509_CRL_add_ext");
  X509_CRL_sort(list.get());
  CheckLibrary(X509_CRL_sign(list.get(), key_.get(), EVP_sha384()) > 0, "X509_CRL_sign");
  return RevocationList::Parse(internal::ToDer(list.get(), i2d_X509_CRL));
}

}  // namespace blindcart::crypto
