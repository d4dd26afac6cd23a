#include "services/merchant/shop_admin.h"

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/types/optional.h"
#include "crypto/encoding.h"
#include "crypto/hash.h"
#include "protocol/order.h"
#include "services/catalog/catalog.h"
#include "services/common/files.h"
#include "services/orders/orders.h"

namespace blindcart::merchant {
namespace {

absl::StatusOr<std::string> ProductId(const std::string& hex) {
  absl::StatusOr<std::string> id = crypto::HexDecode(hex);
  if (!id.ok() || id->size() != protocol::kProductIdBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("a product's id is ", 2 * protocol::kProductIdBytes,
                     " hexadecimal digits, as `merchant products` shows it"));
  }
  return id;
}

// The ending of a file's name when it can be a format, else nothing.
std::string FormatOf(const std::string& path) {
  std::string extension = std::filesystem::path(path).extension().string();
  if (extension.empty()) return extension;
  extension = absl::AsciiStrToLower(extension.substr(1));
  if (extension.size() > protocol::kMaxFormatBytes) return std::string();
  for (const char c : extension) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c))) return std::string();
  }
  return extension;
}

}  // namespace

absl::StatusOr<v1::AddProductReply> ShopAdmin::AddProduct(
    const v1::AddProductRequest& request, const catalog::GoodsStore::Progress& progress) {
  v1::Product product;
  product.set_title(request.title());
  product.set_description(request.description());
  product.set_price_minor(request.price_minor());
  product.set_currency(request.currency());
  product.set_format(request.format().empty() ? FormatOf(request.content_path())
                                              : request.format());
  const bool replaces = !request.replace_id_hex().empty();
  if (replaces) {
    absl::StatusOr<std::string> id = ProductId(request.replace_id_hex());
    if (!id.ok()) return id.status();
    product.set_product_id(*id);
    const absl::Status known = database_.Read([&](storage::SqliteDatabase& database) {
      return catalog::Catalog(database).Find(product.product_id()).status();
    });
    if (!known.ok()) return known;
  } else {
    product.set_product_id(random_.Bytes(protocol::kProductIdBytes));
  }
  if (!request.picture_path().empty()) {
    absl::StatusOr<std::string> picture =
        ReadFile(request.picture_path(), protocol::kMaxPictureBytes);
    if (!picture.ok()) return picture.status();
    product.set_picture(*std::move(picture));
  }
  absl::optional<int64_t> stock;
  if (request.has_stock()) stock = request.stock();

  // Whatever is wrong is said before a large file is copied; version and hash are not known yet.
  product.set_version(1);
  product.set_content_hash(std::string(crypto::kSha256Bytes, '\0'));
  const absl::Status valid = protocol::ValidateProduct(product);
  if (!valid.ok()) return valid;
  if (stock.has_value() && *stock < 0) {
    return absl::InvalidArgumentError("the stock cannot be negative");
  }

  absl::StatusOr<catalog::GoodsStore::Added> added =
      goods_.Add(request.content_path(), max_content_bytes_, progress);
  if (!added.ok()) return added.status();
  product.set_content_hash(added->content_hash);
  product.set_size_bytes(added->size_bytes);
  const absl::Status put = database_.Write([&product, &stock](storage::SqliteDatabase& database) {
    return catalog::Catalog(database).Put(product, stock);
  });
  if (!put.ok()) return put;

  v1::AddProductReply reply;
  reply.set_product_id_hex(crypto::HexEncode(product.product_id()));
  reply.set_content_sha256_hex(crypto::HexEncode(added->content_hash));
  reply.set_size_bytes(added->size_bytes);
  return reply;
}

absl::StatusOr<v1::ListProductsReply> ShopAdmin::ListProducts(
    const v1::ListProductsRequest& request) {
  std::vector<catalog::StockedProduct> products;
  const absl::Status read = database_.Read([&](storage::SqliteDatabase& database) {
    absl::StatusOr<std::vector<catalog::StockedProduct>> listed =
        catalog::Catalog(database).List(request.after_version(), kProductsPerPage);
    if (listed.ok()) products = *std::move(listed);
    return listed.status();
  });
  if (!read.ok()) return read;
  v1::ListProductsReply reply;
  reply.set_more(products.size() == static_cast<size_t>(kProductsPerPage));
  for (const catalog::StockedProduct& stocked : products) {
    v1::StockedProduct* entry = reply.add_products();
    entry->set_product_id_hex(crypto::HexEncode(stocked.product.product_id()));
    entry->set_title(stocked.product.title());
    entry->set_price_minor(stocked.product.price_minor());
    entry->set_currency(stocked.product.currency());
    entry->set_size_bytes(stocked.product.size_bytes());
    if (stocked.stock.has_value()) entry->set_stock(*stocked.stock);
    entry->set_format(stocked.product.format());
    entry->set_has_picture(stocked.has_picture);
    entry->set_removed(stocked.product.removed());
    entry->set_version(stocked.product.version());
  }
  return reply;
}

absl::Status ShopAdmin::RemoveProduct(const v1::RemoveProductRequest& request) {
  absl::StatusOr<std::string> id = ProductId(request.product_id_hex());
  if (!id.ok()) return id.status();
  return database_.Write(
      [&id](storage::SqliteDatabase& database) { return catalog::Catalog(database).Remove(*id); });
}

absl::StatusOr<v1::ListOrdersReply> ShopAdmin::ListOrders(const v1::ListOrdersRequest& request) {
  const int64_t limit = request.limit() == 0 ? kOrdersPerPage : request.limit();
  if (limit < 1 || limit > kOrdersPerPage || request.below_number() < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("a page of orders has 1 to ", kOrdersPerPage, " of them"));
  }
  std::vector<orders::Order> orders;
  const absl::Status read = database_.Read([&](storage::SqliteDatabase& database) {
    absl::StatusOr<std::vector<orders::Order>> listed =
        orders::Orders(database).List(request.below_number(), limit);
    if (listed.ok()) orders = *std::move(listed);
    return listed.status();
  });
  if (!read.ok()) return read;
  v1::ListOrdersReply reply;
  reply.set_more(orders.size() == static_cast<size_t>(limit));
  for (const orders::Order& order : orders) {
    v1::ShopOrder* entry = reply.add_orders();
    entry->set_order_id_hex(crypto::HexEncode(order.order_id));
    entry->set_product_id_hex(crypto::HexEncode(order.product_id));
    entry->set_title(order.title);
    entry->set_price_minor(order.price_minor);
    entry->set_currency(order.currency);
    entry->set_status(order.status);
    entry->set_created_at_ms(order.created_at_ms);
    entry->set_paid_at_ms(order.paid_at_ms);
    entry->set_number(order.number);
  }
  return reply;
}

}  // namespace blindcart::merchant
