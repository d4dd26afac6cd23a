// What a network observer between an agent, a merchant and the broker can find in all bytes that pass.

#include <stdlib.h>

#include <filesystem>
#include <memory>
#include <string>

#include <nlohmann/json.hpp>
#include "absl/strings/escaping.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/haystack.h"
#include "tests/support/marketplace.h"
#include "tests/support/tcp_recorder.h"

namespace blindcart::testing {
namespace {

using ::testing::IsEmpty;
using ::testing::Not;

constexpr char kAlice[] = "alice-on-the-line";
constexpr char kShop[] = "a-shop-of-its-own";
constexpr char kTitle[] = "A title to be overheard";

TEST(NetworkObserverTest, FindsNothingButSealedBytes) {
  std::string folder = "/tmp/blindcart-test-XXXXXX";
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  {
    auto market = *Marketplace::Create(folder);
    ASSERT_TRUE(market->StartBroker().ok());
    auto observer = TcpRecorder::Start(market->broker_address());
    ASSERT_TRUE(observer.ok()) << observer.status();
    ASSERT_TRUE(market->AddMerchant(kShop, "2001", (*observer)->address()).ok());
    ASSERT_TRUE(market->StartMerchant(kShop).ok());
    ProductSpec product;
    product.title = kTitle;
    product.description = "Nobody on the line may read this.";
    product.content = std::string(100'000, 'c');
    auto id = market->AddProduct(kShop, product);
    ASSERT_TRUE(id.ok()) << id.status();
    ASSERT_TRUE(market
                    ->AddCustomer({kAlice, "correct horse", "10010099", "2468", "100.00"},
                                  (*observer)->address())
                    .ok());
    ASSERT_TRUE(market->StartAgent(kAlice).ok());
    ASSERT_TRUE(market->Login(kAlice).ok());
    ASSERT_TRUE(market->WaitUntilOnline(kAlice, kShop).ok());
    ASSERT_TRUE(market->CliJson(kAlice, {"add-shop", *market->ShopLink(kShop)}).ok());
    ASSERT_TRUE(market->CliJson(kAlice, {"browse", kShop}).ok());
    const auto bought = market->Cli(kAlice, {"buy", *id, "--yes", "--account", "10010099",
                                             "--pin-file", market->pin_file(kAlice)});
    ASSERT_TRUE(bought.ok()) << bought.status();
    ASSERT_EQ(bought->exit_code, 0) << bought->err;
    const auto list = nlohmann::json::parse(*market->CliJson(kAlice, {"purchases"}));
    const std::string order =
        absl::HexStringToBytes(list["purchases"][0]["order_id_hex"].get<std::string>());

    Haystack line;
    line.AddBytes("the line", (*observer)->Bytes());
    EXPECT_GT(line.total_bytes(), 256u * 1024) << "the goods passed here";
    // The search works: the name in the TLS greeting is there for all to read.
    EXPECT_THAT(line.Find("broker.blindcart"), Not(IsEmpty()));
    for (const std::string& needle :
         {std::string(kAlice), std::string(kShop), std::string(kTitle),
          std::string("Nobody on the line"), std::string("10010099"), std::string(64, 'c'), order,
          absl::HexStringToBytes(*id), std::string("CustomerLink"), std::string("FetchGoods")}) {
      EXPECT_THAT(line.Find(needle), IsEmpty()) << needle;
    }
  }
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace blindcart::testing
