#include "services/agent/bank.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/types/optional.h"
#include "services/agent/narrator.h"

namespace blindcart::agent {
namespace {

constexpr size_t kRequestIdBytes = 16;
constexpr size_t kTransferIdBytes = 16;
constexpr size_t kOrderIdBytes = 16;
constexpr size_t kMaxAccountNumberBytes = 64;
constexpr size_t kCurrencyBytes = 3;

absl::Status Senseless(absl::string_view what) {
  return absl::DataLossError(absl::StrCat("the broker's ", what,
                                          " makes no sense. Nothing of it was accepted; tell the "
                                          "broker's operator"));
}

// Three capital letters (ISO 4217): it goes into tables for spreadsheets as it is.
bool IsCurrency(absl::string_view text) {
  return text.size() == kCurrencyBytes && std::all_of(text.begin(), text.end(), [](char c) {
           return absl::ascii_isupper(static_cast<unsigned char>(c));
         });
}

// DataLoss for an answer that is none.
absl::Status CheckResult(const v1::CashResult& result) {
  switch (result.outcome()) {
    case v1::CASH_OUTCOME_BUSY:
      return absl::OkStatus();
    case v1::CASH_OUTCOME_DONE:
    case v1::CASH_OUTCOME_INSUFFICIENT_BALANCE:
    case v1::CASH_OUTCOME_NOT_ALLOWED:
    case v1::CASH_OUTCOME_LIMIT:
      if (result.balance_minor() >= 0 && IsCurrency(result.currency())) {
        return absl::OkStatus();
      }
      break;
    default:
      break;
  }
  return Senseless("answer");
}

bool IsValid(const v1::StatementEntry& entry) {
  const bool of_order =
      entry.kind() == v1::ENTRY_KIND_PAYMENT || entry.kind() == v1::ENTRY_KIND_REFUND;
  const bool known = of_order || entry.kind() == v1::ENTRY_KIND_DEPOSIT ||
                     entry.kind() == v1::ENTRY_KIND_WITHDRAWAL;
  return known && entry.transfer_id().size() == kTransferIdBytes && entry.amount_minor() != 0 &&
         entry.created_at_ms() >= 0 && entry.order_id().size() == (of_order ? kOrderIdBytes : 0);
}

// `balance_minor` goes on from page to page.
absl::StatusOr<Bank::Page> ReadPage(const v1::StatementResult& result, int64_t balance_minor) {
  const bool passed_on = !result.passed_transfer_id().empty();
  if (result.account_number().empty() || result.account_number().size() > kMaxAccountNumberBytes ||
      !IsCurrency(result.currency()) ||
      // What says from where to go on, and only when there is more.
      (result.more() && result.entries().empty() != passed_on) || (!result.more() && passed_on) ||
      (passed_on && result.passed_transfer_id().size() != kTransferIdBytes) ||
      __builtin_add_overflow(balance_minor, result.passed_over_minor(), &balance_minor) ||
      balance_minor < 0) {
    return Senseless("statement");
  }
  Bank::Page page;
  page.account_number = result.account_number();
  page.currency = result.currency();
  page.balance_before_minor = balance_minor;
  page.lines.reserve(static_cast<size_t>(result.entries_size()));
  for (const v1::StatementEntry& entry : result.entries()) {
    if (!IsValid(entry) ||
        __builtin_add_overflow(balance_minor, entry.amount_minor(), &balance_minor) ||
        balance_minor < 0) {
      return Senseless("statement");
    }
    page.lines.push_back({entry, balance_minor});
  }
  return page;
}

}  // namespace

absl::StatusOr<Bank::Moved> Bank::Move(bool deposit, int64_t amount_minor) {
  if (amount_minor <= 0) return absl::InvalidArgumentError("the amount must be above zero");
  const std::string movement = absl::StrCat(deposit ? "deposit " : "withdraw ", amount_minor);
  const std::unique_ptr<InProgress::Entry> alone = in_progress_.Enter(movement);
  if (alone == nullptr || IsBeingHandedOver(movement)) {
    return absl::FailedPreconditionError("that is under way already. Wait until it is done");
  }
  while (true) {
    absl::StatusOr<Moved> moved = Ask(deposit, amount_minor);
    if (!moved.ok() || moved->result.outcome() == v1::CASH_OUTCOME_BUSY) return moved;
    if (moved->result.outcome() == v1::CASH_OUTCOME_DONE) {
      std::lock_guard<std::mutex> lock(mutex_);
      handed_over_[movement] = {moved->request.request_id, clock_.NowMonotonicMs() + kHandOverMs};
      return moved;
    }
    const absl::Status forgotten = store_.Forget(moved->request.request_id);
    if (!forgotten.ok()) return forgotten;
    // An old request that moved nothing says nothing about now.
    if (!moved->request.repeated) return moved;
  }
}

absl::StatusOr<Bank::Moved> Bank::Ask(bool deposit, int64_t amount_minor) {
  // Who cannot ask at all leaves nothing behind that a later request would be taken for.
  const absl::Status connected = broker_.Connection().status();
  if (!connected.ok()) return connected;
  CashRequest fresh;
  fresh.deposit = deposit;
  fresh.amount_minor = amount_minor;
  fresh.request_id = random_.Bytes(kRequestIdBytes);
  fresh.begun_at_ms = clock_.NowUnixMs();
  const absl::StatusOr<CashRequest> request = store_.Begin(fresh);
  if (!request.ok()) return request.status();
  Narration().Say("bank", request->repeated
                              ? "nobody has seen the answer to the same request yet: it is sent "
                                "again under its old id, so that it counts once"
                              : "the request and a fresh id for it are kept on disk until its "
                                "answer was shown");

  v1::CustomerMessage message;
  v1::BankCall& bank = *message.mutable_bank();
  v1::CashCall& call = deposit ? *bank.mutable_deposit() : *bank.mutable_withdraw();
  call.set_request_id(request->request_id);
  call.set_amount_minor(amount_minor);
  Narration().Say("bank", deposit ? "the deposit sent, sealed under S1"
                                  : "the withdrawal sent, sealed under S1");
  absl::StatusOr<v1::BrokerToCustomer> reply =
      broker_.Call(message, v1::BrokerToCustomer::kBank, OnBreak::kRepeat);
  if (absl::IsUnavailable(reply.status())) {
    return absl::UnavailableError(
        "the broker's answer did not arrive, so it is not known whether the money moved. Run the "
        "same command again when the broker can be reached: it is never counted twice");
  }
  if (!reply.ok()) return reply.status();
  const v1::CashResult& result = reply->bank().cash();
  const absl::Status sensible = CheckResult(result);
  if (!sensible.ok()) return sensible;
  Narration().Say("bank", result.outcome() == v1::CASH_OUTCOME_DONE
                              ? "the broker's answer opened: done, and in its books"
                              : "the broker's answer opened: nothing was moved");
  return Moved{*request, result};
}

bool Bank::IsBeingHandedOver(const std::string& movement) {
  const int64_t now_ms = clock_.NowMonotonicMs();
  std::lock_guard<std::mutex> lock(mutex_);
  for (auto it = handed_over_.begin(); it != handed_over_.end();) {
    it = now_ms >= it->second.until_ms ? handed_over_.erase(it) : std::next(it);
  }
  return handed_over_.count(movement) > 0;
}

absl::Status Bank::Acknowledge(absl::string_view request_id) {
  const absl::Status forgotten = store_.Forget(request_id);
  if (forgotten.ok()) Abandon(request_id);
  return forgotten;
}

void Bank::Abandon(absl::string_view request_id) {
  std::lock_guard<std::mutex> lock(mutex_);
  for (auto it = handed_over_.begin(); it != handed_over_.end();) {
    it = it->second.request_id == request_id ? handed_over_.erase(it) : std::next(it);
  }
}

absl::Status Bank::Statement(int64_t since_ms,
                             const std::function<bool(const Page& page)>& on_page) {
  if (since_ms < 0) return absl::InvalidArgumentError("a statement cannot begin before 1970");
  Narration().Say("bank", "the statement asked for, page by page, sealed under S1");
  std::string after;
  int64_t balance_minor = 0;
  bool begun = false;  // Something was shown, so nothing is passed over any more.
  absl::optional<Page> first;
  while (true) {
    v1::CustomerMessage message;
    v1::StatementCall& call = *message.mutable_bank()->mutable_statement();
    call.set_after_transfer_id(after);
    call.set_since_ms(begun ? 0 : since_ms);
    const absl::StatusOr<v1::BrokerToCustomer> reply =
        broker_.Call(message, v1::BrokerToCustomer::kBank, OnBreak::kRepeat);
    if (!reply.ok()) return reply.status();
    const v1::StatementResult& result = reply->bank().statement();
    absl::StatusOr<Page> page = ReadPage(result, balance_minor);
    if (!page.ok()) return page.status();
    const bool passed_over =
        result.passed_over_minor() != 0 || !result.passed_transfer_id().empty();
    if ((passed_over && call.since_ms() == 0) ||
        (first.has_value() &&
         (page->account_number != first->account_number || page->currency != first->currency))) {
      return Senseless("statement");
    }
    begun = begun || !page->lines.empty();
    balance_minor =
        page->lines.empty() ? page->balance_before_minor : page->lines.back().balance_minor;
    if (!on_page(*page)) return absl::CancelledError("nobody wants the statement any more");
    if (!result.more()) break;
    const std::string& next =
        page->lines.empty() ? result.passed_transfer_id() : page->lines.back().entry.transfer_id();
    if (next == after) return Senseless("statement");
    after = next;
    if (!first.has_value()) first = *std::move(page);
  }
  Narration().Say("bank", "every page opened, and its balances added up here");
  return absl::OkStatus();
}

}  // namespace blindcart::agent
