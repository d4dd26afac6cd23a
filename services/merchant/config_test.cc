#include "services/merchant/config.h"

#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "services/common/files.h"

namespace blindcart::merchant {
namespace {

std::string Folder() {
  const std::string folder = absl::StrCat(
      ::testing::TempDir(), "/", ::testing::UnitTest::GetInstance()->current_test_info()->name());
  EXPECT_TRUE(MakePrivateDirectory(folder).ok());
  return folder;
}

absl::Status Write(const std::string& folder, const std::string& text) {
  return WriteFileAtomically(folder + "/merchant.textproto", text, 0600, /*replace=*/true);
}

TEST(MerchantConfigTest, WhatInitWritesIsWhatServeReads) {
  const std::string folder = Folder();
  v1::MerchantConfig written = DefaultConfig("bookshop", "localhost:7443");
  written.set_metrics_listen("[::1]:9465");
  written.set_drain_timeout_ms(1'234);
  written.set_reflection(true);
  written.add_size_classes_bytes(65'536);
  written.add_size_classes_bytes(67'108'864);
  ASSERT_TRUE(CompleteConfig(&written).ok());
  ASSERT_TRUE(Write(folder, CommentedConfig(written)).ok());
  const absl::StatusOr<v1::MerchantConfig> read = LoadConfig(folder);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->name(), "bookshop");
  EXPECT_EQ(read->brokers(0).address(), "localhost:7443");
  EXPECT_EQ(read->brokers(0).card_path(), folder + "/broker.card");
  EXPECT_EQ(read->admin_socket(), folder + "/admin.sock");
  EXPECT_EQ(read->order_lifetime_ms(), written.order_lifetime_ms());
  EXPECT_EQ(read->max_deliveries(), written.max_deliveries());
  EXPECT_EQ(read->metrics_listen(), written.metrics_listen());
  EXPECT_EQ(read->drain_timeout_ms(), written.drain_timeout_ms());
  EXPECT_EQ(read->reflection(), written.reflection());
  EXPECT_EQ(MaxContentBytes(*read), 67'108'864u);
  EXPECT_EQ(*SizeClassesOf(*read).ClassFor(65'537), 67'108'864u);
}

TEST(MerchantConfigTest, FillsInWhatIsLeftOut) {
  const std::string folder = Folder();
  ASSERT_TRUE(Write(folder,
                    "name: \"bookshop\"\n"
                    "brokers { address: \"unix:/run/broker.sock\" card_path: \"/etc/card\" }\n")
                  .ok());
  const absl::StatusOr<v1::MerchantConfig> read = LoadConfig(folder);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->brokers(0).card_path(), "/etc/card");
  EXPECT_GT(read->order_lifetime_ms(), 0);
  EXPECT_GT(read->max_deliveries(), 0);
  EXPECT_GT(read->drain_timeout_ms(), 0);
  EXPECT_EQ(read->metrics_listen(), "");
  EXPECT_FALSE(read->reflection());
  EXPECT_EQ(*SizeClassesOf(*read).ClassFor(1), 65'536u);
}

TEST(MerchantConfigTest, RefusesWhatIsOutOfBoundsAndNamesIt) {
  struct Case {
    std::string field;
    std::function<void(v1::MerchantConfig*)> change;
  };
  const std::vector<Case> cases = {
      {"name", [](v1::MerchantConfig* config) { config->set_name("Book Shop"); }},
      {"brokers", [](v1::MerchantConfig* config) { config->clear_brokers(); }},
      {"address",
       [](v1::MerchantConfig* config) { config->mutable_brokers(0)->set_address("nowhere"); }},
      {"card_path",
       [](v1::MerchantConfig* config) { config->mutable_brokers(0)->clear_card_path(); }},
      {"order_lifetime_ms", [](v1::MerchantConfig* config) { config->set_order_lifetime_ms(-1); }},
      {"order_lifetime_ms", [](v1::MerchantConfig* config) { config->set_order_lifetime_ms(9); }},
      {"max_deliveries", [](v1::MerchantConfig* config) { config->set_max_deliveries(-1); }},
      {"metrics_listen",
       [](v1::MerchantConfig* config) { config->set_metrics_listen("everywhere"); }},
      {"drain_timeout_ms", [](v1::MerchantConfig* config) { config->set_drain_timeout_ms(-1); }},
      {"size_classes_bytes",
       [](v1::MerchantConfig* config) { config->add_size_classes_bytes(1000); }},
      {"log_level", [](v1::MerchantConfig* config) { config->set_log_level("loud"); }},
  };
  for (const Case& wrong : cases) {
    v1::MerchantConfig config = DefaultConfig("bookshop", "localhost:7443");
    wrong.change(&config);
    const absl::Status status = CompleteConfig(&config);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << wrong.field;
    EXPECT_NE(status.message().find(wrong.field), absl::string_view::npos) << status;
  }
}

TEST(MerchantConfigTest, SaysHowToMakeAShopWhereThereIsNone) {
  const absl::Status status = LoadConfig(Folder()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_NE(status.message().find("merchant init"), absl::string_view::npos);
}

}  // namespace
}  // namespace blindcart::merchant
