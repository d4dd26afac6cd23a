#include "crypto/hkdf.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#include <memory>
#include <string>

#include "crypto/hmac.h"
#include "crypto/internal/library.h"

namespace blindcart::crypto {
namespace {

struct KdfContextDeleter {
  void operator()(EVP_KDF_CTX* context) const { EVP_KDF_CTX_free(context); }
};

}  // namespace

SecretBytes HkdfExtract(absl::string_view salt, absl::string_view ikm) {
  // Section 2.2 is one HMAC. (OpenSSL's own extract step refuses an empty ikm, the RFC does not.
  // HMAC fills a short key up with zeros, so that an empty salt needs nothing special.)
  std::string prk = HmacSha256(salt, ikm);
  return SecretBytes::TakeFrom(prk);
}

absl::StatusOr<SecretBytes> HkdfExpand(absl::string_view prk, absl::string_view info,
                                       size_t length) {
  if (length == 0 || length > kMaxHkdfOutputBytes) {
    return absl::InvalidArgumentError("HKDF output length out of range");
  }
  if (prk.size() < kHmacSha256Bytes) return absl::InvalidArgumentError("HKDF key too short");

  static EVP_KDF* const algorithm = EVP_KDF_fetch(nullptr, "HKDF", nullptr);
  internal::CheckLibrary(algorithm != nullptr, "EVP_KDF_fetch");
  std::unique_ptr<EVP_KDF_CTX, KdfContextDeleter> context(EVP_KDF_CTX_new(algorithm));
  internal::CheckLibrary(context != nullptr, "EVP_KDF_CTX_new");

  // The parameters take pointers to what they only read.
  char digest[] = "SHA256";
  int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY;
  OSSL_PARAM parameters[] = {OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
                             OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode),
                             OSSL_PARAM_construct_octet_string(
                                 OSSL_KDF_PARAM_KEY, const_cast<char*>(prk.data()), prk.size()),
                             OSSL_PARAM_construct_octet_string(
                                 OSSL_KDF_PARAM_INFO, const_cast<char*>(info.data()), info.size()),
                             OSSL_PARAM_END};
  SecretBytes output(length);
  if (EVP_KDF_derive(context.get(), output.data(), length, parameters) != 1) {
    ERR_clear_error();
    return absl::InvalidArgumentError("HKDF refused its input");
  }
  return output;
}

absl::StatusOr<SecretBytes> Hkdf(absl::string_view salt, absl::string_view ikm,
                                 absl::string_view info, size_t length) {
  return HkdfExpand(HkdfExtract(salt, ikm).view(), info, length);
}

}  // namespace blindcart::crypto
