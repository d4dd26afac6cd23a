// Amounts of money: checked arithmetic, and the conversion to and from what people write.
//
// An amount is an int64 count of the currency's minor unit (ISO 4217: 1 EUR = 100 minor units, 1
// JPY = 1). Never a floating-point number. All functions are pure and safe from any thread.
#ifndef SERVICES_LEDGER_MONEY_H_
#define SERVICES_LEDGER_MONEY_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace blindcart::ledger {

// kOutOfRange when the result does not fit.
absl::StatusOr<int64_t> CheckedAdd(int64_t a_minor, int64_t b_minor);
absl::StatusOr<int64_t> CheckedSub(int64_t a_minor, int64_t b_minor);
absl::StatusOr<int64_t> CheckedNeg(int64_t a_minor);

// Number of decimals of a currency; kInvalidArgument for one that is not in the table.
absl::StatusOr<int> CurrencyExponent(absl::string_view currency);

enum class AmountRange { kPositive, kNonNegative, kAny };

// Reads "12", "12.5" or "12.50" (with `-` in front where `range` allows it) as minor units. Strict:
// no spaces, signs other than one leading '-', separators, exponents, or digits missing on either
// side of the point. kInvalidArgument says in a sentence that can be shown what is wrong;
// kOutOfRange when the number does not fit.
absl::StatusOr<int64_t> ParseAmount(absl::string_view text, absl::string_view currency,
                                    AmountRange range = AmountRange::kPositive);

// The inverse: always with all decimals of the currency, without its code. "-0.05" for -5 EUR
// cents.
absl::StatusOr<std::string> FormatAmount(int64_t amount_minor, absl::string_view currency);

}  // namespace blindcart::ledger

#endif  // SERVICES_LEDGER_MONEY_H_
