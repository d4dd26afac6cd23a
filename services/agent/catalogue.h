// Browsing (docs/protocol.md section 3): the agent fetches what changed in a shop's catalogue, keeps
// a copy, and lists, searches and shows from it, so that nobody learns what was looked at. Every
// entry is checked before it is stored; a page with one bad entry is refused whole.
//
// Errors, with words for people: InvalidArgument, NotFound, FailedPrecondition (an id's beginning
// that several products share), DataLoss (a catalogue out of bounds or order), and those of
// shop_directory.h and shop_session.h.
// Thread-safe; calls block.
#ifndef BLINDCART_SERVICES_AGENT_CATALOGUE_H_
#define BLINDCART_SERVICES_AGENT_CATALOGUE_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/agent/shop_directory.h"
#include "services/agent/shop_session.h"
#include "services/agent/shop_store.h"

namespace blindcart::agent {

class Catalogue {
 public:
  static constexpr int kMaxPages = 10'000;  // Of one synchronisation, about 256 KiB each.

  struct Browsed {
    std::vector<CatalogueEntry> entries;
    std::string warning;  // See ShopTarget.
  };

  // All must outlive the catalogue.
  Catalogue(ShopDirectory& directory, ShopConnector& connector, ShopStore& store)
      : directory_(directory), connector_(connector), store_(store) {}

  // Brings the copy up to date, then lists it.
  absl::StatusOr<Browsed> Browse(const std::string& shop);
  // Entries in whose title or description every word of `text` occurs, case ignored. An empty
  // `shop` means all. Local.
  absl::StatusOr<std::vector<CatalogueEntry>> Search(absl::string_view text,
                                                     absl::string_view shop);
  // The one product that `product` means: [SHOP/] and its id in hexadecimal or an unambiguous
  // beginning of at least 4 digits. Local.
  absl::StatusOr<CatalogueEntry> Find(absl::string_view product);
  absl::StatusOr<std::string> Picture(const CatalogueEntry& entry);

 private:
  absl::Status Synchronise(ShopSession& session, const std::string& shop);

  ShopDirectory& directory_;
  ShopConnector& connector_;
  ShopStore& store_;
};

// Hexadecimal digits as a person types the beginning of an id: lower-cased, 4 to 2 × `id_bytes`.
// `what` is for the error: "product", "order".
absl::StatusOr<std::string> ParseIdPrefix(absl::string_view text, size_t id_bytes,
                                          absl::string_view what);

}  // namespace blindcart::agent

#endif  // BLINDCART_SERVICES_AGENT_CATALOGUE_H_
