#include "services/agent/shop_directory.h"

#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "crypto/encoding.h"
#include "protocol/shop_link.h"

namespace blindcart::agent {
namespace {

constexpr int kMaxDirectoryPages = 100;

absl::Status KeyChanged(absl::string_view name, absl::string_view pinned, absl::string_view shown) {
  return absl::FailedPreconditionError(absl::StrCat(
      "THE KEY OF SHOP '", name, "' HAS CHANGED. Pinned: ", crypto::HexEncode(pinned),
      ". Shown now: ", crypto::HexEncode(shown),
      ". Somebody may be posing as the shop; nothing was sent to it. Ask the shop itself, not the "
      "broker. If it confirms the new key, run: blindcart add-shop LINK --accept-new-key, with the "
      "shop's new link"));
}

}  // namespace

absl::StatusOr<std::vector<ShopView>> ShopDirectory::List() {
  std::map<std::string, ShopView> shops;
  const absl::StatusOr<std::vector<PinnedShop>> pinned = store_.List();
  if (!pinned.ok()) return pinned.status();
  for (const PinnedShop& pin : *pinned) {
    shops[pin.name] = {pin.name, pin.fingerprint, false, true, pin.on_first_use, false};
  }
  std::string after;
  for (int page = 0;; ++page) {
    if (page == kMaxDirectoryPages) return absl::DataLossError("the broker's list has no end");
    v1::CustomerMessage call;
    call.mutable_list_shops()->set_after_name(after);
    const absl::StatusOr<v1::BrokerToCustomer> reply =
        broker_.Call(call, v1::BrokerToCustomer::kListShops, OnBreak::kRepeat);
    if (!reply.ok()) return reply.status();
    for (const v1::ShopEntry& entry : reply->list_shops().shops()) {
      if (entry.name() <= after) return absl::DataLossError("the broker's list is out of order");
      after = entry.name();
      if (!protocol::IsValidShopName(entry.name())) continue;
      const absl::StatusOr<crypto::PublicIdentity> identity =
          crypto::PublicIdentity::Parse(entry.identity());
      const auto known = shops.find(entry.name());
      if (known != shops.end()) {
        known->second.key_changed =
            !identity.ok() || identity->fingerprint() != known->second.fingerprint;
        known->second.online = entry.online() && !known->second.key_changed;
      } else if (identity.ok()) {
        ShopView& shop = shops[entry.name()];
        shop.name = entry.name();
        shop.fingerprint = identity->fingerprint();
        shop.online = entry.online();
      }
    }
    if (!reply->list_shops().more()) break;
    if (reply->list_shops().shops().empty()) {
      return absl::DataLossError("the broker's list has no end");
    }
  }
  std::vector<ShopView> list;
  list.reserve(shops.size());
  for (auto& [name, shop] : shops) list.push_back(std::move(shop));
  return list;
}

absl::StatusOr<ShopDirectory::Added> ShopDirectory::Add(absl::string_view link,
                                                        bool accept_new_key) {
  const absl::StatusOr<protocol::ShopLink> parsed = protocol::ParseShopLink(link);
  if (!parsed.ok()) return parsed.status();
  const absl::StatusOr<absl::optional<PinnedShop>> pinned = store_.Find(parsed->name);
  if (!pinned.ok()) return pinned.status();
  Added added;
  if (pinned->has_value()) {
    added.already_known = (*pinned)->fingerprint == parsed->fingerprint;
    if (!added.already_known && !accept_new_key) {
      return KeyChanged(parsed->name, (*pinned)->fingerprint, parsed->fingerprint);
    }
  }
  const absl::Status stored = store_.Pin({parsed->name, parsed->fingerprint, false});
  if (!stored.ok()) return stored;
  added.shop = {parsed->name, parsed->fingerprint, false, true, false, false};

  if (broker_.state().logged_in) {
    v1::GetShopCall call;
    call.set_fingerprint(parsed->fingerprint);
    const absl::StatusOr<absl::optional<Listed>> listed = LookUp(call);
    // The pin stands whatever the broker says or whether it can be reached.
    if (listed.ok() && listed->has_value() &&
        (*listed)->identity.fingerprint() == parsed->fingerprint) {
      const absl::Status kept = store_.SaveIdentity((*listed)->identity);
      if (!kept.ok()) return kept;
      added.shop.online = (*listed)->online;
    }
  }
  return added;
}

absl::StatusOr<ShopTarget> ShopDirectory::Resolve(const std::string& name) {
  if (!protocol::IsValidShopName(name)) {
    return absl::InvalidArgumentError("a shop's name has 1 to 64 of a-z, 0-9 and '-'");
  }
  const absl::StatusOr<absl::optional<PinnedShop>> pinned = store_.Find(name);
  if (!pinned.ok()) return pinned.status();
  v1::GetShopCall call;
  call.set_name(name);
  absl::StatusOr<absl::optional<Listed>> listed = LookUp(call);
  if (!listed.ok()) return listed.status();
  if (listed->has_value() && (*listed)->name != name) {
    return absl::DataLossError("the broker answered with another shop than the one asked for");
  }

  if (!pinned->has_value()) {
    if (!listed->has_value()) {
      return absl::NotFoundError(absl::StrCat("the broker knows no shop '", name,
                                              "'. blindcart shops lists those it knows"));
    }
    absl::Status stored = store_.SaveIdentity((*listed)->identity);
    if (stored.ok()) stored = store_.Pin({name, (*listed)->identity.fingerprint(), true});
    if (!stored.ok()) return stored;
    return ShopTarget{
        name, (*listed)->identity,
        absl::StrCat("the key of shop '", name,
                     "' was taken from the broker's directory on first "
                     "use: ",
                     crypto::HexEncode((*listed)->identity.fingerprint()),
                     ". A dishonest broker could show its own. Compare it with the shop's own link "
                     "(blindcart add-shop LINK)")};
  }
  if (listed->has_value()) {
    if ((*listed)->identity.fingerprint() != (*pinned)->fingerprint) {
      return KeyChanged(name, (*pinned)->fingerprint, (*listed)->identity.fingerprint());
    }
    const absl::Status stored = store_.SaveIdentity((*listed)->identity);
    if (!stored.ok()) return stored;
    return ShopTarget{name, (*listed)->identity, ""};
  }
  absl::StatusOr<crypto::PublicIdentity> identity = IdentityOf((*pinned)->fingerprint);
  if (!identity.ok()) return identity.status();
  return ShopTarget{name, *std::move(identity), ""};
}

absl::StatusOr<crypto::PublicIdentity> ShopDirectory::IdentityOf(absl::string_view fingerprint) {
  absl::StatusOr<absl::optional<crypto::PublicIdentity>> known = store_.FindIdentity(fingerprint);
  if (!known.ok()) return known.status();
  if (known->has_value()) return **std::move(known);
  v1::GetShopCall call;
  call.set_fingerprint(std::string(fingerprint));
  absl::StatusOr<absl::optional<Listed>> listed = LookUp(call);
  if (!listed.ok()) return listed.status();
  if (!listed->has_value() || (*listed)->identity.fingerprint() != fingerprint) {
    return absl::NotFoundError(
        "the broker knows no shop with the pinned key. Ask the shop for its present shop link");
  }
  const absl::Status stored = store_.SaveIdentity((*listed)->identity);
  if (!stored.ok()) return stored;
  return (*listed)->identity;
}

absl::StatusOr<absl::optional<ShopDirectory::Listed>> ShopDirectory::LookUp(
    const v1::GetShopCall& call) {
  v1::CustomerMessage message;
  *message.mutable_get_shop() = call;
  const absl::StatusOr<v1::BrokerToCustomer> reply =
      broker_.Call(message, v1::BrokerToCustomer::kGetShop, OnBreak::kRepeat);
  if (!reply.ok()) return reply.status();
  absl::optional<Listed> listed;
  if (reply->get_shop().has_shop()) {
    const v1::ShopEntry& entry = reply->get_shop().shop();
    absl::StatusOr<crypto::PublicIdentity> identity =
        crypto::PublicIdentity::Parse(entry.identity());
    if (!identity.ok()) {
      return absl::DataLossError("what the broker shows as the shop's key is none");
    }
    listed = Listed{entry.name(), *std::move(identity), entry.online()};
  }
  return listed;
}

}  // namespace blindcart::agent
