#include "services/broker/config.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/common/files.h"

namespace blindcart::broker {
namespace {

using ::testing::HasSubstr;

TEST(ConfigTest, DefaultsAreValidAndTheCommentedFileReadsBackTheSame) {
  v1::BrokerConfig config = DefaultConfig();
  config.set_behind_proxy(true);
  config.add_listen("unix:/run/\"odd\" name.sock");
  config.set_customers_may_deposit(true);
  config.set_metrics_listen("127.0.0.1:9464");
  config.set_drain_timeout_ms(1'234);
  config.set_reflection(true);
  config.mutable_store()->set_url("postgres:///blindcart?host=/run/\"odd\"");
  ASSERT_TRUE(CompleteConfig(&config).ok());
  const std::string dir = ::testing::TempDir() + "/config-roundtrip";
  ASSERT_TRUE(MakePrivateDirectory(dir).ok());
  ASSERT_TRUE(WriteFileAtomically(DataPaths(dir).config, CommentedConfig(config), 0600, true).ok());
  v1::BrokerConfig read;
  ASSERT_TRUE(ReadTextProto(DataPaths(dir).config, &read).ok());
  EXPECT_EQ(read.SerializeAsString(), config.SerializeAsString());
  const absl::StatusOr<v1::BrokerConfig> loaded = LoadConfig(dir);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_THAT(DataPaths(loaded->data_dir()).database, HasSubstr("config-roundtrip"));
}

TEST(ConfigTest, FillsInWhatIsLeftOut) {
  v1::BrokerConfig config = DefaultConfig();
  config.clear_limits();
  config.clear_log_level();
  config.clear_drain_timeout_ms();
  ASSERT_TRUE(CompleteConfig(&config).ok());
  EXPECT_EQ(config.limits().SerializeAsString(), DefaultLimits().SerializeAsString());
  EXPECT_EQ(config.log_level(), "info");
  EXPECT_EQ(config.drain_timeout_ms(), DefaultConfig().drain_timeout_ms());
  EXPECT_EQ(config.metrics_listen(), "");
  EXPECT_FALSE(config.reflection());
}

struct BadConfig {
  const char* field;
  void (*spoil)(v1::BrokerConfig*);
};

TEST(ConfigTest, RefusesEveryFieldOutOfBoundsAndNamesIt) {
  const BadConfig kBad[] = {
      {"listen", [](v1::BrokerConfig* c) { c->clear_listen(); }},
      {"listen", [](v1::BrokerConfig* c) { c->add_listen("nonsense"); }},
      {"currency", [](v1::BrokerConfig* c) { c->set_currency("euro"); }},
      {"charge_basis_points", [](v1::BrokerConfig* c) { c->set_charge_basis_points(-1); }},
      {"charge_basis_points", [](v1::BrokerConfig* c) { c->set_charge_basis_points(10'001); }},
      {"charge_fixed_minor", [](v1::BrokerConfig* c) { c->set_charge_fixed_minor(-1); }},
      {"charge_fixed_minor", [](v1::BrokerConfig* c) { c->set_charge_fixed_minor(INT64_MAX); }},
      {"broker_account_number", [](v1::BrokerConfig* c) { c->set_broker_account_number("a b"); }},
      {"broker_account_number",
       [](v1::BrokerConfig* c) { c->set_broker_account_number(kExternalAccountNumber); }},
      {"store.url", [](v1::BrokerConfig* c) { c->mutable_store()->set_url("mysql://db/x"); }},
      {"store.url",
       [](v1::BrokerConfig* c) {
         c->mutable_store()->set_url("postgres://db.example.org/x?sslmode=require");
       }},
      {"store.connections", [](v1::BrokerConfig* c) { c->mutable_store()->set_connections(1); }},
      {"metrics_listen", [](v1::BrokerConfig* c) { c->set_metrics_listen("9464"); }},
      {"metrics_listen",
       [](v1::BrokerConfig* c) { c->set_metrics_listen("127.0.0.1:0,0.0.0.0:80"); }},
      {"drain_timeout_ms", [](v1::BrokerConfig* c) { c->set_drain_timeout_ms(-1); }},
      {"drain_timeout_ms", [](v1::BrokerConfig* c) { c->set_drain_timeout_ms(3'600'001); }},
      {"log_level", [](v1::BrokerConfig* c) { c->set_log_level("loud"); }},
      {"limits.password_workers",
       [](v1::BrokerConfig* c) { c->mutable_limits()->set_password_workers(-1); }},
      {"limits.password_workers",
       [](v1::BrokerConfig* c) { c->mutable_limits()->set_password_workers(65); }},
      {"limits.max_order_lifetime_ms",
       [](v1::BrokerConfig* c) { c->mutable_limits()->set_max_order_lifetime_ms(INT64_MAX); }},
  };
  for (const BadConfig& bad : kBad) {
    v1::BrokerConfig config = DefaultConfig();
    bad.spoil(&config);
    const absl::Status status = CompleteConfig(&config);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << bad.field;
    EXPECT_THAT(std::string(status.message()), HasSubstr(bad.field));
  }
}

TEST(ConfigTest, SaysHowToMakeABrokerWhereThereIsNone) {
  const absl::StatusOr<v1::BrokerConfig> config = LoadConfig(::testing::TempDir() + "/nobody");
  EXPECT_TRUE(absl::IsNotFound(config.status()));
  EXPECT_THAT(std::string(config.status().message()), HasSubstr("broker init"));
}

TEST(ConfigTest, AccountNumbers) {
  for (const char* good : {"1", "1001", "DE89370400440532013000", "A-1"}) {
    EXPECT_TRUE(IsValidAccountNumber(good)) << good;
  }
  for (const char* bad : {"", "-1", "abc", "1 2", "12345678901234567890123456789012345", "1\n"}) {
    EXPECT_FALSE(IsValidAccountNumber(bad)) << bad;
  }
}

}  // namespace
}  // namespace blindcart::broker
