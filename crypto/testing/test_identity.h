// Identities for tests: generated at first use (RSA-3072, about half a second each) and kept for
// the life of the process, so that a test file pays for each index once.
#ifndef BLINDCART_CRYPTO_TESTING_TEST_IDENTITY_H_
#define BLINDCART_CRYPTO_TESTING_TEST_IDENTITY_H_

#include "crypto/identity.h"

namespace blindcart::crypto {

// Different for each index. Thread-safe.
const Identity& TestIdentity(int index);

}  // namespace blindcart::crypto

#endif  // BLINDCART_CRYPTO_TESTING_TEST_IDENTITY_H_
