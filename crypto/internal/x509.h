// Owning pointers and small helpers for OpenSSL's X.509 objects, shared by the files of //crypto that
// make or read certificates. Includes OpenSSL's headers, so only .cc files of crypto/ include it.
#ifndef BLINDCART_CRYPTO_INTERNAL_X509_H_
#define BLINDCART_CRYPTO_INTERNAL_X509_H_

#include <openssl/asn1.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "crypto/internal/library.h"
#include "crypto/internal/openssl_ptr.h"

namespace blindcart::crypto::internal {

template <typename T, void (*Free)(T*)>
struct X509Deleter {
  void operator()(T* p) const { Free(p); }
};
using X509Ptr = std::unique_ptr<X509, X509Deleter<X509, X509_free>>;
using X509CrlPtr = std::unique_ptr<X509_CRL, X509Deleter<X509_CRL, X509_CRL_free>>;
using X509ReqPtr = std::unique_ptr<X509_REQ, X509Deleter<X509_REQ, X509_REQ_free>>;
using X509RevokedPtr = std::unique_ptr<X509_REVOKED, X509Deleter<X509_REVOKED, X509_REVOKED_free>>;
using ExtensionPtr =
    std::unique_ptr<X509_EXTENSION, X509Deleter<X509_EXTENSION, X509_EXTENSION_free>>;
using Asn1IntegerPtr = std::unique_ptr<ASN1_INTEGER, X509Deleter<ASN1_INTEGER, ASN1_INTEGER_free>>;
using Asn1TimePtr = std::unique_ptr<ASN1_TIME, X509Deleter<ASN1_TIME, ASN1_TIME_free>>;
using Asn1ObjectPtr = std::unique_ptr<ASN1_OBJECT, X509Deleter<ASN1_OBJECT, ASN1_OBJECT_free>>;

// The DER of `object` by one of OpenSSL's i2d functions.
template <typename T, typename I2d>
std::string ToDer(T* object, I2d i2d) {
  const int size = i2d(object, nullptr);
  CheckLibrary(size > 0, "i2d");
  std::string der(static_cast<size_t>(size), '\0');
  uint8_t* out = reinterpret_cast<uint8_t*>(&der[0]);
  CheckLibrary(i2d(object, &out) == size, "i2d");
  return der;
}

// "-----BEGIN LABEL-----" and so on, RFC 7468.
std::string EncodePem(absl::string_view label, absl::string_view der);
// The bytes of exactly one block with that label, with white space around it; InvalidArgument
// otherwise. `max_bytes` bounds the text.
absl::StatusOr<std::string> DecodePem(absl::string_view label, absl::string_view pem,
                                      size_t max_bytes);

// The one common name of a name that holds nothing else: 1 to 64 characters of UTF-8 without
// control characters. InvalidArgument otherwise.
absl::StatusOr<std::string> CommonNameOf(const X509_NAME* name);
bool IsUsableCommonName(absl::string_view name);
// A name of that common name alone, as UTF8String.
void SetCommonName(X509_NAME* name, absl::string_view common_name);

absl::StatusOr<absl::Time> TimeOf(const ASN1_TIME* time);
void SetTime(ASN1_TIME* field, absl::Time time);

// Big-endian, 1 to 20 bytes without leading zeros, of a positive integer; InvalidArgument otherwise.
absl::StatusOr<std::string> SerialOf(const ASN1_INTEGER* integer);
Asn1IntegerPtr IntegerOf(absl::string_view big_endian);

}  // namespace blindcart::crypto::internal

#endif  // BLINDCART_CRYPTO_INTERNAL_X509_H_
