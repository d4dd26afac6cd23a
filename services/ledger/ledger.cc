#include "services/ledger/ledger.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "services/ledger/money.h"

namespace blindcart::ledger {
namespace {

using storage::Account;
using storage::AccountKind;
using storage::Entry;
using storage::Transaction;
using storage::Transfer;
using storage::TransferKind;

// An entry to be made, and what kind of account it must be made on: kInvalid for any.
struct Movement {
  int64_t account_id;
  int64_t amount_minor;
  AccountKind kind;
};

bool BelongsToOrder(TransferKind kind) {
  return kind == TransferKind::kPayment || kind == TransferKind::kRefund;
}

// `movements` are sorted by account.
absl::Status CheckForm(const Transfer& transfer, const std::vector<Movement>& movements) {
  if (transfer.transfer_id.size() != storage::kTransferIdBytes) {
    return absl::InvalidArgumentError("a transfer's id has the wrong size");
  }
  if (transfer.kind == TransferKind::kInvalid) {
    return absl::InvalidArgumentError("a transfer needs a kind");
  }
  if (transfer.order_id.size() != (BelongsToOrder(transfer.kind) ? storage::kOrderIdBytes : 0)) {
    return absl::InvalidArgumentError("payments and refunds, and only they, belong to an order");
  }
  if (movements.size() < 2) return absl::InvalidArgumentError("a transfer needs two entries");
  for (size_t i = 0; i < movements.size(); ++i) {
    if (movements[i].amount_minor == 0) {
      return absl::InvalidArgumentError("an entry needs an amount");
    }
    if (i > 0 && movements[i].account_id == movements[i - 1].account_id) {
      return absl::InvalidArgumentError("a transfer names an account twice");
    }
  }
  int64_t sum_minor = 0;
  for (const Movement& movement : movements) {
    absl::StatusOr<int64_t> sum = CheckedAdd(sum_minor, movement.amount_minor);
    if (!sum.ok()) return sum.status();
    sum_minor = *sum;
  }
  if (sum_minor != 0) return absl::InvalidArgumentError("a transfer's entries must sum to zero");
  return absl::OkStatus();
}

// Is the transfer `known` under its id the very one that is asked for again?
absl::Status CompareWithKnown(Transaction& transaction, const Transfer& known,
                              const Transfer& transfer, const std::vector<Movement>& movements) {
  // Entries are inserted, and so listed, in the order of their accounts.
  absl::StatusOr<std::vector<Entry>> entries =
      transaction.transfers().ListEntries(known.transfer_id);
  if (!entries.ok()) return entries.status();
  const bool same = known.kind == transfer.kind && known.order_id == transfer.order_id &&
                    std::equal(entries->begin(), entries->end(), movements.begin(), movements.end(),
                               [](const Entry& entry, const Movement& movement) {
                                 return entry.account_id == movement.account_id &&
                                        entry.amount_minor == movement.amount_minor;
                               });
  if (!same) return absl::AlreadyExistsError("this transfer id stands for another transfer");
  return absl::OkStatus();
}

// One order for all transfers: a store with several writers locks the accounts in it, so they cannot
// wait for each other in a circle.
void SortByAccount(std::vector<Movement>& movements) {
  std::sort(movements.begin(), movements.end(),
            [](const Movement& a, const Movement& b) { return a.account_id < b.account_id; });
}

std::vector<int64_t> AccountsOf(const std::vector<Movement>& movements) {
  std::vector<int64_t> ids;
  for (const Movement& movement : movements) ids.push_back(movement.account_id);
  return ids;
}

absl::Status Post(Transaction& transaction, const Transfer& transfer,
                  std::vector<Movement> movements) {
  SortByAccount(movements);
  absl::Status form = CheckForm(transfer, movements);
  if (!form.ok()) return form;

  absl::StatusOr<Transfer> known = transaction.transfers().Get(transfer.transfer_id);
  if (known.ok()) return CompareWithKnown(transaction, *known, transfer, movements);
  if (!absl::IsNotFound(known.status())) return known.status();

  if (BelongsToOrder(transfer.kind)) {
    absl::StatusOr<Transfer> earlier =
        transaction.transfers().FindByOrder(transfer.order_id, transfer.kind);
    if (earlier.ok()) return absl::AlreadyExistsError("the order has such a transfer already");
    if (!absl::IsNotFound(earlier.status())) return earlier.status();
  }

  absl::StatusOr<std::vector<Account>> found = transaction.accounts().GetAll(AccountsOf(movements));
  if (!found.ok()) return found.status();
  const std::vector<Account>& accounts = *found;
  for (size_t i = 0; i < movements.size(); ++i) {
    if (movements[i].kind != AccountKind::kInvalid && accounts[i].kind != movements[i].kind) {
      return absl::InvalidArgumentError("an account is not of the kind that this transfer needs");
    }
    if (accounts[i].currency != accounts.front().currency) {
      return absl::InvalidArgumentError("a transfer's accounts must share one currency");
    }
  }
  // Money that is not there is reported before room that is not there.
  for (size_t i = 0; i < movements.size(); ++i) {
    if (accounts[i].kind == AccountKind::kExternal || movements[i].amount_minor > 0) continue;
    absl::StatusOr<int64_t> balance =
        CheckedAdd(accounts[i].balance_minor, movements[i].amount_minor);
    if (!balance.ok() || *balance < 0) {
      return absl::FailedPreconditionError("insufficient balance");
    }
  }
  std::vector<Entry> entries;
  std::vector<storage::AccountBalance> balances;
  for (size_t i = 0; i < movements.size(); ++i) {
    absl::StatusOr<int64_t> balance =
        CheckedAdd(accounts[i].balance_minor, movements[i].amount_minor);
    if (!balance.ok()) return balance.status();
    balances.push_back({accounts[i].id, *balance});
    Entry entry;
    entry.account_id = movements[i].account_id;
    entry.amount_minor = movements[i].amount_minor;
    entries.push_back(entry);
  }

  absl::Status inserted = transaction.transfers().Insert(transfer, entries);
  if (!inserted.ok()) return inserted;
  return transaction.accounts().SetBalances(balances);
}

// Money between the outside and an account.
absl::Status PostCash(Transaction& transaction, const CashMovement& movement, TransferKind kind) {
  if (movement.amount_minor <= 0) {
    return absl::InvalidArgumentError("an amount to move must be above zero");
  }
  const int64_t gain_minor =
      kind == TransferKind::kDeposit ? movement.amount_minor : -movement.amount_minor;
  Transfer transfer;
  transfer.transfer_id = movement.transfer_id;
  transfer.kind = kind;
  transfer.created_at_ms = movement.created_at_ms;
  return Post(transaction, transfer,
              {{movement.account_id, gain_minor, AccountKind::kInvalid},
               {movement.external_account_id, -gain_minor, AccountKind::kExternal}});
}

// `total_minor` is price and charge.
std::vector<Movement> MovementsOf(const Payment& payment, int64_t total_minor) {
  std::vector<Movement> movements = {
      {payment.customer_account_id, -total_minor, AccountKind::kCustomer},
      {payment.merchant_account_id, payment.price_minor, AccountKind::kMerchant}};
  if (payment.charge_minor > 0) {
    movements.push_back({payment.broker_account_id, payment.charge_minor, AccountKind::kBroker});
  }
  return movements;
}

}  // namespace

absl::Status PostTransfer(Transaction& transaction, const Transfer& transfer,
                          absl::Span<const Entry> entries) {
  std::vector<Movement> movements;
  for (const Entry& entry : entries) {
    movements.push_back({entry.account_id, entry.amount_minor, AccountKind::kInvalid});
  }
  return Post(transaction, transfer, std::move(movements));
}

absl::Status Pay(Transaction& transaction, const Payment& payment) {
  if (payment.price_minor <= 0 || payment.charge_minor < 0) {
    return absl::InvalidArgumentError("a payment needs a price above zero and no negative charge");
  }
  absl::StatusOr<int64_t> total = CheckedAdd(payment.price_minor, payment.charge_minor);
  if (!total.ok()) return total.status();
  Transfer transfer;
  transfer.transfer_id = payment.transfer_id;
  transfer.kind = TransferKind::kPayment;
  transfer.order_id = payment.order_id;
  transfer.created_at_ms = payment.created_at_ms;
  return Post(transaction, transfer, MovementsOf(payment, *total));
}

void ReadForPay(Transaction& transaction, const Payment& payment) {
  transaction.transfers().Get(payment.transfer_id).IgnoreError();
  transaction.transfers().FindByOrder(payment.order_id, TransferKind::kPayment).IgnoreError();
  std::vector<Movement> movements = MovementsOf(payment, /*total_minor=*/0);
  SortByAccount(movements);
  transaction.accounts().GetAll(AccountsOf(movements)).IgnoreError();
}

absl::Status Deposit(Transaction& transaction, const CashMovement& movement) {
  return PostCash(transaction, movement, TransferKind::kDeposit);
}

absl::Status Withdraw(Transaction& transaction, const CashMovement& movement) {
  return PostCash(transaction, movement, TransferKind::kWithdrawal);
}

}  // namespace blindcart::ledger
