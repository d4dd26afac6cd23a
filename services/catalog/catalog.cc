#include "services/catalog/catalog.h"

#include <utility>

#include "protocol/order.h"

namespace blindcart::catalog {
namespace {

// The columns that ReadProduct reads, in its order.
#define BLINDCART_PRODUCT_COLUMNS                                                                 \
  "product_id, version, removed, title, description, price_minor, currency, format, size_bytes, " \
  "content_hash, stock, length(picture) > 0"

StockedProduct ReadProduct(const storage::SqliteStatement& row) {
  StockedProduct read;
  v1::Product& product = read.product;
  product.set_product_id(row.ColumnBlob(0));
  product.set_version(static_cast<uint64_t>(row.ColumnInt64(1)));
  product.set_removed(row.ColumnInt64(2) != 0);
  product.set_title(row.ColumnText(3));
  product.set_description(row.ColumnText(4));
  product.set_price_minor(row.ColumnInt64(5));
  product.set_currency(row.ColumnText(6));
  product.set_format(row.ColumnText(7));
  product.set_size_bytes(static_cast<uint64_t>(row.ColumnInt64(8)));
  product.set_content_hash(row.ColumnBlob(9));
  if (!row.ColumnIsNull(10)) read.stock = row.ColumnInt64(10);
  product.set_sold_out(read.stock.has_value() && *read.stock == 0);
  read.has_picture = row.ColumnInt64(11) != 0;
  return read;
}

absl::Status CurrentVersion(storage::SqliteDatabase& database, uint64_t* version) {
  storage::SqliteStatement query = database.Prepare("SELECT version FROM catalogue");
  absl::StatusOr<bool> row = query.Step();
  if (!row.ok()) return row.status();
  if (!*row) return absl::DataLossError("the catalogue has lost its version");
  *version = static_cast<uint64_t>(query.ColumnInt64(0));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<uint64_t> Catalog::NextVersion() {
  storage::SqliteStatement update =
      database_.Prepare("UPDATE catalogue SET version = version + 1 RETURNING version");
  absl::StatusOr<bool> row = update.Step();
  if (!row.ok()) return row.status();
  if (!*row) return absl::DataLossError("the catalogue has lost its version");
  const uint64_t version = static_cast<uint64_t>(update.ColumnInt64(0));
  row = update.Step();  // To its end, so that it takes effect.
  if (!row.ok()) return row.status();
  return version;
}

absl::Status Catalog::Put(const v1::Product& product, absl::optional<int64_t> stock) {
  if (stock.has_value() && *stock < 0) {
    return absl::InvalidArgumentError("the stock cannot be negative");
  }
  absl::StatusOr<uint64_t> version = NextVersion();
  if (!version.ok()) return version.status();
  v1::Product whole = product;
  whole.set_version(*version);
  whole.set_removed(false);
  whole.set_sold_out(false);
  absl::Status status = protocol::ValidateProduct(whole);
  if (!status.ok()) return status;

  storage::SqliteStatement forget =
      database_.Prepare("DELETE FROM reservations WHERE product_id = ?");
  status = forget.BindBlob(whole.product_id()).Run();
  if (!status.ok()) return status;

  storage::SqliteStatement put = database_.Prepare(
      "INSERT INTO products (product_id, version, removed, title, description, price_minor, "
      "currency, picture, format, size_bytes, content_hash, stock) "
      "VALUES (?, ?, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
      "ON CONFLICT (product_id) DO UPDATE SET version = excluded.version, removed = 0, "
      "title = excluded.title, description = excluded.description, "
      "price_minor = excluded.price_minor, currency = excluded.currency, "
      "picture = excluded.picture, format = excluded.format, size_bytes = excluded.size_bytes, "
      "content_hash = excluded.content_hash, stock = excluded.stock");
  put.BindBlob(whole.product_id())
      .BindInt64(static_cast<int64_t>(*version))
      .BindText(whole.title())
      .BindText(whole.description())
      .BindInt64(whole.price_minor())
      .BindText(whole.currency())
      .BindBlob(whole.picture())
      .BindText(whole.format())
      .BindInt64(static_cast<int64_t>(whole.size_bytes()))
      .BindBlob(whole.content_hash());
  if (stock.has_value()) {
    put.BindInt64(*stock);
  } else {
    put.BindNull();
  }
  return put.Run();
}

absl::Status Catalog::Remove(absl::string_view product_id) {
  absl::StatusOr<uint64_t> version = NextVersion();
  if (!version.ok()) return version.status();
  storage::SqliteStatement remove = database_.Prepare(
      "UPDATE products SET removed = 1, version = ? WHERE product_id = ? AND removed = 0");
  const absl::Status removed =
      remove.BindInt64(static_cast<int64_t>(*version)).BindBlob(product_id).Run();
  if (!removed.ok()) return removed;
  if (database_.changes() == 0) return absl::NotFoundError("there is no such product");
  return absl::OkStatus();
}

absl::StatusOr<StockedProduct> Catalog::Find(absl::string_view product_id) {
  storage::SqliteStatement query = database_.Prepare(
      "SELECT " BLINDCART_PRODUCT_COLUMNS " FROM products WHERE product_id = ? AND removed = 0");
  absl::StatusOr<bool> row = query.BindBlob(product_id).Step();
  if (!row.ok()) return row.status();
  if (!*row) return absl::NotFoundError("there is no such product");
  return ReadProduct(query);
}

absl::StatusOr<std::vector<StockedProduct>> Catalog::List(uint64_t after_version, int64_t limit) {
  storage::SqliteStatement query =
      database_.Prepare("SELECT " BLINDCART_PRODUCT_COLUMNS
                        " FROM products WHERE version > ? ORDER BY version LIMIT ?");
  query.BindInt64(static_cast<int64_t>(after_version)).BindInt64(limit);
  std::vector<StockedProduct> products;
  while (true) {
    absl::StatusOr<bool> row = query.Step();
    if (!row.ok()) return row.status();
    if (!*row) return products;
    products.push_back(ReadProduct(query));
  }
}

absl::StatusOr<v1::CataloguePage> Catalog::ChangesSince(uint64_t known_version, size_t max_bytes) {
  uint64_t current = 0;
  const absl::Status found = CurrentVersion(database_, &current);
  if (!found.ok()) return found;
  v1::CataloguePage page;
  page.set_version(current);
  if (known_version == current) return page;
  if (known_version > current) known_version = 0;

  storage::SqliteStatement query =
      database_.Prepare("SELECT " BLINDCART_PRODUCT_COLUMNS
                        ", picture FROM products WHERE version > ? ORDER BY version");
  query.BindInt64(static_cast<int64_t>(known_version));
  // A page's own fields: `more` and a version of up to ten bytes.
  size_t used_bytes = 16;
  while (true) {
    absl::StatusOr<bool> row = query.Step();
    if (!row.ok()) return row.status();
    if (!*row) return page;
    v1::Product product = ReadProduct(query).product;
    if (product.removed()) {
      v1::Product tombstone;
      tombstone.set_product_id(product.product_id());
      tombstone.set_version(product.version());
      tombstone.set_removed(true);
      product = std::move(tombstone);
    } else {
      product.set_picture(query.ColumnBlob(12));
    }
    const size_t entry_bytes = product.ByteSizeLong() + 6;  // With its tag and length.
    if (page.products_size() > 0 && used_bytes + entry_bytes > max_bytes) {
      page.set_more(true);
      page.set_version(page.products(page.products_size() - 1).version());
      return page;
    }
    used_bytes += entry_bytes;
    *page.add_products() = std::move(product);
  }
}

absl::Status Catalog::ChangeStock(absl::string_view product_id, int64_t by) {
  storage::SqliteStatement update = database_.Prepare(
      "UPDATE products SET stock = stock + ? WHERE product_id = ? AND stock IS NOT NULL AND "
      "stock + ? >= 0 RETURNING stock");
  absl::StatusOr<bool> row = update.BindInt64(by).BindBlob(product_id).BindInt64(by).Step();
  if (!row.ok()) return row.status();
  if (!*row) return absl::FailedPreconditionError("sold out");
  const int64_t left = update.ColumnInt64(0);
  row = update.Step();
  if (!row.ok()) return row.status();
  const bool was_sold_out = left - by == 0;
  if (was_sold_out == (left == 0)) return absl::OkStatus();
  // Customers see that it is sold out, or available again.
  absl::StatusOr<uint64_t> version = NextVersion();
  if (!version.ok()) return version.status();
  storage::SqliteStatement touch =
      database_.Prepare("UPDATE products SET version = ? WHERE product_id = ?");
  return touch.BindInt64(static_cast<int64_t>(*version)).BindBlob(product_id).Run();
}

absl::Status Catalog::Reserve(absl::string_view product_id, absl::string_view order_id) {
  absl::StatusOr<StockedProduct> product = Find(product_id);
  if (!product.ok()) return product.status();
  if (!product->stock.has_value()) return absl::OkStatus();
  const absl::Status taken = ChangeStock(product_id, -1);
  if (!taken.ok()) return taken;
  storage::SqliteStatement insert =
      database_.Prepare("INSERT INTO reservations (order_id, product_id) VALUES (?, ?)");
  return insert.BindBlob(order_id).BindBlob(product_id).Run();
}

absl::StatusOr<bool> Catalog::MoveReservation(absl::string_view from_order_id,
                                              absl::string_view to_order_id) {
  storage::SqliteStatement update =
      database_.Prepare("UPDATE reservations SET order_id = ? WHERE order_id = ?");
  const absl::Status moved = update.BindBlob(to_order_id).BindBlob(from_order_id).Run();
  if (!moved.ok()) return moved;
  return database_.changes() > 0;
}

absl::StatusOr<std::string> Catalog::TakeReservation(absl::string_view order_id) {
  storage::SqliteStatement take =
      database_.Prepare("DELETE FROM reservations WHERE order_id = ? RETURNING product_id");
  absl::StatusOr<bool> row = take.BindBlob(order_id).Step();
  if (!row.ok()) return row.status();
  if (!*row) return std::string();
  std::string product_id = take.ColumnBlob(0);
  row = take.Step();
  if (!row.ok()) return row.status();
  return product_id;
}

absl::Status Catalog::Release(absl::string_view order_id) {
  absl::StatusOr<std::string> product_id = TakeReservation(order_id);
  if (!product_id.ok()) return product_id.status();
  if (product_id->empty()) return absl::OkStatus();
  return ChangeStock(*product_id, 1);
}

absl::Status Catalog::Consume(absl::string_view order_id) {
  return TakeReservation(order_id).status();
}

#undef BLINDCART_PRODUCT_COLUMNS

}  // namespace blindcart::catalog
