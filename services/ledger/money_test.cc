#include "services/ledger/money.h"

#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace blindcart::ledger {
namespace {

using ::testing::HasSubstr;

TEST(MoneyTest, ArithmeticIsChecked) {
  EXPECT_EQ(*CheckedAdd(INT64_MAX - 1, 1), INT64_MAX);
  EXPECT_EQ(CheckedAdd(INT64_MAX, 1).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(CheckedAdd(INT64_MIN, -1).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(*CheckedSub(-1, INT64_MAX), INT64_MIN);
  EXPECT_EQ(CheckedSub(0, INT64_MIN).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(*CheckedNeg(INT64_MAX), -INT64_MAX);
  EXPECT_EQ(CheckedNeg(INT64_MIN).status().code(), absl::StatusCode::kOutOfRange);
}

TEST(MoneyTest, CurrenciesHaveTheirDecimals) {
  EXPECT_EQ(*CurrencyExponent("EUR"), 2);
  EXPECT_EQ(*CurrencyExponent("USD"), 2);
  EXPECT_EQ(*CurrencyExponent("JPY"), 0);
  EXPECT_EQ(*CurrencyExponent("KWD"), 3);
  for (const char* unknown : {"", "eur", "EURO", "XXX"}) {
    EXPECT_EQ(CurrencyExponent(unknown).status().code(), absl::StatusCode::kInvalidArgument)
        << unknown;
  }
}

TEST(MoneyTest, ParsesWhatPeopleWrite) {
  EXPECT_EQ(*ParseAmount("12.50", "EUR"), 1250);
  EXPECT_EQ(*ParseAmount("12.5", "EUR"), 1250);
  EXPECT_EQ(*ParseAmount("12", "EUR"), 1200);
  EXPECT_EQ(*ParseAmount("0.01", "EUR"), 1);
  EXPECT_EQ(*ParseAmount("007", "EUR"), 700);
  EXPECT_EQ(*ParseAmount("12", "JPY"), 12);
  EXPECT_EQ(*ParseAmount("1.234", "KWD"), 1234);
  EXPECT_EQ(*ParseAmount("92233720368547758.07", "EUR"), INT64_MAX);
  EXPECT_EQ(*ParseAmount("-92233720368547758.08", "EUR", AmountRange::kAny), INT64_MIN);
  EXPECT_EQ(*ParseAmount("-9223372036854775808", "JPY", AmountRange::kAny), INT64_MIN);
  EXPECT_EQ(*ParseAmount("0", "EUR", AmountRange::kNonNegative), 0);
  EXPECT_EQ(*ParseAmount("-0.05", "EUR", AmountRange::kAny), -5);
}

TEST(MoneyTest, RefusesEverythingElseAndSaysWhy) {
  for (const char* text :
       {"",      "-",   ".",   "-.",    "1.",  ".5", "+1",  " 1",  "1 ",        "1,5",
        "1.2.3", "1e3", "0x1", "1'000", "--1", "1-", "NaN", "inf", "12.50 EUR", "\xd9\xa1"}) {
    const absl::Status status = ParseAmount(text, "EUR", AmountRange::kAny).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(status.message()), HasSubstr("plain number")) << text;
  }
  EXPECT_EQ(ParseAmount(absl::string_view("1\0", 2), "EUR").status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(ParseAmount("1.001", "EUR").status().message()),
              HasSubstr("at most 2 decimals"));
  EXPECT_THAT(std::string(ParseAmount("1.000", "EUR").status().message()),
              HasSubstr("at most 2 decimals"));
  EXPECT_THAT(std::string(ParseAmount("1.0", "JPY").status().message()), HasSubstr("no decimals"));
  EXPECT_THAT(std::string(ParseAmount("0", "EUR").status().message()), HasSubstr("above zero"));
  EXPECT_THAT(std::string(ParseAmount("-1", "EUR").status().message()), HasSubstr("negative"));
  EXPECT_EQ(ParseAmount("-0.01", "EUR", AmountRange::kNonNegative).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ParseAmount("1", "XXX").status().code(), absl::StatusCode::kInvalidArgument);
  for (const char* text : {"92233720368547758.08", "92233720368547759", "9223372036854775807",
                           "99999999999999999999999999999999"}) {
    EXPECT_EQ(ParseAmount(text, "EUR").status().code(), absl::StatusCode::kOutOfRange) << text;
  }
  EXPECT_EQ(ParseAmount("-92233720368547758.09", "EUR", AmountRange::kAny).status().code(),
            absl::StatusCode::kOutOfRange);
}

TEST(MoneyTest, FormatsWithAllDecimals) {
  EXPECT_EQ(*FormatAmount(1250, "EUR"), "12.50");
  EXPECT_EQ(*FormatAmount(5, "EUR"), "0.05");
  EXPECT_EQ(*FormatAmount(-5, "EUR"), "-0.05");
  EXPECT_EQ(*FormatAmount(0, "EUR"), "0.00");
  EXPECT_EQ(*FormatAmount(0, "JPY"), "0");
  EXPECT_EQ(*FormatAmount(-12, "JPY"), "-12");
  EXPECT_EQ(*FormatAmount(1, "KWD"), "0.001");
  EXPECT_EQ(*FormatAmount(INT64_MIN, "EUR"), "-92233720368547758.08");
  EXPECT_EQ(FormatAmount(1, "XXX").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(MoneyTest, ParsingUndoesFormatting) {
  std::mt19937_64 random(20260101);
  for (int i = 0; i < 20000; ++i) {
    // All magnitudes alike, not only the huge ones.
    const int64_t amount = static_cast<int64_t>(random()) >> (random() % 64);
    const char* const currency = i % 3 == 0 ? "EUR" : i % 3 == 1 ? "JPY" : "KWD";
    absl::StatusOr<std::string> text = FormatAmount(amount, currency);
    ASSERT_TRUE(text.ok()) << text.status();
    absl::StatusOr<int64_t> back = ParseAmount(*text, currency, AmountRange::kAny);
    ASSERT_TRUE(back.ok()) << *text << ": " << back.status();
    ASSERT_EQ(*back, amount) << *text;
  }
}

}  // namespace
}  // namespace blindcart::ledger
