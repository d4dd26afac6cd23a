#include "services/merchant/shop_service.h"

#include "crypto/constant_time.h"
#include "crypto/hash.h"
#include "protocol/order.h"
#include "services/catalog/catalog.h"
#include "services/common/log.h"

namespace blindcart::merchant {
namespace {

DeliveryPlan Refusal(v1::DeliveryOutcome outcome) {
  DeliveryPlan plan;
  plan.result.set_outcome(outcome);
  return plan;
}

}  // namespace

bool IsWellFormed(const v1::DeliveryRequest& request) {
  return request.order_id().size() == protocol::kOrderIdBytes &&
         request.order_key().size() == protocol::kOrderKeyBytes &&
         request.delivery_id().size() == protocol::kDeliveryIdBytes;
}

void ShopService::Catalogue(uint64_t known_version,
                            std::function<void(absl::StatusOr<v1::CataloguePage>)> done) {
  auto shared_done =
      std::make_shared<std::function<void(absl::StatusOr<v1::CataloguePage>)>>(std::move(done));
  const absl::Status accepted = workers_.Run([this, known_version, shared_done] {
    absl::StatusOr<v1::CataloguePage> page = absl::UnknownError("not read");
    const absl::Status read = database_.Read([&](storage::SqliteDatabase& database) {
      page = catalog::Catalog(database).ChangesSince(known_version, kMaxPageBytes);
      return page.status();
    });
    if (!read.ok()) page = read;
    (*shared_done)(std::move(page));
  });
  if (!accepted.ok()) (*shared_done)(accepted);
}

void ShopService::PlanDelivery(v1::DeliveryRequest request, PlanDone done) {
  auto shared_done = std::make_shared<PlanDone>(std::move(done));
  const absl::Status accepted = workers_.Run(
      [this, request = std::move(request), shared_done] { FindOrder(request, *shared_done); });
  if (!accepted.ok()) (*shared_done)(Refusal(v1::DELIVERY_OUTCOME_BUSY));
}

void ShopService::FindOrder(const v1::DeliveryRequest& request, const PlanDone& done) {
  orders::Order order;
  const absl::Status found = database_.Read([&](storage::SqliteDatabase& database) {
    absl::StatusOr<orders::Order> stored = orders::Orders(database).Get(request.order_id());
    if (stored.ok()) order = *std::move(stored);
    return stored.status();
  });
  if (!found.ok() && !absl::IsNotFound(found)) {
    LogWarning("delivery.storage_failed", {{"code", static_cast<int>(found.code())}});
    done(Refusal(v1::DELIVERY_OUTCOME_BUSY));
    return;
  }
  // An unknown order and a wrong key look alike.
  if (!found.ok() ||
      !crypto::ConstantTimeEquals(crypto::Sha256(request.order_key()), order.order_key_hash)) {
    done(Refusal(v1::DELIVERY_OUTCOME_NO_SUCH_ORDER));
    return;
  }
  if (orders::IsPaid(order)) {
    done(Plan(order, request.first_piece()));
    return;
  }
  if (!request.has_receipt()) {
    done(Refusal(v1::DELIVERY_OUTCOME_NOT_PAID));
    return;
  }
  // The broker's notice is not here; the customer's receipt proves as much.
  const uint64_t first_piece = request.first_piece();
  payments_.OnReceipt(order.order_id, request.receipt(),
                      [this, order, first_piece, done](const absl::Status& paid) {
                        if (paid.ok()) {
                          done(Plan(order, first_piece));
                        } else if (absl::IsPermissionDenied(paid)) {
                          done(Refusal(v1::DELIVERY_OUTCOME_NOT_PAID));
                        } else {
                          done(Refusal(v1::DELIVERY_OUTCOME_BUSY));
                        }
                      });
}

DeliveryPlan ShopService::Plan(const orders::Order& order, uint64_t first_piece) const {
  const absl::StatusOr<uint64_t> padded_bytes = size_classes_.ClassFor(order.size_bytes);
  absl::StatusOr<std::unique_ptr<catalog::GoodsFile>> file = goods_.OpenContent(order.content_hash);
  if (!padded_bytes.ok() || !file.ok() || (*file)->size_bytes() != order.size_bytes) {
    LogError("delivery.content_unavailable",
             {{"class_known", padded_bytes.ok()}, {"file_found", file.ok()}});
    return Refusal(v1::DELIVERY_OUTCOME_UNAVAILABLE);
  }
  const uint64_t piece_count = protocol::PieceCount(*padded_bytes);
  if (first_piece > piece_count) return Refusal(v1::DELIVERY_OUTCOME_BAD_OFFSET);

  DeliveryPlan plan;
  plan.result.set_outcome(v1::DELIVERY_OUTCOME_COMING);
  plan.result.set_true_size_bytes(order.size_bytes);
  plan.result.set_padded_size_bytes(*padded_bytes);
  plan.result.set_piece_count(piece_count);
  plan.params.true_size_bytes = order.size_bytes;
  plan.params.padded_size_bytes = *padded_bytes;
  plan.params.first_piece = first_piece;
  plan.params.order_id = order.order_id;
  plan.params.content_hash = order.content_hash;
  plan.file = *std::move(file);
  return plan;
}

}  // namespace blindcart::merchant
