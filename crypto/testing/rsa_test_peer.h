// Keys outside the sizes that the product allows, for the published vectors (2048 bits).
#ifndef BLINDCART_CRYPTO_TESTING_RSA_TEST_PEER_H_
#define BLINDCART_CRYPTO_TESTING_RSA_TEST_PEER_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "crypto/rsa.h"

namespace blindcart::crypto {

class RsaTestPeer {
 public:
  // Any size of key.
  static absl::StatusOr<RsaPrivateKey> FromPkcs8Der(absl::string_view der) {
    return RsaPrivateKey::ParsePkcs8(der);
  }
};

}  // namespace blindcart::crypto

#endif  // BLINDCART_CRYPTO_TESTING_RSA_TEST_PEER_H_
