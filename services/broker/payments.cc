#include "services/broker/payments.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "crypto/encoding.h"
#include "crypto/hash.h"
#include "crypto/password_record.h"
#include "protocol/order.h"
#include "protocol/refusal.h"
#include "services/broker/attempts.h"
#include "services/broker/orders.h"
#include "services/common/log.h"
#include "services/ledger/ledger.h"

namespace blindcart::broker {
namespace {

// Everything in the request but the PIN (see the header).
std::string DigestOf(const v1::PayCall& call) {
  return crypto::Sha256(
      crypto::LengthPrefixed({"blindcart/v1 pay request", call.order_id(), call.account_number(),
                              absl::StrCat(call.agreed_total_minor())}));
}

// One per order, so that no order can be charged twice under any request id.
std::string TransferIdOf(const storage::Order& order) {
  return crypto::Sha256(crypto::LengthPrefixed({"blindcart/v1 payment", order.order_id}))
      .substr(0, storage::kTransferIdBytes);
}

bool IsKept(v1::PayOutcome outcome) {
  switch (outcome) {
    case v1::PAY_OUTCOME_SUCCESSFUL:
    case v1::PAY_OUTCOME_INSUFFICIENT_BALANCE:
    case v1::PAY_OUTCOME_TOTAL_DIFFERS:
    case v1::PAY_OUTCOME_CURRENCY:
      return true;
    default:
      return false;
  }
}

// Whether the merchant is told that a payment of its open order failed.
bool IsFailureOfOpenOrder(v1::PayOutcome outcome) {
  switch (outcome) {
    case v1::PAY_OUTCOME_ACCOUNT_OR_PIN:
    case v1::PAY_OUTCOME_INSUFFICIENT_BALANCE:
    case v1::PAY_OUTCOME_TOTAL_DIFFERS:
    case v1::PAY_OUTCOME_CURRENCY:
      return true;
    default:
      return false;
  }
}

v1::PayResult ResultOf(v1::PayOutcome outcome, int64_t retry_after_ms = 0) {
  v1::PayResult result;
  result.set_outcome(outcome);
  result.set_retry_after_ms(retry_after_ms);
  return result;
}

// The account when it is there and the customer's own.
absl::StatusOr<absl::optional<storage::Account>> FindOwnAccount(storage::Transaction& transaction,
                                                                int64_t customer_id,
                                                                const std::string& number) {
  const absl::StatusOr<storage::Customer> customer = transaction.customers().Get(customer_id);
  if (!customer.ok()) return customer.status();
  absl::StatusOr<storage::Account> account = transaction.accounts().FindByNumber(number);
  if (absl::IsNotFound(account.status())) return absl::optional<storage::Account>();
  if (!account.ok()) return account.status();
  if (account->id != customer->account_id) return absl::optional<storage::Account>();
  return absl::optional<storage::Account>(*std::move(account));
}

AttemptState PinStateOf(const storage::Account& account) {
  return {account.pin_failures, account.pin_blocked_until_ms};
}

// The stored answer to exactly this request. `id_used`: the id stands for another request.
absl::StatusOr<absl::optional<v1::PayResult>> FindAnswer(storage::Transaction& transaction,
                                                         int64_t customer_id,
                                                         const std::string& request_id,
                                                         const std::string& digest, bool* id_used) {
  *id_used = false;
  const absl::StatusOr<storage::RequestAnswer> known =
      transaction.requests().Get(customer_id, request_id);
  if (absl::IsNotFound(known.status())) return absl::optional<v1::PayResult>();
  if (!known.ok()) return known.status();
  *id_used = true;
  if (known->request_digest != digest) return absl::optional<v1::PayResult>();
  v1::PayResult result;
  if (!result.ParseFromString(known->answer)) {
    return absl::DataLossError("a stored answer does not parse");
  }
  return absl::optional<v1::PayResult>(std::move(result));
}

ledger::Payment PaymentOf(const storage::Order& order, int64_t customer_account_id,
                          int64_t merchant_account_id, int64_t broker_account_id, int64_t now_ms) {
  ledger::Payment payment;
  payment.transfer_id = TransferIdOf(order);
  payment.order_id = order.order_id;
  payment.customer_account_id = customer_account_id;
  payment.merchant_account_id = merchant_account_id;
  payment.broker_account_id = broker_account_id;
  payment.price_minor = order.price_minor;
  payment.charge_minor = order.charge_minor;
  payment.created_at_ms = now_ms;
  return payment;
}

}  // namespace

struct Payments::Request {
  int64_t customer_id = 0;
  std::string request_id;
  std::string order_id;
  std::string account_number;
  int64_t agreed_total_minor = 0;
  std::string digest;
  crypto::SecretBytes pin_hash;
  std::function<void(v1::PayResult)> answer;

  // From Look.
  absl::optional<v1::PayResult> early_result;
  std::string pin_record;
  absl::optional<storage::Order> order;
  std::string merchant_fingerprint;
  absl::optional<ledger::Payment> expected_payment;  // Tells Decide what it is going to read.

  // From Verify.
  bool pin_matches = false;
  int64_t now_ms = 0;
  v1::Receipt receipt;  // What the customer gets if all else is right.
  bool may_tell_of_failure = false;
};

struct Payments::Outcome {
  v1::PayResult result;
  Notices::Written notice;
};

Payments::Payments(const Options& options, const crypto::Identity& broker, storage::Store& store,
                   storage::CommitQueue& commits, Executor& pin_workers, Notices& notices,
                   const protocol::Clock& clock)
    : options_(options),
      broker_(broker),
      store_(store),
      commits_(commits),
      pin_workers_(pin_workers),
      notices_(notices),
      clock_(clock) {}

absl::Status Payments::Pay(int64_t customer_id, v1::PayCall call,
                           std::function<void(v1::PayResult)> answer) {
  auto request = std::make_shared<Request>();
  request->pin_hash = crypto::SecretBytes::TakeFrom(*call.mutable_pin_hash());
  if (call.request_id().size() != protocol::kRequestIdBytes ||
      call.order_id().size() != protocol::kOrderIdBytes ||
      call.account_number().size() > storage::kMaxNameBytes ||
      request->pin_hash.size() != crypto::kSha256Bytes) {
    return protocol::Refused();
  }
  request->customer_id = customer_id;
  request->request_id = call.request_id();
  request->order_id = call.order_id();
  request->account_number = call.account_number();
  request->agreed_total_minor = call.agreed_total_minor();
  request->digest = DigestOf(call);
  request->answer = std::move(answer);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    int& under_way = under_way_[customer_id];
    if (under_way >= kMaxUnderWay) {
      request->early_result = ResultOf(v1::PAY_OUTCOME_BUSY);
    } else {
      ++under_way;
    }
  }
  if (request->early_result.has_value()) {
    request->answer(*request->early_result);
    return absl::OkStatus();
  }

  const absl::Status looked = Look(*request);
  if (!looked.ok()) {
    LogWarning("payment.read_failed", {{"code", static_cast<int>(looked.code())}});
    Finish(*request, ResultOf(v1::PAY_OUTCOME_BUSY));
    return absl::OkStatus();
  }
  if (request->early_result.has_value()) {
    Finish(*request, *request->early_result);
    return absl::OkStatus();
  }
  const absl::Status queued = pin_workers_.Run([this, request] { Verify(request); });
  if (!queued.ok()) Finish(*request, ResultOf(v1::PAY_OUTCOME_BUSY));
  return absl::OkStatus();
}

absl::Status Payments::Look(Request& request) {
  return store_.Read([&](storage::Transaction& transaction) {
    transaction.ReadAhead([&](storage::Transaction& ahead) { ReadForLook(ahead, request); });
    bool id_used = false;
    absl::StatusOr<absl::optional<v1::PayResult>> known =
        FindAnswer(transaction, request.customer_id, request.request_id, request.digest, &id_used);
    if (!known.ok()) return known.status();
    request.early_result = *std::move(known);
    if (request.early_result.has_value()) return absl::OkStatus();

    const absl::StatusOr<absl::optional<storage::Account>> account =
        FindOwnAccount(transaction, request.customer_id, request.account_number);
    if (!account.ok()) return account.status();
    request.pin_record = account->has_value() ? (*account)->pin_record : options_.decoy_pin_record;

    absl::StatusOr<storage::Order> order = transaction.orders().Get(request.order_id);
    if (absl::IsNotFound(order.status())) return absl::OkStatus();
    if (!order.ok()) return order.status();
    const absl::StatusOr<storage::Merchant> merchant =
        transaction.merchants().Get(order->merchant_id);
    if (!merchant.ok()) return merchant.status();
    request.merchant_fingerprint = merchant->fingerprint;
    const absl::StatusOr<storage::Account> broker =
        transaction.accounts().FindSystem(storage::AccountKind::kBroker, order->currency);
    if (account->has_value() && broker.ok()) {
      request.expected_payment =
          PaymentOf(*order, (*account)->id, merchant->account_id, broker->id, /*now_ms=*/0);
    }
    request.order = *std::move(order);
    return absl::OkStatus();
  });
}

void Payments::ReadForLook(storage::Transaction& transaction, const Request& request) {
  transaction.requests().Get(request.customer_id, request.request_id).IgnoreError();
  transaction.customers().Get(request.customer_id).IgnoreError();
  transaction.accounts().FindByNumber(request.account_number).IgnoreError();
  transaction.orders().Get(request.order_id).IgnoreError();
}

void Payments::ReadForDecide(storage::Transaction& transaction, const Request& request) {
  ReadForLook(transaction, request);
  if (!request.expected_payment.has_value()) return;
  transaction.merchants().Get(request.order->merchant_id).IgnoreError();
  transaction.accounts()
      .FindSystem(storage::AccountKind::kBroker, request.order->currency)
      .IgnoreError();
  ledger::ReadForPay(transaction, *request.expected_payment);
}

void Payments::Verify(const std::shared_ptr<Request>& request) {
  request->pin_matches =
      crypto::VerifyPasswordRecord(request->pin_record, request->pin_hash.view());
  request->pin_hash = crypto::SecretBytes();
  request->now_ms = clock_.NowUnixMs();
  request->may_tell_of_failure = MayTellOfFailure(request->order_id);
  if (request->pin_matches && request->order.has_value()) {
    // Signed here and not in the transaction: terms do not change, and one writer serves everybody.
    const storage::Order& order = *request->order;
    v1::Receipt& receipt = request->receipt;
    receipt.set_order_id(order.order_id);
    receipt.set_commitment(order.commitment);
    receipt.set_merchant_fingerprint(request->merchant_fingerprint);
    receipt.set_price_minor(order.price_minor);
    receipt.set_charge_minor(order.charge_minor);
    receipt.set_total_minor(order.total_minor);
    receipt.set_currency(order.currency);
    receipt.set_paid_at_ms(request->now_ms);
    protocol::SignReceipt(broker_, &receipt);
  }
  Commit(request);
}

void Payments::Commit(const std::shared_ptr<Request>& request) {
  auto outcome = std::make_shared<Outcome>();
  const absl::Status queued = commits_.Submit(
      [this, request, outcome](storage::Transaction& transaction) {
        *outcome = Outcome();
        return Decide(transaction, *request, *outcome);
      },
      [this, request, outcome](const absl::Status& status) {
        if (!status.ok()) {
          LogWarning("payment.failed", {{"code", static_cast<int>(status.code())}});
          Finish(*request, ResultOf(v1::PAY_OUTCOME_BUSY));
          return;
        }
        Finish(*request, outcome->result);
        notices_.OnCommitted(outcome->notice);
      });
  if (!queued.ok()) Finish(*request, ResultOf(v1::PAY_OUTCOME_BUSY));
}

absl::Status Payments::Decide(storage::Transaction& transaction, const Request& request,
                              Outcome& outcome) const {
  transaction.ReadAhead([&](storage::Transaction& ahead) { ReadForDecide(ahead, request); });
  // Each write below follows from what is read here.
  transaction.DeferWrites();
  bool id_used = false;
  absl::StatusOr<absl::optional<v1::PayResult>> known =
      FindAnswer(transaction, request.customer_id, request.request_id, request.digest, &id_used);
  if (!known.ok()) return known.status();
  if (known->has_value()) {
    outcome.result = **known;
    return absl::OkStatus();
  }

  const absl::StatusOr<storage::Order> order = transaction.orders().Get(request.order_id);
  if (absl::IsNotFound(order.status()) ||
      (order.ok() && order->customer_id != request.customer_id)) {
    outcome.result = ResultOf(v1::PAY_OUTCOME_ORDER_UNKNOWN);
    return absl::OkStatus();
  }
  if (!order.ok()) return order.status();
  const absl::StatusOr<absl::optional<storage::Account>> account =
      FindOwnAccount(transaction, request.customer_id, request.account_number);
  if (!account.ok()) return account.status();

  const v1::OrderStatus status = EffectiveStatus(*order, request.now_ms);
  if (status == v1::ORDER_STATUS_DECLINED) {
    outcome.result = ResultOf(v1::PAY_OUTCOME_ORDER_DECLINED);
  } else if (status == v1::ORDER_STATUS_EXPIRED) {
    outcome.result = ResultOf(v1::PAY_OUTCOME_ORDER_EXPIRED);
  } else if (!account->has_value()) {
    outcome.result = ResultOf(v1::PAY_OUTCOME_ACCOUNT_OR_PIN);
  } else {
    const absl::Status charged = Charge(transaction, request, *order, **account, outcome);
    if (!charged.ok()) return charged;
  }

  if (IsFailureOfOpenOrder(outcome.result.outcome()) && status == v1::ORDER_STATUS_CREATED &&
      request.may_tell_of_failure) {
    absl::StatusOr<Notices::Written> written =
        Notices::Write(transaction, order->merchant_id, order->order_id, v1::ORDER_STATUS_CREATED,
                       /*receipt=*/nullptr, request.now_ms);
    if (!written.ok()) return written.status();
    outcome.notice = *std::move(written);
  }
  if (!IsKept(outcome.result.outcome()) || id_used) return absl::OkStatus();
  storage::RequestAnswer answer;
  answer.customer_id = request.customer_id;
  answer.request_id = request.request_id;
  answer.request_digest = request.digest;
  answer.answer = outcome.result.SerializeAsString();
  answer.created_at_ms = request.now_ms;
  return transaction.requests().Insert(answer);
}

absl::Status Payments::Charge(storage::Transaction& transaction, const Request& request,
                              const storage::Order& order, const storage::Account& account,
                              Outcome& outcome) const {
  const AttemptState before = PinStateOf(account);
  const AttemptVerdict verdict =
      JudgeAttempt(before, request.pin_matches, options_.free_pin_failures, request.now_ms);
  if (verdict.state.failures != before.failures ||
      verdict.state.blocked_until_ms != before.blocked_until_ms) {
    const absl::Status counted = transaction.accounts().SetPinState(
        account.id, verdict.state.failures, verdict.state.blocked_until_ms);
    if (!counted.ok()) return counted;
  }
  if (verdict.outcome != AttemptOutcome::kAllowed) {
    outcome.result =
        ResultOf(verdict.outcome == AttemptOutcome::kBlocked ? v1::PAY_OUTCOME_TRY_LATER
                                                             : v1::PAY_OUTCOME_ACCOUNT_OR_PIN,
                 verdict.retry_after_ms);
    return absl::OkStatus();
  }

  if (!order.receipt.empty()) {
    outcome.result = ResultOf(v1::PAY_OUTCOME_SUCCESSFUL);
    if (!outcome.result.mutable_receipt()->ParseFromString(order.receipt)) {
      return absl::DataLossError("a stored receipt does not parse");
    }
    return absl::OkStatus();
  }
  if (request.agreed_total_minor != order.total_minor) {
    outcome.result = ResultOf(v1::PAY_OUTCOME_TOTAL_DIFFERS);
    return absl::OkStatus();
  }
  if (account.currency != order.currency) {
    outcome.result = ResultOf(v1::PAY_OUTCOME_CURRENCY);
    return absl::OkStatus();
  }
  if (account.balance_minor < order.total_minor) {
    outcome.result = ResultOf(v1::PAY_OUTCOME_INSUFFICIENT_BALANCE);
    return absl::OkStatus();
  }
  // The order came into being after Look: the same request again finds it there.
  if (!request.order.has_value()) return absl::AbortedError("the order is newer than the request");

  const absl::StatusOr<storage::Merchant> merchant = transaction.merchants().Get(order.merchant_id);
  if (!merchant.ok()) return merchant.status();
  const absl::StatusOr<storage::Account> broker =
      transaction.accounts().FindSystem(storage::AccountKind::kBroker, order.currency);
  if (!broker.ok()) return broker.status();
  const ledger::Payment payment =
      PaymentOf(order, account.id, merchant->account_id, broker->id, request.now_ms);
  const absl::Status paid = ledger::Pay(transaction, payment);
  if (!paid.ok()) return paid;
  const absl::Status marked = transaction.orders().MarkPaid(
      order.order_id, payment.transfer_id, request.receipt.SerializeAsString(), request.now_ms);
  if (!marked.ok()) return marked;
  absl::StatusOr<Notices::Written> written =
      Notices::Write(transaction, order.merchant_id, order.order_id, v1::ORDER_STATUS_PAID,
                     &request.receipt, request.now_ms);
  if (!written.ok()) return written.status();
  outcome.notice = *std::move(written);
  outcome.result = ResultOf(v1::PAY_OUTCOME_SUCCESSFUL);
  *outcome.result.mutable_receipt() = request.receipt;
  return absl::OkStatus();
}

void Payments::Finish(const Request& request, v1::PayResult result) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto found = under_way_.find(request.customer_id);
    if (--found->second == 0) under_way_.erase(found);
  }
  request.answer(std::move(result));
}

bool Payments::MayTellOfFailure(const std::string& order_id) {
  const int64_t now_ms = clock_.NowMonotonicMs();
  std::lock_guard<std::mutex> lock(mutex_);
  const auto found = failures_told_.find(order_id);
  if (found != failures_told_.end() && now_ms - found->second < kFailureNoticeIntervalMs) {
    return false;
  }
  // Forgetting all of them costs at most one notice more per order.
  if (failures_told_.size() >= kMaxFailuresRemembered) failures_told_.clear();
  failures_told_[order_id] = now_ms;
  return true;
}

}  // namespace blindcart::broker
