// Comparison of secrets in a time that depends on their length only (sodium_memcmp).
#ifndef BLINDCART_CRYPTO_CONSTANT_TIME_H_
#define BLINDCART_CRYPTO_CONSTANT_TIME_H_

#include "absl/strings/string_view.h"

namespace blindcart::crypto {

// False at once when the lengths differ: lengths are not secret.
bool ConstantTimeEquals(absl::string_view a, absl::string_view b);

}  // namespace blindcart::crypto

#endif  // BLINDCART_CRYPTO_CONSTANT_TIME_H_
