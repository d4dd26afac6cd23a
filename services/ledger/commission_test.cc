#include "services/ledger/commission.h"

#include <random>

#include "gtest/gtest.h"

namespace blindcart::ledger {
namespace {

TEST(CommissionTest, RoundsUpToAMinorUnit) {
  EXPECT_EQ(QuoteSale({250, 0}, 1000)->charge_minor, 25);
  EXPECT_EQ(QuoteSale({250, 0}, 1001)->charge_minor, 26);
  EXPECT_EQ(QuoteSale({1, 0}, 1)->charge_minor, 1);
  EXPECT_EQ(QuoteSale({1, 0}, 10000)->charge_minor, 1);
  EXPECT_EQ(QuoteSale({1, 0}, 10001)->charge_minor, 2);
  EXPECT_EQ(QuoteSale({0, 0}, 999)->charge_minor, 0);
  EXPECT_EQ(QuoteSale({0, 30}, 1)->charge_minor, 30);
  EXPECT_EQ(QuoteSale({10000, 7}, 5)->charge_minor, 12);
}

TEST(CommissionTest, TheQuoteAddsUp) {
  absl::StatusOr<Quote> quote = QuoteSale({290, 25}, 1999);
  ASSERT_TRUE(quote.ok());
  EXPECT_EQ(quote->price_minor, 1999);
  EXPECT_EQ(quote->charge_minor, 58 + 25);
  EXPECT_EQ(quote->total_minor, 1999 + 83);
}

TEST(CommissionTest, RefusesRulesAndPricesOutsideTheirBounds) {
  EXPECT_TRUE(ValidateChargeRule({0, 0}).ok());
  EXPECT_TRUE(ValidateChargeRule({10000, INT64_MAX}).ok());
  for (const ChargeRule& rule : {ChargeRule{-1, 0}, ChargeRule{10001, 0}, ChargeRule{0, -1}}) {
    EXPECT_EQ(ValidateChargeRule(rule).code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(QuoteSale(rule, 100).status().code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(QuoteSale({100, 0}, 0).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(QuoteSale({100, 0}, -1).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(CommissionTest, OverflowIsAnErrorAndTheLastFittingPriceIsNot) {
  EXPECT_EQ(QuoteSale({0, 0}, INT64_MAX)->total_minor, INT64_MAX);
  EXPECT_EQ(QuoteSale({0, 1}, INT64_MAX).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(QuoteSale({1, 0}, INT64_MAX).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(QuoteSale({10000, 0}, INT64_MAX).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(QuoteSale({10000, 0}, INT64_MAX / 2)->total_minor, INT64_MAX - 1);
  EXPECT_EQ(QuoteSale({10000, INT64_MAX}, 1).status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(QuoteSale({0, INT64_MAX - 1}, 1)->total_minor, INT64_MAX);
}

TEST(CommissionTest, HoldsItsPropertiesEverywhere) {
  std::mt19937_64 random(20260102);
  for (int i = 0; i < 50000; ++i) {
    const ChargeRule rule = {static_cast<int64_t>(random() % 10001),
                             static_cast<int64_t>(random() % 1000)};
    const int64_t price = 1 + static_cast<int64_t>(random() >> (2 + random() % 60));
    absl::StatusOr<Quote> quote = QuoteSale(rule, price);
    ASSERT_TRUE(quote.ok()) << price;
    ASSERT_EQ(quote->total_minor, price + quote->charge_minor);
    // Never less than the exact charge, and less than one minor unit more.
    const __int128 exact_times_10000 = static_cast<__int128>(price) * rule.basis_points;
    const __int128 share = quote->charge_minor - rule.fixed_minor;
    ASSERT_GE(share * 10000, exact_times_10000);
    ASSERT_LT((share - 1) * 10000, exact_times_10000);
    // A dearer product never costs a smaller charge.
    ASSERT_GE(QuoteSale(rule, price + 1)->charge_minor, quote->charge_minor);
  }
}

}  // namespace
}  // namespace blindcart::ledger
