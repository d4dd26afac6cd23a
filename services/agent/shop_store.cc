#include "services/agent/shop_store.h"

#include <utility>

namespace blindcart::agent {
namespace {

using storage::SqliteDatabase;
using storage::SqliteStatement;

absl::StatusOr<CatalogueEntry> ReadEntry(const SqliteStatement& row) {
  CatalogueEntry entry;
  entry.shop = row.ColumnText(0);
  if (!entry.product.ParseFromString(row.ColumnBlob(1))) {
    return absl::DataLossError("a catalogue entry in the agent's database is damaged");
  }
  entry.has_picture = row.ColumnInt64(2) != 0;
  return entry;
}

absl::Status CollectEntries(SqliteStatement& select, std::vector<CatalogueEntry>* entries) {
  while (true) {
    absl::StatusOr<bool> row = select.Step();
    if (!row.ok()) return row.status();
    if (!*row) return absl::OkStatus();
    absl::StatusOr<CatalogueEntry> entry = ReadEntry(select);
    if (!entry.ok()) return entry.status();
    entries->push_back(*std::move(entry));
  }
}

absl::Status StoreProduct(SqliteDatabase& database, absl::string_view shop,
                          const v1::Product& product) {
  if (product.removed()) {
    return database.Prepare("DELETE FROM products WHERE shop = ? AND product_id = ?")
        .BindText(shop)
        .BindBlob(product.product_id())
        .Run();
  }
  v1::Product entry = product;
  entry.clear_picture();
  SqliteStatement upsert = database.Prepare(
      "INSERT INTO products (shop, product_id, entry, picture) VALUES (?, ?, ?, ?) "
      "ON CONFLICT (shop, product_id) DO UPDATE SET entry = excluded.entry, "
      "picture = excluded.picture");
  upsert.BindText(shop).BindBlob(product.product_id()).BindBlob(entry.SerializeAsString());
  if (product.picture().empty()) {
    upsert.BindNull();
  } else {
    upsert.BindBlob(product.picture());
  }
  return upsert.Run();
}

}  // namespace

absl::StatusOr<absl::optional<PinnedShop>> ShopStore::Find(absl::string_view name) {
  absl::optional<PinnedShop> found;
  const absl::Status status = database_.Read([&](SqliteDatabase& database) -> absl::Status {
    SqliteStatement select =
        database.Prepare("SELECT name, fingerprint, pinned_on_first_use FROM shops WHERE name = ?");
    select.BindText(name);
    absl::StatusOr<bool> row = select.Step();
    if (!row.ok()) return row.status();
    if (*row) {
      found = PinnedShop{select.ColumnText(0), select.ColumnBlob(1), select.ColumnInt64(2) != 0};
    }
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return found;
}

absl::StatusOr<std::vector<PinnedShop>> ShopStore::List() {
  std::vector<PinnedShop> shops;
  const absl::Status status = database_.Read([&](SqliteDatabase& database) -> absl::Status {
    SqliteStatement select =
        database.Prepare("SELECT name, fingerprint, pinned_on_first_use FROM shops ORDER BY name");
    while (true) {
      absl::StatusOr<bool> row = select.Step();
      if (!row.ok()) return row.status();
      if (!*row) return absl::OkStatus();
      shops.push_back({select.ColumnText(0), select.ColumnBlob(1), select.ColumnInt64(2) != 0});
    }
  });
  if (!status.ok()) return status;
  return shops;
}

absl::Status ShopStore::Pin(const PinnedShop& shop) {
  return database_.Transact([&](SqliteDatabase& database) -> absl::Status {
    const absl::Status dropped =
        database.Prepare("DELETE FROM shops WHERE name = ? AND fingerprint <> ?")
            .BindText(shop.name)
            .BindBlob(shop.fingerprint)
            .Run();
    if (!dropped.ok()) return dropped;
    return database
        .Prepare(
            "INSERT INTO shops (name, fingerprint, pinned_on_first_use) VALUES (?, ?, ?) "
            "ON CONFLICT (name) DO UPDATE SET pinned_on_first_use = excluded.pinned_on_first_use")
        .BindText(shop.name)
        .BindBlob(shop.fingerprint)
        .BindInt64(shop.on_first_use ? 1 : 0)
        .Run();
  });
}

absl::Status ShopStore::SaveIdentity(const crypto::PublicIdentity& identity) {
  return database_.Transact([&](SqliteDatabase& database) {
    return database
        .Prepare("INSERT OR IGNORE INTO identities (fingerprint, identity) VALUES (?, ?)")
        .BindBlob(identity.fingerprint())
        .BindBlob(identity.Serialize())
        .Run();
  });
}

absl::StatusOr<absl::optional<crypto::PublicIdentity>> ShopStore::FindIdentity(
    absl::string_view fingerprint) {
  absl::optional<crypto::PublicIdentity> found;
  const absl::Status status = database_.Read([&](SqliteDatabase& database) -> absl::Status {
    SqliteStatement select =
        database.Prepare("SELECT identity FROM identities WHERE fingerprint = ?");
    select.BindBlob(fingerprint);
    absl::StatusOr<bool> row = select.Step();
    if (!row.ok()) return row.status();
    if (!*row) return absl::OkStatus();
    absl::StatusOr<crypto::PublicIdentity> identity =
        crypto::PublicIdentity::Parse(select.ColumnBlob(0));
    if (!identity.ok() || identity->fingerprint() != fingerprint) {
      return absl::DataLossError("a shop's identity in the agent's database is damaged");
    }
    found = *std::move(identity);
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return found;
}

absl::StatusOr<uint64_t> ShopStore::CatalogueVersion(absl::string_view shop) {
  uint64_t version = 0;
  const absl::Status status = database_.Read([&](SqliteDatabase& database) -> absl::Status {
    SqliteStatement select = database.Prepare("SELECT catalogue_version FROM shops WHERE name = ?");
    select.BindText(shop);
    absl::StatusOr<bool> row = select.Step();
    if (!row.ok()) return row.status();
    if (!*row) return absl::NotFoundError("that shop is not pinned");
    version = static_cast<uint64_t>(select.ColumnInt64(0));
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return version;
}

absl::Status ShopStore::ApplyPage(absl::string_view shop, const v1::CataloguePage& page) {
  return database_.Transact([&](SqliteDatabase& database) -> absl::Status {
    for (const v1::Product& product : page.products()) {
      const absl::Status stored = StoreProduct(database, shop, product);
      if (!stored.ok()) return stored;
    }
    return database.Prepare("UPDATE shops SET catalogue_version = ? WHERE name = ?")
        .BindInt64(static_cast<int64_t>(page.version()))
        .BindText(shop)
        .Run();
  });
}

absl::Status ShopStore::ClearCatalogue(absl::string_view shop) {
  return database_.Transact([&](SqliteDatabase& database) -> absl::Status {
    const absl::Status dropped =
        database.Prepare("DELETE FROM products WHERE shop = ?").BindText(shop).Run();
    if (!dropped.ok()) return dropped;
    return database.Prepare("UPDATE shops SET catalogue_version = 0 WHERE name = ?")
        .BindText(shop)
        .Run();
  });
}

absl::StatusOr<std::vector<CatalogueEntry>> ShopStore::Entries(absl::string_view shop) {
  std::vector<CatalogueEntry> entries;
  const absl::Status status = database_.Read([&](SqliteDatabase& database) {
    SqliteStatement select = database.Prepare(
        "SELECT shop, entry, picture IS NOT NULL FROM products WHERE ?1 = '' OR shop = ?1 "
        "ORDER BY shop, product_id");
    select.BindText(shop);
    return CollectEntries(select, &entries);
  });
  if (!status.ok()) return status;
  return entries;
}

absl::StatusOr<std::vector<CatalogueEntry>> ShopStore::FindByPrefix(absl::string_view shop,
                                                                    absl::string_view hex_prefix,
                                                                    size_t limit) {
  std::vector<CatalogueEntry> entries;
  const absl::Status status = database_.Read([&](SqliteDatabase& database) {
    SqliteStatement select = database.Prepare(
        "SELECT shop, entry, picture IS NOT NULL FROM products WHERE (?1 = '' OR shop = ?1) "
        "AND substr(lower(hex(product_id)), 1, length(?2)) = ?2 ORDER BY shop LIMIT ?3");
    select.BindText(shop).BindText(hex_prefix).BindInt64(static_cast<int64_t>(limit));
    return CollectEntries(select, &entries);
  });
  if (!status.ok()) return status;
  return entries;
}

absl::StatusOr<std::string> ShopStore::Picture(absl::string_view shop,
                                               absl::string_view product_id) {
  std::string picture;
  const absl::Status status = database_.Read([&](SqliteDatabase& database) -> absl::Status {
    SqliteStatement select =
        database.Prepare("SELECT picture FROM products WHERE shop = ? AND product_id = ?");
    select.BindText(shop).BindBlob(product_id);
    absl::StatusOr<bool> row = select.Step();
    if (!row.ok()) return row.status();
    if (*row) picture = select.ColumnBlob(0);
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return picture;
}

}  // namespace blindcart::agent
