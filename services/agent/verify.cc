#include "services/agent/verify.h"

#include <utility>

#include "absl/status/status.h"
#include "crypto/constant_time.h"
#include "crypto/hash.h"
#include "protocol/delivery.h"
#include "protocol/order.h"
#include "services/agent/part_file.h"

namespace blindcart::agent {
namespace {

Check FromStatus(std::string name, const absl::Status& status, std::string when_ok) {
  return {std::move(name), status.ok(),
          status.ok() ? std::move(when_ok) : std::string(status.message())};
}

Check CheckCommitment(const PurchaseRecord& purchase) {
  const std::string key_hash = crypto::Sha256(purchase.order_key);
  protocol::CommitmentInput input;
  input.salt = purchase.salt;
  input.product_id = purchase.product_id;
  input.title = purchase.title;
  input.content_hash = purchase.content_hash;
  input.price_minor = purchase.terms.price_minor();
  input.order_key_hash = key_hash;
  const bool opens =
      crypto::ConstantTimeEquals(protocol::OrderCommitment(input), purchase.terms.commitment());
  return {"commitment", opens,
          opens ? "the signed order is for this product, content, price and key"
                : "the signed order is for something else than what is stored here"};
}

Check CheckTotals(const PurchaseRecord& purchase) {
  int64_t sum = 0;
  bool ok = !__builtin_add_overflow(purchase.terms.price_minor(), purchase.charge_minor, &sum) &&
            sum == purchase.total_minor;
  if (purchase.receipt.has_value()) {
    ok = ok && purchase.receipt->price_minor() == purchase.terms.price_minor() &&
         purchase.receipt->charge_minor() == purchase.charge_minor &&
         purchase.receipt->total_minor() == purchase.total_minor;
  }
  return {"totals", ok,
          ok ? "price and charge make the total that was agreed to"
             : "price, charge and total do not fit together"};
}

Check CheckFile(const PurchaseRecord& purchase) {
  const absl::StatusOr<FileDigest> digest = DigestFile(purchase.file_path);
  if (!digest.ok()) return {"file", false, std::string(digest.status().message())};
  if (digest->size_bytes != purchase.size_bytes) {
    return {"file", false, "the file has another size than the ordered content"};
  }
  const bool same = crypto::ConstantTimeEquals(digest->sha256, purchase.content_hash);
  return {"file", same,
          same ? "the file is the ordered content" : "the file is not the ordered content"};
}

}  // namespace

std::vector<Check> VerifyPurchase(const crypto::PublicIdentity& broker,
                                  const crypto::PublicIdentity& merchant,
                                  const PurchaseRecord& purchase) {
  std::vector<Check> checks;
  checks.push_back(FromStatus("order signature", protocol::VerifyTerms(merchant, purchase.terms),
                              "the shop signed the order"));
  checks.push_back(CheckCommitment(purchase));
  checks.push_back(CheckTotals(purchase));
  if (purchase.receipt.has_value()) {
    checks.push_back(
        FromStatus("receipt",
                   protocol::CheckReceipt(broker, purchase.shop_fingerprint, purchase.terms,
                                          purchase.total_minor, *purchase.receipt),
                   "the broker signed that this order was paid"));
  }
  if (!purchase.file_path.empty()) {
    checks.push_back(CheckFile(purchase));
    checks.push_back(FromStatus(
        "delivery signature",
        protocol::VerifyDeliverySignature(merchant, purchase.order_id, purchase.content_hash,
                                          purchase.delivery_signature),
        "the shop signed that it delivered this content for this order"));
  }
  return checks;
}

}  // namespace blindcart::agent
