// Sources of random bytes. Code that needs randomness is handed a RandomSource; production hands in
// SystemRandom(), tests hand in testing/deterministic_random.h.
//
// Not covered: RSA key generation and OAEP seeds draw from OpenSSL's own generator, which cannot be
// handed in per call.
#ifndef BLINDCART_CRYPTO_RANDOM_H_
#define BLINDCART_CRYPTO_RANDOM_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/types/span.h"
#include "crypto/secret_bytes.h"

namespace blindcart::crypto {

// Implementations are safe for concurrent use. Fill cannot fail: a system without a random number
// generator ends the process.
class RandomSource {
 public:
  virtual ~RandomSource() = default;
  virtual void Fill(absl::Span<uint8_t> out) = 0;

  std::string Bytes(size_t n);
  SecretBytes Secret(size_t n);
};

// The operating system's generator (libsodium's randombytes, getrandom(2)).
RandomSource& SystemRandom();

// A fast stream of bytes that nobody can tell from random ones, for filling padding by the
// gigabyte: ChaCha20 under a key drawn once from `random`. Not thread-safe.
class PaddingStream {
 public:
  explicit PaddingStream(RandomSource& random);
  void Fill(absl::Span<uint8_t> out);

 private:
  SecretBytes key_;
  uint64_t next_nonce_ = 0;
};

}  // namespace blindcart::crypto

#endif  // BLINDCART_CRYPTO_RANDOM_H_
