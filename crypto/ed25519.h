// Ed25519 signatures (RFC 8032), libsodium's, with libsodium's strict verification: keys and R of
// small order, encodings that are not canonical and S outside [0, L) are refused.
// Thread safety: const methods and the function are safe to call concurrently.
#ifndef BLINDCART_CRYPTO_ED25519_H_
#define BLINDCART_CRYPTO_ED25519_H_

#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "crypto/random.h"
#include "crypto/secret_bytes.h"

namespace blindcart::crypto {

inline constexpr size_t kEd25519PublicKeyBytes = 32;
inline constexpr size_t kEd25519SeedBytes = 32;
inline constexpr size_t kEd25519SignatureBytes = 64;

class Ed25519PrivateKey {
 public:
  static Ed25519PrivateKey Generate(RandomSource& random);
  // `seed` is the 32-byte private key of RFC 8032.
  static absl::StatusOr<Ed25519PrivateKey> FromSeed(absl::string_view seed);

  const std::string& public_key() const { return public_key_; }
  // For writing the key down (encrypted).
  const SecretBytes& seed() const { return seed_; }
  // 64 bytes over the message as it is; Identity::Sign adds the context.
  std::string Sign(absl::string_view message) const;

 private:
  explicit Ed25519PrivateKey(SecretBytes seed);
  SecretBytes seed_;
  SecretBytes secret_key_;  // libsodium's form: seed ‖ public key
  std::string public_key_;
};

// Whether 32 bytes are a canonical point of the prime-order group, fit to be somebody's key.
bool IsValidEd25519PublicKey(absl::string_view public_key);

// Ok, InvalidArgument for wrong lengths, Unauthenticated for a signature that does not fit.
absl::Status Ed25519Verify(absl::string_view public_key, absl::string_view message,
                           absl::string_view signature);

}  // namespace blindcart::crypto

#endif  // BLINDCART_CRYPTO_ED25519_H_
