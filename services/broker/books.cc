#include "services/broker/books.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace blindcart::broker {

absl::StatusOr<ledger::AuditReport> CheckBooks(storage::Store& store, absl::string_view which) {
  absl::StatusOr<ledger::AuditReport> report = ledger::AuditBooks(store);
  if (!report.ok()) return report;
  if (report->problems.empty()) return report;
  const ledger::AuditProblem& first = report->problems.front();
  return absl::DataLossError(
      absl::StrCat("the books in the ", which, " are wrong in ", report->problems.size(),
                   " place(s); the first: ", first.table, " ", first.row, ": ", first.what));
}

std::string Summary(const ledger::AuditReport& report) {
  return absl::StrCat(report.accounts, " accounts, ", report.customers, " customers, ",
                      report.merchants, " merchants, ", report.orders, " orders, ",
                      report.transfers, " transfers, ", report.entries, " entries");
}

}  // namespace blindcart::broker
