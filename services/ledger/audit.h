// Proves the broker's books, or names every row that breaks them.
//
// Checked, over one snapshot: the backend's own integrity check; each transfer has two or more
// entries of one currency that sum to zero; each entry belongs to a transfer and an account; each
// balance equals the sum of the account's entries and is not below zero unless external; each
// order's amounts, sizes, status and times agree; an order that was paid has a receipt and exactly
// one payment with exactly the order's amounts between exactly the right accounts, and one that was
// not paid has none; a refunded order's refund undoes its payment; customers and merchants have
// accounts of their kind.
#ifndef SERVICES_LEDGER_AUDIT_H_
#define SERVICES_LEDGER_AUDIT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "services/storage/store.h"

namespace blindcart::ledger {

struct AuditProblem {
  std::string table;  // "store" for a finding of the backend's own check
  std::string row;    // the row's id: decimal, or hexadecimal for byte ids
  std::string what;   // one sentence
};

struct AuditReport {
  int64_t accounts = 0;
  int64_t customers = 0;
  int64_t merchants = 0;
  int64_t orders = 0;
  int64_t transfers = 0;
  int64_t entries = 0;
  std::vector<AuditProblem> problems;  // empty when the books are right
};

// The error is the store's when it cannot be read at all; wrong books are a report, not an error.
// Memory grows with the number of accounts, not with that of orders or transfers. Thread-safe.
absl::StatusOr<AuditReport> AuditBooks(storage::Store& store);

}  // namespace blindcart::ledger

#endif  // SERVICES_LEDGER_AUDIT_H_
