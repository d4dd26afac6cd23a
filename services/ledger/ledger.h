// Double-entry bookkeeping over the store (protocol.md, section 5 and "Bank").
//
// Every movement of money is one immutable transfer with two or more entries that sum to zero, all
// in one currency. An account's balance is the sum of its entries; only an external account, from
// which money comes into the system and through which it leaves, may be below zero.
//
// Transfers are idempotent by transfer_id, which whoever asks for the transfer makes. A use case
// that takes ids from outside must bind them to the asker (for example as the digest of the
// customer's id and the request's id), so that nobody can occupy somebody else's.
//
// All functions work inside a transaction of the caller's and are not durable before it commits.
// When one of them fails, the caller must return an error from its callback so that nothing is
// kept.
//
// Errors, in order of precedence:
//   kInvalidArgument     malformed: sizes, kinds, fewer than two entries, an amount of zero (or
//   below,
//                        where a positive one is asked for), an account twice
//   kOutOfRange          the sum of the entries does not fit int64
//   kInvalidArgument     the entries do not sum to zero
//   kAlreadyExists       the transfer_id is known with other content, or the order has such a
//   transfer kNotFound            an account does not exist kInvalidArgument     accounts of
//   different currencies, or of the wrong kind kFailedPrecondition  insufficient balance (this code
//   means nothing else here) kOutOfRange          a new balance does not fit int64
// and what store.h names.
#ifndef SERVICES_LEDGER_LEDGER_H_
#define SERVICES_LEDGER_LEDGER_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "services/storage/store.h"

namespace blindcart::ledger {

// Records the transfer and moves the balances. OK without any effect when the same transfer (id,
// kind, order and entries, whatever its time) is known already. `entries` need only account and
// amount.
absl::Status PostTransfer(storage::Transaction& transaction, const storage::Transfer& transfer,
                          absl::Span<const storage::Entry> entries);

struct Payment {
  std::string transfer_id;
  std::string order_id;
  int64_t customer_account_id = 0;
  int64_t merchant_account_id = 0;
  int64_t broker_account_id = 0;
  int64_t price_minor = 0;   // > 0
  int64_t charge_minor = 0;  // >= 0
  int64_t created_at_ms = 0;
};

// Customer -(price + charge), merchant +price, broker +charge (no entry for a charge of zero).
// Marking the order as paid is the caller's, in the same transaction.
absl::Status Pay(storage::Transaction& transaction, const Payment& payment);

// Reads what Pay is going to read, for Transaction::ReadAhead.
void ReadForPay(storage::Transaction& transaction, const Payment& payment);

struct CashMovement {
  std::string transfer_id;
  int64_t account_id = 0;
  int64_t external_account_id = 0;
  int64_t amount_minor = 0;  // > 0
  int64_t created_at_ms = 0;
};

// External -amount, account +amount.
absl::Status Deposit(storage::Transaction& transaction, const CashMovement& movement);

// Account -amount, external +amount.
absl::Status Withdraw(storage::Transaction& transaction, const CashMovement& movement);

}  // namespace blindcart::ledger

#endif  // SERVICES_LEDGER_LEDGER_H_
