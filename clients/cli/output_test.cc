#include "clients/cli/output.h"

#include <sstream>

#include <nlohmann/json.hpp>
#include "clients/cli/display_text.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/agent.pb.h"

namespace blindcart::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

Table Sample() {
  Table table({{"NAME", Align::kLeft, true}, {"PRICE", Align::kRight}, {"NOTE"}});
  table.AddRow({"日本", "1.00", ""});
  table.AddRow({"a rather long title of a book", "100.00", "sold out"});
  return table;
}

TEST(TableTest, AlignsByDisplayWidthWithoutTrailingSpaces) {
  EXPECT_EQ(Sample().Render({}),
            "NAME                            PRICE  NOTE\n"
            "日本                             1.00\n"
            "a rather long title of a book  100.00  sold out\n");
}

TEST(TableTest, ShrinksOnlyWhatMayShrinkToTheTerminal) {
  const std::string text = Sample().Render({false, 36});
  std::istringstream lines(text);
  std::string line;
  while (std::getline(lines, line)) EXPECT_LE(DisplayWidth(line), 36u) << line;
  EXPECT_THAT(text, HasSubstr("a rather long tit…  100.00  sold out"));
  EXPECT_THAT(Sample().Render({false, 5}), HasSubstr("100.00  sold out"))
      << "a terminal that is too narrow wraps";
}

TEST(TableTest, ColoursOnlyWhenAsked) {
  Table table({{"STATUS"}});
  table.AddRow({Cell("FAILED", Style::kBad)});
  EXPECT_THAT(table.Render({}), Not(HasSubstr("\x1b")));
  EXPECT_THAT(table.Render({true, 0}), HasSubstr("\x1b[31mFAILED\x1b[0m"));
}

TEST(TableTest, SanitisesEveryCell) {
  Table table({{"TITLE"}, {"PRICE"}});
  table.AddRow({"free\x1b[8m\nfake row", "1.00"});
  EXPECT_EQ(table.Render({}),
            "TITLE              PRICE\n"
            "free\uFFFD[8m\uFFFDfake row  1.00\n");
}

TEST(TableTest, DetailsHaveNoHeader) {
  Table table = Table::Details();
  table.AddRow({"Account", "1001"});
  table.AddRow({"Balance", "10.00 EUR"});
  EXPECT_EQ(table.Render({}), "Account  1001\nBalance  10.00 EUR\n");
}

TEST(JsonTest, HasProtoNamesAndEveryPrimitiveField) {
  v1::CatalogueItem item;
  item.set_price_minor(int64_t{9007199254740993});  // Not a double.
  item.set_title("a\x1b[2J\"\xC2\x9B");
  const std::string text = ToJson(item, /*one_line=*/true);
  EXPECT_THAT(text, Not(HasSubstr("\n")));
  EXPECT_THAT(text, Not(HasSubstr("\x1b")));
  const auto json = nlohmann::json::parse(text);
  EXPECT_EQ(json["price_minor"], "9007199254740993");
  EXPECT_EQ(json["title"], item.title());
  EXPECT_EQ(json["sold_out"], false);
  EXPECT_EQ(json["size_bytes"], "0");
  EXPECT_TRUE(json.contains("content_sha256_hex"));
}

TEST(ConsoleTest, SeparatesResultsFromMessages) {
  std::ostringstream out;
  std::ostringstream err;
  Console console({}, out, err);
  console.Print("two\nlines\x1b");
  console.Complain("it\x1b failed. Try again\n");
  console.PrintJson(v1::LogoutReply());
  EXPECT_EQ(out.str(), "two\nlines\uFFFD\n{}\n");
  EXPECT_EQ(err.str(), "blindcart: it\uFFFD failed. Try again\n");
}

}  // namespace
}  // namespace blindcart::cli
