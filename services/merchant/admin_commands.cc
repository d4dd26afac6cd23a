// The commands that a merchant gives to the running shop, over its Unix socket.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include <grpcpp/grpcpp.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "google/protobuf/util/json_util.h"
#include "proto/merchant_admin.grpc.pb.h"
#include "services/common/files.h"
#include "services/common/status_conversion.h"
#include "services/common/transport.h"
#include "services/ledger/money.h"
#include "services/merchant/commands.h"
#include "services/merchant/config.h"

namespace blindcart::merchant {
namespace {

constexpr std::chrono::seconds kCallLimit(30);

// The running shop of one data folder.
class Shop {
 public:
  static absl::StatusOr<Shop> Reach(const std::string& data_dir) {
    absl::StatusOr<v1::MerchantConfig> config = LoadConfig(data_dir);
    if (!config.ok()) return config.status();
    return Shop(data_dir, v1::MerchantAdmin::NewStub(DialLocal(config->admin_socket())));
  }

  v1::MerchantAdmin::Stub& stub() const { return *stub_; }

  template <typename Request, typename Reply>
  absl::StatusOr<Reply> Call(grpc::Status (v1::MerchantAdmin::Stub::*method)(grpc::ClientContext*,
                                                                             const Request&,
                                                                             Reply*),
                             const Request& request) const {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kCallLimit);
    Reply reply;
    const absl::Status status = Explain((stub_.get()->*method)(&context, request, &reply));
    if (!status.ok()) return status;
    return reply;
  }

  absl::Status Explain(const grpc::Status& status) const {
    if (status.error_code() != grpc::StatusCode::UNAVAILABLE) return FromGrpcStatus(status);
    return absl::UnavailableError(
        absl::StrCat("the shop in ", data_dir_,
                     " is not running; start it with: merchant serve --data-dir ", data_dir_));
  }

 private:
  Shop(std::string data_dir, std::unique_ptr<v1::MerchantAdmin::Stub> stub)
      : data_dir_(std::move(data_dir)), stub_(std::move(stub)) {}

  std::string data_dir_;
  std::unique_ptr<v1::MerchantAdmin::Stub> stub_;
};

absl::Status PrintJson(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  std::string text;
  const auto status = google::protobuf::util::MessageToJsonString(message, &text, options);
  if (!status.ok()) return absl::InternalError("cannot print the answer as JSON");
  std::cout << text << "\n";
  return absl::OkStatus();
}

// Columns as wide as their widest cell; the last one is not padded.
void PrintTable(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const std::vector<std::string>& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  for (const std::vector<std::string>& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) {
      std::cout << row[i];
      if (i + 1 < row.size()) std::cout << std::string(widths[i] - row[i].size() + 2, ' ');
    }
    std::cout << "\n";
  }
}

std::string Money(int64_t amount_minor, const std::string& currency) {
  const absl::StatusOr<std::string> text = ledger::FormatAmount(amount_minor, currency);
  return text.ok() ? absl::StrCat(*text, " ", currency)
                   : absl::StrCat(amount_minor, " minor units of ", currency);
}

std::string Size(uint64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    ++unit;
  }
  return unit == 0 ? absl::StrCat(bytes, " B") : absl::StrFormat("%.1f %s", value, kUnits[unit]);
}

std::string Time(int64_t unix_ms) {
  if (unix_ms == 0) return "-";
  return absl::FormatTime("%Y-%m-%d %H:%M:%S", absl::FromUnixMillis(unix_ms),
                          absl::LocalTimeZone());
}

std::string StatusWord(v1::OrderStatus status) {
  switch (status) {
    case v1::ORDER_STATUS_CREATED:
      return "open";
    case v1::ORDER_STATUS_DECLINED:
      return "declined";
    case v1::ORDER_STATUS_EXPIRED:
      return "expired";
    case v1::ORDER_STATUS_PAID:
      return "paid";
    case v1::ORDER_STATUS_DELIVERED:
      return "delivered";
    default:
      return "unknown";
  }
}

struct AddProductOptions {
  std::string data_dir;
  std::string title;
  std::string description;
  std::string description_file;
  std::string price;
  std::string currency = "EUR";
  std::string file;
  std::string picture;
  std::optional<int64_t> stock;
  std::string format;
  std::string replace;
  bool json = false;
};

absl::StatusOr<std::string> AbsolutePath(const std::string& path) {
  std::error_code error;
  const std::filesystem::path absolute = std::filesystem::absolute(path, error);
  if (error) return absl::NotFoundError(absl::StrCat(path, ": ", error.message()));
  return absolute.string();
}

absl::StatusOr<v1::AddProductRequest> ToRequest(const AddProductOptions& options) {
  v1::AddProductRequest request;
  request.set_title(options.title);
  request.set_description(options.description);
  if (!options.description_file.empty()) {
    absl::StatusOr<std::string> text = ReadFile(options.description_file);
    if (!text.ok()) return text.status();
    request.set_description(*std::move(text));
  }
  absl::StatusOr<int64_t> price_minor = ledger::ParseAmount(options.price, options.currency);
  if (!price_minor.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("--price: ", price_minor.status().message()));
  }
  request.set_price_minor(*price_minor);
  request.set_currency(options.currency);
  // The shop reads the files itself and may stand in another folder.
  absl::StatusOr<std::string> content = AbsolutePath(options.file);
  if (!content.ok()) return content.status();
  request.set_content_path(*content);
  if (!options.picture.empty()) {
    absl::StatusOr<std::string> picture = AbsolutePath(options.picture);
    if (!picture.ok()) return picture.status();
    request.set_picture_path(*picture);
  }
  if (options.stock.has_value()) request.set_stock(*options.stock);
  request.set_format(options.format);
  request.set_replace_id_hex(options.replace);
  return request;
}

void DrawProgress(const v1::AddProductProgress& progress) {
  constexpr int kWidth = 40;
  const double share = progress.total_bytes() == 0
                           ? 1.0
                           : std::min(1.0, static_cast<double>(progress.copied_bytes()) /
                                               static_cast<double>(progress.total_bytes()));
  const int filled = static_cast<int>(share * kWidth);
  std::cerr << "\r[" << std::string(static_cast<size_t>(filled), '#')
            << std::string(static_cast<size_t>(kWidth - filled), '.') << "] "
            << static_cast<int>(share * 100) << " % of " << Size(progress.total_bytes())
            << std::flush;
}

absl::Status AddProduct(const AddProductOptions& options) {
  absl::StatusOr<v1::AddProductRequest> request = ToRequest(options);
  if (!request.ok()) return request.status();
  absl::StatusOr<Shop> shop = Shop::Reach(options.data_dir);
  if (!shop.ok()) return shop.status();
  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientReader<v1::AddProductProgress>> reader =
      shop->stub().AddProduct(&context, *request);
  const bool draw = !options.json && isatty(STDERR_FILENO) == 1;
  v1::AddProductProgress progress;
  v1::AddProductReply reply;
  while (reader->Read(&progress)) {
    if (progress.has_done()) reply = progress.done();
    if (draw) DrawProgress(progress);
  }
  if (draw) std::cerr << "\n";
  const absl::Status status = shop->Explain(reader->Finish());
  if (!status.ok()) return status;
  if (options.json) return PrintJson(reply);
  std::cout << (options.replace.empty() ? "Added product " : "Replaced product ")
            << reply.product_id_hex() << " (" << Size(reply.size_bytes()) << ", SHA-256 "
            << reply.content_sha256_hex() << ")\n";
  return absl::OkStatus();
}

struct ListOptions {
  std::string data_dir;
  bool json = false;
  bool removed_too = false;
  int64_t limit = 50;
};

absl::Status ListProducts(const ListOptions& options) {
  absl::StatusOr<Shop> shop = Shop::Reach(options.data_dir);
  if (!shop.ok()) return shop.status();
  v1::ListProductsReply all;
  v1::ListProductsRequest request;
  bool more = true;
  while (more) {
    absl::StatusOr<v1::ListProductsReply> page =
        shop->Call(&v1::MerchantAdmin::Stub::ListProducts, request);
    if (!page.ok()) return page.status();
    more = page->more();
    for (v1::StockedProduct& product : *page->mutable_products()) {
      request.set_after_version(product.version());
      if (options.removed_too || !product.removed()) *all.add_products() = std::move(product);
    }
  }
  if (options.json) return PrintJson(all);
  std::vector<std::vector<std::string>> rows = {
      {"ID", "PRICE", "SIZE", "FORMAT", "STOCK", "PICTURE", "TITLE"}};
  for (const v1::StockedProduct& product : all.products()) {
    rows.push_back({product.product_id_hex(), Money(product.price_minor(), product.currency()),
                    Size(product.size_bytes()), product.format(),
                    product.removed()     ? "removed"
                    : product.has_stock() ? absl::StrCat(product.stock())
                                          : "unlimited",
                    product.has_picture() ? "yes" : "no", product.title()});
  }
  if (all.products().empty()) {
    std::cout << "No products yet; add one with `merchant add-product`.\n";
  } else {
    PrintTable(rows);
  }
  return absl::OkStatus();
}

absl::Status RemoveProduct(const std::string& data_dir, const std::string& id) {
  absl::StatusOr<Shop> shop = Shop::Reach(data_dir);
  if (!shop.ok()) return shop.status();
  v1::RemoveProductRequest request;
  request.set_product_id_hex(id);
  const absl::Status status = shop->Call(&v1::MerchantAdmin::Stub::RemoveProduct, request).status();
  if (!status.ok()) return status;
  std::cout << "Removed product " << id << "; whoever bought it can still fetch it.\n";
  return absl::OkStatus();
}

absl::Status ListOrders(const ListOptions& options) {
  absl::StatusOr<Shop> shop = Shop::Reach(options.data_dir);
  if (!shop.ok()) return shop.status();
  v1::ListOrdersReply all;
  v1::ListOrdersRequest request;
  bool more = true;
  while (more && (options.limit == 0 || all.orders_size() < options.limit)) {
    constexpr int64_t kPage = 500;
    request.set_limit(static_cast<int32_t>(
        options.limit == 0 ? kPage : std::min(kPage, options.limit - all.orders_size())));
    absl::StatusOr<v1::ListOrdersReply> page =
        shop->Call(&v1::MerchantAdmin::Stub::ListOrders, request);
    if (!page.ok()) return page.status();
    more = page->more();
    for (v1::ShopOrder& order : *page->mutable_orders()) {
      request.set_below_number(order.number());
      *all.add_orders() = std::move(order);
    }
  }
  all.set_more(more);
  if (options.json) return PrintJson(all);
  std::vector<std::vector<std::string>> rows = {
      {"NUMBER", "ORDER", "STATUS", "PRICE", "MADE", "PAID", "TITLE"}};
  for (const v1::ShopOrder& order : all.orders()) {
    rows.push_back({absl::StrCat(order.number()), order.order_id_hex(), StatusWord(order.status()),
                    Money(order.price_minor(), order.currency()), Time(order.created_at_ms()),
                    Time(order.paid_at_ms()), order.title()});
  }
  if (all.orders().empty()) {
    std::cout << "No orders yet.\n";
  } else {
    PrintTable(rows);
    if (more) std::cout << "There are more; use --limit 0 to see them all.\n";
  }
  return absl::OkStatus();
}

absl::Status ShowStatus(const ListOptions& options) {
  absl::StatusOr<Shop> shop = Shop::Reach(options.data_dir);
  if (!shop.ok()) return shop.status();
  absl::StatusOr<v1::MerchantStatusReply> reply =
      shop->Call(&v1::MerchantAdmin::Stub::Status, v1::MerchantStatusRequest());
  if (!reply.ok()) return reply.status();
  if (options.json) return PrintJson(*reply);
  std::cout << "shop         " << reply->name() << "\n"
            << "fingerprint  " << reply->own_fingerprint_hex() << "\n"
            << "sessions     " << reply->open_sessions() << "\n"
            << "deliveries   " << reply->running_deliveries() << "\n";
  for (const v1::BrokerLinkStatus& broker : reply->brokers()) {
    std::cout << "broker       " << broker.address() << " "
              << (broker.connected() ? "connected" : "not connected (trying again by itself)")
              << "\n             " << broker.fingerprint_hex() << "\n";
    if (broker.key_followed_at_ms() != 0) {
      std::cout << "             in use here since " << Time(broker.key_followed_at_ms())
                << ", announced under the key before it\n";
    }
  }
  return absl::OkStatus();
}

void AddProductCommand(CLI::App& app, int* exit_code) {
  auto options = std::make_shared<AddProductOptions>();
  CLI::App* command =
      app.add_subcommand("add-product", "Offer a file for sale, or a new version of one");
  AddDataDirOption(*command, &options->data_dir);
  command->add_option("--title", options->title, "At most 256 bytes")->required();
  CLI::Option* description =
      command->add_option("--description", options->description, "At most 8 KiB");
  command->add_option("--description-file", options->description_file, "A text file")
      ->excludes(description);
  command->add_option("--price", options->price, "Such as 12.50")->required();
  command->add_option("--currency", options->currency, "Such as EUR; the broker's")
      ->capture_default_str();
  command->add_option("--file", options->file, "The goods: any file; it is copied")->required();
  command->add_option("--picture", options->picture, "PNG or JPEG, at most 128 KiB");
  command->add_option("--stock", options->stock, "How many can be sold (unlimited if left out)");
  command->add_option("--format", options->format,
                      "File type such as pdf (else the file name's ending)");
  command->add_option("--replace", options->replace,
                      "Id of the product to make a new version of; earlier buyers keep theirs");
  command->add_flag("--json", options->json, "Print the result as JSON");
  command->footer(
      "Examples:\n"
      "  merchant add-product --data-dir bookshop --title \"A Book\" --price 12.50 --file "
      "book.pdf\n"
      "  merchant add-product --data-dir bookshop --title Poster --price 3 --file p.png --stock "
      "20");
  command->callback([options, exit_code] { *exit_code = ExitCode(AddProduct(*options)); });
}

CLI::App* AddListCommand(CLI::App& app, const std::string& name, const std::string& description,
                         const std::shared_ptr<ListOptions>& options,
                         absl::Status (*run)(const ListOptions&), int* exit_code) {
  CLI::App* command = app.add_subcommand(name, description);
  AddDataDirOption(*command, &options->data_dir);
  command->add_flag("--json", options->json, "Print the answer as JSON");
  command->footer(absl::StrCat("Example:\n  merchant ", name, " --data-dir bookshop"));
  command->callback([options, run, exit_code] { *exit_code = ExitCode(run(*options)); });
  return command;
}

void AddRemoveCommand(CLI::App& app, int* exit_code) {
  struct RemoveOptions {
    std::string data_dir;
    std::string id;
  };
  auto options = std::make_shared<RemoveOptions>();
  CLI::App* command = app.add_subcommand("remove-product", "Stop selling a product");
  AddDataDirOption(*command, &options->data_dir);
  command->add_option("id", options->id, "As `merchant products` shows it")->required();
  command->footer(
      "Example:\n  merchant remove-product 0123456789abcdef0123456789abcdef --data-dir bookshop");
  command->callback([options, exit_code] {
    *exit_code = ExitCode(RemoveProduct(options->data_dir, options->id));
  });
}

}  // namespace

void AddAdminCommands(CLI::App& app, int* exit_code) {
  AddProductCommand(app, exit_code);
  auto products = std::make_shared<ListOptions>();
  AddListCommand(app, "products", "List the shop's products", products, ListProducts, exit_code)
      ->add_flag("--removed", products->removed_too, "Also those that are not sold any more");
  AddRemoveCommand(app, exit_code);
  auto orders = std::make_shared<ListOptions>();
  AddListCommand(app, "orders", "List the shop's orders, newest first", orders, ListOrders,
                 exit_code)
      ->add_option("--limit", orders->limit, "How many; 0 for all")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  AddListCommand(app, "status", "Show the shop's links and what is going on",
                 std::make_shared<ListOptions>(), ShowStatus, exit_code);
}

}  // namespace blindcart::merchant
