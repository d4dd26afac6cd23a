#include "services/agent/catalogue.h"

#include <functional>
#include <string>
#include <vector>

#include "crypto/encoding.h"
#include "gtest/gtest.h"
#include "services/agent/testing/test_world.h"

namespace blindcart::agent {
namespace {

using testing::TestWorld;

class CatalogueTest : public ::testing::Test {
 protected:
  CatalogueTest() { EXPECT_TRUE(world_.Login().ok()); }
  Catalogue& catalogue() { return world_.agent().catalogue(); }
  absl::StatusOr<Catalogue::Browsed> Browse() { return catalogue().Browse("books"); }

  TestWorld world_;
};

TEST_F(CatalogueTest, FetchesInPagesAndOnlyWhatChanged) {
  world_.shop.page_size = 3;
  for (int i = 0; i < 10; ++i) {
    world_.shop.AddProduct("Book " + std::to_string(i), 100 + i, "content");
  }
  auto browsed = Browse();
  ASSERT_TRUE(browsed.ok()) << browsed.status();
  EXPECT_EQ(browsed->entries.size(), 10u);
  EXPECT_EQ(world_.shop.requests.size(), 4u);
  EXPECT_FALSE(browsed->warning.empty());

  browsed = Browse();
  ASSERT_TRUE(browsed.ok());
  EXPECT_EQ(browsed->entries.size(), 10u);
  EXPECT_EQ(world_.shop.requests.size(), 5u);
  EXPECT_EQ(world_.shop.requests.back().catalogue().known_version(), 10u);
}

TEST_F(CatalogueTest, ChangedAndRemovedProductsFollow) {
  const std::string changed = world_.shop.AddProduct("Old Title", 100, "content");
  const std::string removed = world_.shop.AddProduct("Gone Soon", 100, "content");
  ASSERT_EQ(Browse()->entries.size(), 2u);
  world_.shop.product(changed).set_title("New Title");
  world_.shop.Touch(changed);
  world_.shop.product(removed).set_removed(true);
  world_.shop.Touch(removed);
  const auto browsed = Browse();
  ASSERT_TRUE(browsed.ok()) << browsed.status();
  ASSERT_EQ(browsed->entries.size(), 1u);
  EXPECT_EQ(browsed->entries[0].product.title(), "New Title");
  EXPECT_TRUE(absl::IsNotFound(catalogue().Find(crypto::HexEncode(removed)).status()));
}

TEST_F(CatalogueTest, HostileEntriesAreRefusedWhole) {
  const std::vector<std::function<void(v1::Product*)>> hostile = {
      [](v1::Product* p) { p->set_price_minor(-1); },
      [](v1::Product* p) { p->set_price_minor(0); },
      [](v1::Product* p) { p->set_price_minor(INT64_MAX); },
      [](v1::Product* p) { p->set_currency("eu"); },
      [](v1::Product* p) { p->set_title(""); },
      [](v1::Product* p) { p->set_title(std::string(300, 'x')); },
      [](v1::Product* p) { p->set_title("\x1b[2Jclear"); },
      [](v1::Product* p) { p->set_description(std::string(9000, 'x')); },
      [](v1::Product* p) { p->set_picture("<svg onload=alert(1)>"); },
      [](v1::Product* p) { p->set_format("../x"); },
      [](v1::Product* p) { p->set_product_id("short"); },
      [](v1::Product* p) { p->set_content_hash("short"); },
      [](v1::Product* p) { p->set_size_bytes(UINT64_MAX); },
      [](v1::Product* p) { p->set_version(0); },
      [](v1::Product* p) { p->set_version(UINT64_MAX); },
  };
  world_.shop.AddProduct("Good", 100, "content");
  world_.shop.AddProduct("Bad", 100, "content");
  for (size_t i = 0; i < hostile.size(); ++i) {
    world_.shop.alter_reply = [&](const v1::ShopRequest&, v1::ShopReply* reply) {
      hostile[i](reply->mutable_catalogue()->mutable_products(1));
    };
    EXPECT_TRUE(absl::IsDataLoss(Browse().status())) << i;
    EXPECT_TRUE(catalogue().Search("good", "")->empty()) << i;
  }
  world_.shop.alter_reply = nullptr;
  EXPECT_EQ(Browse()->entries.size(), 2u);
}

TEST_F(CatalogueTest, ACatalogueWithoutEndIsRefused) {
  world_.shop.AddProduct("Book", 100, "content");
  ASSERT_TRUE(Browse().ok());
  world_.shop.alter_reply = [](const v1::ShopRequest&, v1::ShopReply* reply) {
    reply->mutable_catalogue()->set_more(true);
  };
  EXPECT_TRUE(absl::IsDataLoss(Browse().status()));
}

TEST_F(CatalogueTest, AVersionThatWentBackBeginsAnewOnce) {
  world_.shop.AddProduct("Book", 100, "content");
  world_.shop.AddProduct("Second", 100, "content");
  ASSERT_TRUE(Browse().ok());
  // The shop came back with an older catalogue.
  int asked = 0;
  world_.shop.alter_reply = [&](const v1::ShopRequest& request, v1::ShopReply* reply) {
    ++asked;
    if (request.catalogue().known_version() == 0) {
      reply->mutable_catalogue()->mutable_products()->RemoveLast();
    }
    reply->mutable_catalogue()->set_version(1);
  };
  const auto browsed = Browse();
  ASSERT_TRUE(browsed.ok()) << browsed.status();
  EXPECT_EQ(browsed->entries.size(), 1u);
  EXPECT_EQ(asked, 2);
}

TEST_F(CatalogueTest, SearchIsLocalAndIgnoresCase) {
  world_.shop.AddProduct("Äpfel und BIRNEN", 100, "content");
  world_.shop.AddProduct("Birnen", 100, "content");
  ASSERT_TRUE(Browse().ok());
  const size_t asked = world_.shop.requests.size();
  world_.agent().broker().Logout();
  EXPECT_EQ(catalogue().Search("birnen", "")->size(), 2u);
  EXPECT_EQ(catalogue().Search("birnen ÄPFEL", "books")->size(), 1u);
  EXPECT_EQ(catalogue().Search("birnen", "other")->size(), 0u);
  EXPECT_TRUE(absl::IsInvalidArgument(catalogue().Search("  ", "").status()));
  EXPECT_EQ(world_.shop.requests.size(), asked);
}

TEST_F(CatalogueTest, FindsByTheBeginningOfAnId) {
  const std::string id = crypto::HexEncode(world_.shop.AddProduct("Book", 100, "content"));
  ASSERT_TRUE(Browse().ok());
  EXPECT_TRUE(catalogue().Find(id).ok());
  EXPECT_TRUE(catalogue().Find(id.substr(0, 4)).ok());
  EXPECT_TRUE(catalogue().Find("books/" + id.substr(0, 6)).ok());
  EXPECT_TRUE(absl::IsNotFound(catalogue().Find("other/" + id).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(catalogue().Find(id.substr(0, 3)).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(catalogue().Find("zzzz").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(catalogue().Find(id + "00").status()));
}

TEST_F(CatalogueTest, AnIdThatTwoProductsShareIsAmbiguous) {
  const std::string first = world_.shop.AddProduct("One", 100, "content");
  const std::string second = world_.shop.AddProduct("Two", 100, "content");
  world_.shop.alter_reply = [&](const v1::ShopRequest&, v1::ShopReply* reply) {
    std::string id = first;
    id.back() ^= 1;
    reply->mutable_catalogue()->mutable_products(1)->set_product_id(id);
  };
  ASSERT_TRUE(Browse().ok());
  EXPECT_TRUE(
      absl::IsFailedPrecondition(catalogue().Find(crypto::HexEncode(first).substr(0, 8)).status()));
  EXPECT_TRUE(catalogue().Find(crypto::HexEncode(first)).ok());
}

TEST_F(CatalogueTest, PicturesAreKept) {
  const std::string picture = std::string("\x89PNG\r\n\x1a\n", 8) + "pixels";
  const std::string id = world_.shop.AddProduct("Book", 100, "content");
  world_.shop.product(id).set_picture(picture);
  ASSERT_TRUE(Browse().ok());
  const auto entry = catalogue().Find(crypto::HexEncode(id));
  ASSERT_TRUE(entry.ok());
  EXPECT_TRUE(entry->has_picture);
  EXPECT_EQ(*catalogue().Picture(*entry), picture);
}

}  // namespace
}  // namespace blindcart::agent
