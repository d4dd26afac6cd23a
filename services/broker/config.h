// The broker's configuration (proto/config.proto): defaults, bounds, and the commented file that
// `broker init` writes. Everything is checked before a port is opened.
//
// Errors: InvalidArgument names the field, its bounds and the file. Thread-safe.
#ifndef BLINDCART_SERVICES_BROKER_CONFIG_H_
#define BLINDCART_SERVICES_BROKER_CONFIG_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "proto/config.pb.h"
#include "services/ledger/commission.h"

namespace blindcart::broker {

// Where things lie below the data folder.
struct DataPaths {
  explicit DataPaths(const std::string& data_dir);
  std::string config;                 // broker.textproto
  std::string card;                   // broker.card
  std::string identity_dir;           // identity/, see crypto/key_file.h
  std::string tls_dir;                // tls/
  std::string tls_certificate;        // tls/certificate.pem
  std::string tls_key;                // tls/private_key.pem
  std::string authority_dir;          // authority/
  std::string authority_key;          // authority/private_key.pem, see services/broker/authority.h
  std::string authority_certificate;  // authority/certificate.pem
  std::string notary_dir;             // notary/
  std::string notary_key;             // notary/tsa.pem, see services/broker/time_stamping.h
  std::string notary_certificate;     // notary/certificate.pem
  std::string database;               // broker.db
};

// The account of the money that comes in and goes out; never below the broker's control.
inline constexpr char kExternalAccountNumber[] = "EXTERNAL";

// Where the database keeps the public identity that strangers are answered under.
inline constexpr char kDecoyIdentityMetaKey[] = "decoy_identity";

// 1 to 34 characters of [A-Z0-9-], beginning with a letter or digit (an IBAN fits).
bool IsValidAccountNumber(absl::string_view number);

v1::BrokerLimits DefaultLimits();
// A complete configuration for `data_dir`.
v1::BrokerConfig DefaultConfig();

// Fills in the limits and the log level that are left out, then checks every field.
absl::Status CompleteConfig(v1::BrokerConfig* config);

// Reads data_dir/broker.textproto; complete and checked, `data_dir` resolved against its folder.
absl::StatusOr<v1::BrokerConfig> LoadConfig(const std::string& data_dir);

// The file's text, each field explained.
std::string CommentedConfig(const v1::BrokerConfig& config);

ledger::ChargeRule ChargeRuleOf(const v1::BrokerConfig& config);

}  // namespace blindcart::broker

#endif  // BLINDCART_SERVICES_BROKER_CONFIG_H_
