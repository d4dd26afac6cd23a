// HKDF-SHA-256 (RFC 5869).
#ifndef BLINDCART_CRYPTO_HKDF_H_
#define BLINDCART_CRYPTO_HKDF_H_

#include <cstddef>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "crypto/secret_bytes.h"

namespace blindcart::crypto {

// Longest output that RFC 5869 allows for SHA-256.
inline constexpr size_t kMaxHkdfOutputBytes = 255 * 32;

// Section 2.2. An empty salt stands for 32 zero bytes. The result is 32 bytes.
SecretBytes HkdfExtract(absl::string_view salt, absl::string_view ikm);

// Section 2.3. InvalidArgument when `length` is 0 or above kMaxHkdfOutputBytes, or `prk` is shorter
// than 32 bytes, or `info` is longer than the library takes (1 KiB is always taken).
absl::StatusOr<SecretBytes> HkdfExpand(absl::string_view prk, absl::string_view info,
                                       size_t length);

// Extract, then expand.
absl::StatusOr<SecretBytes> Hkdf(absl::string_view salt, absl::string_view ikm,
                                 absl::string_view info, size_t length);

}  // namespace blindcart::crypto

#endif  // BLINDCART_CRYPTO_HKDF_H_
