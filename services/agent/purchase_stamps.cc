#include "services/agent/purchase_stamps.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "crypto/encoding.h"
#include "crypto/hash.h"
#include "protocol/order.h"
#include "services/agent/narrator.h"
#include "services/common/files.h"

namespace blindcart::agent {
namespace {

constexpr char kFolder[] = "stamps";
constexpr char kReceipt[] = "receipt";
constexpr char kDelivery[] = "delivery";
constexpr mode_t kOwnerOnly = 0600;
constexpr size_t kMaxDocumentBytes = 4096;
constexpr size_t kDeliveryRecordFields = 4;

// Writes it unless exactly that is there.
absl::Status KeepFile(const std::string& path, absl::string_view content) {
  const absl::StatusOr<std::string> there = ReadFile(path, kMaxDocumentBytes);
  if (there.ok() && *there == content) return absl::OkStatus();
  return WriteFileAtomically(path, content, kOwnerOnly, /*replace=*/true);
}

}  // namespace

absl::StatusOr<PurchaseStamps::Result> PurchaseStamps::Stamp(absl::string_view order) {
  const absl::StatusOr<PurchaseRecord> purchase = use_.purchases->Find(order);
  if (!purchase.ok()) return purchase.status();
  if (!purchase->receipt.has_value()) {
    return absl::FailedPreconditionError(
        "the order is not paid, so there is no receipt to stamp. Pay it first: blindcart pay");
  }
  std::lock_guard<std::mutex> lock(mutex_);
  const std::string folder =
      absl::StrCat(use_.purchases_dir, "/", kFolder, "/", crypto::HexEncode(purchase->order_id));
  absl::Status status = MakePrivateDirectory(folder);
  if (!status.ok()) return status;
  Result result;
  result.delivered = !purchase->delivery_signature.empty();
  status = StampDocument(folder, kReceipt, protocol::ReceiptRecord(*purchase->receipt), &result);
  if (!status.ok()) return status;
  if (result.delivered && result.outcome == v1::NOTARY_OUTCOME_STAMPED) {
    const absl::StatusOr<std::string> record =
        DeliveryRecordOf(*purchase, absl::StrCat(folder, "/", kDelivery));
    if (!record.ok()) return record.status();
    status = StampDocument(folder, kDelivery, *record, &result);
    if (!status.ok()) return status;
  }
  return result;
}

absl::StatusOr<std::string> PurchaseStamps::DeliveryRecordOf(const PurchaseRecord& purchase,
                                                             const std::string& path) {
  const absl::StatusOr<std::string> there = ReadFile(path, kMaxDocumentBytes);
  const auto record = [&purchase](absl::string_view salt) {
    return protocol::DeliveryRecord(salt, purchase.order_id, purchase.content_hash,
                                    purchase.delivery_signature);
  };
  // An earlier one is kept, for its time stamp.
  if (there.ok()) {
    const auto fields = crypto::SplitLengthPrefixed(*there, kDeliveryRecordFields);
    if (fields.ok() && fields->front().size() == protocol::kDeliveryRecordSaltBytes &&
        record(fields->front()) == *there) {
      return *there;
    }
  }
  return record(use_.random->Bytes(protocol::kDeliveryRecordSaltBytes));
}

absl::Status PurchaseStamps::StampDocument(const std::string& folder, const std::string& name,
                                           absl::string_view content, Result* result) {
  Document document;
  document.name = name;
  document.document_path = absl::StrCat(folder, "/", name);
  document.time_stamp_path = absl::StrCat(document.document_path, ".tsr");
  const absl::Status kept = KeepFile(document.document_path, content);
  if (!kept.ok()) return kept;
  const std::string sha256 = crypto::Sha256(content);
  const absl::StatusOr<std::string> there =
      ReadFile(document.time_stamp_path, crypto::kMaxTimeStampResponseBytes);
  absl::StatusOr<crypto::TimeStamp> time_stamp = absl::NotFoundError("none yet");
  if (there.ok()) time_stamp = use_.notarizer->Verify(*there, sha256);
  if (time_stamp.ok()) {
    Narration().Say("notary", absl::StrCat("the ", name, " has its time stamp already: verified, ",
                                           "and nothing asked of the notary"));
  } else {
    absl::StatusOr<Notarizer::Stamped> stamped = use_.notarizer->Stamp(sha256);
    if (!stamped.ok()) return stamped.status();
    if (stamped->outcome != v1::NOTARY_OUTCOME_STAMPED) {
      result->outcome = stamped->outcome;
      result->retry_after_ms = stamped->retry_after_ms;
      return absl::OkStatus();
    }
    const absl::Status written = WriteFileAtomically(document.time_stamp_path, stamped->response,
                                                     kOwnerOnly, /*replace=*/true);
    if (!written.ok()) return written;
    time_stamp = std::move(stamped->time_stamp);
  }
  document.time_stamp = *std::move(time_stamp);
  result->documents.push_back(std::move(document));
  return absl::OkStatus();
}

}  // namespace blindcart::agent
