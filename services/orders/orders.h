// The merchant's orders (docs/protocol.md section 4): what was sold, for how much, under which
// commitment, and how far it has come. Nothing about who bought it is kept: no session, handle,
// address, or anything that two orders of one customer share.
//
//   created -> declined | expired | paid -> delivered        and expired -> paid
// An expiry that is noticed here may be overtaken by a payment that the broker took in time, so a
// proven payment still counts; after a decline nothing does. Steps are compare-and-set.
//
// A retry of a checkout in another session needs terms that name that session, so it makes a new
// order and the old one is superseded: it keeps its row, because it may have been paid after all.
//
// Thread safety and atomicity: as Catalog: inside the caller's transaction. Errors: NotFound,
// AlreadyExists, FailedPrecondition for a step that the state does not allow, and the database's.
#ifndef BLINDCART_SERVICES_ORDERS_ORDERS_H_
#define BLINDCART_SERVICES_ORDERS_ORDERS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "crypto/identity.h"
#include "proto/order.pb.h"
#include "services/storage/sqlite.h"

namespace blindcart::orders {

struct Order {
  int64_t number = 0;  // Given by the database, ascending.
  std::string order_id;
  std::string request_id;
  std::string order_key_hash;
  bool superseded = false;
  std::string product_id;
  // As ordered: later versions of the product do not touch them.
  std::string title;
  std::string content_hash;
  uint64_t size_bytes = 0;
  std::string format;
  int64_t price_minor = 0;
  std::string currency;
  std::string salt;
  int64_t created_at_ms = 0;
  int64_t expires_at_ms = 0;
  std::string broker_fingerprint;  // Whose receipt pays it.
  // Absent until the broker has confirmed the order.
  absl::optional<int64_t> charge_minor;
  absl::optional<int64_t> total_minor;
  v1::OrderStatus status = v1::ORDER_STATUS_CREATED;
  int64_t paid_at_ms = 0;  // 0 until paid.
  std::string receipt;     // Serialised, the merchant's proof; empty until paid.
};

bool IsPaid(const Order& order);

// What the broker sees of an order, without session and signature: enough to check a receipt with.
v1::OrderTerms UnsignedTermsOf(const Order& order);
// The whole terms. `sid` is the session that the order is offered in and lives in memory only. The
// same order and sid always give the same bytes.
v1::OrderTerms TermsOf(const Order& order, absl::string_view sid, const crypto::Identity& merchant);

class Orders {
 public:
  explicit Orders(storage::SqliteDatabase& database) : database_(database) {}

  // A new order, created and unpaid. AlreadyExists when its id, request or key is taken.
  absl::Status Insert(const Order& order);
  absl::StatusOr<Order> Get(absl::string_view order_id);
  // The order that is not superseded.
  absl::StatusOr<Order> FindByRequest(absl::string_view request_id);
  absl::StatusOr<Order> FindByOrderKeyHash(absl::string_view order_key_hash);

  absl::Status Supersede(absl::string_view order_id);
  // The broker has it: from now on it may be paid. FailedPrecondition when it was superseded, ended
  // or confirmed in the meantime; its customer must then not hear of it.
  absl::Status Confirm(absl::string_view order_id, int64_t charge_minor, int64_t total_minor);
  absl::Status MarkDeclined(absl::string_view order_id);  // From created.
  absl::Status MarkExpired(absl::string_view order_id);   // From created.
  // From created or expired. `receipt` is the broker's and has been checked.
  absl::Status MarkPaid(absl::string_view order_id, const v1::Receipt& receipt);
  absl::Status MarkDelivered(absl::string_view order_id);  // From paid.

  // Created orders that the broker never confirmed and whose expiry is before `before_ms`.
  absl::StatusOr<std::vector<std::string>> ListUnconfirmed(int64_t before_ms, int64_t limit);
  // Newest first, at most `limit` with a number below `below_number` (0: from the newest).
  absl::StatusOr<std::vector<Order>> List(int64_t below_number, int64_t limit);

 private:
  absl::Status Step(absl::string_view order_id, v1::OrderStatus from, v1::OrderStatus to);

  storage::SqliteDatabase& database_;
};

}  // namespace blindcart::orders

#endif  // BLINDCART_SERVICES_ORDERS_ORDERS_H_
