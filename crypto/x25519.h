// X25519 (RFC 7748), libsodium's. A result of all zeros (a peer key of small order) is refused.
// Thread safety: const methods are safe to call concurrently.
#ifndef BLINDCART_CRYPTO_X25519_H_
#define BLINDCART_CRYPTO_X25519_H_

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "crypto/random.h"
#include "crypto/secret_bytes.h"

namespace blindcart::crypto {

inline constexpr size_t kX25519KeyBytes = 32;

// Move-only; the private key is wiped with the object.
class X25519KeyPair {
 public:
  static X25519KeyPair Generate(RandomSource& random);
  // `private_key` is 32 bytes (clamped when used, as RFC 7748 says).
  static absl::StatusOr<X25519KeyPair> FromPrivate(absl::string_view private_key);

  const std::string& public_key() const { return public_key_; }
  // For writing the pair down (sealed); everything else uses Exchange.
  const SecretBytes& private_key() const { return private_key_; }

  // The shared secret, 32 bytes. InvalidArgument when `peer_public` is not 32 bytes or gives zero.
  absl::StatusOr<SecretBytes> Exchange(absl::string_view peer_public) const;

 private:
  explicit X25519KeyPair(SecretBytes private_key);
  SecretBytes private_key_;
  std::string public_key_;
};

}  // namespace blindcart::crypto

#endif  // BLINDCART_CRYPTO_X25519_H_
