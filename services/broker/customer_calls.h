// What a customer who is logged in can ask (proto/customer.proto): opens each message and hands it to
// its use case; the answer goes back under the message's call id. Knows no more than that.
//
// Thread safety: Handle is called for one message after the other.
#ifndef BLINDCART_SERVICES_BROKER_CUSTOMER_CALLS_H_
#define BLINDCART_SERVICES_BROKER_CUSTOMER_CALLS_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "proto/customer.pb.h"
#include "services/broker/parts.h"

namespace blindcart::broker {

class CustomerCalls {
 public:
  // Shops on one page of the directory.
  static constexpr size_t kShopsPerPage = 100;

  // `parts` must outlive the object and what it started.
  CustomerCalls(const Parts& parts, Relay::CustomerEnd end);

  // Refused() for what no honest agent sends; any other error when the store cannot be read, which
  // these answers have no room for.
  absl::Status Handle(std::string serialized);

 private:
  absl::Status OpenShop(uint64_t call_id, const v1::OpenShopCall& call);
  absl::Status Pay(uint64_t call_id, v1::PayCall call);
  absl::Status Certificate(uint64_t call_id, const v1::CertificateCall& call);
  absl::Status Mail(uint64_t call_id, v1::MailCall call);
  absl::Status BankCall(uint64_t call_id, const v1::BankCall& call);
  absl::Status Cash(uint64_t call_id, Bank::Direction direction, const v1::CashCall& call);
  absl::Status Decline(uint64_t call_id, const v1::DeclineCall& call);
  absl::Status OpenDelivery(const v1::OpenDeliveryCall& call, v1::OpenDeliveryResult* result);
  absl::Status GetOrder(const v1::GetOrderCall& call, v1::GetOrderResult* result);
  absl::Status ListShops(const v1::ListShopsCall& call, v1::ListShopsResult* result);
  absl::Status GetShop(const v1::GetShopCall& call, v1::GetShopResult* result);
  absl::Status Balance(v1::BalanceResult* result);

  const Parts& parts_;
  const Relay::CustomerEnd end_;
};

}  // namespace blindcart::broker

#endif  // BLINDCART_SERVICES_BROKER_CUSTOMER_CALLS_H_
