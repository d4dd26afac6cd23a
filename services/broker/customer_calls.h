// What a customer who is logged in can ask (proto/customer.proto): opens each message and hands it to
// its use case; the answer goes back under the message's call id. Knows no more than that.
//
// Thread safety: Handle is called for one message after the other.
#ifndef BLINDCART_SERVICES_BROKER_CUSTOMER_CALLS_H_
#define BLINDCART_SERVICES_BROKER_CUSTOMER_CALLS_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "proto/customer.pb.h"
#include "services/broker/parts.h"
#include "services/common/call_stats.h"

namespace blindcart::broker {

class CustomerCalls {
 public:
  // A call that is to be answered; whoever is to do it holds a copy.
  struct Asked {
    uint64_t call_id = 0;
    CallStats::CallPtr under_way;
  };

  // Shops on one page of the directory.
  static constexpr size_t kShopsPerPage = 100;

  // `parts` must outlive the object and what it started.
  CustomerCalls(const Parts& parts, Relay::CustomerEnd end);

  // Refused() for what no honest agent sends; any other error when the store cannot be read, which
  // these answers have no room for.
  absl::Status Handle(std::string serialized);

  // Whether something is not answered yet, be it by the broker or by a merchant.
  bool busy() const;

 private:
  absl::Status OpenShop(const Asked& asked, const v1::OpenShopCall& call);
  absl::Status Pay(const Asked& asked, v1::PayCall call);
  absl::Status Certificate(const Asked& asked, const v1::CertificateCall& call);
  absl::Status Mail(const Asked& asked, v1::MailCall call);
  absl::Status BankCall(const Asked& asked, const v1::BankCall& call);
  absl::Status Cash(const Asked& asked, Bank::Direction direction, const v1::CashCall& call);
  absl::Status Decline(const Asked& asked, const v1::DeclineCall& call);
  absl::Status OpenDelivery(const v1::OpenDeliveryCall& call, v1::OpenDeliveryResult* result);
  absl::Status GetOrder(const v1::GetOrderCall& call, v1::GetOrderResult* result);
  absl::Status ListShops(const v1::ListShopsCall& call, v1::ListShopsResult* result);
  absl::Status GetShop(const v1::GetShopCall& call, v1::GetShopResult* result);
  absl::Status Balance(v1::BalanceResult* result);

  const Parts& parts_;
  const Relay::CustomerEnd end_;
  const std::shared_ptr<std::atomic<int64_t>> under_way_ =
      std::make_shared<std::atomic<int64_t>>(0);
};

}  // namespace blindcart::broker

#endif  // BLINDCART_SERVICES_BROKER_CUSTOMER_CALLS_H_
