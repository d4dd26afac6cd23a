#include "crypto/internal/library.h"

#include <sodium.h>

#include <cstdio>
#include <cstdlib>

namespace blindcart::crypto::internal {

void CheckLibrary(bool ok, const char* what) {
  if (ok) return;
  std::fprintf(stderr, "crypto: %s failed\n", what);
  std::abort();
}

void EnsureSodium() {
  static const bool initialised = sodium_init() >= 0;
  CheckLibrary(initialised, "sodium_init");
}

}  // namespace blindcart::crypto::internal
