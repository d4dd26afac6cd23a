#include "crypto/ed25519.h"

#include <sodium.h>

#include <utility>

#include "crypto/internal/library.h"

namespace blindcart::crypto {

using internal::AsBytes;

Ed25519PrivateKey Ed25519PrivateKey::Generate(RandomSource& random) {
  return Ed25519PrivateKey(random.Secret(kEd25519SeedBytes));
}

absl::StatusOr<Ed25519PrivateKey> Ed25519PrivateKey::FromSeed(absl::string_view seed) {
  if (seed.size() != kEd25519SeedBytes) {
    return absl::InvalidArgumentError("Ed25519 seed not 32 bytes");
  }
  return Ed25519PrivateKey(SecretBytes::CopyOf(seed));
}

Ed25519PrivateKey::Ed25519PrivateKey(SecretBytes seed)
    : seed_(std::move(seed)),
      secret_key_(crypto_sign_SECRETKEYBYTES),
      public_key_(kEd25519PublicKeyBytes, '\0') {
  static_assert(kEd25519SeedBytes == crypto_sign_SEEDBYTES &&
                    kEd25519PublicKeyBytes == crypto_sign_PUBLICKEYBYTES &&
                    kEd25519SignatureBytes == crypto_sign_BYTES,
                "sizes of libsodium");
  internal::EnsureSodium();
  internal::CheckLibrary(crypto_sign_seed_keypair(reinterpret_cast<uint8_t*>(&public_key_[0]),
                                                  secret_key_.data(), seed_.data()) == 0,
                         "crypto_sign_seed_keypair");
}

std::string Ed25519PrivateKey::Sign(absl::string_view message) const {
  std::string signature(kEd25519SignatureBytes, '\0');
  internal::CheckLibrary(
      crypto_sign_detached(reinterpret_cast<uint8_t*>(&signature[0]), nullptr, AsBytes(message),
                           message.size(), secret_key_.data()) == 0,
      "crypto_sign_detached");
  return signature;
}

bool IsValidEd25519PublicKey(absl::string_view public_key) {
  internal::EnsureSodium();
  return public_key.size() == kEd25519PublicKeyBytes &&
         crypto_core_ed25519_is_valid_point(AsBytes(public_key)) == 1;
}

absl::Status Ed25519Verify(absl::string_view public_key, absl::string_view message,
                           absl::string_view signature) {
  if (public_key.size() != kEd25519PublicKeyBytes) {
    return absl::InvalidArgumentError("Ed25519 public key not 32 bytes");
  }
  if (signature.size() != kEd25519SignatureBytes) {
    return absl::InvalidArgumentError("Ed25519 signature not 64 bytes");
  }
  internal::EnsureSodium();
  if (crypto_sign_verify_detached(AsBytes(signature), AsBytes(message), message.size(),
                                  AsBytes(public_key)) != 0) {
    return absl::UnauthenticatedError("signature does not fit");
  }
  return absl::OkStatus();
}

}  // namespace blindcart::crypto
