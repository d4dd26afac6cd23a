#include "services/merchant/shop_admin.h"

#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "crypto/encoding.h"
#include "crypto/hash.h"
#include "gtest/gtest.h"
#include "services/common/files.h"
#include "services/merchant/testing/test_shop.h"

namespace blindcart::merchant {
namespace {

using testing::TestShop;

class ShopAdminTest : public ::testing::Test {
 protected:
  std::string Write(const std::string& name, const std::string& content) {
    const std::string path = absl::StrCat(shop_.folder, "/", name);
    EXPECT_TRUE(WriteFileAtomically(path, content, 0600, /*replace=*/true).ok());
    return path;
  }
  v1::AddProductRequest Request() {
    v1::AddProductRequest request;
    request.set_title("A Book");
    request.set_description("About things");
    request.set_price_minor(1250);
    request.set_currency("EUR");
    request.set_content_path(Write("book.PDF", "content"));
    return request;
  }
  v1::ListProductsReply Products() {
    const auto reply = admin_.ListProducts(v1::ListProductsRequest());
    EXPECT_TRUE(reply.ok());
    return reply.ok() ? *reply : v1::ListProductsReply();
  }

  TestShop shop_;
  ShopAdmin admin_{*shop_.database, *shop_.goods, shop_.random, 1'000'000};
};

TEST_F(ShopAdminTest, AddsAProduct) {
  v1::AddProductRequest request = Request();
  request.set_picture_path(Write("cover.png", "\x89PNG\r\n\x1a\n..."));
  request.set_stock(3);
  const auto reply = admin_.AddProduct(request, nullptr);
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(reply->content_sha256_hex(), crypto::HexEncode(crypto::Sha256("content")));
  EXPECT_EQ(reply->size_bytes(), 7u);
  const v1::ListProductsReply products = Products();
  ASSERT_EQ(products.products_size(), 1);
  const v1::StockedProduct& product = products.products(0);
  EXPECT_EQ(product.product_id_hex(), reply->product_id_hex());
  EXPECT_EQ(product.title(), "A Book");
  EXPECT_EQ(product.format(), "pdf") << "from the file's name";
  EXPECT_EQ(product.stock(), 3);
  EXPECT_TRUE(product.has_picture());
  EXPECT_FALSE(products.more());
}

TEST_F(ShopAdminTest, ReplacesAProductUnderItsId) {
  const auto first = admin_.AddProduct(Request(), nullptr);
  ASSERT_TRUE(first.ok());
  v1::AddProductRequest request = Request();
  request.set_content_path(Write("book.pdf", "a second version"));
  request.set_price_minor(2000);
  request.set_replace_id_hex(first->product_id_hex());
  const auto second = admin_.AddProduct(request, nullptr);
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second->product_id_hex(), first->product_id_hex());
  ASSERT_EQ(Products().products_size(), 1);
  EXPECT_EQ(Products().products(0).price_minor(), 2000);
  EXPECT_TRUE(shop_.goods->OpenContent(crypto::Sha256("content")).ok())
      << "earlier buyers fetch it again";
}

TEST_F(ShopAdminTest, RefusesWhatIsWrongBeforeItCopies) {
  const std::vector<std::function<void(v1::AddProductRequest*)>> wrong = {
      [](v1::AddProductRequest* request) { request->clear_title(); },
      [](v1::AddProductRequest* request) { request->set_title(std::string(257, 't')); },
      [](v1::AddProductRequest* request) { request->set_price_minor(0); },
      [](v1::AddProductRequest* request) { request->set_currency("euro"); },
      [](v1::AddProductRequest* request) { request->set_stock(-1); },
      [](v1::AddProductRequest* request) { request->set_format("p/f"); },
      [](v1::AddProductRequest* request) { request->set_replace_id_hex("xyz"); },
      [this](v1::AddProductRequest* request) {
        request->set_picture_path(Write("cover.gif", "GIF89a"));
      },
      [this](v1::AddProductRequest* request) {
        request->set_picture_path(Write("large.png", std::string(200'000, 'p')));
      },
      [this](v1::AddProductRequest* request) {
        request->set_content_path(Write("large", std::string(1'000'001, 'c')));
      },
  };
  for (size_t i = 0; i < wrong.size(); ++i) {
    v1::AddProductRequest request = Request();
    wrong[i](&request);
    bool copied = false;
    const absl::Status status = admin_
                                    .AddProduct(request,
                                                [&copied](uint64_t, uint64_t) {
                                                  copied = true;
                                                  return true;
                                                })
                                    .status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << i << " " << status;
    EXPECT_FALSE(copied) << i;
  }
  v1::AddProductRequest request = Request();
  request.set_replace_id_hex(std::string(32, 'a'));
  EXPECT_TRUE(absl::IsNotFound(admin_.AddProduct(request, nullptr).status()));
  request = Request();
  request.set_content_path(shop_.folder + "/missing");
  EXPECT_TRUE(absl::IsNotFound(admin_.AddProduct(request, nullptr).status()));
  EXPECT_EQ(Products().products_size(), 0);
}

TEST_F(ShopAdminTest, RemovesAProduct) {
  const auto added = admin_.AddProduct(Request(), nullptr);
  ASSERT_TRUE(added.ok());
  v1::RemoveProductRequest request;
  request.set_product_id_hex(added->product_id_hex());
  EXPECT_TRUE(admin_.RemoveProduct(request).ok());
  EXPECT_TRUE(Products().products(0).removed());
  EXPECT_TRUE(absl::IsNotFound(admin_.RemoveProduct(request)));
  request.set_product_id_hex("nonsense");
  EXPECT_EQ(admin_.RemoveProduct(request).code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(ShopAdminTest, ListsOrdersInPages) {
  const std::string product_id = shop_.AddProduct("content");
  for (int i = 0; i < 3; ++i) shop_.Run(shop_.NewRequest(product_id));
  v1::ListOrdersRequest request;
  request.set_limit(2);
  const auto first = admin_.ListOrders(request);
  ASSERT_TRUE(first.ok());
  ASSERT_EQ(first->orders_size(), 2);
  EXPECT_TRUE(first->more());
  request.set_below_number(first->orders(1).number());
  const auto rest = admin_.ListOrders(request);
  ASSERT_TRUE(rest.ok());
  ASSERT_EQ(rest->orders_size(), 1);
  EXPECT_FALSE(rest->more());
  EXPECT_EQ(rest->orders(0).product_id_hex(), crypto::HexEncode(product_id));
  EXPECT_EQ(rest->orders(0).status(), v1::ORDER_STATUS_CREATED);
  request.set_limit(501);
  EXPECT_EQ(admin_.ListOrders(request).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace blindcart::merchant
