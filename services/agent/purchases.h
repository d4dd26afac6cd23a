// Checkout and payment (docs/protocol.md sections 4 and 5).
//
// A lost answer never leads to a second order or charge: request id and order key are stored durably
// before they are sent, and used again until an answer is known. What the shop says about an order is
// checked against the catalogue and its commitment, what the broker says against the shop's copy, and
// "paid" is believed only with a receipt that the broker signed for exactly this order.
//
// Errors, with words for people: InvalidArgument, NotFound, FailedPrecondition, Unavailable,
// Unauthenticated, DataLoss (somebody contradicts the evidence; nothing was accepted). Business
// answers are outcomes, not errors.
// Thread-safe; calls block.
#ifndef BLINDCART_SERVICES_AGENT_PURCHASES_H_
#define BLINDCART_SERVICES_AGENT_PURCHASES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "crypto/identity.h"
#include "crypto/random.h"
#include "crypto/secret_bytes.h"
#include "proto/customer.pb.h"
#include "proto/shop.pb.h"
#include "protocol/clock.h"
#include "services/agent/broker_session.h"
#include "services/agent/catalogue.h"
#include "services/agent/in_progress.h"
#include "services/agent/purchase_store.h"
#include "services/agent/shop_directory.h"
#include "services/agent/shop_session.h"

namespace blindcart::agent {

class Purchases {
 public:
  struct Dependencies {  // All must outlive the object.
    BrokerSession* broker = nullptr;
    const PinnedBroker* pinned_broker = nullptr;
    ShopDirectory* directory = nullptr;
    ShopConnector* connector = nullptr;
    PurchaseStore* store = nullptr;
    crypto::RandomSource* random = nullptr;
    const protocol::Clock* clock = nullptr;
  };
  struct Ordered {
    v1::CheckoutOutcome outcome = v1::CHECKOUT_OUTCOME_UNSPECIFIED;
    absl::optional<PurchaseRecord> purchase;  // With ORDERED.
  };
  struct Paid {
    v1::PayOutcome outcome = v1::PAY_OUTCOME_UNSPECIFIED;
    PurchaseRecord purchase;
    int64_t retry_after_ms = 0;
  };

  explicit Purchases(const Dependencies& dependencies) : use_(dependencies) {}

  // Orders what the catalogue shows under `entry`.
  absl::StatusOr<Ordered> Checkout(const CatalogueEntry& entry);
  // Pays an order. `agreed_total_minor` 0 stands for the total of the order. An order that is paid
  // stays paid: the same again answers SUCCESSFUL and charges nothing.
  absl::StatusOr<Paid> Pay(absl::string_view order, const std::string& account_number,
                           const crypto::SecretBytes& pin, int64_t agreed_total_minor);
  absl::StatusOr<PurchaseRecord> Decline(absl::string_view order);

  // Newest first. Local.
  absl::StatusOr<std::vector<PurchaseRecord>> List();
  // The one order that a person means: its id in hexadecimal or an unambiguous beginning. Local.
  absl::StatusOr<PurchaseRecord> Find(absl::string_view order);

  // Asks the broker how the order stands, after a break, and keeps what it can prove.
  absl::StatusOr<PurchaseRecord> Refresh(const PurchaseRecord& purchase);

 private:
  absl::StatusOr<PurchaseRecord> BeginRequest(const CatalogueEntry& entry,
                                              const ShopTarget& target);
  absl::StatusOr<v1::CheckoutResult> AskShop(const ShopTarget& target, int64_t id);
  absl::StatusOr<Ordered> FinishCheckout(const CatalogueEntry& entry, const ShopTarget& target,
                                         int64_t id, const v1::CheckoutResult& result);
  absl::StatusOr<v1::GetOrderResult> GetOrder(absl::string_view order_id);
  absl::StatusOr<Paid> JudgePayment(int64_t id, const v1::PayResult& result);
  absl::Status KeepReceipt(const PurchaseRecord& purchase, const v1::Receipt& receipt);
  bool Expired(const v1::OrderTerms& terms) const;
  // The status as it is now: an unpaid order beyond its time is expired.
  PurchaseRecord AsOfNow(PurchaseRecord purchase) const;

  const Dependencies use_;
  InProgress in_progress_;
};

}  // namespace blindcart::agent

#endif  // BLINDCART_SERVICES_AGENT_PURCHASES_H_
