#include "services/agent/catalogue.h"

#include <locale.h>
#include <wctype.h>

#include <cstdint>
#include <limits>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "protocol/order.h"
#include "protocol/shop_link.h"
#include "protocol/utf8.h"
#include "services/agent/narrator.h"

namespace blindcart::agent {
namespace {

constexpr size_t kMinPrefixDigits = 4;
constexpr size_t kMaxSearchBytes = 1024;

// Lower-case code points, so that search ignores case beyond ASCII.
std::u32string FoldCase(absl::string_view text) {
  static const locale_t kLocale = newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr);
  std::u32string folded;
  folded.reserve(text.size());
  while (!text.empty()) {
    const protocol::CodePoint point = protocol::FirstCodePoint(text);
    text.remove_prefix(point.bytes);
    if (!point.valid) continue;
    const wint_t lower = kLocale == nullptr ? towlower(static_cast<wint_t>(point.value))
                                            : towlower_l(static_cast<wint_t>(point.value), kLocale);
    folded.push_back(static_cast<char32_t>(lower));
  }
  return folded;
}

absl::Status Damaged(absl::string_view shop, absl::string_view why) {
  return absl::DataLossError(
      absl::StrCat("the catalogue that shop '", shop, "' sent was refused: ", why,
                   ". Nothing of that page was kept. Tell the shop's owner"));
}

absl::Status CheckPage(absl::string_view shop, uint64_t known_version,
                       const v1::CataloguePage& page) {
  if (page.version() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    return Damaged(shop, "its version is out of bounds");
  }
  uint64_t last = known_version;
  for (const v1::Product& product : page.products()) {
    const absl::Status valid = protocol::ValidateProduct(product);
    if (!valid.ok()) return Damaged(shop, valid.message());
    if (product.version() <= known_version || product.version() < last ||
        product.version() > page.version()) {
      return Damaged(shop, "its entries are out of order");
    }
    last = product.version();
  }
  if (page.more() && page.version() <= known_version) return Damaged(shop, "it has no end");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> ParseIdPrefix(absl::string_view text, size_t id_bytes,
                                          absl::string_view what) {
  const std::string digits = absl::AsciiStrToLower(absl::StripAsciiWhitespace(text));
  bool valid = digits.size() >= kMinPrefixDigits && digits.size() <= 2 * id_bytes;
  for (const char c : digits) valid = valid && absl::ascii_isxdigit(c);
  if (!valid) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the ", what, "'s id has ", 2 * id_bytes,
        " hexadecimal digits; give all of them or at least the first ", kMinPrefixDigits));
  }
  return digits;
}

absl::StatusOr<Catalogue::Browsed> Catalogue::Browse(const std::string& shop) {
  const absl::StatusOr<ShopTarget> target = directory_.Resolve(shop);
  if (!target.ok()) return target.status();
  const absl::Status synchronised = connector_.WithSession(
      target->identity, [&](ShopSession& session) { return Synchronise(session, shop); });
  if (!synchronised.ok()) return synchronised;
  absl::StatusOr<std::vector<CatalogueEntry>> entries = store_.Entries(shop);
  if (!entries.ok()) return entries.status();
  return Browsed{*std::move(entries), target->warning};
}

absl::Status Catalogue::Synchronise(ShopSession& session, const std::string& shop) {
  absl::StatusOr<uint64_t> version = store_.CatalogueVersion(shop);
  if (!version.ok()) return version.status();
  bool restarted = false;
  for (int pages = 0; pages < kMaxPages; ++pages) {
    v1::ShopRequest request;
    request.mutable_catalogue()->set_known_version(*version);
    Narration().Say("shop",
                    "asked for what changed in the catalogue since last time, sealed under S3 and "
                    "padded like every request");
    const absl::StatusOr<v1::ShopReply> reply = session.Call(request, v1::ShopReply::kCatalogue);
    if (!reply.ok()) return reply.status();
    const v1::CataloguePage& page = reply->catalogue();
    if (page.version() < *version) {
      // The shop went back behind what it had told us, as after a restored backup: begin anew, once.
      if (restarted) return Damaged(shop, "its version runs backwards");
      restarted = true;
      const absl::Status cleared = store_.ClearCatalogue(shop);
      if (!cleared.ok()) return cleared;
      *version = 0;
      continue;
    }
    absl::Status status = CheckPage(shop, *version, page);
    if (status.ok()) status = store_.ApplyPage(shop, page);
    if (status.ok()) {
      Narration().Say("shop", absl::StrCat("a page of the catalogue opened and checked: ",
                                           page.products_size(), " products new or changed"));
    }
    if (!status.ok() || !page.more()) return status;
    *version = page.version();
  }
  return Damaged(shop, "it is too large");
}

absl::StatusOr<std::vector<CatalogueEntry>> Catalogue::Search(absl::string_view text,
                                                              absl::string_view shop) {
  if (text.size() > kMaxSearchBytes) {
    return absl::InvalidArgumentError("that is too much text to search for");
  }
  std::vector<std::u32string> words;
  for (const absl::string_view word :
       absl::StrSplit(text, absl::ByAnyChar(" \t\r\n"), absl::SkipEmpty())) {
    words.push_back(FoldCase(word));
  }
  if (words.empty()) return absl::InvalidArgumentError("say what to search for");
  absl::StatusOr<std::vector<CatalogueEntry>> entries = store_.Entries(shop);
  if (!entries.ok()) return entries.status();
  std::vector<CatalogueEntry> found;
  for (CatalogueEntry& entry : *entries) {
    const std::u32string title = FoldCase(entry.product.title());
    const std::u32string description = FoldCase(entry.product.description());
    bool all = true;
    for (const std::u32string& word : words) {
      all = all && (title.find(word) != std::u32string::npos ||
                    description.find(word) != std::u32string::npos);
    }
    if (all) found.push_back(std::move(entry));
  }
  return found;
}

absl::StatusOr<CatalogueEntry> Catalogue::Find(absl::string_view product) {
  absl::string_view shop;
  absl::string_view digits = absl::StripAsciiWhitespace(product);
  const size_t slash = digits.find('/');
  if (slash != absl::string_view::npos) {
    shop = digits.substr(0, slash);
    digits.remove_prefix(slash + 1);
    if (!protocol::IsValidShopName(shop)) {
      return absl::InvalidArgumentError("a shop's name has 1 to 64 of a-z, 0-9 and '-'");
    }
  }
  const absl::StatusOr<std::string> prefix =
      ParseIdPrefix(digits, protocol::kProductIdBytes, "product");
  if (!prefix.ok()) return prefix.status();
  absl::StatusOr<std::vector<CatalogueEntry>> found = store_.FindByPrefix(shop, *prefix, 2);
  if (!found.ok()) return found.status();
  if (found->empty()) {
    return absl::NotFoundError(
        "no product in the local catalogues has that id. Browse the shop first: blindcart browse "
        "SHOP");
  }
  if (found->size() > 1) {
    return absl::FailedPreconditionError(
        (*found)[0].shop != (*found)[1].shop
            ? absl::StrCat("products of the shops '", (*found)[0].shop, "' and '", (*found)[1].shop,
                           "' begin with that id. Give more digits, or SHOP/ID")
            : "several products begin with that id. Give more digits");
  }
  return std::move(found->front());
}

absl::StatusOr<std::string> Catalogue::Picture(const CatalogueEntry& entry) {
  return store_.Picture(entry.shop, entry.product.product_id());
}

}  // namespace blindcart::agent
