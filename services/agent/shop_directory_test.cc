#include "services/agent/shop_directory.h"

#include <string>
#include <vector>

#include "crypto/testing/test_identity.h"
#include "gtest/gtest.h"
#include "protocol/shop_link.h"
#include "services/agent/testing/test_world.h"

namespace blindcart::agent {
namespace {

using testing::TestWorld;

std::string LinkOf(const crypto::Identity& identity, const std::string& name = "books") {
  return *protocol::FormatShopLink(
      {name, "broker.example:4433", identity.public_identity().fingerprint()});
}

class ShopDirectoryTest : public ::testing::Test {
 protected:
  ShopDirectoryTest() { EXPECT_TRUE(world_.Login().ok()); }
  ShopDirectory& directory() { return world_.agent().directory(); }
  const std::string& fingerprint() {
    return world_.shop.identity().public_identity().fingerprint();
  }
  // From now on the broker shows another key under the shop's name.
  void SwapKey() {
    world_.broker.directory.mutable_shops(0)->set_identity(
        crypto::TestIdentity(5).public_identity().Serialize());
  }

  TestWorld world_;
};

TEST_F(ShopDirectoryTest, AShopLinkPins) {
  const auto added = directory().Add(LinkOf(world_.shop.identity()), false);
  ASSERT_TRUE(added.ok()) << added.status();
  EXPECT_FALSE(added->already_known);
  EXPECT_TRUE(added->shop.pinned);
  EXPECT_TRUE(added->shop.online);
  EXPECT_FALSE(added->shop.on_first_use);
  const auto target = directory().Resolve("books");
  ASSERT_TRUE(target.ok()) << target.status();
  EXPECT_EQ(target->identity.fingerprint(), fingerprint());
  EXPECT_TRUE(target->warning.empty());
  EXPECT_TRUE(directory().Add(LinkOf(world_.shop.identity()), false)->already_known);
}

TEST_F(ShopDirectoryTest, AShopLinkPinsWithoutABroker) {
  world_.agent().broker().Logout();
  const auto added = directory().Add(LinkOf(world_.shop.identity()), false);
  ASSERT_TRUE(added.ok()) << added.status();
  EXPECT_FALSE(added->shop.online);
  ASSERT_TRUE(world_.Login().ok());
  EXPECT_EQ(directory().Resolve("books")->identity.fingerprint(), fingerprint());
}

TEST_F(ShopDirectoryTest, FirstUsePinsWithAWarningOnce) {
  const auto first = directory().Resolve("books");
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_NE(first->warning.find("first use"), std::string::npos);
  const auto second = directory().Resolve("books");
  ASSERT_TRUE(second.ok());
  EXPECT_TRUE(second->warning.empty());
  const auto shops = directory().List();
  ASSERT_TRUE(shops.ok());
  EXPECT_TRUE((*shops)[0].on_first_use);
  // The shop's own link makes it a full pin.
  EXPECT_TRUE(directory().Add(LinkOf(world_.shop.identity()), false)->already_known);
  EXPECT_FALSE((*directory().List())[0].on_first_use);
}

TEST_F(ShopDirectoryTest, AChangedKeyIsRefusedLoudlyAndShown) {
  ASSERT_TRUE(directory().Resolve("books").ok());
  SwapKey();
  const absl::Status status = directory().Resolve("books").status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_NE(status.message().find("HAS CHANGED"), absl::string_view::npos);
  const auto shops = directory().List();
  ASSERT_TRUE(shops.ok());
  EXPECT_TRUE((*shops)[0].key_changed);
  EXPECT_FALSE((*shops)[0].online);
  EXPECT_EQ((*shops)[0].fingerprint, fingerprint());
  EXPECT_TRUE(absl::IsFailedPrecondition(world_.agent().catalogue().Browse("books").status()));
  EXPECT_EQ(world_.shop.sessions, 0);
}

TEST_F(ShopDirectoryTest, ALinkWithAnotherKeyNeedsTheCustomersWord) {
  const PurchaseRecord order = world_.Ordered();
  const std::string link = LinkOf(crypto::TestIdentity(5));
  EXPECT_TRUE(absl::IsFailedPrecondition(directory().Add(link, false).status()));
  EXPECT_EQ(directory().Resolve("books")->identity.fingerprint(), fingerprint());

  const auto accepted = directory().Add(link, true);
  ASSERT_TRUE(accepted.ok()) << accepted.status();
  SwapKey();
  EXPECT_EQ(directory().Resolve("books")->identity.fingerprint(),
            crypto::TestIdentity(5).public_identity().fingerprint());
  // What the old key's shop sold is not in the catalogue any more, but its key is still known.
  EXPECT_TRUE(world_.agent().catalogue().Search("book", "")->empty());
  EXPECT_TRUE(directory().IdentityOf(order.shop_fingerprint).ok());
}

TEST_F(ShopDirectoryTest, ABrokerCannotPassOffAnotherIdentityForAPinnedKey) {
  const std::string link = LinkOf(crypto::TestIdentity(6), "elsewhere");
  world_.broker.alter = [](const v1::CustomerMessage& call, v1::BrokerToCustomer* answer) {
    if (!call.has_get_shop()) return;
    v1::ShopEntry* entry = answer->mutable_get_shop()->mutable_shop();
    entry->set_name("elsewhere");
    entry->set_identity(crypto::TestIdentity(5).public_identity().Serialize());
    entry->set_online(true);
  };
  const auto added = directory().Add(link, false);
  ASSERT_TRUE(added.ok());
  EXPECT_FALSE(added->shop.online);
  EXPECT_FALSE(directory().Resolve("elsewhere").ok());
  EXPECT_TRUE(absl::IsNotFound(
      directory().IdentityOf(crypto::TestIdentity(6).public_identity().fingerprint()).status()));
}

TEST_F(ShopDirectoryTest, AnotherShopThanAskedForIsDataLoss) {
  world_.broker.alter = [](const v1::CustomerMessage& call, v1::BrokerToCustomer* answer) {
    if (call.has_get_shop()) answer->mutable_get_shop()->mutable_shop()->set_name("other");
  };
  EXPECT_TRUE(absl::IsDataLoss(directory().Resolve("books").status()));
}

TEST_F(ShopDirectoryTest, AKeyThatIsNoneIsDataLoss) {
  world_.broker.directory.mutable_shops(0)->set_identity("garbage");
  EXPECT_TRUE(absl::IsDataLoss(directory().Resolve("books").status()));
  EXPECT_TRUE(directory().List()->empty());
}

TEST_F(ShopDirectoryTest, UnknownAndImpossibleNames) {
  EXPECT_TRUE(absl::IsNotFound(directory().Resolve("nowhere").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(directory().Resolve("../books").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(directory().Add("blindcart:shop/x", false).status()));
}

TEST_F(ShopDirectoryTest, AListWithoutEndOrOrderIsDataLoss) {
  world_.broker.directory.set_more(true);
  EXPECT_TRUE(absl::IsDataLoss(directory().List().status()));
  world_.broker.directory.clear_shops();
  EXPECT_TRUE(absl::IsDataLoss(directory().List().status()));
}

TEST_F(ShopDirectoryTest, NamesThatCouldHurtAreLeftOut) {
  v1::ShopEntry* entry = world_.broker.directory.add_shops();
  entry->set_name("evil\x1b[2J");
  entry->set_identity(crypto::TestIdentity(5).public_identity().Serialize());
  const auto shops = directory().List();
  ASSERT_TRUE(shops.ok()) << shops.status();
  EXPECT_EQ(shops->size(), 1u);
}

}  // namespace
}  // namespace blindcart::agent
