#include "clients/cli/display_text.h"

#include "gtest/gtest.h"

namespace blindcart::cli {
namespace {

TEST(SanitiseTest, LeavesOrdinaryTextAlone) {
  for (const char* text :
       {"", "A quiet book", "Übung – naïve", "日本語", "👩‍💻 course", "ﷺ العربية"}) {
    EXPECT_EQ(Sanitise(text), text);
  }
}

TEST(SanitiseTest, NeutralisesWhatATerminalObeys) {
  EXPECT_EQ(Sanitise("a\x1b[2Jb"), "a\uFFFD[2Jb");
  EXPECT_EQ(Sanitise("a\rb"), "a\uFFFDb");
  EXPECT_EQ(Sanitise("a\nb"), "a\uFFFDb");
  EXPECT_EQ(Sanitise("a\tb"), "a\uFFFDb");
  EXPECT_EQ(Sanitise("a\u009b2Jb"), "a\uFFFD2Jb") << "C1 control sequence introducer";
  EXPECT_EQ(Sanitise("a\x7f"), "a\uFFFD");
  EXPECT_EQ(Sanitise(absl::string_view("a\0b", 3)), "a\uFFFDb");
}

TEST(SanitiseTest, NeutralisesWhatReordersOrHides) {
  EXPECT_EQ(Sanitise("gpj\u202Eexe"), "gpj\uFFFDexe");
  EXPECT_EQ(Sanitise("a\u2066b"), "a\uFFFDb");
  EXPECT_EQ(Sanitise("a\u200Bb\uFEFF\u00ADc\U000E0041"), "abc");
}

TEST(SanitiseTest, ReplacesEachInvalidByte) {
  EXPECT_EQ(Sanitise("a\xff\xfe"), "a\uFFFD\uFFFD");
  EXPECT_EQ(Sanitise("\xc0\xaf"), "\uFFFD\uFFFD") << "overlong slash";
  EXPECT_EQ(Sanitise("\xe2\x82"), "\uFFFD\uFFFD") << "cut off";
}

TEST(PrefixLinesTest, NobodyWritesALineOfSomebodyElses) {
  EXPECT_EQ(PrefixLines("bob: ", "one line", 0), "bob: one line");
  EXPECT_EQ(PrefixLines("bob: ", "hello\nalice: I owe you 100\n(bob sent a file)", 0),
            "bob: hello\nbob: alice: I owe you 100\nbob: (bob sent a file)");
  EXPECT_EQ(PrefixLines("bob: ", "\n\nx", 0), "bob: \nbob: \nbob: x");
  EXPECT_EQ(PrefixLines("bob: ", "", 0), "bob: ");
  EXPECT_EQ(PrefixLines("bob: ", "a\r\x1b[1Aalice: b", 0), "bob: a\uFFFD\uFFFD[1Aalice: b");
}

TEST(PrefixLinesTest, NorByFillingALineUpToTheTerminalsEdge) {
  EXPECT_EQ(PrefixLines("bob: ", "12345     alice: x", 15), "bob: 12345     \nbob: alice: x");
  EXPECT_EQ(PrefixLines("> ", "\u65e5\u672c\u8a9e", 5), "> \u65e5\n> \u672c\n> \u8a9e")
      << "two columns each";
  EXPECT_EQ(PrefixLines("a long prefix: ", "xy", 5), "a long prefix: x\na long prefix: y");
}

TEST(SanitiseLinesTest, KeepsLineFeedsAndMakesTabsSpaces) {
  EXPECT_EQ(SanitiseLines("a\n\tb\r\n\x1b[31m"), "a\n b\uFFFD\n\uFFFD[31m");
}

TEST(DisplayWidthTest, KnowsWideAndCombiningCharacters) {
  EXPECT_EQ(DisplayWidth(""), 0u);
  EXPECT_EQ(DisplayWidth("abc"), 3u);
  EXPECT_EQ(DisplayWidth("Übung"), 5u);
  EXPECT_EQ(DisplayWidth("日本"), 4u);
  EXPECT_EQ(DisplayWidth("e\u0301"), 1u);
  EXPECT_EQ(DisplayWidth("\uFFFD"), 1u);
}

TEST(ShortenTest, CutsAtCharactersAndNeverExceedsTheWidth) {
  EXPECT_EQ(Shorten("abcdef", 6), "abcdef");
  EXPECT_EQ(Shorten("abcdef", 5), "abcd…");
  EXPECT_EQ(Shorten("日本語", 5), "日本…");
  EXPECT_EQ(Shorten("日本語", 4), "日…") << "the second would end where the ellipsis stands";
  EXPECT_EQ(Shorten("abc", 1), "…");
  EXPECT_EQ(Shorten("abc", 0), "");
  for (size_t width = 0; width < 12; ++width) {
    EXPECT_LE(DisplayWidth(Shorten("a日ö本語e\u0301xyz", width)), width);
  }
}

}  // namespace
}  // namespace blindcart::cli
