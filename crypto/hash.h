// SHA-256 (FIPS 180-4), OpenSSL's.
#ifndef BLINDCART_CRYPTO_HASH_H_
#define BLINDCART_CRYPTO_HASH_H_

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"
#include "crypto/internal/openssl_ptr.h"

namespace blindcart::crypto {

inline constexpr size_t kSha256Bytes = 32;

// The 32 raw bytes of the digest.
std::string Sha256(absl::string_view data);

// A digest over data that arrives in pieces. Update any number of times, then Finish; after Finish
// the object starts afresh. Not thread-safe.
class Sha256Hasher {
 public:
  Sha256Hasher();
  void Update(absl::string_view data);
  std::string Finish();

 private:
  internal::DigestContextPtr context_;
};

}  // namespace blindcart::crypto

#endif  // BLINDCART_CRYPTO_HASH_H_
