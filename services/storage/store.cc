#include "services/storage/store.h"

namespace blindcart::storage {

absl::string_view AccountKindName(AccountKind kind) {
  switch (kind) {
    case AccountKind::kCustomer:
      return "customer";
    case AccountKind::kMerchant:
      return "merchant";
    case AccountKind::kBroker:
      return "broker";
    case AccountKind::kExternal:
      return "external";
    case AccountKind::kInvalid:
      break;
  }
  return "invalid";
}

absl::string_view OrderStatusName(OrderStatus status) {
  switch (status) {
    case OrderStatus::kCreated:
      return "created";
    case OrderStatus::kDeclined:
      return "declined";
    case OrderStatus::kExpired:
      return "expired";
    case OrderStatus::kPaid:
      return "paid";
    case OrderStatus::kDelivered:
      return "delivered";
    case OrderStatus::kRefunded:
      return "refunded";
    case OrderStatus::kInvalid:
      break;
  }
  return "invalid";
}

absl::string_view TransferKindName(TransferKind kind) {
  switch (kind) {
    case TransferKind::kPayment:
      return "payment";
    case TransferKind::kDeposit:
      return "deposit";
    case TransferKind::kWithdrawal:
      return "withdrawal";
    case TransferKind::kRefund:
      return "refund";
    case TransferKind::kInvalid:
      break;
  }
  return "invalid";
}

}  // namespace blindcart::storage
