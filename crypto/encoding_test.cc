#include "crypto/encoding.h"

#include <string>
#include <vector>

#include "crypto/testing/deterministic_random.h"
#include "gtest/gtest.h"

namespace blindcart::crypto {
namespace {

TEST(LengthPrefixedTest, WritesFourBytesOfLengthBigEndian) {
  EXPECT_EQ(LengthPrefixed({"ab", "", "c"}), std::string("\0\0\0\2ab\0\0\0\0\0\0\0\1c", 15));
  const std::string long_field(0x10203, 'x');
  EXPECT_EQ(LengthPrefixed({long_field}).substr(0, 4), std::string("\0\1\2\3", 4));
  EXPECT_EQ(LengthPrefixed(absl::Span<const absl::string_view>()), "");
}

TEST(LengthPrefixedTest, TakesASpanAlike) {
  const std::vector<absl::string_view> fields = {"one", "two"};
  EXPECT_EQ(LengthPrefixed(fields), LengthPrefixed({"one", "two"}));
}

TEST(LengthPrefixedTest, DistinguishesWhereFieldsEnd) {
  EXPECT_NE(LengthPrefixed({"ab", "c"}), LengthPrefixed({"a", "bc"}));
  EXPECT_NE(LengthPrefixed({"a", ""}), LengthPrefixed({"a"}));
}

TEST(SplitLengthPrefixedTest, ReversesTheJoin) {
  const std::string joined = LengthPrefixed({"ab", "", "c"});
  const auto fields = SplitLengthPrefixed(joined, 3);
  ASSERT_TRUE(fields.ok());
  EXPECT_EQ(*fields, (std::vector<absl::string_view>{"ab", "", "c"}));
}

TEST(SplitLengthPrefixedTest, RefusesEveryTruncationAndExtension) {
  const std::string joined = LengthPrefixed({"ab", "", "c"});
  for (size_t size = 0; size < joined.size(); ++size) {
    EXPECT_FALSE(SplitLengthPrefixed(absl::string_view(joined).substr(0, size), 3).ok()) << size;
  }
  EXPECT_FALSE(SplitLengthPrefixed(joined + "x", 3).ok());
  EXPECT_FALSE(SplitLengthPrefixed(joined, 2).ok());
  EXPECT_FALSE(SplitLengthPrefixed(joined, 4).ok());
  EXPECT_FALSE(SplitLengthPrefixed("\xff\xff\xff\xff", 1).ok());
}

TEST(SplitLengthPrefixedTest, WhatItAcceptsIsWhatTheJoinWrites) {
  DeterministicRandom random(5);
  for (int i = 0; i < 20000; ++i) {
    std::string data = random.Bytes(static_cast<uint8_t>(random.Bytes(1)[0]) % 40);
    // Small lengths, so that some inputs are accepted.
    for (char& c : data) {
      if (static_cast<uint8_t>(c) < 200) c = static_cast<char>(c % 3);
    }
    const auto fields = SplitLengthPrefixed(data, 2);
    if (fields.ok()) {
      ASSERT_EQ(LengthPrefixed(*fields), data);
    }
  }
}

TEST(HexTest, EncodesInLowerCase) {
  EXPECT_EQ(HexEncode(std::string("\x00\xab\xff", 3)), "00abff");
  EXPECT_EQ(HexEncode(""), "");
}

TEST(HexTest, DecodesBothCases) {
  EXPECT_EQ(HexDecode("00abFF").value(), std::string("\x00\xab\xff", 3));
  EXPECT_EQ(HexDecode("").value(), "");
}

TEST(HexTest, RefusesAnythingElse) {
  for (const char* text : {"0", "abc", "0g", "0x12", " 00", "00 ", "0\n", "\xff\xff"}) {
    EXPECT_EQ(HexDecode(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

}  // namespace
}  // namespace blindcart::crypto
