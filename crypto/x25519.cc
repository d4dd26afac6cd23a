#include "crypto/x25519.h"

#include <sodium.h>

#include <utility>

#include "crypto/internal/library.h"

namespace blindcart::crypto {

X25519KeyPair X25519KeyPair::Generate(RandomSource& random) {
  return X25519KeyPair(random.Secret(kX25519KeyBytes));
}

absl::StatusOr<X25519KeyPair> X25519KeyPair::FromPrivate(absl::string_view private_key) {
  if (private_key.size() != kX25519KeyBytes) {
    return absl::InvalidArgumentError("X25519 private key not 32 bytes");
  }
  return X25519KeyPair(SecretBytes::CopyOf(private_key));
}

X25519KeyPair::X25519KeyPair(SecretBytes private_key)
    : private_key_(std::move(private_key)), public_key_(kX25519KeyBytes, '\0') {
  static_assert(kX25519KeyBytes == crypto_scalarmult_SCALARBYTES &&
                    kX25519KeyBytes == crypto_scalarmult_BYTES,
                "sizes of libsodium");
  internal::EnsureSodium();
  internal::CheckLibrary(
      crypto_scalarmult_base(reinterpret_cast<uint8_t*>(&public_key_[0]), private_key_.data()) == 0,
      "crypto_scalarmult_base");
}

absl::StatusOr<SecretBytes> X25519KeyPair::Exchange(absl::string_view peer_public) const {
  if (peer_public.size() != kX25519KeyBytes) {
    return absl::InvalidArgumentError("X25519 public key not 32 bytes");
  }
  SecretBytes shared(kX25519KeyBytes);
  // libsodium itself refuses the zero result.
  if (crypto_scalarmult(shared.data(), private_key_.data(), internal::AsBytes(peer_public)) != 0) {
    return absl::InvalidArgumentError("X25519 public key of small order");
  }
  return shared;
}

}  // namespace blindcart::crypto
