// Messages that an authenticated but hostile merchant may put into a catalogue, an order or a receipt: the
// checks that stand before any use must neither crash nor let an out-of-bounds value through.
#include <cstddef>
#include <cstdint>
#include <string>

#include "proto/order.pb.h"
#include "proto/shop.pb.h"
#include "protocol/order.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  namespace protocol = blindcart::protocol;
  blindcart::v1::Product product;
  if (product.ParseFromArray(data, static_cast<int>(size)) &&
      protocol::ValidateProduct(product).ok() && !product.removed()) {
    if (product.title().size() > protocol::kMaxTitleBytes || product.price_minor() <= 0 ||
        product.price_minor() > protocol::kMaxPriceMinor) {
      __builtin_trap();
    }
  }
  blindcart::v1::OrderTerms terms;
  if (terms.ParseFromArray(data, static_cast<int>(size)) && protocol::ValidateTerms(terms).ok()) {
    if (terms.price_minor() <= 0 || terms.order_id().size() != protocol::kOrderIdBytes) {
      __builtin_trap();
    }
  }
  blindcart::v1::Receipt receipt;
  if (receipt.ParseFromArray(data, static_cast<int>(size)) &&
      protocol::ValidateReceipt(receipt).ok()) {
    if (receipt.total_minor() - receipt.charge_minor() != receipt.price_minor()) __builtin_trap();
  }
  return 0;
}
