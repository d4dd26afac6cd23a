#include "protocol/safety_number.h"

#include <set>
#include <string>

#include "absl/status/status.h"
#include "crypto/hash.h"
#include "gtest/gtest.h"

namespace blindcart::protocol {
namespace {

TEST(SafetyNumberTest, IsTheSameFromBothSidesAndHasSixtyDigits) {
  const std::string one = crypto::Sha256("one");
  const std::string other = crypto::Sha256("other");
  const auto number = SafetyNumber(one, other);
  ASSERT_TRUE(number.ok());
  EXPECT_EQ(*number, *SafetyNumber(other, one));
  ASSERT_EQ(number->size(), 12 * 6 - 1u);
  for (size_t i = 0; i < number->size(); ++i) {
    if (i % 6 == 5) {
      EXPECT_EQ((*number)[i], ' ');
    } else {
      EXPECT_TRUE((*number)[i] >= '0' && (*number)[i] <= '9');
    }
  }
}

TEST(SafetyNumberTest, StaysAsItIs) {
  // People compare numbers that two versions of the program made: this one may never change.
  EXPECT_EQ(*SafetyNumber(std::string(32, '\x01'), std::string(32, '\x02')),
            "39498 10384 60723 12290 76363 33432 75122 25251 48333 81576 22882 40307");
}

TEST(SafetyNumberTest, EveryKeyGivesAnother) {
  const std::string one = crypto::Sha256("one");
  std::set<std::string> numbers;
  for (int i = 0; i < 50; ++i)
    numbers.insert(*SafetyNumber(one, crypto::Sha256(std::to_string(i))));
  EXPECT_EQ(numbers.size(), 50u);
  EXPECT_TRUE(absl::IsInvalidArgument(SafetyNumber(one, "").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(SafetyNumber(one + "x", one).status()));
}

TEST(SafetyNumberTest, ComparesDigitsNotSpaces) {
  const std::string number = *SafetyNumber(crypto::Sha256("one"), crypto::Sha256("other"));
  std::string together;
  for (char c : number) {
    if (c != ' ') together.push_back(c);
  }
  EXPECT_TRUE(SafetyNumbersMatch(number, together));
  EXPECT_TRUE(SafetyNumbersMatch(number, "  " + number + "\n"));
  EXPECT_FALSE(SafetyNumbersMatch(number, ""));
  EXPECT_FALSE(SafetyNumbersMatch(number, together.substr(1)));
  together.back() = together.back() == '0' ? '1' : '0';
  EXPECT_FALSE(SafetyNumbersMatch(number, together));
}

}  // namespace
}  // namespace blindcart::protocol
