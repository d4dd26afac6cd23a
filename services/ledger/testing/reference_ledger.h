// The ledger's rules once more, as plainly as they can be written, to compare the real one with.
//
// It keeps everything in maps, computes with 128 bits, and shares no code with ledger.cc.
#ifndef SERVICES_LEDGER_TESTING_REFERENCE_LEDGER_H_
#define SERVICES_LEDGER_TESTING_REFERENCE_LEDGER_H_

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "services/ledger/ledger.h"
#include "services/storage/store.h"

namespace blindcart::ledger::testing {

class ReferenceLedger {
 public:
  void AddAccount(int64_t id, storage::AccountKind kind, const std::string& currency) {
    accounts_[id] = {kind, currency, 0};
  }

  absl::StatusCode PostTransfer(const storage::Transfer& transfer,
                                const std::vector<storage::Entry>& entries);
  absl::StatusCode Pay(const Payment& payment);
  absl::StatusCode Deposit(const CashMovement& movement);
  absl::StatusCode Withdraw(const CashMovement& movement);

  int64_t BalanceOf(int64_t id) const { return static_cast<int64_t>(accounts_.at(id).balance); }
  size_t transfers() const { return transfers_.size(); }

 private:
  struct Account {
    storage::AccountKind kind;
    std::string currency;
    __int128 balance;
  };
  using Amounts = std::vector<std::pair<int64_t, int64_t>>;                 // account, amount
  using Content = std::tuple<storage::TransferKind, std::string, Amounts>;  // with the order

  // `kinds` names the accounts that must be of a kind.
  absl::StatusCode Post(const storage::Transfer& transfer, Amounts amounts,
                        const std::map<int64_t, storage::AccountKind>& kinds);

  std::map<int64_t, Account> accounts_;
  std::map<std::string, Content> transfers_;
  std::set<std::pair<storage::TransferKind, std::string>> orders_;  // that have such a transfer
};

}  // namespace blindcart::ledger::testing

#endif  // SERVICES_LEDGER_TESTING_REFERENCE_LEDGER_H_
