#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "clients/cli/commands.h"
#include "clients/cli/format.h"
#include "services/common/files.h"

namespace blindcart::cli {
namespace {

constexpr mode_t kPictureMode = 0600;

struct AddShopArguments {
  std::string link;
  bool accept_new_key = false;
};
struct BrowseArguments {
  std::string shop;
};
struct SearchArguments {
  std::vector<std::string> words;
  std::string shop;
};
struct ShowArguments {
  std::string product;
  std::string picture_to;
};

Cell KeyCell(const v1::Shop& shop) {
  if (shop.key_changed()) return {"CHANGED, refused", Style::kBad};
  if (!shop.pinned()) return {"not pinned yet", Style::kFaint};
  if (shop.pinned_on_first_use()) return {"pinned on first use", Style::kWarning};
  return {"pinned by shop link", Style::kGood};
}

ExitCode ListShops(Context& context) {
  const auto reply = context.Ask(&v1::Agent::StubInterface::ListShops, v1::ListShopsRequest(),
                                 AgentClient::kNetworkTimeoutMs);
  if (!reply.ok()) return context.Fail(reply.status());
  if (context.json()) {
    context.console().PrintJson(*reply);
    return ExitCode::kOk;
  }
  if (reply->shops().empty()) {
    context.console().Print("The broker knows no shop.");
    return ExitCode::kOk;
  }
  Table table({{"SHOP"}, {"NOW"}, {"KEY"}, {"FINGERPRINT", Align::kLeft, true}});
  for (const v1::Shop& shop : reply->shops()) {
    table.AddRow({shop.name(),
                  shop.online() ? Cell("online", Style::kGood) : Cell("offline", Style::kFaint),
                  KeyCell(shop), shop.fingerprint_hex()});
  }
  context.console().Print(table);
  return ExitCode::kOk;
}

ExitCode AddShop(Context& context, const AddShopArguments& arguments) {
  v1::AddShopRequest request;
  request.set_link(arguments.link);
  request.set_accept_new_key(arguments.accept_new_key);
  const auto reply =
      context.Ask(&v1::Agent::StubInterface::AddShop, request, AgentClient::kNetworkTimeoutMs);
  if (!reply.ok()) return context.Fail(reply.status());
  if (context.json()) {
    context.console().PrintJson(*reply);
    return ExitCode::kOk;
  }
  const v1::Shop& shop = reply->shop();
  Table table = Table::Details();
  table.AddRow({reply->already_known() ? "Known already" : "Added", {shop.name(), Style::kGood}});
  table.AddRow({"Pinned key", shop.fingerprint_hex()});
  context.console().Print(table);
  context.console().Print(absl::StrCat("See what it sells: blindcart browse ", shop.name()));
  return ExitCode::kOk;
}

template <typename Items>
void PrintItems(Context& context, const Items& items, bool with_shop) {
  std::vector<Table::Column> columns = {{"PRODUCT"}};
  if (with_shop) columns.push_back({"SHOP"});
  columns.insert(columns.end(), {{"TITLE", Align::kLeft, true},
                                 {"PRICE", Align::kRight},
                                 {"SIZE", Align::kRight},
                                 {"FORMAT"},
                                 {""}});
  Table table(columns);
  for (const v1::CatalogueItem& item : items) {
    std::vector<Cell> row = {ShortId(item.product_id_hex())};
    if (with_shop) row.emplace_back(item.shop());
    row.emplace_back(item.title());
    row.emplace_back(FormatMoney(item.price_minor(), item.currency()));
    row.emplace_back(FormatSize(item.size_bytes()));
    row.emplace_back(item.format());
    row.push_back(item.sold_out() ? Cell("sold out", Style::kWarning) : Cell(""));
    table.AddRow(std::move(row));
  }
  context.console().Print(table);
}

ExitCode Browse(Context& context, const BrowseArguments& arguments) {
  v1::BrowseRequest request;
  request.set_shop(arguments.shop);
  const auto reply =
      context.Ask(&v1::Agent::StubInterface::Browse, request, AgentClient::kBrowseTimeoutMs);
  if (!reply.ok()) return context.Fail(reply.status());
  if (!reply->warning().empty()) {
    context.console().Complain(absl::StrCat("warning: ", reply->warning()));
  }
  if (context.json()) {
    context.console().PrintJson(*reply);
  } else if (reply->items().empty()) {
    context.console().Print("The shop sells nothing at the moment.");
  } else {
    PrintItems(context, reply->items(), /*with_shop=*/false);
  }
  return ExitCode::kOk;
}

ExitCode Search(Context& context, const SearchArguments& arguments) {
  v1::SearchRequest request;
  request.set_text(absl::StrJoin(arguments.words, " "));
  request.set_shop(arguments.shop);
  const auto reply =
      context.Ask(&v1::Agent::StubInterface::Search, request, AgentClient::kLocalTimeoutMs);
  if (!reply.ok()) return context.Fail(reply.status());
  if (context.json()) {
    context.console().PrintJson(*reply);
  } else if (reply->items().empty()) {
    context.console().Print(
        "Nothing found in the catalogues that are here. blindcart browse SHOP fetches one.");
  } else {
    PrintItems(context, reply->items(), /*with_shop=*/true);
  }
  return ExitCode::kOk;
}

absl::Status SavePicture(const v1::ShowReply& reply, const std::string& path) {
  if (reply.picture().empty()) return absl::NotFoundError("this product has no picture");
  const absl::Status saved =
      WriteFileAtomically(path, reply.picture(), kPictureMode, /*replace=*/false);
  if (!absl::IsAlreadyExists(saved)) return saved;
  return absl::AlreadyExistsError(
      absl::StrCat(path, " is there already. Choose another name for the picture"));
}

void PrintItem(Context& context, const v1::ShowReply& reply) {
  const v1::CatalogueItem& item = reply.item();
  Table table = Table::Details();
  table.AddRow({"Title", {item.title(), Style::kBold}});
  table.AddRow({"Shop", item.shop()});
  table.AddRow({"Price", FormatMoney(item.price_minor(), item.currency())});
  table.AddRow({"Size", FormatSize(item.size_bytes())});
  if (!item.format().empty()) table.AddRow({"Format", item.format()});
  table.AddRow({"Stock", item.sold_out() ? Cell("sold out", Style::kWarning) : Cell("available")});
  if (item.has_picture()) {
    table.AddRow({"Picture", absl::StrCat(FormatSize(reply.picture().size()),
                                          "; save it with --picture-to FILE")});
  }
  table.AddRow({"SHA-256", item.content_sha256_hex()});
  table.AddRow({"Product", item.product_id_hex()});
  context.console().Print(table);
  if (!item.description().empty()) context.console().Print(absl::StrCat("\n", item.description()));
}

ExitCode Show(Context& context, const ShowArguments& arguments) {
  v1::ShowRequest request;
  request.set_product(arguments.product);
  const auto reply =
      context.Ask(&v1::Agent::StubInterface::Show, request, AgentClient::kLocalTimeoutMs);
  if (!reply.ok()) return context.Fail(reply.status());
  if (!arguments.picture_to.empty()) {
    const absl::Status saved = SavePicture(*reply, arguments.picture_to);
    if (!saved.ok()) return context.Fail(ExitCode::kFailure, saved);
  }
  if (context.json()) {
    context.console().PrintJson(*reply);
    return ExitCode::kOk;
  }
  PrintItem(context, *reply);
  if (!arguments.picture_to.empty()) {
    context.console().Print(absl::StrCat("\nThe picture is in ", arguments.picture_to));
  }
  return ExitCode::kOk;
}

}  // namespace

void AddShopCommands(CLI::App& app, Action& chosen) {
  OnCommand(AddCommand(app, "shops", "List the shops that the broker knows, and their keys",
                       "  blindcart shops\n"),
            chosen, &ListShops);

  auto add_arguments = std::make_shared<AddShopArguments>();
  CLI::App* add =
      AddCommand(app, "add-shop", "Pin a shop's key from the link that the shop gave you",
                 "  blindcart add-shop 'blindcart:shop/books?broker=HOST:7443#KEY'\n");
  add->add_option("link", add_arguments->link, "The shop link, in quotes")->required();
  add->add_flag("--accept-new-key", add_arguments->accept_new_key,
                "Replace the pinned key, after the shop itself has confirmed the new one");
  OnCommand(add, chosen, add_arguments, &AddShop);

  auto browse_arguments = std::make_shared<BrowseArguments>();
  CLI::App* browse = AddCommand(app, "browse", "Fetch a shop's catalogue and list it",
                                "  blindcart browse quiet-books\n");
  browse->add_option("shop", browse_arguments->shop, "The shop's name")->required();
  OnCommand(browse, chosen, browse_arguments, &Browse);

  auto search_arguments = std::make_shared<SearchArguments>();
  CLI::App* search =
      AddCommand(app, "search", "Search the catalogues that are here; nobody learns for what",
                 "  blindcart search faith law\n  blindcart search faith --shop quiet-books\n");
  search->add_option("words", search_arguments->words, "Words, all of which have to occur")
      ->required();
  search->add_option("--shop", search_arguments->shop, "Only in this shop's catalogue");
  OnCommand(search, chosen, search_arguments, &Search);

  auto show_arguments = std::make_shared<ShowArguments>();
  CLI::App* show = AddCommand(app, "show", "Show one product; nobody learns which",
                              "  blindcart show 3f9a12bc\n"
                              "  blindcart show 3f9a12bc --picture-to cover.png\n");
  show->add_option("product", show_arguments->product,
                   "Product id, or its beginning; SHOP/ID when two shops have it")
      ->required();
  show->add_option("--picture-to", show_arguments->picture_to, "Save the picture as this new file");
  OnCommand(show, chosen, show_arguments, &Show);
}

}  // namespace blindcart::cli
