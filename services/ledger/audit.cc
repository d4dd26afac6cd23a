#include "services/ledger/audit.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "services/ledger/money.h"

namespace blindcart::ledger {
namespace {

using storage::Account;
using storage::AccountKind;
using storage::Customer;
using storage::Entry;
using storage::Merchant;
using storage::Order;
using storage::OrderStatus;
using storage::Transaction;
using storage::Transfer;
using storage::TransferKind;

constexpr int64_t kPageRows = 1000;

// Also rows whose id the store would never have given are to be seen.
constexpr int64_t kBeforeAllIds = std::numeric_limits<int64_t>::min();

// Calls `visit` for every row that `list` pages through; `key` says where the next page starts.
template <typename Row, typename Key, typename List, typename KeyOf, typename Visit>
absl::Status ForEachRow(Key after, List list, KeyOf key_of, Visit visit) {
  for (;;) {
    absl::StatusOr<std::vector<Row>> page = list(after);
    if (!page.ok()) return page.status();
    for (const Row& row : *page) {
      absl::Status visited = visit(row);
      if (!visited.ok()) return visited;
    }
    if (static_cast<int64_t>(page->size()) < kPageRows) return absl::OkStatus();
    after = key_of(page->back());
  }
}

bool HasBeenPaid(OrderStatus status) {
  return status == OrderStatus::kPaid || status == OrderStatus::kDelivered ||
         status == OrderStatus::kRefunded;
}

bool IsCurrency(absl::string_view currency) {
  return currency.size() == 3 &&
         std::all_of(currency.begin(), currency.end(), [](char c) { return c >= 'A' && c <= 'Z'; });
}

// What the audit keeps of an account while it walks the rest.
struct AccountState {
  AccountKind kind;
  std::string currency;
  int64_t balance_minor;
  absl::StatusOr<int64_t> entries_minor = int64_t{0};
};

class Auditor {
 public:
  Auditor(Transaction& transaction, AuditReport& report)
      : transaction_(transaction), report_(report) {}

  absl::Status Run() {
    for (auto step : {&Auditor::CheckAccounts, &Auditor::CheckCustomers, &Auditor::CheckMerchants,
                      &Auditor::CheckEntries, &Auditor::CheckTransfers, &Auditor::CheckOrders}) {
      absl::Status status = (this->*step)();
      if (!status.ok()) return status;
    }
    CheckBalances();
    return absl::OkStatus();
  }

 private:
  void Note(absl::string_view table, std::string row, absl::string_view what) {
    report_.problems.push_back({std::string(table), std::move(row), std::string(what)});
  }
  void NoteNumber(absl::string_view table, int64_t id, absl::string_view what) {
    Note(table, absl::StrCat(id), what);
  }
  void NoteBytes(absl::string_view table, absl::string_view id, absl::string_view what) {
    Note(table, absl::BytesToHexString(id), what);
  }

  absl::Status CheckAccounts() {
    return ForEachRow<Account>(
        kBeforeAllIds,
        [&](int64_t after) { return transaction_.accounts().List(after, kPageRows); },
        [](const Account& account) { return account.id; },
        [&](const Account& account) {
          ++report_.accounts;
          if (account.kind == AccountKind::kInvalid) {
            NoteNumber("accounts", account.id, "the kind is not a known one");
          }
          if (!IsCurrency(account.currency)) {
            NoteNumber("accounts", account.id, "the currency is malformed");
          }
          if (account.number.empty()) {
            NoteNumber("accounts", account.id, "the account has no number");
          }
          if (account.balance_minor < 0 && account.kind != AccountKind::kExternal) {
            NoteNumber("accounts", account.id, "the balance is below zero");
          }
          if (account.pin_failures < 0 || account.pin_blocked_until_ms < 0) {
            NoteNumber("accounts", account.id, "the PIN's state is below zero");
          }
          if (account.kind == AccountKind::kBroker) {
            broker_accounts_.emplace(account.currency, account.id);
          }
          accounts_.emplace(account.id,
                            AccountState{account.kind, account.currency, account.balance_minor});
          return absl::OkStatus();
        });
  }

  void CheckParty(absl::string_view table, int64_t id, absl::string_view name,
                  absl::string_view identity, absl::string_view fingerprint, int64_t account_id,
                  AccountKind kind) {
    if (name.empty()) NoteNumber(table, id, "the name is empty");
    if (identity.empty()) NoteNumber(table, id, "the identity is missing");
    if (fingerprint.size() != storage::kFingerprintBytes) {
      NoteNumber(table, id, "the fingerprint has the wrong size");
    }
    auto account = accounts_.find(account_id);
    if (account == accounts_.end()) {
      NoteNumber(table, id, "the account does not exist");
    } else if (account->second.kind != kind) {
      NoteNumber(table, id, "the account is of another kind");
    }
  }

  absl::Status CheckCustomers() {
    return ForEachRow<Customer>(
        kBeforeAllIds,
        [&](int64_t after) { return transaction_.customers().List(after, kPageRows); },
        [](const Customer& customer) { return customer.id; },
        [&](const Customer& customer) {
          ++report_.customers;
          CheckParty("customers", customer.id, customer.username, customer.identity,
                     customer.fingerprint, customer.account_id, AccountKind::kCustomer);
          if (customer.password_record.empty()) {
            NoteNumber("customers", customer.id, "the password record is missing");
          }
          if (customer.login_failures < 0 || customer.login_blocked_until_ms < 0) {
            NoteNumber("customers", customer.id, "the login's state is below zero");
          }
          customer_accounts_.emplace(customer.id, customer.account_id);
          return absl::OkStatus();
        });
  }

  absl::Status CheckMerchants() {
    return ForEachRow<Merchant>(
        kBeforeAllIds,
        [&](int64_t after) { return transaction_.merchants().List(after, kPageRows); },
        [](const Merchant& merchant) { return merchant.id; },
        [&](const Merchant& merchant) {
          ++report_.merchants;
          CheckParty("merchants", merchant.id, merchant.name, merchant.identity,
                     merchant.fingerprint, merchant.account_id, AccountKind::kMerchant);
          merchant_accounts_.emplace(merchant.id, merchant.account_id);
          return absl::OkStatus();
        });
  }

  absl::Status CheckEntries() {
    return ForEachRow<Entry>(
        kBeforeAllIds,
        [&](int64_t after) { return transaction_.transfers().ListAllEntries(after, kPageRows); },
        [](const Entry& entry) { return entry.entry_id; },
        [&](const Entry& entry) -> absl::Status {
          ++report_.entries;
          if (entry.amount_minor == 0) {
            NoteNumber("entries", entry.entry_id, "the amount is zero");
          }
          auto account = accounts_.find(entry.account_id);
          if (account == accounts_.end()) {
            NoteNumber("entries", entry.entry_id, "the account does not exist");
          } else if (account->second.entries_minor.ok()) {
            account->second.entries_minor =
                CheckedAdd(*account->second.entries_minor, entry.amount_minor);
          }
          // Only existence matters here: the transfer itself is checked on its own.
          absl::StatusOr<Transfer> transfer = transaction_.transfers().Get(entry.transfer_id);
          if (absl::IsNotFound(transfer.status())) {
            NoteNumber("entries", entry.entry_id, "the transfer does not exist");
          } else if (!transfer.ok() && !absl::IsDataLoss(transfer.status())) {
            return transfer.status();
          }
          return absl::OkStatus();
        });
  }

  absl::Status CheckTransfers() {
    return ForEachRow<Transfer>(
        std::string(),
        [&](const std::string& after) { return transaction_.transfers().List(after, kPageRows); },
        [](const Transfer& transfer) { return transfer.transfer_id; },
        [&](const Transfer& transfer) {
          ++report_.transfers;
          return CheckTransfer(transfer);
        });
  }

  absl::Status CheckTransfer(const Transfer& transfer) {
    auto note = [&](absl::string_view what) { NoteBytes("transfers", transfer.transfer_id, what); };
    if (transfer.transfer_id.size() != storage::kTransferIdBytes) {
      note("the id has the wrong size");
    }
    if (transfer.kind == TransferKind::kInvalid) note("the kind is not a known one");
    if (transfer.created_at_ms < 0) note("the time is below zero");

    absl::StatusOr<std::vector<Entry>> entries =
        transaction_.transfers().ListEntries(transfer.transfer_id);
    if (!entries.ok()) return entries.status();
    if (entries->size() < 2) note("the transfer has fewer than two entries");
    absl::StatusOr<int64_t> sum = int64_t{0};
    std::string currency;
    bool one_currency = true;
    for (const Entry& entry : *entries) {
      if (sum.ok()) sum = CheckedAdd(*sum, entry.amount_minor);
      auto account = accounts_.find(entry.account_id);
      if (account == accounts_.end()) continue;  // noted at the entry
      if (currency.empty()) currency = account->second.currency;
      one_currency = one_currency && account->second.currency == currency;
    }
    if (!sum.ok() || *sum != 0) note("the entries do not sum to zero");
    if (!one_currency) note("the entries are in several currencies");

    switch (transfer.kind) {
      case TransferKind::kDeposit:
      case TransferKind::kWithdrawal:
        CheckCash(transfer, *entries);
        return absl::OkStatus();
      case TransferKind::kPayment:
      case TransferKind::kRefund:
        return CheckTransferOfOrder(transfer, *entries);
      case TransferKind::kInvalid:
        break;
    }
    return absl::OkStatus();
  }

  // A deposit takes from an external account and a withdrawal gives to one.
  void CheckCash(const Transfer& transfer, const std::vector<Entry>& entries) {
    if (!transfer.order_id.empty()) {
      NoteBytes("transfers", transfer.transfer_id, "a cash movement names an order");
    }
    const bool deposit = transfer.kind == TransferKind::kDeposit;
    int external_entries = 0;
    for (const Entry& entry : entries) {
      auto account = accounts_.find(entry.account_id);
      if (account == accounts_.end()) continue;
      const bool external = account->second.kind == AccountKind::kExternal;
      external_entries += external ? 1 : 0;
      if ((entry.amount_minor < 0) != (external == deposit)) {
        NoteNumber("entries", entry.entry_id, "the money moves the wrong way for its transfer");
      }
    }
    if (external_entries != 1) {
      NoteBytes("transfers", transfer.transfer_id,
                "a cash movement needs exactly one external account");
    }
  }

  // A payment or a refund has an order that knows of it, and exactly the order's amounts.
  absl::Status CheckTransferOfOrder(const Transfer& transfer, const std::vector<Entry>& entries) {
    auto note = [&](absl::string_view what) { NoteBytes("transfers", transfer.transfer_id, what); };
    const bool refund = transfer.kind == TransferKind::kRefund;
    absl::StatusOr<Order> order = transaction_.orders().Get(transfer.order_id);
    if (absl::IsDataLoss(order.status())) return absl::OkStatus();  // noted at the order
    if (absl::IsNotFound(order.status())) {
      note("the order does not exist");
      return absl::OkStatus();
    }
    if (!order.ok()) return order.status();
    if (refund) {
      if (order->status != OrderStatus::kRefunded) note("the order has not been refunded");
    } else if (order->transfer_id != transfer.transfer_id) {
      note("the order was not paid by this transfer");
    }
    if (order->price_minor <= 0 || order->charge_minor < 0 || order->total_minor <= 0) {
      return absl::OkStatus();  // noted at the order, and not fit for arithmetic
    }
    const int64_t sign = refund ? -1 : 1;
    std::vector<std::pair<int64_t, int64_t>> expected = {
        {AccountOf(customer_accounts_, order->customer_id), -sign * order->total_minor},
        {AccountOf(merchant_accounts_, order->merchant_id), sign * order->price_minor}};
    if (order->charge_minor != 0) {
      auto broker = broker_accounts_.find(order->currency);
      expected.emplace_back(broker == broker_accounts_.end() ? 0 : broker->second,
                            sign * order->charge_minor);
    }
    std::vector<std::pair<int64_t, int64_t>> actual;
    for (const Entry& entry : entries) actual.emplace_back(entry.account_id, entry.amount_minor);
    std::sort(expected.begin(), expected.end());
    std::sort(actual.begin(), actual.end());
    if (actual != expected) note("the entries are not the amounts of its order");
    return absl::OkStatus();
  }

  static int64_t AccountOf(const absl::flat_hash_map<int64_t, int64_t>& accounts, int64_t id) {
    auto found = accounts.find(id);
    return found == accounts.end() ? 0 : found->second;
  }

  absl::Status CheckOrders() {
    return ForEachRow<Order>(
        std::string(),
        [&](const std::string& after) { return transaction_.orders().List(after, kPageRows); },
        [](const Order& order) { return order.order_id; },
        [&](const Order& order) {
          ++report_.orders;
          return CheckOrder(order);
        });
  }

  absl::Status CheckOrder(const Order& order) {
    auto note = [&](absl::string_view what) { NoteBytes("orders", order.order_id, what); };
    if (order.order_id.size() != storage::kOrderIdBytes || order.sid.size() != storage::kSidBytes ||
        order.commitment.size() != storage::kCommitmentBytes || order.merchant_signature.empty()) {
      note("a field has the wrong size");
    }
    if (order.status == OrderStatus::kInvalid) note("the status is not a known one");
    absl::StatusOr<int64_t> total = CheckedAdd(order.price_minor, order.charge_minor);
    if (order.price_minor <= 0 || order.charge_minor < 0 || !total.ok() ||
        *total != order.total_minor) {
      note("the total is not the price and the charge");
    }
    if (order.created_at_ms < 0 || order.expires_at_ms < 0 || order.paid_at_ms < 0) {
      note("a time is below zero");
    }
    CheckOrderParty(order, customer_accounts_, order.customer_id, "customer");
    CheckOrderParty(order, merchant_accounts_, order.merchant_id, "merchant");

    if (!HasBeenPaid(order.status)) {
      if (!order.transfer_id.empty() || !order.receipt.empty() || order.paid_at_ms != 0) {
        note("the order carries a payment that its status denies");
      }
      return absl::OkStatus();
    }
    if (order.receipt.empty()) note("the order was paid and has no receipt");
    absl::StatusOr<Transfer> payment = transaction_.transfers().Get(order.transfer_id);
    if (absl::IsNotFound(payment.status())) {
      note("the order was paid and its payment does not exist");
    } else if (!payment.ok()) {
      // An unreadable one is noted at the transfer.
      return absl::IsDataLoss(payment.status()) ? absl::OkStatus() : payment.status();
    } else if (payment->kind != TransferKind::kPayment || payment->order_id != order.order_id) {
      note("the order names a transfer that is not its payment");
    }
    if (order.status != OrderStatus::kRefunded) return absl::OkStatus();
    absl::StatusOr<Transfer> refund =
        transaction_.transfers().FindByOrder(order.order_id, TransferKind::kRefund);
    if (!absl::IsNotFound(refund.status())) return refund.status();
    note("the order was refunded and its refund does not exist");
    return absl::OkStatus();
  }

  void CheckOrderParty(const Order& order, const absl::flat_hash_map<int64_t, int64_t>& accounts,
                       int64_t id, absl::string_view role) {
    auto party = accounts.find(id);
    if (party == accounts.end()) {
      NoteBytes("orders", order.order_id, absl::StrCat("the ", role, " does not exist"));
      return;
    }
    auto account = accounts_.find(party->second);
    if (account != accounts_.end() && account->second.currency != order.currency) {
      NoteBytes("orders", order.order_id,
                absl::StrCat("the currency is not that of the ", role, "'s account"));
    }
  }

  void CheckBalances() {
    std::vector<int64_t> wrong;
    for (const auto& [id, account] : accounts_) {
      if (!account.entries_minor.ok() || *account.entries_minor != account.balance_minor) {
        wrong.push_back(id);
      }
    }
    std::sort(wrong.begin(), wrong.end());
    for (int64_t id : wrong) {
      NoteNumber("accounts", id, "the balance is not the sum of the account's entries");
    }
  }

  Transaction& transaction_;
  AuditReport& report_;
  absl::flat_hash_map<int64_t, AccountState> accounts_;
  absl::flat_hash_map<int64_t, int64_t> customer_accounts_;
  absl::flat_hash_map<int64_t, int64_t> merchant_accounts_;
  absl::flat_hash_map<std::string, int64_t> broker_accounts_;  // by currency
};

}  // namespace

absl::StatusOr<AuditReport> AuditBooks(storage::Store& store) {
  AuditReport report;
  absl::Status status = store.Read([&](Transaction& transaction) {
    report = AuditReport();
    return Auditor(transaction, report).Run();
  });
  if (!status.ok()) return status;
  absl::StatusOr<std::vector<std::string>> findings = store.CheckIntegrity();
  if (!findings.ok()) return findings.status();
  for (std::string& finding : *findings) {
    report.problems.push_back({"store", "", std::move(finding)});
  }
  return report;
}

}  // namespace blindcart::ledger
