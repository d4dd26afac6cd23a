// What the merchant does to its own shop: products, orders, status. The use cases behind
// proto/merchant_admin.proto; admin_service.h carries them over gRPC.
//
// Thread safety: every method may be called from any thread; each blocks on the disk. Errors have a
// message for the merchant.
#ifndef BLINDCART_SERVICES_MERCHANT_SHOP_ADMIN_H_
#define BLINDCART_SERVICES_MERCHANT_SHOP_ADMIN_H_

#include <cstdint>
#include <functional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "crypto/random.h"
#include "proto/merchant_admin.pb.h"
#include "services/catalog/goods_store.h"
#include "services/merchant/shop_database.h"

namespace blindcart::merchant {

class ShopAdmin {
 public:
  static constexpr int64_t kProductsPerPage = 500;
  static constexpr int64_t kOrdersPerPage = 500;

  // All must outlive the object. `max_content_bytes`: the largest size class.
  ShopAdmin(ShopDatabase& database, catalog::GoodsStore& goods, crypto::RandomSource& random,
            uint64_t max_content_bytes)
      : database_(database),
        goods_(goods),
        random_(random),
        max_content_bytes_(max_content_bytes) {}

  // Checks what can be checked first, then copies the content. Paths are absolute.
  absl::StatusOr<v1::AddProductReply> AddProduct(const v1::AddProductRequest& request,
                                                 const catalog::GoodsStore::Progress& progress);
  absl::StatusOr<v1::ListProductsReply> ListProducts(const v1::ListProductsRequest& request);
  absl::Status RemoveProduct(const v1::RemoveProductRequest& request);
  absl::StatusOr<v1::ListOrdersReply> ListOrders(const v1::ListOrdersRequest& request);

 private:
  ShopDatabase& database_;
  catalog::GoodsStore& goods_;
  crypto::RandomSource& random_;
  const uint64_t max_content_bytes_;
};

}  // namespace blindcart::merchant

#endif  // BLINDCART_SERVICES_MERCHANT_SHOP_ADMIN_H_
