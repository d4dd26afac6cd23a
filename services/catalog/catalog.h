// The merchant's products (docs/protocol.md section 3) and their stock.
//
// Every change gives the product the catalogue's next version number; a removed product stays as a
// tombstone. Whoever has version v asks for what changed after v. That a product is sold out, or
// available again, is such a change.
//
// Stock is unlimited or counted. A counted unit is reserved for an order when it is made, and given
// back (Release) or used up (Consume) when the order ends: stock counts what can still be ordered,
// so it can never be sold twice.
//
// Thread safety and atomicity: a Catalog works on a database that its caller holds, inside the
// caller's transaction (reads: snapshot or transaction). Errors: NotFound, InvalidArgument with a
// message for the merchant, FailedPrecondition for sold out, and the database's.
#ifndef BLINDCART_SERVICES_CATALOG_CATALOG_H_
#define BLINDCART_SERVICES_CATALOG_CATALOG_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "proto/shop.pb.h"
#include "services/storage/sqlite.h"

namespace blindcart::catalog {

// A product with its stock: absent for unlimited. In `product`, `removed` does not clear the other
// fields here; the picture is only read where it is asked for.
struct StockedProduct {
  v1::Product product;
  absl::optional<int64_t> stock;
  bool has_picture = false;
};

class Catalog {
 public:
  explicit Catalog(storage::SqliteDatabase& database) : database_(database) {}

  // Adds a product, or with a known product_id makes its next version (also of a removed one, which
  // is then back). `product.version`, `removed` and `sold_out` are ignored. New stock counts from
  // now on: open orders keep the units that they were promised, but give none back to it.
  // InvalidArgument says which field is out of bounds.
  absl::Status Put(const v1::Product& product, absl::optional<int64_t> stock);
  // NotFound for an unknown or removed product.
  absl::Status Remove(absl::string_view product_id);

  // A product that can be ordered, without its picture. NotFound also for a removed one.
  absl::StatusOr<StockedProduct> Find(absl::string_view product_id);

  // At most `limit` products, the removed ones too, in order of version after `after_version`;
  // without pictures.
  absl::StatusOr<std::vector<StockedProduct>> List(uint64_t after_version, int64_t limit);

  // What changed after `known_version`, at most `max_bytes` of serialised page, but at least one
  // product; `more` when it does not end there. A version that this catalogue has not reached yet
  // (it was restored from an older copy) gets everything.
  absl::StatusOr<v1::CataloguePage> ChangesSince(uint64_t known_version, size_t max_bytes);

  // FailedPrecondition when the product is sold out; OK and without effect for unlimited stock.
  absl::Status Reserve(absl::string_view product_id, absl::string_view order_id);
  // What is reserved for one order is now for another; false when there is nothing.
  absl::StatusOr<bool> MoveReservation(absl::string_view from_order_id,
                                       absl::string_view to_order_id);
  // OK when nothing is reserved (any more).
  absl::Status Release(absl::string_view order_id);
  absl::Status Consume(absl::string_view order_id);

 private:
  absl::StatusOr<uint64_t> NextVersion();
  // The product of an order's reservation, which is deleted; "" when there is none.
  absl::StatusOr<std::string> TakeReservation(absl::string_view order_id);
  absl::Status ChangeStock(absl::string_view product_id, int64_t by);

  storage::SqliteDatabase& database_;
};

}  // namespace blindcart::catalog

#endif  // BLINDCART_SERVICES_CATALOG_CATALOG_H_
