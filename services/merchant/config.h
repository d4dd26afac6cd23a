// The merchant's configuration (proto/config.proto): defaults, bounds, and the commented file that
// `merchant init` writes. Everything is checked before anything is opened.
//
// Errors: InvalidArgument names the field, its bounds and the file. Thread-safe.
#ifndef BLINDCART_SERVICES_MERCHANT_CONFIG_H_
#define BLINDCART_SERVICES_MERCHANT_CONFIG_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/config.pb.h"
#include "protocol/delivery.h"

namespace blindcart::merchant {

// Where things lie below the data folder.
struct DataPaths {
  explicit DataPaths(const std::string& data_dir);
  std::string config;           // merchant.textproto
  std::string identity_dir;     // identity/, see crypto/key_file.h
  std::string public_identity;  // merchant.identity, to be handed to the broker's operator
  std::string broker_card;      // broker.card
  std::string database;         // merchant.db
  std::string goods_dir;        // goods/
};

// A complete configuration with one broker.
v1::MerchantConfig DefaultConfig(const std::string& name, const std::string& broker_address);

// Fills in what is left out, then checks every field.
absl::Status CompleteConfig(v1::MerchantConfig* config);

// Reads data_dir/merchant.textproto; complete and checked, its paths resolved against data_dir.
absl::StatusOr<v1::MerchantConfig> LoadConfig(const std::string& data_dir);

// The file's text, each field explained.
std::string CommentedConfig(const v1::MerchantConfig& config);

// Of a complete configuration.
protocol::SizeClasses SizeClassesOf(const v1::MerchantConfig& config);
uint64_t MaxContentBytes(const v1::MerchantConfig& config);

}  // namespace blindcart::merchant

#endif  // BLINDCART_SERVICES_MERCHANT_CONFIG_H_
