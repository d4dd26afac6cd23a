#include "services/agent/purchases.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "crypto/password_record.h"
#include "protocol/order.h"
#include "services/agent/narrator.h"

namespace blindcart::agent {
namespace {

constexpr size_t kMaxAccountNumberBytes = 64;

absl::Status UnderWay() {
  return absl::FailedPreconditionError("that is under way already. Wait until it is done");
}

absl::Status Contradiction(absl::string_view what) {
  return absl::DataLossError(absl::StrCat(
      what,
      ". Nothing of that was accepted. Keep your purchases folder and talk to the broker's "
      "operator"));
}

bool IsPaidStatus(v1::OrderStatus status) {
  return status == v1::ORDER_STATUS_PAID || status == v1::ORDER_STATUS_DELIVERED ||
         status == v1::ORDER_STATUS_REFUNDED;
}

}  // namespace

absl::StatusOr<Purchases::Ordered> Purchases::Checkout(const CatalogueEntry& entry) {
  const std::unique_ptr<InProgress::Entry> alone =
      in_progress_.Enter(absl::StrCat("checkout ", entry.shop, entry.product.product_id()));
  if (alone == nullptr) return UnderWay();
  const absl::StatusOr<ShopTarget> target = use_.directory->Resolve(entry.shop);
  if (!target.ok()) return target.status();

  for (bool last = false;; last = true) {
    const absl::StatusOr<PurchaseRecord> request = BeginRequest(entry, *target);
    if (!request.ok()) return request.status();
    const bool repeated = !request->sids.empty();
    const absl::StatusOr<v1::CheckoutResult> result = AskShop(*target, request->id);
    if (!result.ok()) {
      // Whatever failed its check must not be asked for again with the same request.
      if (absl::IsDataLoss(result.status())) {
        use_.store->DropUnanswered(request->id).IgnoreError();
      }
      return result.status();
    }
    // An answer of long ago to a repeated request may be an order that has expired since.
    const bool stale =
        result->outcome() == v1::CHECKOUT_OUTCOME_ORDER_KEY_USED ||
        (result->outcome() == v1::CHECKOUT_OUTCOME_ORDERED && Expired(result->terms()));
    if (stale && repeated && !last) {
      const absl::Status dropped = use_.store->DropUnanswered(request->id);
      if (!dropped.ok()) return dropped;
      continue;
    }
    return FinishCheckout(entry, *target, request->id, *result);
  }
}

absl::StatusOr<PurchaseRecord> Purchases::BeginRequest(const CatalogueEntry& entry,
                                                       const ShopTarget& target) {
  absl::StatusOr<absl::optional<PurchaseRecord>> unanswered =
      use_.store->FindUnanswered(target.identity.fingerprint(), entry.product.product_id());
  if (!unanswered.ok()) return unanswered.status();
  if (unanswered->has_value()) return **std::move(unanswered);
  PurchaseRecord request;
  request.request_id = use_.random->Bytes(protocol::kRequestIdBytes);
  request.order_key = use_.random->Bytes(protocol::kOrderKeyBytes);
  request.shop = entry.shop;
  request.shop_fingerprint = target.identity.fingerprint();
  request.product_id = entry.product.product_id();
  request.title = entry.product.title();
  request.created_at_ms = use_.clock->NowUnixMs();
  const absl::StatusOr<int64_t> id = use_.store->Add(request);
  if (!id.ok()) return id.status();
  request.id = *id;
  return request;
}

absl::StatusOr<v1::CheckoutResult> Purchases::AskShop(const ShopTarget& target, int64_t id) {
  const absl::StatusOr<PurchaseRecord> request = use_.store->Get(id);
  if (!request.ok()) return request.status();
  v1::CheckoutResult result;
  const absl::Status asked =
      use_.connector->WithSession(target.identity, [&](ShopSession& session) -> absl::Status {
        const absl::Status noted = use_.store->AddSid(id, session.sid());
        if (!noted.ok()) return noted;
        v1::ShopRequest message;
        v1::CheckoutRequest& checkout = *message.mutable_checkout();
        checkout.set_request_id(request->request_id);
        checkout.set_product_id(request->product_id);
        checkout.set_order_key(request->order_key);
        Narration().Say("checkout",
                        "product and a fresh order key sent to the shop, sealed under S3");
        absl::StatusOr<v1::ShopReply> reply = session.Call(message, v1::ShopReply::kCheckout);
        if (!reply.ok()) return reply.status();
        result = std::move(*reply->mutable_checkout());
        return absl::OkStatus();
      });
  if (!asked.ok()) return asked;
  return result;
}

absl::StatusOr<Purchases::Ordered> Purchases::FinishCheckout(const CatalogueEntry& entry,
                                                             const ShopTarget& target, int64_t id,
                                                             const v1::CheckoutResult& result) {
  const absl::StatusOr<PurchaseRecord> request = use_.store->Get(id);
  if (!request.ok()) return request.status();
  const auto drop = [&](absl::Status status) {
    use_.store->DropUnanswered(id).IgnoreError();
    return status;
  };
  switch (result.outcome()) {
    case v1::CHECKOUT_OUTCOME_ORDERED:
      break;
    case v1::CHECKOUT_OUTCOME_BUSY:
      // The shop may have made the order and not got it to the broker: the request stays.
      return Ordered{result.outcome(), absl::nullopt};
    case v1::CHECKOUT_OUTCOME_NO_SUCH_PRODUCT:
    case v1::CHECKOUT_OUTCOME_SOLD_OUT:
    case v1::CHECKOUT_OUTCOME_ORDER_KEY_USED:
    case v1::CHECKOUT_OUTCOME_BROKER_DECLINED: {
      const absl::Status dropped = use_.store->DropUnanswered(id);
      if (!dropped.ok()) return dropped;
      return Ordered{result.outcome(), absl::nullopt};
    }
    default:
      return drop(absl::DataLossError("the shop's answer to the checkout makes no sense"));
  }

  // The answer to a repeated request names the session in which the order was first made.
  const std::string& sid = result.terms().sid();
  if (std::find(request->sids.begin(), request->sids.end(), sid) == request->sids.end()) {
    return drop(
        absl::DataLossError("the shop's order belongs to another session. Nothing was accepted"));
  }
  const absl::Status checked =
      protocol::CheckCheckout(target.identity, entry.product, sid, request->order_key, result);
  if (!checked.ok()) {
    return drop(absl::DataLossError(absl::StrCat(
        "the shop's order was refused: ", checked.message(),
        ". If the shop changed the product, browse it again and look at it first: blindcart "
        "browse ",
        entry.shop)));
  }
  if (Expired(result.terms())) {
    return drop(absl::DataLossError(
        "the shop's order was refused: it has expired already. Check this machine's clock"));
  }
  Narration().Say("checkout",
                  "the order received: the shop's signature checked, the commitment computed anew "
                  "from product, price and order key, and equal");
  const absl::StatusOr<v1::GetOrderResult> copy = GetOrder(result.terms().order_id());
  if (!copy.ok()) {
    return absl::IsDataLoss(copy.status()) ? drop(copy.status()) : copy.status();
  }
  absl::Status agreed = protocol::CheckBrokerCopy(target.identity, result, *copy);
  if (agreed.ok() && copy->status() != v1::ORDER_STATUS_CREATED) {
    agreed = absl::DataLossError("the broker says that the order is not open");
  }
  if (!agreed.ok()) {
    return drop(absl::DataLossError(absl::StrCat(
        "shop and broker disagree about the order, so it was refused: ", agreed.message(),
        ". Nothing was charged")));
  }

  Narration().Say("checkout",
                  "the broker's copy compared: same shop, commitment, price, charge and total");
  PurchaseRecord order = *request;
  order.order_id = result.terms().order_id();
  order.terms = result.terms();
  order.title = result.title();
  order.salt = result.salt();
  order.content_hash = result.content_hash();
  order.charge_minor = result.charge_minor();
  order.total_minor = result.total_minor();
  order.size_bytes = result.size_bytes();
  order.format = result.format();
  order.status = v1::ORDER_STATUS_CREATED;
  const absl::Status saved = use_.store->SaveOrder(order);
  if (absl::IsAlreadyExists(saved)) {
    return drop(
        absl::DataLossError("the shop's order was refused: its id is that of another purchase"));
  }
  if (!saved.ok()) return saved;
  return Ordered{v1::CHECKOUT_OUTCOME_ORDERED, std::move(order)};
}

absl::StatusOr<v1::GetOrderResult> Purchases::GetOrder(absl::string_view order_id) {
  v1::CustomerMessage message;
  message.mutable_get_order()->set_order_id(std::string(order_id));
  absl::StatusOr<v1::BrokerToCustomer> reply =
      use_.broker->Call(message, v1::BrokerToCustomer::kGetOrder, OnBreak::kRepeat);
  if (!reply.ok()) return reply.status();
  return std::move(*reply->mutable_get_order());
}

absl::StatusOr<Purchases::Paid> Purchases::Pay(absl::string_view order,
                                               const std::string& account_number,
                                               const crypto::SecretBytes& pin,
                                               int64_t agreed_total_minor) {
  absl::StatusOr<PurchaseRecord> purchase = Find(order);
  if (!purchase.ok()) return purchase.status();
  const std::unique_ptr<InProgress::Entry> alone =
      in_progress_.Enter(absl::StrCat("pay ", purchase->order_id));
  if (alone == nullptr) return UnderWay();
  purchase = use_.store->Get(purchase->id);
  if (!purchase.ok()) return purchase.status();
  if (!purchase->receipt.has_value()) {
    if (account_number.empty() || account_number.size() > kMaxAccountNumberBytes || pin.empty()) {
      return absl::InvalidArgumentError("account number and PIN are needed to pay");
    }
    if (agreed_total_minor < 0) return absl::InvalidArgumentError("a total cannot be negative");
    if (agreed_total_minor != 0 && agreed_total_minor != purchase->total_minor) {
      return Paid{v1::PAY_OUTCOME_TOTAL_DIFFERS, AsOfNow(*std::move(purchase)), 0};
    }
    if (!purchase->pay_request_id.empty()) {
      // An earlier payment's answer was lost: learn first whether it went through.
      purchase = Refresh(*purchase);
      if (!purchase.ok()) return purchase.status();
    }
  }
  if (purchase->receipt.has_value()) {
    return Paid{v1::PAY_OUTCOME_SUCCESSFUL, *std::move(purchase), 0};
  }

  std::string request_id = purchase->pay_request_id;
  if (request_id.empty()) {
    request_id = use_.random->Bytes(protocol::kRequestIdBytes);
    const absl::Status stored = use_.store->SetPayRequest(purchase->id, request_id);
    if (!stored.ok()) return stored;
  }
  v1::CustomerMessage message;
  v1::PayCall& call = *message.mutable_pay();
  call.set_request_id(request_id);
  call.set_order_id(purchase->order_id);
  call.set_account_number(account_number);
  const crypto::SecretBytes pin_hash = crypto::PinHash(account_number, pin.view());
  call.set_pin_hash(pin_hash.data(), pin_hash.size());
  call.set_agreed_total_minor(purchase->total_minor);
  Narration().Say("payment",
                  "order, account, agreed total and the hash of the PIN sent to the broker, sealed "
                  "under S1");
  const absl::StatusOr<v1::BrokerToCustomer> reply =
      use_.broker->Call(message, v1::BrokerToCustomer::kPay, OnBreak::kRepeat);
  crypto::Wipe(*call.mutable_pin_hash());
  if (absl::IsUnavailable(reply.status())) {
    return absl::UnavailableError(
        "the broker's answer did not arrive, so it is not known whether the order was paid. Pay it "
        "again when the broker can be reached: it is never charged twice");
  }
  if (!reply.ok()) return reply.status();
  return JudgePayment(purchase->id, reply->pay());
}

absl::StatusOr<Purchases::Paid> Purchases::JudgePayment(int64_t id, const v1::PayResult& result) {
  absl::StatusOr<PurchaseRecord> purchase = use_.store->Get(id);
  if (!purchase.ok()) return purchase.status();

  if (result.outcome() == v1::PAY_OUTCOME_SUCCESSFUL) {
    if (!result.has_receipt()) {
      return Contradiction("the broker says that the order is paid, but gave no receipt for it");
    }
    const absl::Status kept = KeepReceipt(*purchase, result.receipt());
    if (!kept.ok()) return kept;
    Narration().Say(
        "payment",
        "paid; the broker's receipt checked (its signature, the commitment, the amounts) "
        "and kept");
    purchase = use_.store->Get(id);
    if (!purchase.ok()) return purchase.status();
    return Paid{result.outcome(), *std::move(purchase), 0};
  }

  if (result.has_receipt() && KeepReceipt(*purchase, result.receipt()).ok()) {
    return absl::DataLossError(
        "the broker says that the payment failed, yet sent a receipt that it signed for it. The "
        "receipt is kept and the order is paid: do not pay it again");
  }
  if (purchase->receipt.has_value()) {
    return Contradiction(
        "the broker says that the payment failed, but its signed receipt for it is here");
  }
  absl::Status noted = absl::OkStatus();
  switch (result.outcome()) {
    case v1::PAY_OUTCOME_ORDER_EXPIRED:
      noted = use_.store->SetUnpaidStatus(id, v1::ORDER_STATUS_EXPIRED);
      break;
    case v1::PAY_OUTCOME_ORDER_DECLINED:
      noted = use_.store->SetUnpaidStatus(id, v1::ORDER_STATUS_DECLINED);
      break;
    case v1::PAY_OUTCOME_ACCOUNT_OR_PIN:
    case v1::PAY_OUTCOME_INSUFFICIENT_BALANCE:
    case v1::PAY_OUTCOME_ORDER_UNKNOWN:
    case v1::PAY_OUTCOME_TOTAL_DIFFERS:
    case v1::PAY_OUTCOME_TRY_LATER:
    case v1::PAY_OUTCOME_CURRENCY:
      break;
    case v1::PAY_OUTCOME_BUSY:
      // It may have been charged all the same: the request stays, to be asked about.
      Narration().Say("payment", "the broker is too busy to say whether the order was paid");
      return Paid{result.outcome(), AsOfNow(*std::move(purchase)),
                  std::max<int64_t>(result.retry_after_ms(), 0)};
    default:
      return Contradiction("the broker's answer to the payment makes no sense");
  }
  Narration().Say("payment", "the broker answers that nothing was charged");
  // The answer is known, so the next payment is a new one.
  if (noted.ok()) noted = use_.store->SetPayRequest(id, "");
  if (!noted.ok()) return noted;
  purchase = use_.store->Get(id);
  if (!purchase.ok()) return purchase.status();
  return Paid{result.outcome(), AsOfNow(*std::move(purchase)),
              std::max<int64_t>(result.retry_after_ms(), 0)};
}

absl::Status Purchases::KeepReceipt(const PurchaseRecord& purchase, const v1::Receipt& receipt) {
  const std::shared_ptr<const protocol::IdentityLineage> broker = use_.pinned_broker->lineage();
  const absl::Status valid = protocol::CheckReceipt(
      broker->SignerOf(receipt, purchase.created_at_ms), purchase.shop_fingerprint, purchase.terms,
      purchase.total_minor, receipt);
  if (!valid.ok()) {
    return Contradiction(absl::StrCat(
        "the broker says that the order is paid, but its receipt is not valid: ", valid.message()));
  }
  return use_.store->SaveReceipt(purchase.id, receipt);
}

absl::StatusOr<PurchaseRecord> Purchases::Refresh(const PurchaseRecord& purchase) {
  const absl::StatusOr<v1::GetOrderResult> order = GetOrder(purchase.order_id);
  if (!order.ok()) return order.status();
  if (!order->found()) {
    return Contradiction("the broker denies an order that it had confirmed");
  }
  if (order->terms().SerializeAsString() != purchase.terms.SerializeAsString() ||
      order->merchant_fingerprint() != purchase.shop_fingerprint ||
      order->total_minor() != purchase.total_minor) {
    return Contradiction("the broker shows another order than the one that it had confirmed");
  }
  if (order->has_receipt()) {
    const absl::Status kept = KeepReceipt(purchase, order->receipt());
    if (!kept.ok()) return kept;
  } else if (IsPaidStatus(order->status())) {
    return Contradiction("the broker says that the order is paid, but gave no receipt for it");
  } else if (purchase.receipt.has_value()) {
    return Contradiction("the broker denies a payment whose receipt, signed by it, is here");
  } else if (order->status() == v1::ORDER_STATUS_DECLINED ||
             order->status() == v1::ORDER_STATUS_EXPIRED) {
    const absl::Status noted = use_.store->SetUnpaidStatus(purchase.id, order->status());
    if (!noted.ok()) return noted;
  }
  return use_.store->Get(purchase.id);
}

absl::StatusOr<PurchaseRecord> Purchases::Decline(absl::string_view order) {
  absl::StatusOr<PurchaseRecord> purchase = Find(order);
  if (!purchase.ok()) return purchase.status();
  const std::unique_ptr<InProgress::Entry> alone =
      in_progress_.Enter(absl::StrCat("pay ", purchase->order_id));
  if (alone == nullptr) return UnderWay();
  const absl::Status paid =
      absl::FailedPreconditionError("the order is paid and cannot be declined any more");
  if (purchase->receipt.has_value()) return paid;
  v1::CustomerMessage message;
  message.mutable_decline()->set_order_id(purchase->order_id);
  const absl::StatusOr<v1::BrokerToCustomer> reply =
      use_.broker->Call(message, v1::BrokerToCustomer::kDecline, OnBreak::kRepeat);
  if (!reply.ok()) return reply.status();
  const v1::OrderStatus status = reply->decline().status();
  if (status == v1::ORDER_STATUS_UNSPECIFIED) {
    return Contradiction("the broker denies an order that it had confirmed");
  }
  if (IsPaidStatus(status)) {
    const absl::StatusOr<PurchaseRecord> known = Refresh(*purchase);
    if (!known.ok()) return known.status();
    if (known->receipt.has_value()) return paid;
    return Contradiction("the broker contradicts itself about whether the order is paid");
  }
  if (status == v1::ORDER_STATUS_CREATED) {
    return absl::UnavailableError(
        "the broker is too busy at the moment, so it is not known whether the order was declined. "
        "Decline it again");
  }
  if (status != v1::ORDER_STATUS_DECLINED && status != v1::ORDER_STATUS_EXPIRED) {
    return Contradiction("the broker's answer to the decline makes no sense");
  }
  const absl::Status noted = use_.store->SetUnpaidStatus(purchase->id, status);
  if (!noted.ok()) return noted;
  return use_.store->Get(purchase->id);
}

absl::StatusOr<std::vector<PurchaseRecord>> Purchases::List() {
  absl::StatusOr<std::vector<PurchaseRecord>> purchases = use_.store->List();
  if (!purchases.ok()) return purchases.status();
  for (PurchaseRecord& purchase : *purchases) purchase = AsOfNow(std::move(purchase));
  return purchases;
}

absl::StatusOr<PurchaseRecord> Purchases::Find(absl::string_view order) {
  const absl::StatusOr<std::string> prefix = ParseIdPrefix(order, protocol::kOrderIdBytes, "order");
  if (!prefix.ok()) return prefix.status();
  absl::StatusOr<std::vector<PurchaseRecord>> found = use_.store->FindByPrefix(*prefix, 2);
  if (!found.ok()) return found.status();
  if (found->empty()) {
    return absl::NotFoundError("no order here has that id. blindcart purchases lists them");
  }
  if (found->size() > 1) {
    return absl::FailedPreconditionError("several orders begin with that id. Give more digits");
  }
  return std::move(found->front());
}

bool Purchases::Expired(const v1::OrderTerms& terms) const {
  return terms.expires_at_ms() <= use_.clock->NowUnixMs();
}

PurchaseRecord Purchases::AsOfNow(PurchaseRecord purchase) const {
  if (purchase.status == v1::ORDER_STATUS_CREATED && Expired(purchase.terms)) {
    purchase.status = v1::ORDER_STATUS_EXPIRED;
  }
  return purchase;
}

}  // namespace blindcart::agent
