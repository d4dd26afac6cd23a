#include "protocol/utf8.h"

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "gtest/gtest.h"

namespace blindcart::protocol {
namespace {

// Written out from RFC 3629's grammar, apart from the code under test.
std::string Encode(char32_t value) {
  const auto byte = [](unsigned bits) { return static_cast<char>(bits); };
  if (value < 0x80) return {byte(value)};
  if (value < 0x800) return {byte(0xc0 | (value >> 6)), byte(0x80 | (value & 0x3f))};
  if (value < 0x10000) {
    return {byte(0xe0 | (value >> 12)), byte(0x80 | ((value >> 6) & 0x3f)),
            byte(0x80 | (value & 0x3f))};
  }
  return {byte(0xf0 | (value >> 18)), byte(0x80 | ((value >> 12) & 0x3f)),
          byte(0x80 | ((value >> 6) & 0x3f)), byte(0x80 | (value & 0x3f))};
}

TEST(Utf8Test, DecodesEveryCodePointAndNoSurrogate) {
  for (char32_t value = 0; value <= 0x10ffff; ++value) {
    const std::string bytes = Encode(value);
    const CodePoint decoded = FirstCodePoint(bytes + "x");
    if (value >= 0xd800 && value <= 0xdfff) {
      ASSERT_FALSE(decoded.valid) << std::hex << static_cast<uint32_t>(value);
      ASSERT_EQ(decoded.bytes, 1u);
    } else {
      ASSERT_TRUE(decoded.valid) << std::hex << static_cast<uint32_t>(value);
      ASSERT_EQ(decoded.value, value);
      ASSERT_EQ(decoded.bytes, bytes.size());
    }
  }
}

TEST(Utf8Test, RefusesMalformedBytes) {
  const std::vector<std::string> malformed = {"\x80",              // A continuation byte alone.
                                              "\xc0\x80",          // Overlong NUL.
                                              "\xc1\xbf",          // Overlong DEL.
                                              "\xe0\x80\xaf",      // Overlong '/'.
                                              "\xe0\x9f\xbf",      // Overlong, the largest.
                                              "\xf0\x80\x80\xaf",  // Overlong '/'.
                                              "\xf0\x8f\xbf\xbf",  // Overlong, the largest.
                                              "\xf4\x90\x80\x80",  // U+110000.
                                              "\xf5\x80\x80\x80",  // No lead byte.
                                              "\xfe",
                                              "\xff",
                                              "\xc3",  // Cut short.
                                              "\xe2\x82",
                                              "\xf0\x9f\x98",
                                              "\xc3(",  // No continuation.
                                              "\xe2(\xa1",
                                              "\xe2\x82(",
                                              "\xf0\x9f\x98("};
  for (const std::string& bytes : malformed) {
    const CodePoint decoded = FirstCodePoint(bytes);
    EXPECT_FALSE(decoded.valid) << bytes;
    EXPECT_EQ(decoded.bytes, 1u);
    EXPECT_FALSE(IsPlainLine("before" + bytes)) << bytes;
    EXPECT_FALSE(IsPlainText("before" + bytes + "after")) << bytes;
  }
}

TEST(Utf8Test, PlainLineTakesTextOfAnyScript) {
  EXPECT_TRUE(IsPlainLine(""));
  EXPECT_TRUE(IsPlainLine("The \"Compleat\" Angler & 100 more"));
  EXPECT_TRUE(
      IsPlainLine("Gödel, Escher, Bach \u2013 \u65e5\u672c\u8a9e \u05e2\u05d1\u05e8\u05d9\u05ea"));
  EXPECT_TRUE(IsPlainLine("\U0001f600"));
}

TEST(Utf8Test, ControlAndBidirectionalCharactersAreNotPlain) {
  std::vector<char32_t> controls = {0x7f, 0x2028, 0x2029};
  for (char32_t value = 0; value < 0x20; ++value) controls.push_back(value);
  for (char32_t value = 0x80; value < 0xa0; ++value) controls.push_back(value);
  for (char32_t value = 0x202a; value <= 0x202e; ++value) controls.push_back(value);
  for (char32_t value = 0x2066; value <= 0x2069; ++value) controls.push_back(value);
  for (const char32_t value : controls) {
    EXPECT_FALSE(IsPlainLine("a" + Encode(value) + "b"))
        << std::hex << static_cast<uint32_t>(value);
    EXPECT_EQ(IsPlainText("a" + Encode(value) + "b"), value == '\n' || value == '\t');
  }
  EXPECT_TRUE(IsPlainText("first line\n\tsecond line"));
}

}  // namespace
}  // namespace blindcart::protocol
