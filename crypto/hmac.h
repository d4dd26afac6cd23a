// HMAC-SHA-256 (RFC 2104, FIPS 198-1), OpenSSL's.
#ifndef BLINDCART_CRYPTO_HMAC_H_
#define BLINDCART_CRYPTO_HMAC_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "crypto/internal/openssl_ptr.h"

namespace blindcart::crypto {

inline constexpr size_t kHmacSha256Bytes = 32;

// One MAC under a key of any length. The result is 32 raw bytes.
std::string HmacSha256(absl::string_view key, absl::string_view data);

// A key whose context is set up once and used for many messages. The parts of a message are
// MACed as their plain concatenation (no length prefixes), so that a frame need not be copied
// together first. Movable; not thread-safe.
class HmacKey {
 public:
  // InvalidArgument for an empty key.
  static absl::StatusOr<HmacKey> Create(absl::string_view key);

  void Sign(absl::Span<const absl::string_view> parts, uint8_t out[kHmacSha256Bytes]);
  // Constant-time; false for a `mac` that is not 32 bytes long.
  bool Verify(absl::Span<const absl::string_view> parts, absl::string_view mac);

 private:
  explicit HmacKey(internal::MacContextPtr context);
  internal::MacContextPtr context_;
};

}  // namespace blindcart::crypto

#endif  // BLINDCART_CRYPTO_HMAC_H_
