#include "crypto/certification_request.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/objects.h>
#include <openssl/x509.h>

#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "crypto/certificate_authority.h"
#include "crypto/ed25519.h"
#include "crypto/internal/library.h"
#include "crypto/internal/x509.h"

namespace blindcart::crypto {
namespace {

using internal::AsBytes;
using internal::CheckLibrary;

constexpr long kVersion1 = 0;  // as PKCS#10 counts

absl::Status NoRequest() { return absl::InvalidArgumentError("not a certification request"); }

internal::Asn1ObjectPtr RsaKeyAttribute() {
  internal::Asn1ObjectPtr object(OBJ_txt2obj(kRequestRsaKeyOid, /*no_name=*/1));
  CheckLibrary(object != nullptr, "OBJ_txt2obj");
  return object;
}

// The attribute's one value; empty when it is not there as it should be.
std::string RsaKeyOf(const X509_REQ* request) {
  if (X509_REQ_get_attr_count(request) != 1) return "";
  const int at = X509_REQ_get_attr_by_OBJ(request, RsaKeyAttribute().get(), -1);
  if (at < 0) return "";
  X509_ATTRIBUTE* const attribute = X509_REQ_get_attr(request, at);
  if (X509_ATTRIBUTE_count(attribute) != 1) return "";
  const auto* value = static_cast<const ASN1_STRING*>(
      X509_ATTRIBUTE_get0_data(attribute, 0, V_ASN1_OCTET_STRING, nullptr));
  if (value == nullptr) return "";
  return std::string(reinterpret_cast<const char*>(ASN1_STRING_get0_data(value)),
                     static_cast<size_t>(ASN1_STRING_length(value)));
}

std::string Ed25519KeyOf(const X509_REQ* request) {
  const EVP_PKEY* key = X509_REQ_get0_pubkey(const_cast<X509_REQ*>(request));
  std::string raw(kEd25519PublicKeyBytes, '\0');
  size_t size = raw.size();
  if (key == nullptr || EVP_PKEY_is_a(key, "ED25519") != 1 ||
      EVP_PKEY_get_raw_public_key(key, reinterpret_cast<uint8_t*>(&raw[0]), &size) != 1 ||
      size != raw.size()) {
    return "";
  }
  return raw;
}

}  // namespace

absl::StatusOr<std::string> MakeCertificationRequest(absl::string_view username,
                                                     const Identity& identity) {
  if (!internal::IsUsableCommonName(username)) {
    return absl::InvalidArgumentError("this name cannot stand in a certificate");
  }
  const internal::X509ReqPtr request(X509_REQ_new());
  const SecretBytes& seed = identity.ed25519().seed();
  const internal::PkeyPtr key(
      EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nullptr, seed.data(), seed.size()));
  CheckLibrary(request != nullptr && key != nullptr &&
                   X509_REQ_set_version(request.get(), kVersion1) == 1 &&
                   X509_REQ_set_pubkey(request.get(), key.get()) == 1,
               "X509_REQ_new");
  internal::SetCommonName(X509_REQ_get_subject_name(request.get()), username);
  const std::string& rsa_key = identity.rsa().public_key().SpkiDer();
  CheckLibrary(
      X509_REQ_add1_attr_by_OBJ(request.get(), RsaKeyAttribute().get(), V_ASN1_OCTET_STRING,
                                AsBytes(rsa_key), static_cast<int>(rsa_key.size())) == 1,
      "X509_REQ_add1_attr_by_OBJ");
  CheckLibrary(X509_REQ_sign(request.get(), key.get(), nullptr) > 0, "X509_REQ_sign");
  return internal::ToDer(request.get(), i2d_X509_REQ);
}

absl::StatusOr<CertificationRequest> ParseCertificationRequest(absl::string_view der) {
  if (der.empty() || der.size() > kMaxCertificationRequestBytes) return NoRequest();
  const uint8_t* in = AsBytes(der);
  const internal::X509ReqPtr request(d2i_X509_REQ(nullptr, &in, static_cast<long>(der.size())));
  ERR_clear_error();
  if (request == nullptr || X509_REQ_get_version(request.get()) != kVersion1 ||
      internal::ToDer(request.get(), i2d_X509_REQ) != der) {
    return NoRequest();
  }
  const absl::StatusOr<std::string> subject =
      internal::CommonNameOf(X509_REQ_get_subject_name(request.get()));
  const std::string ed25519_key = Ed25519KeyOf(request.get());
  absl::StatusOr<RsaPublicKey> rsa_key = RsaPublicKey::FromSpkiDer(RsaKeyOf(request.get()));
  ERR_clear_error();
  if (!subject.ok() || !rsa_key.ok()) return NoRequest();
  // Refuses keys of small order too.
  absl::StatusOr<PublicIdentity> identity =
      PublicIdentity::Create(*std::move(rsa_key), ed25519_key);
  if (!identity.ok()) return NoRequest();
  const bool signature_fits =
      X509_REQ_get_signature_nid(request.get()) == NID_ED25519 &&
      X509_REQ_verify(request.get(), X509_REQ_get0_pubkey(request.get())) == 1;
  ERR_clear_error();
  if (!signature_fits) return absl::UnauthenticatedError("the request's signature does not fit");
  return CertificationRequest{*subject, *std::move(identity)};
}

}  // namespace blindcart::crypto
