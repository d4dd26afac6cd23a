#include "services/catalog/catalog.h"

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "protocol/order.h"
#include "services/merchant/shop_database.h"

namespace blindcart::catalog {
namespace {

std::string Id(int n) {
  std::string id(protocol::kProductIdBytes, '\0');
  id[0] = static_cast<char>(n);
  id[1] = static_cast<char>(n >> 8);
  return id;
}

v1::Product MakeProduct(int n) {
  v1::Product product;
  product.set_product_id(Id(n));
  product.set_title(absl::StrCat("Product ", n));
  product.set_description("What it is");
  product.set_price_minor(1250 + n);
  product.set_currency("EUR");
  product.set_format("pdf");
  product.set_size_bytes(1000);
  product.set_content_hash(std::string(32, static_cast<char>(n)));
  return product;
}

class CatalogTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string path =
        absl::StrCat(::testing::TempDir(), "/",
                     ::testing::UnitTest::GetInstance()->current_test_info()->name(), ".db");
    auto opened = merchant::ShopDatabase::Open(path);
    ASSERT_TRUE(opened.ok()) << opened.status();
    database_ = *std::move(opened);
  }

  template <typename Body>
  absl::Status Write(Body body) {
    return database_->Write([body](storage::SqliteDatabase& database) {
      Catalog catalog(database);
      return body(catalog);
    });
  }
  absl::Status Put(const v1::Product& product, absl::optional<int64_t> stock = absl::nullopt) {
    return Write([product, stock](Catalog& catalog) { return catalog.Put(product, stock); });
  }
  v1::CataloguePage Changes(uint64_t known_version, size_t max_bytes = 1 << 20) {
    v1::CataloguePage page;
    const absl::Status read = database_->Read([&](storage::SqliteDatabase& database) {
      auto changes = Catalog(database).ChangesSince(known_version, max_bytes);
      if (changes.ok()) page = *std::move(changes);
      return changes.status();
    });
    EXPECT_TRUE(read.ok()) << read;
    return page;
  }
  StockedProduct Find(int n) {
    StockedProduct product;
    const absl::Status read = database_->Read([&](storage::SqliteDatabase& database) {
      auto found = Catalog(database).Find(Id(n));
      if (found.ok()) product = *std::move(found);
      return found.status();
    });
    EXPECT_TRUE(read.ok()) << read;
    return product;
  }
  absl::Status Reserve(int n, const std::string& order_id) {
    return Write([=](Catalog& catalog) { return catalog.Reserve(Id(n), order_id); });
  }
  absl::Status Release(const std::string& order_id) {
    return Write([=](Catalog& catalog) { return catalog.Release(order_id); });
  }
  absl::Status Consume(const std::string& order_id) {
    return Write([=](Catalog& catalog) { return catalog.Consume(order_id); });
  }

  std::unique_ptr<merchant::ShopDatabase> database_;
};

std::string OrderId(int n) { return Id(n); }

TEST_F(CatalogTest, AnEmptyCatalogueIsAtVersionZero) {
  const v1::CataloguePage page = Changes(0);
  EXPECT_EQ(page.version(), 0u);
  EXPECT_EQ(page.products_size(), 0);
  EXPECT_FALSE(page.more());
}

TEST_F(CatalogTest, EveryChangeIsTheNextVersion) {
  v1::Product with_picture = MakeProduct(1);
  with_picture.set_picture("\x89PNG\r\n\x1a\nrest");
  ASSERT_TRUE(Put(with_picture).ok());
  ASSERT_TRUE(Put(MakeProduct(2)).ok());
  v1::CataloguePage page = Changes(0);
  ASSERT_EQ(page.products_size(), 2);
  EXPECT_EQ(page.version(), 2u);
  EXPECT_EQ(page.products(0).version(), 1u);
  EXPECT_EQ(page.products(0).picture(), with_picture.picture());
  EXPECT_EQ(page.products(1).title(), "Product 2");
  EXPECT_EQ(page.products(1).content_hash(), MakeProduct(2).content_hash());

  v1::Product changed = MakeProduct(1);
  changed.set_price_minor(999);
  ASSERT_TRUE(Put(changed).ok());
  page = Changes(2);
  ASSERT_EQ(page.products_size(), 1);
  EXPECT_EQ(page.version(), 3u);
  EXPECT_EQ(page.products(0).price_minor(), 999);
  EXPECT_TRUE(page.products(0).picture().empty());
  EXPECT_EQ(Changes(3).products_size(), 0);
}

TEST_F(CatalogTest, RemovalLeavesATombstoneWithNothingElseInIt) {
  ASSERT_TRUE(Put(MakeProduct(1)).ok());
  ASSERT_TRUE(Write([](Catalog& catalog) { return catalog.Remove(Id(1)); }).ok());
  const v1::CataloguePage page = Changes(1);
  ASSERT_EQ(page.products_size(), 1);
  EXPECT_TRUE(page.products(0).removed());
  EXPECT_TRUE(protocol::ValidateProduct(page.products(0)).ok());
  EXPECT_EQ(page.products(0).title(), "");
  EXPECT_TRUE(
      absl::IsNotFound(Write([](Catalog& catalog) { return catalog.Find(Id(1)).status(); })));
  EXPECT_TRUE(absl::IsNotFound(Write([](Catalog& catalog) { return catalog.Remove(Id(1)); })));
  EXPECT_EQ(Changes(0).version(), 2u) << "a refused removal takes no version";
  ASSERT_TRUE(Put(MakeProduct(1)).ok());
  EXPECT_FALSE(Changes(2).products(0).removed());
}

TEST_F(CatalogTest, PagesTogetherAreTheWholeDifference) {
  for (int n = 1; n <= 40; ++n) {
    v1::Product product = MakeProduct(n);
    product.set_description(std::string(static_cast<size_t>(n) * 200, 'd'));
    ASSERT_TRUE(Put(product).ok());
  }
  constexpr size_t kMaxBytes = 10'000;
  uint64_t known = 5;
  int next = 6;
  int pages = 0;
  while (true) {
    const v1::CataloguePage page = Changes(known, kMaxBytes);
    ASSERT_GT(page.products_size(), 0);
    EXPECT_LE(page.ByteSizeLong(), kMaxBytes);
    for (const v1::Product& product : page.products()) EXPECT_EQ(product.product_id(), Id(next++));
    known = page.version();
    ++pages;
    if (!page.more()) break;
  }
  EXPECT_EQ(next, 41);
  EXPECT_EQ(known, 40u);
  EXPECT_GT(pages, 5);
}

TEST_F(CatalogTest, AProductLargerThanAPageStillComes) {
  ASSERT_TRUE(Put(MakeProduct(1)).ok());
  ASSERT_TRUE(Put(MakeProduct(2)).ok());
  const v1::CataloguePage page = Changes(0, 10);
  EXPECT_EQ(page.products_size(), 1);
  EXPECT_TRUE(page.more());
  EXPECT_EQ(page.version(), 1u);
}

TEST_F(CatalogTest, TheLargestProductFitsIntoAFrame) {
  v1::Product product = MakeProduct(1);
  product.set_title(std::string(protocol::kMaxTitleBytes, 't'));
  product.set_description(std::string(protocol::kMaxDescriptionBytes, 'd'));
  product.set_picture("\x89PNG\r\n\x1a\n" + std::string(protocol::kMaxPictureBytes - 8, 'p'));
  ASSERT_TRUE(Put(product).ok());
  EXPECT_LE(Changes(0).ByteSizeLong(), 255u * 1024);
}

TEST_F(CatalogTest, AVersionFromTheFutureGetsEverything) {
  ASSERT_TRUE(Put(MakeProduct(1)).ok());
  const v1::CataloguePage page = Changes(17);
  EXPECT_EQ(page.products_size(), 1);
  EXPECT_EQ(page.version(), 1u);
}

TEST_F(CatalogTest, RefusesWhatIsOutOfBoundsAndChangesNothing) {
  v1::Product untitled = MakeProduct(1);
  untitled.clear_title();
  EXPECT_EQ(Put(untitled).code(), absl::StatusCode::kInvalidArgument);
  v1::Product free_of_charge = MakeProduct(1);
  free_of_charge.set_price_minor(0);
  EXPECT_EQ(Put(free_of_charge).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Put(MakeProduct(1), -1).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Changes(0).version(), 0u);
}

TEST_F(CatalogTest, SoldOutAndAvailableAgainAreChanges) {
  ASSERT_TRUE(Put(MakeProduct(1), 2).ok());
  ASSERT_TRUE(Reserve(1, OrderId(1)).ok());
  EXPECT_EQ(Changes(1).products_size(), 0) << "there is one left";
  ASSERT_TRUE(Reserve(1, OrderId(2)).ok());
  v1::CataloguePage page = Changes(1);
  ASSERT_EQ(page.products_size(), 1);
  EXPECT_TRUE(page.products(0).sold_out());
  EXPECT_TRUE(absl::IsFailedPrecondition(Reserve(1, OrderId(3))));
  ASSERT_TRUE(Release(OrderId(1)).ok());
  page = Changes(page.version());
  ASSERT_EQ(page.products_size(), 1);
  EXPECT_FALSE(page.products(0).sold_out());
  EXPECT_EQ(*Find(1).stock, 1);
}

TEST_F(CatalogTest, AUnitIsGivenBackOnceAndAUsedOneNever) {
  ASSERT_TRUE(Put(MakeProduct(1), 5).ok());
  ASSERT_TRUE(Reserve(1, OrderId(1)).ok());
  ASSERT_TRUE(Release(OrderId(1)).ok());
  ASSERT_TRUE(Release(OrderId(1)).ok());
  EXPECT_EQ(*Find(1).stock, 5);
  ASSERT_TRUE(Reserve(1, OrderId(2)).ok());
  ASSERT_TRUE(Consume(OrderId(2)).ok());
  ASSERT_TRUE(Release(OrderId(2)).ok());
  EXPECT_EQ(*Find(1).stock, 4);
}

TEST_F(CatalogTest, AReservationMovesToAnotherOrder) {
  ASSERT_TRUE(Put(MakeProduct(1), 1).ok());
  ASSERT_TRUE(Reserve(1, OrderId(1)).ok());
  bool moved = false;
  ASSERT_TRUE(Write([&moved](Catalog& catalog) {
                auto result = catalog.MoveReservation(OrderId(1), OrderId(2));
                moved = result.ok() && *result;
                return result.status();
              }).ok());
  EXPECT_TRUE(moved);
  ASSERT_TRUE(Release(OrderId(1)).ok());
  EXPECT_EQ(*Find(1).stock, 0);
  ASSERT_TRUE(Release(OrderId(2)).ok());
  EXPECT_EQ(*Find(1).stock, 1);
}

TEST_F(CatalogTest, NewStockCountsFromNowOn) {
  ASSERT_TRUE(Put(MakeProduct(1), 3).ok());
  ASSERT_TRUE(Reserve(1, OrderId(1)).ok());
  ASSERT_TRUE(Put(MakeProduct(1), 10).ok());
  ASSERT_TRUE(Release(OrderId(1)).ok());
  EXPECT_EQ(*Find(1).stock, 10);
  ASSERT_TRUE(Reserve(1, OrderId(2)).ok());
  ASSERT_TRUE(Put(MakeProduct(1)).ok());  // Unlimited from now on.
  ASSERT_TRUE(Release(OrderId(2)).ok());
  EXPECT_FALSE(Find(1).stock.has_value());
}

TEST_F(CatalogTest, ManyThreadsNeverSellAUnitTwice) {
  constexpr int kThreads = 64;
  constexpr int kStock = 100;
  ASSERT_TRUE(Put(MakeProduct(1), kStock).ok());
  std::atomic<int> reserved{0};
  std::atomic<int> sold_out{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 10; ++i) {
        const std::string order_id = OrderId(1 + t * 10 + i);
        const absl::Status status = Reserve(1, order_id);
        if (status.ok()) {
          ++reserved;
          if (i % 2 == 0) {
            EXPECT_TRUE(Consume(order_id).ok());
          } else {
            --reserved;
            EXPECT_TRUE(Release(order_id).ok());
          }
        } else {
          EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
          ++sold_out;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(*Find(1).stock, kStock - reserved);
  EXPECT_EQ(reserved, kStock) << "64 x 5 consuming orders were there to take 100 units";
  EXPECT_GT(sold_out, 0);
}

}  // namespace
}  // namespace blindcart::catalog
