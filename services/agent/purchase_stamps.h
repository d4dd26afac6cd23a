// Time stamps of a purchase's evidence (docs/notary.md), written where the customer can hand them to
// others: purchases_dir/stamps/ORDER/ with
//
//   receipt       the receipt's signed fields and the broker's signature (protocol::ReceiptRecord)
//   delivery      once downloaded: salt ‖ order id ‖ content hash ‖ the shop's signature over the two
//                 (protocol::DeliveryRecord)
//   *.tsr         the time stamp of the file beside it
//
// The notary learns the SHA-256 of these files. The salt is there because the bare hash of the
// content would tell the broker what was bought, which it must not know; the receipt is the broker's
// own.
//
// The same again changes nothing. Errors: as notarizer.h and purchases.h; FailedPrecondition for an
// order that is not paid. Thread-safe; calls block.
#ifndef BLINDCART_SERVICES_AGENT_PURCHASE_STAMPS_H_
#define BLINDCART_SERVICES_AGENT_PURCHASE_STAMPS_H_

#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "crypto/random.h"
#include "crypto/time_stamp.h"
#include "proto/notary.pb.h"
#include "services/agent/notarizer.h"
#include "services/agent/purchases.h"

namespace blindcart::agent {

class PurchaseStamps {
 public:
  struct Dependencies {  // All must outlive the object.
    Purchases* purchases = nullptr;
    Notarizer* notarizer = nullptr;
    crypto::RandomSource* random = nullptr;
    std::string purchases_dir;
  };
  struct Document {
    std::string name;
    std::string document_path;
    std::string time_stamp_path;
    crypto::TimeStamp time_stamp;
  };
  struct Result {
    v1::NotaryOutcome outcome = v1::NOTARY_OUTCOME_STAMPED;
    std::vector<Document> documents;
    int64_t retry_after_ms = 0;
    bool delivered = false;
  };

  explicit PurchaseStamps(Dependencies dependencies) : use_(std::move(dependencies)) {}

  absl::StatusOr<Result> Stamp(absl::string_view order);

 private:
  // Adds the document to `result`, or sets its outcome.
  absl::Status StampDocument(const std::string& folder, const std::string& name,
                             absl::string_view content, Result* result);
  absl::StatusOr<std::string> DeliveryRecordOf(const PurchaseRecord& purchase,
                                               const std::string& path);

  const Dependencies use_;
  std::mutex mutex_;  // One at a time.
};

}  // namespace blindcart::agent

#endif  // BLINDCART_SERVICES_AGENT_PURCHASE_STAMPS_H_
