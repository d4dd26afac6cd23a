#include "crypto/random.h"

#include <algorithm>
#include <array>
#include <set>
#include <string>
#include <vector>

#include "crypto/testing/deterministic_random.h"
#include "gtest/gtest.h"

namespace blindcart::crypto {
namespace {

TEST(SystemRandomTest, GivesTheLengthAskedForAndNeverTheSame) {
  std::set<std::string> seen;
  for (int i = 0; i < 1000; ++i) {
    const std::string bytes = SystemRandom().Bytes(32);
    EXPECT_EQ(bytes.size(), 32u);
    EXPECT_TRUE(seen.insert(bytes).second);
  }
  EXPECT_EQ(SystemRandom().Bytes(0), "");
  EXPECT_EQ(SystemRandom().Secret(7).size(), 7u);
}

TEST(DeterministicRandomTest, RepeatsForASeedAndDiffersBetweenSeeds) {
  DeterministicRandom a(1), b(1), c(2);
  const std::string first = a.Bytes(40);
  EXPECT_EQ(first, b.Bytes(40));
  EXPECT_NE(first, c.Bytes(40));
  EXPECT_NE(first, a.Bytes(40));
}

TEST(PaddingStreamTest, NeverRepeatsItself) {
  DeterministicRandom random(3);
  PaddingStream stream(random);
  std::set<std::string> seen;
  for (int i = 0; i < 1000; ++i) {
    std::array<uint8_t, 16> block = {};
    stream.Fill(absl::MakeSpan(block));
    EXPECT_TRUE(seen.emplace(block.begin(), block.end()).second);
  }
}

TEST(PaddingStreamTest, StreamsOfTwoSeedsDiffer) {
  PaddingStream a(SystemRandom()), b(SystemRandom());
  std::array<uint8_t, 64> x = {}, y = {};
  a.Fill(absl::MakeSpan(x));
  b.Fill(absl::MakeSpan(y));
  EXPECT_NE(x, y);
}

TEST(PaddingStreamTest, LooksRandom) {
  DeterministicRandom random(4);
  PaddingStream stream(random);
  std::vector<uint8_t> bytes(1 << 20);
  stream.Fill(absl::MakeSpan(bytes));
  std::array<int, 256> counts = {};
  for (uint8_t b : bytes) ++counts[b];
  // 4,096 of each are expected, with a standard deviation of 64.
  EXPECT_GT(*std::min_element(counts.begin(), counts.end()), 4096 - 6 * 64);
  EXPECT_LT(*std::max_element(counts.begin(), counts.end()), 4096 + 6 * 64);
}

}  // namespace
}  // namespace blindcart::crypto
