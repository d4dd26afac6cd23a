// A RandomSource for tests: the same seed and the same order of calls give the same bytes. Safe for
// concurrent use (the order in which threads come then decides who gets what).
#ifndef BLINDCART_CRYPTO_TESTING_DETERMINISTIC_RANDOM_H_
#define BLINDCART_CRYPTO_TESTING_DETERMINISTIC_RANDOM_H_

#include <cstdint>
#include <mutex>

#include "crypto/random.h"

namespace blindcart::crypto {

class DeterministicRandom : public RandomSource {
 public:
  explicit DeterministicRandom(uint64_t seed);
  void Fill(absl::Span<uint8_t> out) override;

 private:
  std::mutex mutex_;  // guards stream_
  PaddingStream stream_;
};

}  // namespace blindcart::crypto

#endif  // BLINDCART_CRYPTO_TESTING_DETERMINISTIC_RANDOM_H_
