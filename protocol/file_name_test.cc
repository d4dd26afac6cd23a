#include "protocol/file_name.h"

#include <random>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "gtest/gtest.h"
#include "protocol/utf8.h"

namespace blindcart::protocol {
namespace {

// Everything that the header promises, checked apart from how it is reached.
void ExpectSafe(const std::string& name, absl::string_view title) {
  SCOPED_TRACE(
      absl::StrCat("title '", absl::CHexEscape(title), "' gave '", absl::CHexEscape(name), "'"));
  ASSERT_FALSE(name.empty());
  EXPECT_LE(name.size(), kMaxFileNameBytes);
  EXPECT_TRUE(IsPlainLine(name));
  for (const char c : {'/', '\\', ':', '*', '?', '"', '<', '>', '|', '\0', '\x7f'}) {
    EXPECT_EQ(name.find(c), std::string::npos) << c;
  }
  EXPECT_FALSE(absl::StrContains(name, ".."));
  for (const char c : {'.', '-', '~', ' '}) EXPECT_NE(name.front(), c);
  for (const char c : {'.', ' '}) EXPECT_NE(name.back(), c);
  std::string stem = absl::AsciiStrToUpper(name.substr(0, name.find('.')));
  absl::StripAsciiWhitespace(&stem);
  for (const absl::string_view device : {"CON", "PRN", "AUX", "NUL", "COM0", "COM1", "COM9", "LPT1",
                                         "LPT9", "COM\u00b9", "LPT\u00b3", "CONIN$", "CONOUT$"}) {
    EXPECT_NE(stem, device);
  }
  for (const absl::string_view invisible :
       {"\u200b", "\u200d", "\u200e", "\u200f", "\u202e", "\u2066", "\ufeff", "\u061c", "\u00ad",
        "\u2060", "\ufffd"}) {
    EXPECT_FALSE(absl::StrContains(name, invisible)) << absl::CHexEscape(invisible);
  }
}

TEST(FileNameTest, KeepsAnOrdinaryTitle) {
  EXPECT_EQ(CleanFileName("Walden; or, Life in the Woods", "epub"),
            "Walden; or, Life in the Woods.epub");
  EXPECT_EQ(CleanFileName("Gödel, Escher, Bach", "pdf"), "Gödel, Escher, Bach.pdf");
  EXPECT_EQ(CleanFileName("\u6771\u4eac\u7269\u8a9e", "mp3"), "\u6771\u4eac\u7269\u8a9e.mp3");
  EXPECT_EQ(CleanFileName("Release 2.0.1", ""), "Release 2.0.1");
  EXPECT_EQ(CleanFileName("rock-and-roll", "flac"), "rock-and-roll.flac");
}

TEST(FileNameTest, HostileTitles) {
  const struct {
    absl::string_view title;
    const char* format;
    const char* name;
  } kCases[] = {
      {"../../etc/passwd", "txt", "_._etc_passwd.txt"},
      {"..\\..\\windows\\system32", "", "_._windows_system32"},
      {"/etc/shadow", "", "_etc_shadow"},
      {"C:\\autoexec", "bat", "C_autoexec.bat"},
      {"..", "pdf", "purchase.pdf"},
      {".", "", "purchase"},
      {"...", "pdf", "purchase.pdf"},
      {"", "pdf", "purchase.pdf"},
      {"", "", "purchase"},
      {"   ", "", "purchase"},
      {"///", "", "purchase"},
      {"_", "", "purchase"},
      {"-rf", "", "rf"},
      {"--help", "", "help"},
      {"- -rf *", "", "rf _"},
      {"~root", "", "root"},
      {".bashrc", "", "bashrc"},
      {". .ssh", "", "ssh"},
      {absl::string_view("\0", 1), "pdf", "purchase.pdf"},
      {absl::string_view("a\0b", 3), "pdf", "ab.pdf"},
      {absl::string_view("book.pdf\0.exe", 13), "pdf", "book.pdf.exe.pdf"},
      {"new\nline\rand\ttab", "", "new lineand tab"},
      {"\x1b[31mred", "", "[31mred"},
      {"CON", "", "_CON"},
      {"con", "txt", "_con.txt"},
      {"Aux.notes", "txt", "_Aux.notes.txt"},
      {"nul ", "", "_nul"},
      {"COM1 .pdf", "pdf", "_COM1.pdf"},
      {"lpt9", "pdf", "_lpt9.pdf"},
      {"COM\u00b2", "", "_COM\u00b2"},
      {"CON\u200b", "", "_CON"},
      {"CONSTITUTION", "pdf", "CONSTITUTION.pdf"},
      {"COM10", "", "COM10"},
      {"invoice\u202efdp.exe", "pdf", "invoicefdp.exe.pdf"},
      {"\u2066hidden\u2069", "", "hidden"},
      {"\ufeff\u200b\u2060", "pdf", "purchase.pdf"},
      {"a\u2215b\uff0fc\u2044d", "", "a_b_c_d"},
      {"\uff0e\uff0e\uff0fetc", "", "_etc"},
      {"\xff\xfe"
       "broken\xc3",
       "", "broken"},
      {"\xc0\xaf\xc0\xae", "", "purchase"},  // Overlong '/' and '.'.
      {"trailing dots. . .", "", "trailing dots"},
      {"a....b", "", "a.b"},
      {"a   b", "", "a b"},
  };
  for (const auto& c : kCases) {
    const std::string name = CleanFileName(c.title, c.format);
    EXPECT_EQ(name, c.name) << absl::CHexEscape(c.title);
    ExpectSafe(name, c.title);
  }
}

TEST(FileNameTest, ExtensionOnlyFromAGoodFormat) {
  EXPECT_EQ(CleanFileName("Book", "7z"), "Book.7z");
  EXPECT_EQ(CleanFileName("Book", "abcdefgh"), "Book.abcdefgh");
  for (const absl::string_view format :
       {"", "abcdefghi", "PDF", "a.b", "../x", "p f", "\u00e9", "tar/gz", "-rf"}) {
    EXPECT_EQ(CleanFileName("Book", format), "Book") << format;
  }
  EXPECT_EQ(CleanFileName("Book", absl::string_view("\0", 1)), "Book");
}

TEST(FileNameTest, DoesNotDoubleAnExtension) {
  EXPECT_EQ(CleanFileName("Notes.pdf", "pdf"), "Notes.pdf");
  EXPECT_EQ(CleanFileName("Notes.PDF", "pdf"), "Notes.pdf");
  EXPECT_EQ(CleanFileName("Notes.exe", "pdf"), "Notes.exe.pdf");
}

TEST(FileNameTest, LongTitlesEndAtACharacter) {
  EXPECT_EQ(CleanFileName(std::string(256, 'x'), "pdf"), std::string(116, 'x') + ".pdf");
  for (size_t lead = 0; lead < 4; ++lead) {
    for (const absl::string_view character : {"\u00e9", "\u20ac", "\U0001f600"}) {
      std::string title(lead, 'x');
      while (title.size() < 256) absl::StrAppend(&title, character);
      for (const char* format : {"", "pdf", "abcdefgh"}) {
        const std::string name = CleanFileName(title, format);
        ExpectSafe(name, title);
        EXPECT_GT(name.size(), kMaxFileNameBytes - character.size());
      }
    }
  }
}

TEST(FileNameTest, CuttingDoesNotUncoverADeviceName) {
  std::string title = "CON";
  while (title.size() < 200) title += " .";
  title += "x";
  ExpectSafe(CleanFileName(title, "pdf"), title);
  const std::string device = "CON." + std::string(200, 'x');
  ExpectSafe(CleanFileName(device, "abcdefgh"), device);
}

TEST(FileNameTest, PropertyOverRandomTitles) {
  const std::vector<std::string> fragments = {"..",
                                              "/",
                                              "\\",
                                              ".",
                                              "-",
                                              "~",
                                              " ",
                                              "CON",
                                              "nul",
                                              "com1",
                                              "LPT9",
                                              ".pdf",
                                              ".exe",
                                              "a",
                                              "Z",
                                              "\u00e9",
                                              "\u20ac",
                                              "\U0001f600",
                                              "\u202e",
                                              "\u2066",
                                              "\u200b",
                                              "\ufeff",
                                              "\u2215",
                                              "\uff0f",
                                              "\uff0e",
                                              "\xff",
                                              "\xc0\xaf",
                                              "\xe2\x82",
                                              "\n",
                                              "\t",
                                              "\x1b",
                                              "\x7f",
                                              ":",
                                              "*",
                                              "?",
                                              "\"",
                                              "<",
                                              ">",
                                              "|",
                                              "$(rm -rf)",
                                              "`",
                                              "%2f",
                                              "_",
                                              "\u00b2",
                                              "\U000e0041",
                                              "\ufdd0",
                                              std::string(1, '\0'),
                                              std::string(130, 'y')};
  const std::vector<std::string> formats = {"", "pdf", "exe", "abcdefgh", "../../x", "PDF", "."};
  std::mt19937 random(20240607);
  for (int i = 0; i < 20'000; ++i) {
    std::string title;
    for (uint32_t n = random() % 12; n > 0; --n) {
      if (random() % 4 == 0) {
        title.push_back(static_cast<char>(random() & 0xff));
      } else {
        title += fragments[random() % fragments.size()];
      }
    }
    const std::string& format = formats[random() % formats.size()];
    const std::string name = CleanFileName(title, format);
    ExpectSafe(name, title);
    EXPECT_EQ(CleanFileName(title, format), name);
    if (format == "pdf" || format == "exe" || format == "abcdefgh") {
      EXPECT_TRUE(absl::EndsWith(name, "." + format)) << absl::CHexEscape(name);
    }
    // A clean name is left as it is.
    EXPECT_EQ(CleanFileName(name, ""), name);
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace blindcart::protocol
