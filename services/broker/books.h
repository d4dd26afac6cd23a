// An audit whose findings are an error: for what may only go on with sound books.
#ifndef BLINDCART_SERVICES_BROKER_BOOKS_H_
#define BLINDCART_SERVICES_BROKER_BOOKS_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/ledger/audit.h"
#include "services/storage/store.h"

namespace blindcart::broker {

// kDataLoss names the first place where the books in the `which` ("SQLite file") are wrong.
absl::StatusOr<ledger::AuditReport> CheckBooks(storage::Store& store, absl::string_view which);

// "4 accounts, 1 customers, ..."
std::string Summary(const ledger::AuditReport& report);

}  // namespace blindcart::broker

#endif  // BLINDCART_SERVICES_BROKER_BOOKS_H_
