#include "services/broker/bank.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "crypto/encoding.h"
#include "crypto/hash.h"
#include "protocol/refusal.h"
#include "services/common/log.h"
#include "services/ledger/ledger.h"
#include "services/ledger/money.h"

namespace blindcart::broker {
namespace {

absl::StatusOr<storage::Account> AccountOf(storage::Transaction& transaction, int64_t customer_id) {
  const absl::StatusOr<storage::Customer> customer = transaction.customers().Get(customer_id);
  if (!customer.ok()) return customer.status();
  return transaction.accounts().Get(customer->account_id);
}

absl::StatusOr<v1::EntryKind> KindOf(const storage::AccountEntry& entry) {
  switch (entry.kind) {
    case storage::TransferKind::kPayment:
      return v1::ENTRY_KIND_PAYMENT;
    case storage::TransferKind::kDeposit:
      return v1::ENTRY_KIND_DEPOSIT;
    case storage::TransferKind::kWithdrawal:
      return v1::ENTRY_KIND_WITHDRAWAL;
    case storage::TransferKind::kRefund:
      return v1::ENTRY_KIND_REFUND;
    case storage::TransferKind::kInvalid:
      break;
  }
  return absl::DataLossError("a transfer's kind is not readable");
}

v1::CashResult ResultOf(v1::CashOutcome outcome, const storage::Account& account) {
  v1::CashResult result;
  result.set_outcome(outcome);
  result.set_balance_minor(account.balance_minor);
  result.set_currency(account.currency);
  return result;
}

v1::CashResult Busy() {
  v1::CashResult result;
  result.set_outcome(v1::CASH_OUTCOME_BUSY);
  return result;
}

// Moves `after_entry_id` on to right before the first entry made at or after `since_ms`, or to the end.
// False when that is further than one call goes: `result` says from where to go on.
absl::StatusOr<bool> PassOver(storage::Transaction& transaction, int64_t account_id,
                              int64_t since_ms, int64_t* after_entry_id,
                              v1::StatementResult* result) {
  // The one beyond says whether there is more.
  const absl::StatusOr<std::vector<storage::AccountEntry>> entries =
      transaction.transfers().ListOfAccount(account_id, *after_entry_id, Bank::kMaxPassedOver + 1);
  if (!entries.ok()) return entries.status();
  int64_t passed_over_minor = 0;
  int64_t count = 0;
  for (const storage::AccountEntry& entry : *entries) {
    if (entry.created_at_ms >= since_ms) break;
    if (count == Bank::kMaxPassedOver) {
      result->set_more(true);
      break;
    }
    const absl::StatusOr<int64_t> sum = ledger::CheckedAdd(passed_over_minor, entry.amount_minor);
    if (!sum.ok()) return absl::DataLossError("an account's entries do not add up");
    passed_over_minor = *sum;
    *after_entry_id = entry.entry_id;
    result->set_passed_transfer_id(entry.transfer_id);
    ++count;
  }
  result->set_passed_over_minor(passed_over_minor);
  if (!result->more()) result->clear_passed_transfer_id();
  return !result->more();
}

absl::Status AddPage(storage::Transaction& transaction, int64_t account_id, int64_t after_entry_id,
                     v1::StatementResult* result) {
  const absl::StatusOr<std::vector<storage::AccountEntry>> entries =
      transaction.transfers().ListOfAccount(account_id, after_entry_id, Bank::kEntriesPerPage + 1);
  if (!entries.ok()) return entries.status();
  result->set_more(entries->size() > static_cast<size_t>(Bank::kEntriesPerPage));
  for (const storage::AccountEntry& entry : *entries) {
    if (result->entries_size() == Bank::kEntriesPerPage) break;
    const absl::StatusOr<v1::EntryKind> kind = KindOf(entry);
    if (!kind.ok()) return kind.status();
    v1::StatementEntry& added = *result->add_entries();
    added.set_transfer_id(entry.transfer_id);
    added.set_kind(*kind);
    added.set_amount_minor(entry.amount_minor);
    added.set_created_at_ms(entry.created_at_ms);
    added.set_order_id(entry.order_id);
  }
  return absl::OkStatus();
}

}  // namespace

struct Bank::Request {
  int64_t customer_id = 0;
  Direction direction = Direction::kDeposit;
  std::string request_id;
  int64_t amount_minor = 0;

  std::string Digest() const {
    return crypto::Sha256(crypto::LengthPrefixed(
        {"blindcart/v1 cash request", direction == Direction::kDeposit ? "deposit" : "withdraw",
         absl::StrCat(amount_minor)}));
  }
  // One per request, so that the books refuse it a second time whatever else goes wrong.
  std::string TransferId() const {
    return crypto::Sha256(
               crypto::LengthPrefixed({"blindcart/v1 cash", absl::StrCat(customer_id), request_id}))
        .substr(0, storage::kTransferIdBytes);
  }
};

absl::Status Bank::Cash(int64_t customer_id, Direction direction, const v1::CashCall& call,
                        Answer answer) {
  if (call.request_id().size() != storage::kRequestIdBytes || call.amount_minor() <= 0) {
    return protocol::Refused();
  }
  if (!under_way_.Enter(customer_id)) {
    answer(Busy());
    return absl::OkStatus();
  }
  Request request;
  request.customer_id = customer_id;
  request.direction = direction;
  request.request_id = call.request_id();
  request.amount_minor = call.amount_minor();

  const auto result = std::make_shared<v1::CashResult>();
  const auto shared_answer = std::make_shared<Answer>(std::move(answer));
  const absl::Status queued = commits_.Submit(
      [this, request, result](storage::Transaction& transaction) {
        return Decide(transaction, request, *result);
      },
      [this, customer_id, result, shared_answer](const absl::Status& status) {
        under_way_.Leave(customer_id);
        if (status.ok()) {
          (*shared_answer)(*result);
        } else if (protocol::IsRefusal(status)) {
          (*shared_answer)(status);
        } else {
          LogWarning("bank.failed", {{"code", static_cast<int>(status.code())}});
          (*shared_answer)(Busy());
        }
      });
  if (!queued.ok()) {
    under_way_.Leave(customer_id);
    (*shared_answer)(Busy());
  }
  return absl::OkStatus();
}

absl::Status Bank::Decide(storage::Transaction& transaction, const Request& request,
                          v1::CashResult& result) const {
  const absl::StatusOr<storage::RequestAnswer> known =
      transaction.requests().Get(request.customer_id, request.request_id);
  if (known.ok()) {
    if (known->request_digest != request.Digest()) return protocol::Refused();
    if (result.ParseFromString(known->answer)) return absl::OkStatus();
    return absl::DataLossError("a stored answer does not parse");
  }
  if (!absl::IsNotFound(known.status())) return known.status();

  const int64_t now_ms = clock_.NowUnixMs();
  absl::StatusOr<storage::Account> account = AccountOf(transaction, request.customer_id);
  if (!account.ok()) return account.status();
  if (request.direction == Direction::kDeposit && !options_.customers_may_deposit) {
    result = ResultOf(v1::CASH_OUTCOME_NOT_ALLOWED, *account);
    return absl::OkStatus();
  }
  const absl::StatusOr<storage::Account> external =
      transaction.accounts().FindSystem(storage::AccountKind::kExternal, account->currency);
  if (!external.ok()) return external.status();
  ledger::CashMovement movement;
  movement.transfer_id = request.TransferId();
  movement.account_id = account->id;
  movement.external_account_id = external->id;
  movement.amount_minor = request.amount_minor;
  movement.created_at_ms = now_ms;
  const absl::Status moved = request.direction == Direction::kDeposit
                                 ? ledger::Deposit(transaction, movement)
                                 : ledger::Withdraw(transaction, movement);
  v1::CashOutcome outcome = v1::CASH_OUTCOME_DONE;
  if (absl::IsFailedPrecondition(moved)) {
    outcome = v1::CASH_OUTCOME_INSUFFICIENT_BALANCE;
  } else if (absl::IsOutOfRange(moved)) {
    outcome = v1::CASH_OUTCOME_LIMIT;
  } else if (!moved.ok()) {
    return moved;
  }
  account = transaction.accounts().Get(account->id);
  if (!account.ok()) return account.status();
  result = ResultOf(outcome, *account);

  storage::RequestAnswer answer;
  answer.customer_id = request.customer_id;
  answer.request_id = request.request_id;
  answer.request_digest = request.Digest();
  answer.answer = result.SerializeAsString();
  answer.created_at_ms = now_ms;
  return transaction.requests().Insert(answer);
}

absl::StatusOr<v1::StatementResult> Bank::Statement(int64_t customer_id,
                                                    const v1::StatementCall& call) {
  if (call.since_ms() < 0 || (!call.after_transfer_id().empty() &&
                              call.after_transfer_id().size() != storage::kTransferIdBytes)) {
    return protocol::Refused();
  }
  v1::StatementResult result;
  const absl::Status read = store_.Read([&](storage::Transaction& transaction) -> absl::Status {
    result.Clear();
    const absl::StatusOr<storage::Account> account = AccountOf(transaction, customer_id);
    if (!account.ok()) return account.status();
    result.set_account_number(account->number);
    result.set_currency(account->currency);
    int64_t after_entry_id = 0;
    if (!call.after_transfer_id().empty()) {
      const absl::StatusOr<storage::Entry> last =
          transaction.transfers().FindEntry(account->id, call.after_transfer_id());
      if (absl::IsNotFound(last.status())) return protocol::Refused();
      if (!last.ok()) return last.status();
      after_entry_id = last->entry_id;
    }
    if (call.since_ms() > 0) {
      const absl::StatusOr<bool> found =
          PassOver(transaction, account->id, call.since_ms(), &after_entry_id, &result);
      if (!found.ok()) return found.status();
      if (!*found) return absl::OkStatus();
    }
    return AddPage(transaction, account->id, after_entry_id, &result);
  });
  if (!read.ok()) return read;
  return result;
}

}  // namespace blindcart::broker
