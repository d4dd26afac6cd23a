#include "services/ledger/testing/reference_ledger.h"

#include <algorithm>

namespace blindcart::ledger::testing {

using absl::StatusCode;
using storage::AccountKind;
using storage::TransferKind;

namespace {

bool Fits(__int128 amount) { return amount >= INT64_MIN && amount <= INT64_MAX; }

}  // namespace

StatusCode ReferenceLedger::Post(const storage::Transfer& transfer, Amounts amounts,
                                 const std::map<int64_t, AccountKind>& kinds) {
  std::sort(amounts.begin(), amounts.end());
  const bool of_order =
      transfer.kind == TransferKind::kPayment || transfer.kind == TransferKind::kRefund;
  if (transfer.transfer_id.size() != 16 || transfer.kind == TransferKind::kInvalid ||
      transfer.order_id.size() != (of_order ? 16 : 0) || amounts.size() < 2) {
    return StatusCode::kInvalidArgument;
  }
  std::map<int64_t, int64_t> by_account;
  for (const auto& [id, amount] : amounts) {
    if (amount == 0 || !by_account.emplace(id, amount).second) return StatusCode::kInvalidArgument;
  }
  __int128 sum = 0;
  for (const auto& [id, amount] : amounts) {
    sum += amount;
    if (!Fits(sum)) return StatusCode::kOutOfRange;
  }
  if (sum != 0) return StatusCode::kInvalidArgument;

  const Content content(transfer.kind, transfer.order_id, amounts);
  auto known = transfers_.find(transfer.transfer_id);
  if (known != transfers_.end()) {
    return known->second == content ? StatusCode::kOk : StatusCode::kAlreadyExists;
  }
  if (of_order && orders_.count({transfer.kind, transfer.order_id}) != 0) {
    return StatusCode::kAlreadyExists;
  }

  for (const auto& [id, amount] : amounts) {
    if (accounts_.count(id) == 0) return StatusCode::kNotFound;
  }
  for (const auto& [id, amount] : amounts) {
    if (accounts_[id].currency != accounts_[amounts[0].first].currency ||
        (kinds.count(id) != 0 && kinds.at(id) != accounts_[id].kind)) {
      return StatusCode::kInvalidArgument;
    }
  }
  for (const auto& [id, amount] : amounts) {
    if (accounts_[id].kind != AccountKind::kExternal && accounts_[id].balance + amount < 0) {
      return StatusCode::kFailedPrecondition;
    }
  }
  for (const auto& [id, amount] : amounts) {
    if (!Fits(accounts_[id].balance + amount)) return StatusCode::kOutOfRange;
  }
  for (const auto& [id, amount] : amounts) accounts_[id].balance += amount;
  transfers_.emplace(transfer.transfer_id, content);
  orders_.emplace(transfer.kind, transfer.order_id);
  return StatusCode::kOk;
}

StatusCode ReferenceLedger::PostTransfer(const storage::Transfer& transfer,
                                         const std::vector<storage::Entry>& entries) {
  Amounts amounts;
  for (const auto& entry : entries) amounts.emplace_back(entry.account_id, entry.amount_minor);
  return Post(transfer, amounts, {});
}

StatusCode ReferenceLedger::Pay(const Payment& payment) {
  if (payment.price_minor <= 0 || payment.charge_minor < 0) return StatusCode::kInvalidArgument;
  const __int128 total = static_cast<__int128>(payment.price_minor) + payment.charge_minor;
  if (!Fits(total)) return StatusCode::kOutOfRange;
  Amounts amounts = {{payment.customer_account_id, static_cast<int64_t>(-total)},
                     {payment.merchant_account_id, payment.price_minor}};
  std::map<int64_t, AccountKind> kinds = {{payment.customer_account_id, AccountKind::kCustomer},
                                          {payment.merchant_account_id, AccountKind::kMerchant}};
  if (payment.charge_minor > 0) {
    amounts.emplace_back(payment.broker_account_id, payment.charge_minor);
    kinds[payment.broker_account_id] = AccountKind::kBroker;
  }
  return Post({payment.transfer_id, TransferKind::kPayment, payment.order_id, 0}, amounts, kinds);
}

StatusCode ReferenceLedger::Deposit(const CashMovement& movement) {
  if (movement.amount_minor <= 0) return StatusCode::kInvalidArgument;
  return Post({movement.transfer_id, TransferKind::kDeposit, "", 0},
              {{movement.external_account_id, -movement.amount_minor},
               {movement.account_id, movement.amount_minor}},
              {{movement.external_account_id, AccountKind::kExternal}});
}

StatusCode ReferenceLedger::Withdraw(const CashMovement& movement) {
  if (movement.amount_minor <= 0) return StatusCode::kInvalidArgument;
  return Post({movement.transfer_id, TransferKind::kWithdrawal, "", 0},
              {{movement.external_account_id, movement.amount_minor},
               {movement.account_id, -movement.amount_minor}},
              {{movement.external_account_id, AccountKind::kExternal}});
}

}  // namespace blindcart::ledger::testing
