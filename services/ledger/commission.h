// What the broker charges for a sale. This is the only place that knows the rule (protocol.md,
// section 5): basis points of the price, rounded up to a minor unit, plus a fixed part.
#ifndef SERVICES_LEDGER_COMMISSION_H_
#define SERVICES_LEDGER_COMMISSION_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace blindcart::ledger {

struct ChargeRule {
  int64_t basis_points = 0;  // 0 to 10,000; 100 = one per cent of the price
  int64_t fixed_minor = 0;   // >= 0
};

// kInvalidArgument for a rule outside the bounds named in ChargeRule. For configuration loading.
absl::Status ValidateChargeRule(const ChargeRule& rule);

// What a sale costs: total = price + charge.
struct Quote {
  int64_t price_minor = 0;
  int64_t charge_minor = 0;
  int64_t total_minor = 0;
};

// kInvalidArgument for a price that is not positive or an invalid rule; kOutOfRange when the charge
// or the total does not fit int64.
absl::StatusOr<Quote> QuoteSale(const ChargeRule& rule, int64_t price_minor);

}  // namespace blindcart::ledger

#endif  // SERVICES_LEDGER_COMMISSION_H_
