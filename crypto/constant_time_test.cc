#include "crypto/constant_time.h"

#include <string>

#include "gtest/gtest.h"

namespace blindcart::crypto {
namespace {

TEST(ConstantTimeEqualsTest, SeesADifferenceInEveryBit) {
  const std::string a(32, 'a');
  EXPECT_TRUE(ConstantTimeEquals(a, std::string(32, 'a')));
  for (size_t byte = 0; byte < a.size(); ++byte) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string b = a;
      b[byte] = static_cast<char>(b[byte] ^ (1 << bit));
      EXPECT_FALSE(ConstantTimeEquals(a, b));
    }
  }
}

TEST(ConstantTimeEqualsTest, ComparesLengths) {
  EXPECT_TRUE(ConstantTimeEquals("", ""));
  EXPECT_FALSE(ConstantTimeEquals("", "a"));
  EXPECT_FALSE(ConstantTimeEquals("ab", "a"));
  EXPECT_FALSE(ConstantTimeEquals("a", absl::string_view("a\0", 2)));
}

}  // namespace
}  // namespace blindcart::crypto
