#include "clients/cli/outcomes.h"

#include "absl/strings/str_cat.h"
#include "clients/cli/format.h"

namespace blindcart::cli {

std::string StatusWord(v1::OrderStatus status) {
  switch (status) {
    case v1::ORDER_STATUS_CREATED:
      return "open";
    case v1::ORDER_STATUS_DECLINED:
      return "declined";
    case v1::ORDER_STATUS_EXPIRED:
      return "expired";
    case v1::ORDER_STATUS_PAID:
      return "paid";
    case v1::ORDER_STATUS_DELIVERED:
      return "delivered";
    case v1::ORDER_STATUS_REFUNDED:
      return "refunded";
    default:
      return "unknown";
  }
}

std::string WhyNotOrdered(v1::CheckoutOutcome outcome) {
  switch (outcome) {
    case v1::CHECKOUT_OUTCOME_NO_SUCH_PRODUCT:
      return "the shop does not sell that any more. Bring its catalogue up to date with: blindcart "
             "browse SHOP";
    case v1::CHECKOUT_OUTCOME_SOLD_OUT:
      return "sold out. Nothing was ordered; ask the shop whether it comes back";
    case v1::CHECKOUT_OUTCOME_ORDER_KEY_USED:
      return "the shop says that this order's key was used before. Nothing was ordered; check out "
             "again";
    case v1::CHECKOUT_OUTCOME_BROKER_DECLINED:
      return "the broker did not take the shop's order. Nothing was ordered; try again later, and "
             "tell the shop if that goes on";
    case v1::CHECKOUT_OUTCOME_BUSY:
      return "the shop is too busy at the moment. Nothing was ordered; try again later";
    default:
      return "the agent gave an answer that this program does not know. Use agent and blindcart of "
             "the same version";
  }
}

std::string WhyNotPaid(const v1::PayReply& reply) {
  const v1::Purchase& purchase = reply.purchase();
  const std::string order = ShortId(purchase.order_id_hex());
  const std::string wait =
      reply.retry_after_ms() > 0
          ? absl::StrCat("wait ", FormatDuration(reply.retry_after_ms()), ", then pay again")
          : "pay again";
  switch (reply.outcome()) {
    case v1::PAY_OUTCOME_ACCOUNT_OR_PIN:
      return absl::StrCat(
          "the PIN is wrong, or you have no account of that number. Nothing was "
          "charged; check both and ",
          wait);
    case v1::PAY_OUTCOME_INSUFFICIENT_BALANCE:
      return absl::StrCat("your balance does not cover the total of ",
                          FormatMoney(purchase.total_minor(), purchase.currency()),
                          ". Nothing was charged; top up your account at the broker's, or give the "
                          "order up with: blindcart decline ",
                          order);
    case v1::PAY_OUTCOME_ORDER_UNKNOWN:
      return "the broker knows no such order of yours. Nothing was charged; check out again";
    case v1::PAY_OUTCOME_ORDER_EXPIRED:
      return "the order has expired. Nothing was charged; check out again";
    case v1::PAY_OUTCOME_ORDER_DECLINED:
      return "the order was declined before. Nothing was charged; check out again";
    case v1::PAY_OUTCOME_TOTAL_DIFFERS:
      return absl::StrCat("the order's total is ",
                          FormatMoney(purchase.total_minor(), purchase.currency()),
                          ", not the one that you agreed to. Nothing was charged; look at it with: "
                          "blindcart purchases");
    case v1::PAY_OUTCOME_TRY_LATER:
      return absl::StrCat("too many wrong PINs in a row. Nothing was charged; ", wait);
    case v1::PAY_OUTCOME_BUSY:
      return absl::StrCat(
          "the broker is too busy at the moment, so it is not known whether the order was paid; ",
          wait, ": it is never charged twice");
    case v1::PAY_OUTCOME_CURRENCY:
      return absl::StrCat("that account holds another currency than ", purchase.currency(),
                          ". Nothing was charged; pay from another account with --account");
    default:
      return "the agent gave an answer that this program does not know. Use agent and blindcart of "
             "the same version";
  }
}

std::string WhyNotMoved(const v1::MoveMoneyReply& reply) {
  switch (reply.outcome()) {
    case v1::CASH_OUTCOME_INSUFFICIENT_BALANCE:
      return absl::StrCat("your balance of ", FormatMoney(reply.balance_minor(), reply.currency()),
                          " does not cover ", FormatMoney(reply.amount_minor(), reply.currency()),
                          ". Nothing was moved; withdraw less");
    case v1::CASH_OUTCOME_NOT_ALLOWED:
      return "this broker does not let customers deposit by themselves. Nothing was moved; ask its "
             "operator how to pay in";
    case v1::CASH_OUTCOME_LIMIT:
      return "no account can hold that much. Nothing was moved; deposit less";
    case v1::CASH_OUTCOME_BUSY:
      return "the broker is too busy at the moment. Run the same command again: it is never "
             "counted "
             "twice";
    default:
      return "the agent gave an answer that this program does not know. Use agent and blindcart of "
             "the same version";
  }
}

std::string EntryWord(v1::EntryKind kind) {
  switch (kind) {
    case v1::ENTRY_KIND_PAYMENT:
      return "payment";
    case v1::ENTRY_KIND_DEPOSIT:
      return "deposit";
    case v1::ENTRY_KIND_WITHDRAWAL:
      return "withdrawal";
    case v1::ENTRY_KIND_REFUND:
      return "refund";
    default:
      return "unknown";
  }
}

}  // namespace blindcart::cli
