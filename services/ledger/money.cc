#include "services/ledger/money.h"

#include <array>
#include <limits>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace blindcart::ledger {
namespace {

struct CurrencyDigits {
  const char* code;
  int exponent;
};

// ISO 4217, list one.
constexpr std::array<CurrencyDigits, 18> kCurrencies = {{
    {"AUD", 2},
    {"BHD", 3},
    {"CAD", 2},
    {"CHF", 2},
    {"CZK", 2},
    {"DKK", 2},
    {"EUR", 2},
    {"GBP", 2},
    {"INR", 2},
    {"JPY", 0},
    {"KRW", 0},
    {"KWD", 3},
    {"NOK", 2},
    {"NZD", 2},
    {"PLN", 2},
    {"SEK", 2},
    {"TND", 3},
    {"USD", 2},
}};

absl::Status DoesNotFit() { return absl::OutOfRangeError("the amount is too large"); }

}  // namespace

absl::StatusOr<int64_t> CheckedAdd(int64_t a_minor, int64_t b_minor) {
  int64_t sum = 0;
  if (__builtin_add_overflow(a_minor, b_minor, &sum)) return DoesNotFit();
  return sum;
}

absl::StatusOr<int64_t> CheckedSub(int64_t a_minor, int64_t b_minor) {
  int64_t difference = 0;
  if (__builtin_sub_overflow(a_minor, b_minor, &difference)) return DoesNotFit();
  return difference;
}

absl::StatusOr<int64_t> CheckedNeg(int64_t a_minor) { return CheckedSub(0, a_minor); }

absl::StatusOr<int> CurrencyExponent(absl::string_view currency) {
  for (const CurrencyDigits& known : kCurrencies) {
    if (currency == known.code) return known.exponent;
  }
  return absl::InvalidArgumentError("this currency is not known here");
}

absl::StatusOr<int64_t> ParseAmount(absl::string_view text, absl::string_view currency,
                                    AmountRange range) {
  absl::StatusOr<int> exponent = CurrencyExponent(currency);
  if (!exponent.ok()) return exponent.status();
  const absl::Status not_a_number =
      absl::InvalidArgumentError("an amount is written as a plain number, such as 12 or 12.50");
  absl::string_view rest = text;
  const bool negative = !rest.empty() && rest.front() == '-';
  if (negative) rest.remove_prefix(1);

  // Counted downwards for a negative amount, so that the smallest int64 can be read as well.
  int64_t amount_minor = 0;
  auto append_digit = [&](int digit) {
    return !__builtin_mul_overflow(amount_minor, int64_t{10}, &amount_minor) &&
           !__builtin_add_overflow(amount_minor, int64_t{negative ? -digit : digit}, &amount_minor);
  };
  bool fits = true;
  bool has_point = false;
  int whole_digits = 0;
  int decimals = 0;
  for (char c : rest) {
    if (c == '.' && !has_point) {
      has_point = true;
      continue;
    }
    if (!absl::ascii_isdigit(static_cast<unsigned char>(c))) return not_a_number;
    ++(has_point ? decimals : whole_digits);
    fits = fits && append_digit(c - '0');
  }
  if (whole_digits == 0 || (has_point && decimals == 0)) return not_a_number;
  if (decimals > *exponent) {
    return absl::InvalidArgumentError(
        *exponent == 0 ? absl::StrCat(currency, " has no decimals")
                       : absl::StrCat(currency, " has at most ", *exponent, " decimals"));
  }
  for (; decimals < *exponent; ++decimals) fits = fits && append_digit(0);
  if (!fits) return DoesNotFit();
  if (negative && range != AmountRange::kAny) {
    return absl::InvalidArgumentError("the amount must not be negative");
  }
  if (amount_minor == 0 && range == AmountRange::kPositive) {
    return absl::InvalidArgumentError("the amount must be above zero");
  }
  return amount_minor;
}

absl::StatusOr<std::string> FormatAmount(int64_t amount_minor, absl::string_view currency) {
  absl::StatusOr<int> exponent = CurrencyExponent(currency);
  if (!exponent.ok()) return exponent.status();
  // Unsigned, because the smallest int64 has no positive counterpart.
  const uint64_t magnitude = amount_minor < 0 ? ~static_cast<uint64_t>(amount_minor) + 1
                                              : static_cast<uint64_t>(amount_minor);
  std::string digits = absl::StrCat(magnitude);
  const size_t decimals = static_cast<size_t>(*exponent);
  if (digits.size() <= decimals) digits.insert(0, decimals + 1 - digits.size(), '0');
  if (decimals > 0) digits.insert(digits.size() - decimals, 1, '.');
  return absl::StrCat(amount_minor < 0 ? "-" : "", digits);
}

}  // namespace blindcart::ledger
