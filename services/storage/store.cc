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

absl::string_view CertificateKindName(CertificateKind kind) {
  switch (kind) {
    case CertificateKind::kSigning:
      return "signing";
    case CertificateKind::kEncryption:
      return "encryption";
    case CertificateKind::kInvalid:
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

AccountKind AccountKindOf(absl::string_view name) {
  for (AccountKind kind : {AccountKind::kCustomer, AccountKind::kMerchant, AccountKind::kBroker,
                           AccountKind::kExternal}) {
    if (AccountKindName(kind) == name) return kind;
  }
  return AccountKind::kInvalid;
}

OrderStatus OrderStatusOf(absl::string_view name) {
  for (OrderStatus status : {OrderStatus::kCreated, OrderStatus::kDeclined, OrderStatus::kExpired,
                             OrderStatus::kPaid, OrderStatus::kDelivered, OrderStatus::kRefunded}) {
    if (OrderStatusName(status) == name) return status;
  }
  return OrderStatus::kInvalid;
}

CertificateKind CertificateKindOf(absl::string_view name) {
  for (CertificateKind kind : {CertificateKind::kSigning, CertificateKind::kEncryption}) {
    if (CertificateKindName(kind) == name) return kind;
  }
  return CertificateKind::kInvalid;
}

TransferKind TransferKindOf(absl::string_view name) {
  for (TransferKind kind : {TransferKind::kPayment, TransferKind::kDeposit,
                            TransferKind::kWithdrawal, TransferKind::kRefund}) {
    if (TransferKindName(kind) == name) return kind;
  }
  return TransferKind::kInvalid;
}

}  // namespace blindcart::storage
