// Which key belongs to which shop (docs/protocol.md, "Keys and trust"). A shop link pins a key for
// good. The broker's directory only helps to find a shop: a key first seen there is pinned with a
// warning, and one that differs from the pin is refused until the customer accepts it with a link
// of the shop's own.
//
// Errors, with words for people: InvalidArgument (a name or link that is none), NotFound,
// FailedPrecondition (another key than the pinned one), DataLoss (the directory contradicts itself),
// and those of broker_session.h.
// Thread-safe; calls block.
#ifndef BLINDCART_SERVICES_AGENT_SHOP_DIRECTORY_H_
#define BLINDCART_SERVICES_AGENT_SHOP_DIRECTORY_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "crypto/identity.h"
#include "services/agent/broker_session.h"
#include "services/agent/shop_store.h"

namespace blindcart::agent {

// A shop as the customer sees it.
struct ShopView {
  std::string name;
  std::string fingerprint;  // The pinned one, else the directory's.
  bool online = false;
  bool pinned = false;
  bool on_first_use = false;
  bool key_changed = false;  // The directory shows another key than the pinned one.
};

// A shop to open a session with.
struct ShopTarget {
  std::string name;
  crypto::PublicIdentity identity;  // The pinned key's.
  std::string warning;              // Set when the key was pinned just now, on first use.
};

class ShopDirectory {
 public:
  struct Added {
    ShopView shop;
    bool already_known = false;
  };

  // Both must outlive the directory.
  ShopDirectory(BrokerSession& broker, ShopStore& store) : broker_(broker), store_(store) {}

  // The broker's shops and the pinned ones, in order of name.
  absl::StatusOr<std::vector<ShopView>> List();
  // Pins what a shop link says. Works without a broker, too; the shop then shows as offline.
  absl::StatusOr<Added> Add(absl::string_view link, bool accept_new_key);
  // The shop of that name; pins its key if there is no pin.
  absl::StatusOr<ShopTarget> Resolve(const std::string& name);
  // The identity of a key that was pinned once, for purchases made under it.
  absl::StatusOr<crypto::PublicIdentity> IdentityOf(absl::string_view fingerprint);

 private:
  // What the directory shows under a name or fingerprint, if anything.
  struct Listed {
    std::string name;
    crypto::PublicIdentity identity;
    bool online = false;
  };
  absl::StatusOr<absl::optional<Listed>> LookUp(const v1::GetShopCall& call);

  BrokerSession& broker_;
  ShopStore& store_;
};

}  // namespace blindcart::agent

#endif  // BLINDCART_SERVICES_AGENT_SHOP_DIRECTORY_H_
