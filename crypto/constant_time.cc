#include "crypto/constant_time.h"

#include <sodium.h>

namespace blindcart::crypto {

bool ConstantTimeEquals(absl::string_view a, absl::string_view b) {
  return a.size() == b.size() && sodium_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace blindcart::crypto
