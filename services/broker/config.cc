#include "services/broker/config.h"

#include <cstdint>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"
#include "services/common/files.h"
#include "services/common/metrics_server.h"
#include "services/common/transport.h"
#include "services/ledger/money.h"
#include "services/storage/postgres.h"

namespace blindcart::broker {
namespace {

constexpr size_t kMaxAccountNumberBytes = 34;
constexpr size_t kMaxListenAddresses = 16;
constexpr int64_t kMaxChargeFixedMinor = 1'000'000'000;
constexpr int32_t kDefaultStoreConnections = 8;
constexpr int32_t kMaxStoreConnections = 1'000;
constexpr int64_t kDefaultDrainTimeoutMs = 20'000;
constexpr int64_t kMinDrainTimeoutMs = 100;
constexpr int64_t kMaxDrainTimeoutMs = 3'600'000;
constexpr int64_t kDayMs = 24 * 3'600'000LL;

absl::Status CheckRange(absl::string_view name, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name, " is ", value, "; it has to be from ", low, " to ", high));
}

// One limit: its field's name, its default and its bounds stand together; the field itself is
// reached by its name.
struct LimitRule {
  const char* name;
  int64_t default_value;
  int64_t low;
  int64_t high;
  const char* comment;
};

const LimitRule kLimitRules[] = {
    LimitRule{"max_customer_links", 12'000, 1, 1'000'000,
              "Customers' links at once, those that have not finished their login included."},
    LimitRule{"max_merchant_links", 1'000, 1, 100'000, "Merchants' links at once."},
    LimitRule{"max_links_per_customer", 4, 1, 64,
              "Links of one customer; a further login closes the oldest."},
    LimitRule{"max_shop_sessions_per_customer", 32, 1, 1'024,
              "Shop sessions that one customer may have open."},
    LimitRule{"max_deliveries_per_customer", 8, 1, 1'024,
              "Deliveries that one customer may have open."},
    LimitRule{"password_workers", 2, 1, 64,
              "Threads that check passwords and PINs; each check takes 19 MiB for about 17 ms."},
    LimitRule{"password_queue", 256, 1, 100'000,
              "Checks that may wait; a further one is answered \"try later\"."},
    LimitRule{"handshake_timeout_ms", 10'000, 100, 600'000,
              "A link that has not finished its handshake by then is cut."},
    LimitRule{"shop_answer_timeout_ms", 10'000, 100, 600'000,
              "How long a merchant may take to answer a new shop session."},
    LimitRule{"max_pin_failures", 3, 1, 100,
              "Wrong PINs in a row before delays begin; they grow, but never lock for good."},
    LimitRule{"max_order_lifetime_ms", 7 * kDayMs, 1'000, 366 * kDayMs,
              "The longest time until an order's expiry that a merchant may ask for."},
    LimitRule{"poll_interval_ms", 1'000, 50, 60'000,
              "How often to look for what other brokers over the same database have left for those "
              "who are connected here."},
    LimitRule{"max_mailbox_messages", 1'000, 1, 100'000,
              "Messages that may wait for one customer; a further one is not taken."},
    LimitRule{"max_mailbox_bytes", 16 * 1'048'576, 512 * 1'024, 1'024 * 1'048'576LL,
              "Their bytes together, sealed."},
    LimitRule{"mail_lifetime_ms", 30 * kDayMs, 1'000, 366 * kDayMs,
              "How long a message waits for its recipient before it is removed unread."},
    LimitRule{"max_sent_messages_per_day", 2'000, 1, 1'000'000,
              "Messages that one customer may send to others in a day; a further one has to wait. "
              "Their ids are kept until they expire."},
    LimitRule{"max_sent_bytes_per_day", 128 * 1'048'576, 512 * 1'024, 1'024 * 1'024 * 1'048'576LL,
              "Their bytes together, sealed."},
    LimitRule{"certificate_lifetime_ms", 90 * kDayMs, 10'000, 366 * kDayMs,
              "How long a customer's certificate is valid; agents renew it in its last third."},
    LimitRule{
        "revocation_list_lifetime_ms", 7 * kDayMs, 10'000, 31 * kDayMs,
        "How long a revocation list is good. Agents that do not see the broker for longer accept "
        "nobody."},
    LimitRule{"max_certificates_per_customer", 16, 2, 1'000,
              "Certificates that have not expired, revoked ones included; each request makes two."},
};

const google::protobuf::FieldDescriptor& LimitField(const LimitRule& rule) {
  return *v1::BrokerLimits::descriptor()->FindFieldByName(rule.name);
}

int64_t GetLimit(const v1::BrokerLimits& limits, const LimitRule& rule) {
  const auto& field = LimitField(rule);
  const auto& reflection = *limits.GetReflection();
  return field.cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_INT32
             ? reflection.GetInt32(limits, &field)
             : reflection.GetInt64(limits, &field);
}

void SetLimit(v1::BrokerLimits* limits, const LimitRule& rule, int64_t value) {
  const auto& field = LimitField(rule);
  const auto& reflection = *limits->GetReflection();
  if (field.cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_INT32) {
    reflection.SetInt32(limits, &field, static_cast<int32_t>(value));
  } else {
    reflection.SetInt64(limits, &field, value);
  }
}

absl::Status CheckListen(const v1::BrokerConfig& config) {
  if (config.listen().empty() || static_cast<size_t>(config.listen_size()) > kMaxListenAddresses) {
    return absl::InvalidArgumentError(
        absl::StrCat("listen names ", config.listen_size(), " addresses; it has to name 1 to ",
                     kMaxListenAddresses, ", each HOST:PORT or unix:PATH"));
  }
  for (const std::string& address : config.listen()) {
    const size_t colon = address.rfind(':');
    if (colon == std::string::npos || colon == 0 || colon + 1 == address.size()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "listen: \"", absl::CEscape(address), "\" is no address; write HOST:PORT or unix:PATH"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

DataPaths::DataPaths(const std::string& data_dir)
    : config(ResolvePath(data_dir, "broker.textproto")),
      card(ResolvePath(data_dir, "broker.card")),
      identity_dir(ResolvePath(data_dir, "identity")),
      tls_dir(ResolvePath(data_dir, "tls")),
      tls_certificate(ResolvePath(data_dir, "tls/certificate.pem")),
      tls_key(ResolvePath(data_dir, "tls/private_key.pem")),
      authority_dir(ResolvePath(data_dir, "authority")),
      authority_key(ResolvePath(data_dir, "authority/private_key.pem")),
      authority_certificate(ResolvePath(data_dir, "authority/certificate.pem")),
      notary_dir(ResolvePath(data_dir, "notary")),
      notary_key(ResolvePath(data_dir, "notary/tsa.pem")),
      notary_certificate(ResolvePath(data_dir, "notary/certificate.pem")),
      database(ResolvePath(data_dir, "broker.db")) {}

bool IsValidAccountNumber(absl::string_view number) {
  if (number.empty() || number.size() > kMaxAccountNumberBytes || number.front() == '-') {
    return false;
  }
  for (char c : number) {
    if (!absl::ascii_isupper(c) && !absl::ascii_isdigit(c) && c != '-') return false;
  }
  return true;
}

v1::BrokerLimits DefaultLimits() {
  v1::BrokerLimits limits;
  for (const LimitRule& rule : kLimitRules) SetLimit(&limits, rule, rule.default_value);
  return limits;
}

v1::BrokerConfig DefaultConfig() {
  v1::BrokerConfig config;
  config.set_data_dir(".");
  config.add_listen("127.0.0.1:7443");
  config.set_currency("EUR");
  config.set_charge_basis_points(100);
  config.set_charge_fixed_minor(0);
  config.set_broker_account_number("BROKER");
  config.mutable_store()->set_connections(kDefaultStoreConnections);
  *config.mutable_limits() = DefaultLimits();
  config.set_log_level("info");
  config.set_drain_timeout_ms(kDefaultDrainTimeoutMs);
  return config;
}

absl::Status CompleteConfig(v1::BrokerConfig* config) {
  for (const LimitRule& rule : kLimitRules) {
    if (GetLimit(config->limits(), rule) == 0) {
      SetLimit(config->mutable_limits(), rule, rule.default_value);
    };
    const absl::Status in_range = CheckRange(absl::StrCat("limits.", rule.name),
                                             GetLimit(config->limits(), rule), rule.low, rule.high);
    if (!in_range.ok()) return in_range;
  }
  if (config->data_dir().empty()) config->set_data_dir(".");
  if (config->log_level().empty()) config->set_log_level("info");
  if (config->log_level() != "debug" && config->log_level() != "info" &&
      config->log_level() != "warning" && config->log_level() != "error") {
    return absl::InvalidArgumentError("log_level has to be debug, info, warning or error");
  }
  const absl::Status listen = CheckListen(*config);
  if (!listen.ok()) return listen;
  if (const auto exponent = ledger::CurrencyExponent(config->currency()); !exponent.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("currency: ", exponent.status().message(), "; write one such as EUR"));
  }
  const absl::Status fixed =
      CheckRange("charge_fixed_minor", config->charge_fixed_minor(), 0, kMaxChargeFixedMinor);
  if (!fixed.ok()) return fixed;
  const absl::Status points =
      CheckRange("charge_basis_points", config->charge_basis_points(), 0, 10'000);
  if (!points.ok()) return points;
  if (config->store().connections() == 0) {
    config->mutable_store()->set_connections(kDefaultStoreConnections);
  }
  const absl::Status connections =
      CheckRange("store.connections", config->store().connections(), 2, kMaxStoreConnections);
  if (!connections.ok()) return connections;
  if (!config->store().url().empty()) {
    const absl::Status url = storage::CheckPostgresUrl(config->store().url());
    if (!url.ok()) return absl::InvalidArgumentError(absl::StrCat("store.url: ", url.message()));
  }
  if (!config->metrics_listen().empty()) {
    const absl::Status metrics = CheckMetricsAddress(config->metrics_listen());
    if (!metrics.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("metrics_listen: ", metrics.message()));
    }
  }
  if (config->drain_timeout_ms() == 0) config->set_drain_timeout_ms(kDefaultDrainTimeoutMs);
  const absl::Status drain = CheckRange("drain_timeout_ms", config->drain_timeout_ms(),
                                        kMinDrainTimeoutMs, kMaxDrainTimeoutMs);
  if (!drain.ok()) return drain;
  if (!IsValidAccountNumber(config->broker_account_number()) ||
      config->broker_account_number() == kExternalAccountNumber) {
    return absl::InvalidArgumentError(
        absl::StrCat("broker_account_number has to be 1 to ", kMaxAccountNumberBytes,
                     " characters of A-Z, 0-9 and '-', and not ", kExternalAccountNumber));
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::BrokerConfig> LoadConfig(const std::string& data_dir) {
  const DataPaths paths(data_dir);
  v1::BrokerConfig config;
  absl::Status read = ReadTextProto(paths.config, &config);
  if (absl::IsNotFound(read)) {
    return absl::NotFoundError(absl::StrCat("there is no broker in ", data_dir, " (no ",
                                            paths.config,
                                            "); make one with: broker init "
                                            "--data-dir ",
                                            data_dir));
  }
  if (!read.ok()) return read;
  const absl::Status complete = CompleteConfig(&config);
  if (!complete.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(paths.config, ": ", complete.message()));
  }
  config.set_data_dir(ResolvePath(data_dir, config.data_dir()));
  return config;
}

std::string CommentedConfig(const v1::BrokerConfig& config) {
  const auto quoted = [](absl::string_view text) {
    return absl::StrCat("\"", absl::CEscape(text), "\"");
  };
  std::string text = absl::StrCat(
      "# Configuration of a Blindcart broker, read once by `broker serve`.\n"
      "# Amounts are minor units of the currency (cents), times milliseconds.\n\n"
      "# Where keys and database lie, relative to this file.\n"
      "data_dir: ",
      quoted(config.data_dir()),
      "\n\n"
      "# Where to listen, one line each: HOST:PORT (TLS; port 0: the kernel chooses) or "
      "unix:PATH.\n"
      "# A broker that faces the internet stands behind the proxy that deploy/ configures.\n");
  for (const std::string& address : config.listen()) {
    absl::StrAppend(&text, "listen: ", quoted(address), "\n");
  }
  absl::StrAppend(
      &text,
      "\n# True where everybody comes through a proxy on another machine that limits connections\n"
      "# per source. The broker, to which all of them are one address, does not slow that down, "
      "and\n"
      "# so nobody at all: only the proxy may be able to reach its port.\n"
      "behind_proxy: ",
      config.behind_proxy() ? "true" : "false",
      "\n\n# ISO 4217 code of every account here. Not to be changed once there are accounts.\n"
      "currency: ",
      quoted(config.currency()),
      "\n\n"
      "# What a sale costs the customer beside the price: basis points of the price (100 = 1 %),\n"
      "# rounded up to a minor unit, and a fixed part. Orders keep the charge they were made "
      "with.\n"
      "charge_basis_points: ",
      config.charge_basis_points(), "\ncharge_fixed_minor: ", config.charge_fixed_minor(),
      "\n\n"
      "# The broker's own account, where charges go. Made by `broker init`.\n"
      "broker_account_number: ",
      quoted(config.broker_account_number()),
      "\n\n"
      "# Whether customers may deposit by themselves: money comes from the external account at "
      "their\n"
      "# word. For trying things out, and for a broker that is paid in another way first.\n"
      "customers_may_deposit: ",
      config.customers_may_deposit() ? "true" : "false",
      "\n\n"
      "# Where accounts, orders and everything else is kept. Empty: SQLite, broker.db in "
      "data_dir.\n"
      "# PostgreSQL, also for several brokers at once: postgres://USER@HOST/DATABASE, with TLS to\n"
      "# every other machine (sslrootcert=FILE) and the password in a file (passfile=FILE).\n"
      "store {\n"
      "  url: ",
      quoted(config.store().url()),
      "\n"
      "  # To PostgreSQL at once; half of them may write.\n"
      "  connections: ",
      config.store().connections(),
      "\n}\n\n"
      "# debug, info, warning or error. No level logs names, amounts, products or addresses.\n"
      "log_level: ",
      quoted(config.log_level()),
      "\n\n"
      "# Plain TCP instead of TLS on loopback addresses, for measuring and for a proxy on the "
      "same\n"
      "# machine. Never on other addresses.\n"
      "allow_plain_tcp_on_loopback: ",
      config.allow_plain_tcp_on_loopback() ? "true" : "false",
      "\n\n"
      "# HOST:PORT of a plain HTTP port with /metrics (Prometheus), /healthz and /readyz, for "
      "loopback or\n"
      "# a network of its own: it asks nobody who they are. Empty: none.\n"
      "metrics_listen: ",
      quoted(config.metrics_listen()),
      "\n\n"
      "# When the broker is told to stop, what is under way may take so long to end.\n"
      "drain_timeout_ms: ",
      config.drain_timeout_ms(),
      "\n\n"
      "# Whether tools such as grpcurl may ask for the description of the services.\n"
      "reflection: ",
      config.reflection() ? "true" : "false", "\n\nlimits {\n");
  for (const LimitRule& rule : kLimitRules) {
    absl::StrAppend(&text, "  # ", rule.comment, "\n  ", rule.name, ": ",
                    GetLimit(config.limits(), rule), "\n");
  }
  absl::StrAppend(&text, "}\n");
  return text;
}

ledger::ChargeRule ChargeRuleOf(const v1::BrokerConfig& config) {
  ledger::ChargeRule rule;
  rule.basis_points = config.charge_basis_points();
  rule.fixed_minor = config.charge_fixed_minor();
  return rule;
}

}  // namespace blindcart::broker
