#include "crypto/tls_certificate.h"

#include <arpa/inet.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "crypto/internal/library.h"
#include "crypto/internal/openssl_ptr.h"

namespace blindcart::crypto {
namespace {

using internal::BioPtr;
using internal::CheckLibrary;

constexpr size_t kMaxCommonNameBytes = 64;  // RFC 5280, ub-common-name
constexpr size_t kMaxDnsNameBytes = 253;
constexpr size_t kMaxDnsLabelBytes = 63;
constexpr int kMaxDays = 36500;
constexpr int kSerialBits = 127;  // 16 bytes, positive
constexpr long kVersion3 = 2;     // as X.509 counts

template <typename T, void (*Free)(T*)>
struct Deleter {
  void operator()(T* p) const { Free(p); }
};
using X509Ptr = std::unique_ptr<X509, Deleter<X509, X509_free>>;
using BignumPtr = std::unique_ptr<BIGNUM, Deleter<BIGNUM, BN_free>>;
using GeneralNamesPtr = std::unique_ptr<GENERAL_NAMES, Deleter<GENERAL_NAMES, GENERAL_NAMES_free>>;
using ExtensionPtr = std::unique_ptr<X509_EXTENSION, Deleter<X509_EXTENSION, X509_EXTENSION_free>>;

bool IsCommonName(const std::string& name) {
  if (name.empty() || name.size() > kMaxCommonNameBytes) return false;
  for (char c : name) {
    if (!absl::ascii_isprint(static_cast<unsigned char>(c))) return false;
  }
  return true;
}

bool IsDnsName(absl::string_view name) {
  if (name.empty() || name.size() > kMaxDnsNameBytes) return false;
  for (absl::string_view label : absl::StrSplit(name, '.')) {
    if (label.empty() || label.size() > kMaxDnsLabelBytes) return false;
    for (char c : label) {
      // The underscore is no part of a host's name but occurs in names of containers.
      if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && c != '-' && c != '_') return false;
    }
  }
  return true;
}

// The address in network byte order (4 or 16 bytes), or empty when `text` is none.
std::string ParseAddress(const std::string& text) {
  uint8_t bytes[16];
  if (inet_pton(AF_INET, text.c_str(), bytes) == 1) {
    return std::string(reinterpret_cast<char*>(bytes), 4);
  }
  if (inet_pton(AF_INET6, text.c_str(), bytes) == 1) {
    return std::string(reinterpret_cast<char*>(bytes), 16);
  }
  return "";
}

void AddName(GENERAL_NAMES* names, int type, absl::string_view value) {
  // An IA5String and an OCTET STRING are the same structure with another tag.
  ASN1_STRING* string =
      ASN1_STRING_type_new(type == GEN_DNS ? V_ASN1_IA5STRING : V_ASN1_OCTET_STRING);
  GENERAL_NAME* name = GENERAL_NAME_new();
  CheckLibrary(string != nullptr && name != nullptr &&
                   ASN1_STRING_set(string, value.data(), static_cast<int>(value.size())) == 1,
               "GENERAL_NAME_new");
  GENERAL_NAME_set0_value(name, type, string);
  CheckLibrary(sk_GENERAL_NAME_push(names, name) > 0, "sk_GENERAL_NAME_push");
}

void AddConstantExtension(X509* certificate, int nid, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, certificate, certificate, nullptr, nullptr, 0);
  const ExtensionPtr extension(X509V3_EXT_conf_nid(nullptr, &context, nid, value));
  CheckLibrary(extension != nullptr && X509_add_ext(certificate, extension.get(), -1) == 1,
               "X509_add_ext");
}

void SetSerial(X509* certificate) {
  const BignumPtr serial(BN_new());
  CheckLibrary(serial != nullptr &&
                   BN_rand(serial.get(), kSerialBits, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1 &&
                   BN_to_ASN1_INTEGER(serial.get(), X509_get_serialNumber(certificate)) != nullptr,
               "BN_to_ASN1_INTEGER");
}

void SetNameAndValidity(X509* certificate, const std::string& common_name, int days,
                        absl::Time now) {
  X509_NAME* name = X509_get_subject_name(certificate);
  CheckLibrary(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, internal::AsBytes(common_name),
                                          static_cast<int>(common_name.size()), -1, 0) == 1 &&
                   X509_set_issuer_name(certificate, name) == 1,
               "X509_NAME_add_entry_by_txt");
  // An hour of grace for clocks that are behind.
  CheckLibrary(ASN1_TIME_set(X509_getm_notBefore(certificate),
                             absl::ToTimeT(now - absl::Hours(1))) != nullptr &&
                   ASN1_TIME_set(X509_getm_notAfter(certificate),
                                 absl::ToTimeT(now + absl::Hours(24) * days)) != nullptr,
               "ASN1_TIME_set");
}

std::string Text(const BioPtr& bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return std::string(data, static_cast<size_t>(size));
}

TlsCertificate ToPem(X509* certificate, EVP_PKEY* key) {
  const BioPtr certificate_bio(BIO_new(BIO_s_mem()));
  // Secure memory's BIO is wiped when freed.
  const BioPtr key_bio(BIO_new(BIO_s_secmem()));
  CheckLibrary(certificate_bio != nullptr && key_bio != nullptr &&
                   PEM_write_bio_X509(certificate_bio.get(), certificate) == 1 &&
                   PEM_write_bio_PKCS8PrivateKey(key_bio.get(), key, nullptr, nullptr, 0, nullptr,
                                                 nullptr) == 1,
               "PEM_write_bio");
  return TlsCertificate{Text(certificate_bio), Text(key_bio)};
}

}  // namespace

absl::StatusOr<TlsCertificate> MakeSelfSignedCertificate(
    const std::string& common_name, const std::vector<std::string>& subject_alternative_names,
    int days, absl::Time now) {
  if (!IsCommonName(common_name)) return absl::InvalidArgumentError("common name not usable");
  if (days < 1 || days > kMaxDays) return absl::InvalidArgumentError("days out of range");
  if (subject_alternative_names.empty()) {
    return absl::InvalidArgumentError("a certificate needs a DNS name or an address");
  }
  const GeneralNamesPtr names(GENERAL_NAMES_new());
  CheckLibrary(names != nullptr, "GENERAL_NAMES_new");
  for (const std::string& name : subject_alternative_names) {
    const std::string address = ParseAddress(name);
    if (!address.empty()) {
      AddName(names.get(), GEN_IPADD, address);
    } else if (IsDnsName(name)) {
      AddName(names.get(), GEN_DNS, name);
    } else {
      return absl::InvalidArgumentError("neither a DNS name nor an IP address");
    }
  }

  const internal::PkeyPtr key(EVP_EC_gen("P-256"));
  const X509Ptr certificate(X509_new());
  CheckLibrary(key != nullptr && certificate != nullptr &&
                   X509_set_version(certificate.get(), kVersion3) == 1 &&
                   X509_set_pubkey(certificate.get(), key.get()) == 1,
               "X509_new");
  SetSerial(certificate.get());
  SetNameAndValidity(certificate.get(), common_name, days, now);
  AddConstantExtension(certificate.get(), NID_basic_constraints, "critical,CA:FALSE");
  AddConstantExtension(certificate.get(), NID_ext_key_usage, "serverAuth");
  AddConstantExtension(certificate.get(), NID_subject_key_identifier, "hash");
  CheckLibrary(X509_add1_ext_i2d(certificate.get(), NID_subject_alt_name, names.get(),
                                 /*crit=*/0, X509V3_ADD_DEFAULT) == 1 &&
                   X509_sign(certificate.get(), key.get(), EVP_sha256()) > 0,
               "X509_sign");
  return ToPem(certificate.get(), key.get());
}

}  // namespace blindcart::crypto
