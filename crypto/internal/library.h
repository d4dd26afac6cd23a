// What every user of the two cryptographic libraries does first, or when one of them breaks down.
// Private to crypto/.
#ifndef BLINDCART_CRYPTO_INTERNAL_LIBRARY_H_
#define BLINDCART_CRYPTO_INTERNAL_LIBRARY_H_

#include <cstdint>

#include "absl/strings/string_view.h"

namespace blindcart::crypto::internal {

// Ends the process when `ok` is false: for library calls that fail only without memory or without
// the algorithm, where going on could mean an unkeyed MAC or a constant "random" number.
void CheckLibrary(bool ok, const char* what);

// Initialises libsodium once; every user of it calls this first.
void EnsureSodium();

inline const uint8_t* AsBytes(absl::string_view text) {
  return reinterpret_cast<const uint8_t*>(text.data());
}

}  // namespace blindcart::crypto::internal

#endif  // BLINDCART_CRYPTO_INTERNAL_LIBRARY_H_
