#include "services/ledger/commission.h"

#include <limits>

#include "absl/numeric/int128.h"

namespace blindcart::ledger {
namespace {

constexpr int64_t kBasisPointsInOne = 10000;

}  // namespace

absl::Status ValidateChargeRule(const ChargeRule& rule) {
  if (rule.basis_points < 0 || rule.basis_points > kBasisPointsInOne) {
    return absl::InvalidArgumentError("the charge must lie between 0 and 10000 basis points");
  }
  if (rule.fixed_minor < 0) {
    return absl::InvalidArgumentError("the fixed part of the charge must not be negative");
  }
  return absl::OkStatus();
}

absl::StatusOr<Quote> QuoteSale(const ChargeRule& rule, int64_t price_minor) {
  absl::Status valid = ValidateChargeRule(rule);
  if (!valid.ok()) return valid;
  if (price_minor <= 0) return absl::InvalidArgumentError("a price must be above zero");
  const absl::int128 share = absl::int128(price_minor) * rule.basis_points;
  const absl::int128 charge =
      (share + kBasisPointsInOne - 1) / kBasisPointsInOne + rule.fixed_minor;
  const absl::int128 total = charge + price_minor;
  if (total > std::numeric_limits<int64_t>::max()) {
    return absl::OutOfRangeError("the price and its charge are too large");
  }
  return Quote{price_minor, static_cast<int64_t>(charge), static_cast<int64_t>(total)};
}

}  // namespace blindcart::ledger
