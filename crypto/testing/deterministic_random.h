// A RandomSource for tests: the same seed gives the same bytes, however they are asked for within
// one order of calls. Safe for concurrent use (the order of threads then decides who gets what).
#ifndef BLINDCART_CRYPTO_TESTING_DETERMINISTIC_RANDOM_H_
#define BLINDCART_CRYPTO_TESTING_DETERMINISTIC_RANDOM_H_

#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "crypto/random.h"

namespace blindcart::crypto {

class DeterministicRandom : public RandomSource {
 public:
  explicit DeterministicRandom(uint64_t seed);
  void Fill(absl::Span<uint8_t> out) override;

 private:
  absl::Mutex mutex_;
  SecretBytes key_;
  uint64_t next_nonce_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace blindcart::crypto

#endif  // BLINDCART_CRYPTO_TESTING_DETERMINISTIC_RANDOM_H_
