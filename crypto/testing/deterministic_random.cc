#include "crypto/testing/deterministic_random.h"

#include <algorithm>
#include <cstring>

namespace blindcart::crypto {
namespace {

// Gives the stream its key: the seed, then zeros.
class SeedSource : public RandomSource {
 public:
  explicit SeedSource(uint64_t seed) : seed_(seed) {}
  void Fill(absl::Span<uint8_t> out) override {
    std::memset(out.data(), 0, out.size());
    std::memcpy(out.data(), &seed_, std::min(out.size(), sizeof(seed_)));
  }

 private:
  uint64_t seed_;
};

PaddingStream StreamFrom(uint64_t seed) {
  SeedSource source(seed);
  return PaddingStream(source);
}

}  // namespace

DeterministicRandom::DeterministicRandom(uint64_t seed) : stream_(StreamFrom(seed)) {}

void DeterministicRandom::Fill(absl::Span<uint8_t> out) {
  const std::lock_guard<std::mutex> lock(mutex_);
  stream_.Fill(out);
}

}  // namespace blindcart::crypto
