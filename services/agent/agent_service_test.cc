#include "services/agent/agent_service.h"

#include <stdlib.h>

#include <fstream>
#include <memory>
#include <sstream>
#include <string>

#include "crypto/encoding.h"
#include "gtest/gtest.h"
#include "services/agent/testing/test_world.h"
#include "services/common/transport.h"

namespace blindcart::agent {
namespace {

using testing::TestWorld;

// The local API as the command line meets it: over a Unix socket.
class AgentServiceTest : public ::testing::Test {
 protected:
  AgentServiceTest() : calls_(4, 16), downloads_(2, 4) {
    service_ = std::make_unique<AgentService>(world_.agent(), calls_, downloads_);
    // A socket's path is short.
    std::string folder = "/tmp/agent-XXXXXX";
    EXPECT_NE(mkdtemp(folder.data()), nullptr);
    const std::string socket = folder + "/s";
    ServerRunner::Options options;
    options.listen = {"unix:" + socket};
    options.max_message_bytes = kMaxLocalMessageBytes;
    auto server = ServerRunner::Start(*service_, options);
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    stub_ = v1::Agent::NewStub(DialLocal(socket));
  }
  ~AgentServiceTest() override {
    world_.agent().Shutdown();
    server_->Shutdown(1000);
    downloads_.Shutdown();
    calls_.Shutdown();
  }

  // Calls one method with a context of its own.
  template <typename Request, typename Reply>
  grpc::Status Call(grpc::Status (v1::Agent::Stub::*method)(grpc::ClientContext*, const Request&,
                                                            Reply*),
                    const Request& request, Reply* reply) {
    grpc::ClientContext context;
    return (stub_.get()->*method)(&context, request, reply);
  }
  grpc::Status Login(const std::string& password) {
    v1::LoginRequest request;
    request.set_username("alice");
    request.set_password(password);
    v1::LoginReply reply;
    return Call(&v1::Agent::Stub::Login, request, &reply);
  }

  TestWorld world_;
  WorkerPool calls_;
  WorkerPool downloads_;
  std::unique_ptr<AgentService> service_;
  std::unique_ptr<ServerRunner> server_;
  std::unique_ptr<v1::Agent::Stub> stub_;
};

TEST_F(AgentServiceTest, AWholePurchase) {
  const std::string content = world_.random.Bytes(900'000);
  const std::string product = crypto::HexEncode(world_.shop.AddProduct("A Book", 1000, content));
  ASSERT_TRUE(Login("correct horse").ok());
  v1::StatusReply status;
  ASSERT_TRUE(Call(&v1::Agent::Stub::Status, v1::StatusRequest(), &status).ok());
  EXPECT_TRUE(status.logged_in());
  EXPECT_TRUE(status.connected());
  EXPECT_EQ(status.username(), "alice");
  EXPECT_EQ(status.own_fingerprint_hex().size(), 64u);

  v1::BrowseRequest browse;
  browse.set_shop("books");
  v1::BrowseReply items;
  ASSERT_TRUE(Call(&v1::Agent::Stub::Browse, browse, &items).ok());
  ASSERT_EQ(items.items_size(), 1);
  EXPECT_FALSE(items.warning().empty());
  EXPECT_EQ(items.items(0).product_id_hex(), product);
  v1::ListShopsReply shops;
  ASSERT_TRUE(Call(&v1::Agent::Stub::ListShops, v1::ListShopsRequest(), &shops).ok());
  ASSERT_EQ(shops.shops_size(), 1);
  EXPECT_TRUE(shops.shops(0).pinned_on_first_use());
  v1::SearchRequest search;
  search.set_text("book");
  v1::SearchReply found;
  ASSERT_TRUE(Call(&v1::Agent::Stub::Search, search, &found).ok());
  EXPECT_EQ(found.items_size(), 1);
  v1::ShowRequest show;
  show.set_product(product);
  v1::ShowReply shown;
  ASSERT_TRUE(Call(&v1::Agent::Stub::Show, show, &shown).ok());
  EXPECT_EQ(shown.item().title(), "A Book");

  v1::CheckoutOrderRequest checkout;
  checkout.set_product(product);
  v1::PurchaseReply ordered;
  ASSERT_TRUE(Call(&v1::Agent::Stub::Checkout, checkout, &ordered).ok());
  ASSERT_EQ(ordered.outcome(), v1::CHECKOUT_OUTCOME_ORDERED);
  EXPECT_EQ(ordered.purchase().total_minor(), 1100);
  v1::PayRequest pay;
  pay.set_order(ordered.purchase().order_id_hex());
  pay.set_account_number(world_.broker.account);
  pay.set_pin("0000");
  v1::PayReply paid;
  ASSERT_TRUE(Call(&v1::Agent::Stub::Pay, pay, &paid).ok());
  EXPECT_EQ(paid.outcome(), v1::PAY_OUTCOME_ACCOUNT_OR_PIN);
  pay.set_pin("1234");
  ASSERT_TRUE(Call(&v1::Agent::Stub::Pay, pay, &paid).ok());
  EXPECT_EQ(paid.outcome(), v1::PAY_OUTCOME_SUCCESSFUL);
  EXPECT_EQ(paid.purchase().status(), v1::ORDER_STATUS_PAID);
  EXPECT_GT(paid.purchase().paid_at_ms(), 0);
  v1::BalanceReply balance;
  ASSERT_TRUE(Call(&v1::Agent::Stub::Balance, v1::BalanceRequest(), &balance).ok());
  EXPECT_EQ(balance.balance_minor(), 100'000 - 1100);

  v1::DownloadRequest download;
  download.set_order(pay.order());
  grpc::ClientContext context;
  const auto reader = stub_->Download(&context, download);
  v1::DownloadProgress progress;
  int steps = 0;
  while (reader->Read(&progress)) ++steps;
  const grpc::Status delivered = reader->Finish();
  ASSERT_TRUE(delivered.ok()) << delivered.error_message();
  EXPECT_GE(steps, 1);
  EXPECT_TRUE(progress.done());
  EXPECT_EQ(progress.received_bytes(), content.size());
  std::ifstream file(progress.file_path(), std::ios::binary);
  std::ostringstream all;
  all << file.rdbuf();
  EXPECT_EQ(all.str(), content);

  v1::VerifyRequest verify;
  verify.set_order(pay.order());
  v1::VerifyReply verified;
  ASSERT_TRUE(Call(&v1::Agent::Stub::Verify, verify, &verified).ok());
  EXPECT_TRUE(verified.ok());
  EXPECT_EQ(verified.checks_size(), 6);
  v1::ListPurchasesReply purchases;
  ASSERT_TRUE(Call(&v1::Agent::Stub::ListPurchases, v1::ListPurchasesRequest(), &purchases).ok());
  ASSERT_EQ(purchases.purchases_size(), 1);
  EXPECT_EQ(purchases.purchases(0).status(), v1::ORDER_STATUS_DELIVERED);
  EXPECT_EQ(purchases.purchases(0).file_path(), progress.file_path());

  v1::LogoutReply out;
  ASSERT_TRUE(Call(&v1::Agent::Stub::Logout, v1::LogoutRequest(), &out).ok());
  EXPECT_EQ(Call(&v1::Agent::Stub::Balance, v1::BalanceRequest(), &balance).error_code(),
            grpc::StatusCode::UNAUTHENTICATED);
}

TEST_F(AgentServiceTest, ErrorsHaveCodesAndWords) {
  const grpc::Status login = Login("wrong");
  EXPECT_EQ(login.error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_NE(login.error_message().find("login failed"), std::string::npos);
  ASSERT_TRUE(Login("correct horse").ok());
  world_.shop.online = false;
  v1::BrowseRequest browse;
  browse.set_shop("books");
  v1::BrowseReply items;
  EXPECT_EQ(Call(&v1::Agent::Stub::Browse, browse, &items).error_code(),
            grpc::StatusCode::UNAVAILABLE);
  v1::AddShopRequest add;
  add.set_link("http://example.com");
  v1::AddShopReply added;
  EXPECT_EQ(Call(&v1::Agent::Stub::AddShop, add, &added).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  v1::DeclineRequest decline;
  decline.set_order("abcdef");
  v1::PurchaseReply declined;
  EXPECT_EQ(Call(&v1::Agent::Stub::Decline, decline, &declined).error_code(),
            grpc::StatusCode::NOT_FOUND);
  v1::DownloadRequest download;
  download.set_order("abcdef");
  grpc::ClientContext context;
  const auto reader = stub_->Download(&context, download);
  v1::DownloadProgress progress;
  EXPECT_FALSE(reader->Read(&progress));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(AgentServiceTest, ACallerThatGoesAwayStopsItsDownload) {
  const PurchaseRecord bought = world_.Bought("Book", world_.random.Bytes(2'000'000));
  grpc::ClientContext context;
  world_.broker.alter_goods = [&](size_t index, v1::Frame*) {
    if (index == 2) context.TryCancel();
    return true;
  };
  v1::DownloadRequest download;
  download.set_order(TestWorld::Id(bought));
  const auto reader = stub_->Download(&context, download);
  v1::DownloadProgress progress;
  while (reader->Read(&progress)) {
  }
  EXPECT_FALSE(reader->Finish().ok());
  // The next one is not kept out by the first, once that has noticed.
  world_.broker.alter_goods = nullptr;
  absl::StatusOr<PurchaseRecord> done = absl::UnknownError("");
  ASSERT_TRUE(TestWorld::Await([&] {
    done = world_.agent().downloader().Download(TestWorld::Id(bought), false, nullptr);
    return !absl::IsFailedPrecondition(done.status());
  }));
  EXPECT_TRUE(done.ok()) << done.status();
}

}  // namespace
}  // namespace blindcart::agent
