// Pinned shops, their public identities and the local copies of their catalogues, in the agent's
// database. What is stored has been checked by the callers (shop_directory.h, catalogue.h).
//
// Thread-safe; every call blocks on the disk. Errors: as services/storage/sqlite.h.
#ifndef BLINDCART_SERVICES_AGENT_SHOP_STORE_H_
#define BLINDCART_SERVICES_AGENT_SHOP_STORE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "crypto/identity.h"
#include "proto/shop.pb.h"
#include "services/agent/agent_database.h"

namespace blindcart::agent {

struct PinnedShop {
  std::string name;
  std::string fingerprint;  // 32 bytes.
  bool on_first_use = false;
};

struct CatalogueEntry {
  std::string shop;
  v1::Product product;  // Without its picture.
  bool has_picture = false;
};

class ShopStore {
 public:
  // `database` must outlive the store.
  explicit ShopStore(AgentDatabase& database) : database_(database) {}

  absl::StatusOr<absl::optional<PinnedShop>> Find(absl::string_view name);
  absl::StatusOr<std::vector<PinnedShop>> List();
  // Makes or replaces the pin of that name. A new key starts with an empty catalogue.
  absl::Status Pin(const PinnedShop& shop);

  absl::Status SaveIdentity(const crypto::PublicIdentity& identity);
  absl::StatusOr<absl::optional<crypto::PublicIdentity>> FindIdentity(
      absl::string_view fingerprint);

  // The version up to which the copy is complete; NotFound when the shop is not pinned.
  absl::StatusOr<uint64_t> CatalogueVersion(absl::string_view shop);
  // Applies a page and moves the version on, in one transaction.
  absl::Status ApplyPage(absl::string_view shop, const v1::CataloguePage& page);
  // Empties the copy.
  absl::Status ClearCatalogue(absl::string_view shop);

  // Of one shop, or of all with an empty name; in order of shop and product id.
  absl::StatusOr<std::vector<CatalogueEntry>> Entries(absl::string_view shop);
  // At most `limit` whose id begins with the given lower-case hexadecimal digits.
  absl::StatusOr<std::vector<CatalogueEntry>> FindByPrefix(absl::string_view shop,
                                                           absl::string_view hex_prefix,
                                                           size_t limit);
  absl::StatusOr<std::string> Picture(absl::string_view shop, absl::string_view product_id);

 private:
  AgentDatabase& database_;
};

}  // namespace blindcart::agent

#endif  // BLINDCART_SERVICES_AGENT_SHOP_STORE_H_
