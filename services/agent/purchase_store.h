// Purchases in the agent's database: what was asked for, the order, its evidence and how far its
// download has come. A row exists before its request is sent, so that a lost answer never leads to a
// second order or a second charge.
//
// Thread-safe; every call blocks on the disk and is durable when it returns Ok. Errors: as
// services/storage/sqlite.h; NotFound for an id that is not there.
#ifndef BLINDCART_SERVICES_AGENT_PURCHASE_STORE_H_
#define BLINDCART_SERVICES_AGENT_PURCHASE_STORE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "proto/order.pb.h"
#include "services/agent/agent_database.h"

namespace blindcart::agent {

struct PurchaseRecord {
  int64_t id = 0;  // The row's; means nothing outside this database.

  // Of the request.
  std::string request_id;
  std::string order_key;
  std::vector<std::string> sids;  // Sessions in which it was sent, oldest first, at most 8.
  std::string shop;
  std::string shop_fingerprint;
  std::string product_id;
  std::string title;
  int64_t created_at_ms = 0;

  // Of the order, once it was made and checked; until then order_id is empty.
  std::string order_id;
  v1::OrderTerms terms;
  std::string salt;
  std::string content_hash;
  int64_t charge_minor = 0;
  int64_t total_minor = 0;
  uint64_t size_bytes = 0;
  std::string format;
  v1::OrderStatus status = v1::ORDER_STATUS_UNSPECIFIED;

  // Set while a payment was sent and its answer is not known; the same again gets the same answer.
  std::string pay_request_id;
  absl::optional<v1::Receipt> receipt;  // Checked. Its presence is what "paid" means here.

  std::string delivery_signature;
  uint64_t pieces_done = 0;  // Pieces that are in the temporary file and synced.
  std::string file_path;     // Once downloaded.
};

class PurchaseStore {
 public:
  static constexpr size_t kMaxSids = 8;

  // `database` must outlive the store.
  explicit PurchaseStore(AgentDatabase& database) : database_(database) {}

  // Adds a row without an order and returns its id.
  absl::StatusOr<int64_t> Add(const PurchaseRecord& purchase);
  // The request for this product whose answer is not known, if there is one.
  absl::StatusOr<absl::optional<PurchaseRecord>> FindUnanswered(absl::string_view shop_fingerprint,
                                                                absl::string_view product_id);
  // Notes one more session in which the request is about to be sent; beyond kMaxSids the oldest goes.
  absl::Status AddSid(int64_t id, absl::string_view sid);
  // Drops a request that led to no order.
  absl::Status DropUnanswered(int64_t id);
  // Keeps the order. AlreadyExists when another purchase has that order id.
  absl::Status SaveOrder(const PurchaseRecord& purchase);

  absl::StatusOr<PurchaseRecord> Get(int64_t id);
  // At most `limit` orders whose id begins with the given lower-case hexadecimal digits.
  absl::StatusOr<std::vector<PurchaseRecord>> FindByPrefix(absl::string_view hex_prefix,
                                                           size_t limit);
  // All that have an order, newest first.
  absl::StatusOr<std::vector<PurchaseRecord>> List();

  // An empty one clears it.
  absl::Status SetPayRequest(int64_t id, absl::string_view pay_request_id);
  // Keeps the receipt, marks the order paid and clears the pay request. The first receipt stays.
  absl::Status SaveReceipt(int64_t id, const v1::Receipt& receipt);
  // For orders without a receipt; one with a receipt is FailedPrecondition.
  absl::Status SetUnpaidStatus(int64_t id, v1::OrderStatus status);

  absl::Status SetPiecesDone(int64_t id, uint64_t pieces_done);
  // The file is complete and in its place.
  absl::Status SaveDelivery(int64_t id, absl::string_view file_path,
                            absl::string_view delivery_signature);

 private:
  AgentDatabase& database_;
};

}  // namespace blindcart::agent

#endif  // BLINDCART_SERVICES_AGENT_PURCHASE_STORE_H_
