#include "services/merchant/config.h"

#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "protocol/shop_link.h"
#include "services/common/files.h"
#include "services/common/metrics_server.h"

namespace blindcart::merchant {
namespace {

constexpr int64_t kDefaultOrderLifetimeMs = 15 * 60'000;
constexpr int64_t kMinOrderLifetimeMs = 1'000;
constexpr int64_t kMaxOrderLifetimeMs = 24 * 3'600'000LL;
constexpr int kDefaultDeliveries = 64;
constexpr int kMaxDeliveries = 4096;
constexpr int kMaxBrokers = 16;
constexpr int64_t kDefaultDrainTimeoutMs = 20'000;
constexpr int64_t kMinDrainTimeoutMs = 100;
constexpr int64_t kMaxDrainTimeoutMs = 3'600'000;

std::vector<uint64_t> ClassList(const v1::MerchantConfig& config) {
  return {config.size_classes_bytes().begin(), config.size_classes_bytes().end()};
}

std::string Quoted(const std::string& text) {
  return absl::StrCat("\"", absl::CEscape(text), "\"");
}

}  // namespace

DataPaths::DataPaths(const std::string& data_dir)
    : config(ResolvePath(data_dir, "merchant.textproto")),
      identity_dir(ResolvePath(data_dir, "identity")),
      public_identity(ResolvePath(data_dir, "merchant.identity")),
      broker_card(ResolvePath(data_dir, "broker.card")),
      database(ResolvePath(data_dir, "merchant.db")),
      goods_dir(ResolvePath(data_dir, "goods")) {}

v1::MerchantConfig DefaultConfig(const std::string& name, const std::string& broker_address) {
  v1::MerchantConfig config;
  config.set_data_dir(".");
  config.set_name(name);
  v1::BrokerContact* broker = config.add_brokers();
  broker->set_address(broker_address);
  broker->set_card_path("broker.card");
  config.set_admin_socket("admin.sock");
  config.set_order_lifetime_ms(kDefaultOrderLifetimeMs);
  config.set_log_level("info");
  config.set_max_deliveries(kDefaultDeliveries);
  config.set_drain_timeout_ms(kDefaultDrainTimeoutMs);
  return config;
}

absl::Status CompleteConfig(v1::MerchantConfig* config) {
  if (config->data_dir().empty()) config->set_data_dir(".");
  if (config->admin_socket().empty()) config->set_admin_socket("admin.sock");
  if (config->order_lifetime_ms() == 0) config->set_order_lifetime_ms(kDefaultOrderLifetimeMs);
  if (config->max_deliveries() == 0) config->set_max_deliveries(kDefaultDeliveries);
  if (config->log_level().empty()) config->set_log_level("info");
  if (config->drain_timeout_ms() == 0) config->set_drain_timeout_ms(kDefaultDrainTimeoutMs);

  if (!protocol::IsValidShopName(config->name())) {
    return absl::InvalidArgumentError("name has to be 1 to 64 characters of a-z, 0-9 and '-'");
  }
  if (config->brokers().empty() || config->brokers_size() > kMaxBrokers) {
    return absl::InvalidArgumentError(
        absl::StrCat("brokers: there have to be 1 to ", kMaxBrokers, " of them"));
  }
  for (const v1::BrokerContact& broker : config->brokers()) {
    const absl::Status address = protocol::ValidateBrokerAddress(broker.address());
    if (!address.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("brokers.address: ", address.message()));
    }
    if (broker.card_path().empty()) {
      return absl::InvalidArgumentError("brokers.card_path: every broker needs its card");
    }
  }
  if (config->order_lifetime_ms() < kMinOrderLifetimeMs ||
      config->order_lifetime_ms() > kMaxOrderLifetimeMs) {
    return absl::InvalidArgumentError(absl::StrCat(
        "order_lifetime_ms has to be ", kMinOrderLifetimeMs, " to ", kMaxOrderLifetimeMs));
  }
  if (config->max_deliveries() < 1 || config->max_deliveries() > kMaxDeliveries) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_deliveries has to be 1 to ", kMaxDeliveries));
  }
  if (!config->metrics_listen().empty()) {
    const absl::Status metrics = CheckMetricsAddress(config->metrics_listen());
    if (!metrics.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("metrics_listen: ", metrics.message()));
    }
  }
  if (config->drain_timeout_ms() < kMinDrainTimeoutMs ||
      config->drain_timeout_ms() > kMaxDrainTimeoutMs) {
    return absl::InvalidArgumentError(absl::StrCat("drain_timeout_ms has to be ",
                                                   kMinDrainTimeoutMs, " to ", kMaxDrainTimeoutMs));
  }
  if (!config->size_classes_bytes().empty()) {
    const absl::Status classes = protocol::SizeClasses::Create(ClassList(*config)).status();
    if (!classes.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("size_classes_bytes: ", classes.message()));
    }
  }
  if (config->log_level() != "debug" && config->log_level() != "info" &&
      config->log_level() != "warning" && config->log_level() != "error") {
    return absl::InvalidArgumentError("log_level has to be debug, info, warning or error");
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::MerchantConfig> LoadConfig(const std::string& data_dir) {
  const DataPaths paths(data_dir);
  v1::MerchantConfig config;
  const absl::Status read = ReadTextProto(paths.config, &config);
  if (absl::IsNotFound(read)) {
    return absl::NotFoundError(absl::StrCat("there is no shop in ", data_dir, " (no ", paths.config,
                                            "); make one with: merchant init --data-dir ", data_dir,
                                            " --name NAME --broker-card FILE"));
  }
  if (!read.ok()) return read;
  const absl::Status complete = CompleteConfig(&config);
  if (!complete.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(paths.config, ": ", complete.message()));
  }
  config.set_data_dir(config.data_dir() == "." ? data_dir
                                               : ResolvePath(data_dir, config.data_dir()));
  config.set_admin_socket(ResolvePath(data_dir, config.admin_socket()));
  for (v1::BrokerContact& broker : *config.mutable_brokers()) {
    broker.set_card_path(ResolvePath(data_dir, broker.card_path()));
  }
  return config;
}

std::string CommentedConfig(const v1::MerchantConfig& config) {
  std::string text = absl::StrCat(
      "# Configuration of a Blindcart shop, read once by `merchant serve`. Times are\n"
      "# milliseconds; paths are relative to this file.\n\n"
      "# Where keys, database and goods lie.\n"
      "data_dir: ",
      Quoted(config.data_dir()),
      "\n\n"
      "# The shop's name at the broker and in shop links: a-z, 0-9 and '-'.\n"
      "name: ",
      Quoted(config.name()),
      "\n\n"
      "# The brokers that the shop links to, one block each. The shop dials; it opens no port.\n"
      "# address: HOST:PORT (TLS) or unix:PATH; when the card names it, the shop links to the "
      "card's\n"
      "# other addresses as well. card_path: the card that the operator handed out.\n"
      "# plain_tcp: true only towards a broker on the same machine that allows it.\n");
  for (const v1::BrokerContact& broker : config.brokers()) {
    absl::StrAppend(&text, "brokers {\n  address: ", Quoted(broker.address()),
                    "\n  card_path: ", Quoted(broker.card_path()),
                    "\n  plain_tcp: ", broker.plain_tcp() ? "true" : "false", "\n}\n");
  }
  absl::StrAppend(
      &text,
      "\n# The Unix socket of the shop's own commands (add-product, orders, ...).\n"
      "admin_socket: ",
      Quoted(config.admin_socket()),
      "\n\n"
      "# How long an order can be paid; counted stock is reserved as long.\n"
      "order_lifetime_ms: ",
      config.order_lifetime_ms(),
      "\n\n"
      "# The sizes that goods are padded to, so that a size does not tell the product: ascending,\n"
      "# multiples of 65536 (above 262144, of 262144). None: 64 KiB, 256 KiB, 1 MiB, 4 MiB, ...\n"
      "# One for all hides the most and costs the most, for example: size_classes_bytes: "
      "67108864\n");
  for (const uint64_t size_bytes : config.size_classes_bytes()) {
    absl::StrAppend(&text, "size_classes_bytes: ", size_bytes, "\n");
  }
  absl::StrAppend(&text,
                  "\n# Deliveries that may run at once; each takes about 1.5 MiB of memory.\n"
                  "max_deliveries: ",
                  config.max_deliveries(),
                  "\n\n"
                  "# debug, info, warning or error. No level logs names, amounts or products.\n"
                  "log_level: ",
                  Quoted(config.log_level()),
                  "\n\n"
                  "# HOST:PORT of a plain HTTP port with /metrics (Prometheus), /healthz and "
                  "/readyz, for\n"
                  "# loopback or a network of its own. Empty: the shop opens no port.\n"
                  "metrics_listen: ",
                  Quoted(config.metrics_listen()),
                  "\n\n"
                  "# When the shop is told to stop, what is under way may take so long to end.\n"
                  "drain_timeout_ms: ",
                  config.drain_timeout_ms(),
                  "\n\n"
                  "# Whether gRPC tools may ask for the description of the services on the Unix "
                  "socket.\n"
                  "reflection: ",
                  config.reflection() ? "true" : "false", "\n");
  return text;
}

protocol::SizeClasses SizeClassesOf(const v1::MerchantConfig& config) {
  absl::StatusOr<protocol::SizeClasses> classes = protocol::SizeClasses::Create(ClassList(config));
  return classes.ok() ? *std::move(classes) : protocol::SizeClasses::Default();
}

uint64_t MaxContentBytes(const v1::MerchantConfig& config) {
  return config.size_classes_bytes().empty() ? protocol::kMaxContentBytes
                                             : ClassList(config).back();
}

}  // namespace blindcart::merchant
