#include "services/agent/agent_messages.h"

#include "crypto/encoding.h"

namespace blindcart::agent {

v1::Shop ToMessage(const ShopView& shop) {
  v1::Shop message;
  message.set_name(shop.name);
  message.set_fingerprint_hex(crypto::HexEncode(shop.fingerprint));
  message.set_online(shop.online);
  message.set_pinned(shop.pinned);
  message.set_pinned_on_first_use(shop.on_first_use);
  message.set_key_changed(shop.key_changed);
  return message;
}

v1::CatalogueItem ToMessage(const CatalogueEntry& entry) {
  v1::CatalogueItem message;
  message.set_shop(entry.shop);
  message.set_product_id_hex(crypto::HexEncode(entry.product.product_id()));
  message.set_title(entry.product.title());
  message.set_description(entry.product.description());
  message.set_price_minor(entry.product.price_minor());
  message.set_currency(entry.product.currency());
  message.set_size_bytes(entry.product.size_bytes());
  message.set_format(entry.product.format());
  message.set_sold_out(entry.product.sold_out());
  message.set_has_picture(entry.has_picture);
  message.set_content_sha256_hex(crypto::HexEncode(entry.product.content_hash()));
  return message;
}

v1::Purchase ToMessage(const PurchaseRecord& purchase) {
  v1::Purchase message;
  message.set_order_id_hex(crypto::HexEncode(purchase.order_id));
  message.set_shop(purchase.shop);
  message.set_product_id_hex(crypto::HexEncode(purchase.product_id));
  message.set_title(purchase.title);
  message.set_price_minor(purchase.terms.price_minor());
  message.set_charge_minor(purchase.charge_minor);
  message.set_total_minor(purchase.total_minor);
  message.set_currency(purchase.terms.currency());
  message.set_status(purchase.status);
  message.set_created_at_ms(purchase.created_at_ms);
  message.set_expires_at_ms(purchase.terms.expires_at_ms());
  if (purchase.receipt.has_value()) message.set_paid_at_ms(purchase.receipt->paid_at_ms());
  message.set_size_bytes(purchase.size_bytes);
  message.set_content_sha256_hex(crypto::HexEncode(purchase.content_hash));
  message.set_file_path(purchase.file_path);
  message.set_commitment_hex(crypto::HexEncode(purchase.terms.commitment()));
  return message;
}

}  // namespace blindcart::agent
