// A whole shop in this process, spoken to over its Unix socket; its broker is out of reach.
#include "services/merchant/shop_server.h"

#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <grpcpp/grpcpp.h>

#include "absl/strings/str_cat.h"
#include "crypto/encoding.h"
#include "crypto/hash.h"
#include "crypto/testing/test_identity.h"
#include "gtest/gtest.h"
#include "proto/merchant_admin.grpc.pb.h"
#include "services/common/files.h"
#include "services/common/transport.h"
#include "services/merchant/config.h"

namespace blindcart::merchant {
namespace {

class ShopServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char folder[] = "/tmp/blindcart-shop-XXXXXX";  // Short: a socket's path has 107 bytes.
    ASSERT_NE(mkdtemp(folder), nullptr);
    folder_ = folder;
    config_ = DefaultConfig("bookshop", absl::StrCat("unix:", folder_, "/no-broker.sock"));
    config_.set_data_dir(folder_);
    config_.set_admin_socket(folder_ + "/admin.sock");
  }
  void TearDown() override {
    server_.reset();
    std::filesystem::remove_all(folder_);
  }
  absl::Status Start() {
    auto identity = crypto::Identity::Create(
        *crypto::RsaPrivateKey::FromPkcs8Der(crypto::TestIdentity(0).rsa().Pkcs8Der().view()),
        *crypto::Ed25519PrivateKey::FromSeed(crypto::TestIdentity(0).ed25519().seed().view()));
    if (!identity.ok()) return identity.status();
    std::vector<LoadedBrokerCard> cards = {
        {v1::BrokerCard(), crypto::TestIdentity(broker_).public_identity()}};
    auto server = ShopServer::Start(config_, *std::move(identity), std::move(cards));
    if (!server.ok()) return server.status();
    server_ = *std::move(server);
    stub_ = v1::MerchantAdmin::NewStub(DialLocal(server_->socket_path()));
    return absl::OkStatus();
  }
  grpc::Status Add(const v1::AddProductRequest& request, v1::AddProductReply* reply,
                   int* messages = nullptr) {
    grpc::ClientContext context;
    const auto reader = stub_->AddProduct(&context, request);
    v1::AddProductProgress progress;
    while (reader->Read(&progress)) {
      if (messages != nullptr) ++*messages;
      if (progress.has_done()) *reply = progress.done();
    }
    return reader->Finish();
  }
  v1::AddProductRequest Request(const std::string& content) {
    const std::string path = folder_ + "/book.pdf";
    EXPECT_TRUE(WriteFileAtomically(path, content, 0600, /*replace=*/true).ok());
    v1::AddProductRequest request;
    request.set_title("A Book");
    request.set_price_minor(1250);
    request.set_currency("EUR");
    request.set_content_path(path);
    return request;
  }
  v1::ListProductsReply Products() {
    grpc::ClientContext context;
    v1::ListProductsReply reply;
    EXPECT_TRUE(stub_->ListProducts(&context, v1::ListProductsRequest(), &reply).ok());
    return reply;
  }

  std::string folder_;
  int broker_ = 1;  // Whose card it is.
  v1::MerchantConfig config_;
  std::unique_ptr<ShopServer> server_;
  std::unique_ptr<v1::MerchantAdmin::Stub> stub_;
};

TEST_F(ShopServerTest, AddsListsAndRemovesProductsAcrossARestart) {
  ASSERT_TRUE(Start().ok());
  const std::string content(5'000'000, 'c');
  v1::AddProductReply added;
  int messages = 0;
  const grpc::Status status = Add(Request(content), &added, &messages);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(added.content_sha256_hex(), crypto::HexEncode(crypto::Sha256(content)));
  EXPECT_GE(messages, 1);
  server_.reset();
  ASSERT_TRUE(Start().ok());
  ASSERT_EQ(Products().products_size(), 1);
  EXPECT_EQ(Products().products(0).product_id_hex(), added.product_id_hex());

  grpc::ClientContext context;
  v1::RemoveProductRequest remove;
  remove.set_product_id_hex(added.product_id_hex());
  v1::RemoveProductReply removed;
  EXPECT_TRUE(stub_->RemoveProduct(&context, remove, &removed).ok());
  EXPECT_TRUE(Products().products(0).removed());
  grpc::ClientContext orders_context;
  v1::ListOrdersReply orders;
  EXPECT_TRUE(stub_->ListOrders(&orders_context, v1::ListOrdersRequest(), &orders).ok());
  EXPECT_EQ(orders.orders_size(), 0);
}

TEST_F(ShopServerTest, TellsTheMerchantWhatIsWrong) {
  ASSERT_TRUE(Start().ok());
  v1::AddProductRequest request = Request("content");
  request.clear_title();
  v1::AddProductReply reply;
  const grpc::Status status = Add(request, &reply);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_NE(status.error_message().find("title"), std::string::npos);
  EXPECT_EQ(Products().products_size(), 0);
}

TEST_F(ShopServerTest, ItsSocketIsForItsOwnerOnly) {
  ASSERT_TRUE(Start().ok());
  struct stat info;
  ASSERT_EQ(stat(config_.admin_socket().c_str(), &info), 0);
  EXPECT_TRUE(S_ISSOCK(info.st_mode));
  EXPECT_EQ(info.st_mode & 077, 0u);
}

TEST_F(ShopServerTest, AFolderIsServedOnceAtATime) {
  ASSERT_TRUE(Start().ok());
  std::unique_ptr<ShopServer> first = std::move(server_);
  const absl::Status second = Start();
  EXPECT_EQ(second.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_NE(second.message().find("running already"), absl::string_view::npos);
  first.reset();
  EXPECT_TRUE(Start().ok());
}

TEST_F(ShopServerTest, ACardWithAnotherKeyIsRefused) {
  ASSERT_TRUE(Start().ok());
  server_.reset();
  broker_ = 2;
  const absl::Status other = Start();
  EXPECT_EQ(other.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(other.message().find("another key than the one"), absl::string_view::npos) << other;
  broker_ = 1;
  EXPECT_TRUE(Start().ok());
}

TEST_F(ShopServerTest, ReportsABrokerThatIsOutOfReachAndStopsAllTheSame) {
  ASSERT_TRUE(Start().ok());
  grpc::ClientContext context;
  v1::MerchantStatusReply status;
  ASSERT_TRUE(stub_->Status(&context, v1::MerchantStatusRequest(), &status).ok());
  EXPECT_EQ(status.name(), "bookshop");
  EXPECT_EQ(status.own_fingerprint_hex(),
            crypto::HexEncode(crypto::TestIdentity(0).public_identity().fingerprint()));
  ASSERT_EQ(status.brokers_size(), 1);
  EXPECT_FALSE(status.brokers(0).connected());
  server_->Stop();
  server_->Stop();
}

}  // namespace
}  // namespace blindcart::merchant
