#include "crypto/random.h"

#include <sodium.h>

#include <cstring>

#include "crypto/internal/library.h"

namespace blindcart::crypto {
namespace {

class SystemRandomSource : public RandomSource {
 public:
  void Fill(absl::Span<uint8_t> out) override {
    internal::EnsureSodium();
    randombytes_buf(out.data(), out.size());
  }
};

}  // namespace

std::string RandomSource::Bytes(size_t n) {
  std::string bytes(n, '\0');
  Fill(absl::MakeSpan(reinterpret_cast<uint8_t*>(&bytes[0]), n));
  return bytes;
}

SecretBytes RandomSource::Secret(size_t n) {
  SecretBytes bytes(n);
  Fill(bytes.mutable_span());
  return bytes;
}

RandomSource& SystemRandom() {
  static SystemRandomSource source;
  return source;
}

PaddingStream::PaddingStream(RandomSource& random)
    : key_(random.Secret(crypto_stream_chacha20_KEYBYTES)) {
  internal::EnsureSodium();
}

void PaddingStream::Fill(absl::Span<uint8_t> out) {
  // One nonce a call; 2^64 of them never run out.
  uint8_t nonce[crypto_stream_chacha20_NONCEBYTES];
  static_assert(sizeof(nonce) == sizeof(next_nonce_), "the counter is the whole nonce");
  std::memcpy(nonce, &next_nonce_, sizeof(nonce));
  ++next_nonce_;
  crypto_stream_chacha20(out.data(), out.size(), nonce, key_.data());
}

}  // namespace blindcart::crypto
