// The broker behind a real gRPC server on a Unix socket.
#include "services/broker/broker_service.h"

#include <unistd.h>

#include <cstdlib>
#include <future>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/broker/testing/broker_fixture.h"
#include "services/common/transport.h"

namespace blindcart::broker {
namespace {

using ::testing::AnyOf;

constexpr size_t kPieceBytes = 256 * 1024;

class BrokerServiceTest : public BrokerFixture {
 protected:
  BrokerServiceTest()
      : door_({/*header_timeout_ms=*/10'000}, broker_->goods(), broker_->counters(), clock_),
        service_(*broker_, door_, Lineage(), /*behind_proxy=*/false) {
    char folder[] = "/tmp/blindcart-service-XXXXXX";  // Short: a socket's path has 107 bytes.
    folder_ = mkdtemp(folder);
    ServerRunner::Options options;
    options.listen = {absl::StrCat("unix:", folder_, "/s")};
    runner_ = *ServerRunner::Start(service_, options);
    link_channel_ = *DialBroker(options.listen[0], "", false, "link");
    goods_channel_ = *DialBroker(options.listen[0], "", false, "goods");
    goods_ = v1::Broker::NewStub(goods_channel_);
    link_ = v1::Broker::NewStub(link_channel_);
  }
  ~BrokerServiceTest() override {
    runner_->Shutdown(0);
    rmdir(folder_.c_str());
  }

  // From test identity 7 to 8 to 9.
  static protocol::IdentityLineage Lineage() {
    const auto link = [](int from, int to, int64_t counter) {
      return protocol::MakeIdentityLink(crypto::TestIdentity(from),
                                        crypto::TestIdentity(to).public_identity(), counter, 1);
    };
    return *protocol::IdentityLineage(crypto::TestIdentity(7).public_identity())
                .Follow({link(7, 8, 1), link(8, 9, 2)}, 1);
  }

  // A merchant's stream that has named its delivery.
  struct Sender {
    grpc::ClientContext context;
    v1::GoodsSent sent;
    std::unique_ptr<grpc::ClientWriter<v1::GoodsMessage>> stream;
    bool Piece(const std::string& bytes) {
      v1::GoodsMessage message;
      message.mutable_frame()->set_ciphertext(bytes);
      return stream->Write(message);
    }
  };
  std::unique_ptr<Sender> Send(const std::string& delivery_id) {
    auto sender = std::make_unique<Sender>();
    sender->stream = goods_->SendGoods(&sender->context, &sender->sent);
    v1::GoodsMessage header;
    header.mutable_header()->set_delivery_id(delivery_id);
    sender->stream->Write(header);
    return sender;
  }
  struct Fetcher {
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientReader<v1::GoodsMessage>> stream;
  };
  std::unique_ptr<Fetcher> Fetch(const std::string& delivery_id) {
    auto fetcher = std::make_unique<Fetcher>();
    v1::GoodsHeader header;
    header.set_delivery_id(delivery_id);
    fetcher->stream = goods_->FetchGoods(&fetcher->context, header);
    return fetcher;
  }

  GoodsDoor door_;
  BrokerService service_;
  std::string folder_;
  std::unique_ptr<ServerRunner> runner_;
  std::shared_ptr<grpc::Channel> link_channel_;
  std::shared_ptr<grpc::Channel> goods_channel_;
  std::unique_ptr<v1::Broker::Stub> link_;
  std::unique_ptr<v1::Broker::Stub> goods_;
};

TEST_F(BrokerServiceTest, LeadsFromAnEarlierIdentityToThePresentOne) {
  const auto links_after = [&](const std::string& fingerprint) {
    grpc::ClientContext context;
    v1::FollowIdentityRequest request;
    request.set_fingerprint(fingerprint);
    v1::FollowIdentityReply reply;
    EXPECT_TRUE(link_->FollowIdentity(&context, request, &reply).ok());
    return std::vector<v1::IdentityLink>(reply.links().begin(), reply.links().end());
  };
  const crypto::PublicIdentity& pinned = crypto::TestIdentity(7).public_identity();
  const std::vector<v1::IdentityLink> links = links_after(pinned.fingerprint());
  const auto followed = protocol::IdentityLineage(pinned).Follow(links, 1);
  ASSERT_TRUE(followed.ok()) << followed.status();
  EXPECT_EQ(followed->current().fingerprint(),
            crypto::TestIdentity(9).public_identity().fingerprint());
  EXPECT_EQ(links_after(crypto::TestIdentity(8).public_identity().fingerprint()).size(), 1u);
  EXPECT_TRUE(links_after(crypto::TestIdentity(9).public_identity().fingerprint()).empty());
  EXPECT_TRUE(links_after("").empty());
  EXPECT_TRUE(links_after(std::string(100'000, 'x')).empty());
}

TEST_F(BrokerServiceTest, JoinsADeliveryWhicheverEndComesFirst) {
  constexpr int kPieces = 20;
  for (bool sender_first : {true, false}) {
    ASSERT_TRUE(broker_->goods().Open(1, Id("delivery")));
    std::unique_ptr<Sender> sender;
    std::unique_ptr<Fetcher> fetcher;
    if (sender_first) sender = Send(Id("delivery"));
    fetcher = Fetch(Id("delivery"));
    if (!sender_first) sender = Send(Id("delivery"));
    auto sending = std::async(std::launch::async, [&] {
      for (int i = 0; i < kPieces; ++i) {
        if (!sender->Piece(std::string(kPieceBytes, static_cast<char>(i)))) return false;
      }
      sender->stream->WritesDone();
      return sender->stream->Finish().ok();
    });
    v1::GoodsMessage message;
    int pieces = 0;
    while (fetcher->stream->Read(&message)) {
      ASSERT_FALSE(message.has_header());
      ASSERT_EQ(message.frame().ciphertext(), std::string(kPieceBytes, static_cast<char>(pieces)));
      ++pieces;
    }
    EXPECT_EQ(pieces, kPieces);
    EXPECT_TRUE(fetcher->stream->Finish().ok());
    EXPECT_TRUE(sending.get());
    EXPECT_EQ(broker_->goods().open_count(), 0u);
  }
}

TEST_F(BrokerServiceTest, UnknownAndUsedDeliveriesAreRefusedAtBothEnds) {
  const auto expect_refused = [](const grpc::Status& status) {
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAUTHENTICATED);
    EXPECT_EQ(status.error_message(), "refused");
  };
  for (const std::string& id : {Id("unknown"), std::string("short"), std::string()}) {
    auto sender = Send(id);
    expect_refused(sender->stream->Finish());
    auto fetcher = Fetch(id);
    v1::GoodsMessage message;
    EXPECT_FALSE(fetcher->stream->Read(&message));
    expect_refused(fetcher->stream->Finish());
  }
  ASSERT_TRUE(broker_->goods().Open(1, Id("delivery")));
  auto first = Send(Id("delivery"));
  auto fetcher = Fetch(Id("delivery"));
  ASSERT_TRUE(first->Piece("piece"));
  v1::GoodsMessage message;
  ASSERT_TRUE(fetcher->stream->Read(&message));
  auto second = Send(Id("delivery"));
  expect_refused(second->stream->Finish());
  auto second_fetcher = Fetch(Id("delivery"));
  expect_refused(second_fetcher->stream->Finish());
  // The first pair goes on undisturbed.
  ASSERT_TRUE(first->Piece("another"));
  ASSERT_TRUE(fetcher->stream->Read(&message));
  EXPECT_EQ(message.frame().ciphertext(), "another");
  first->stream->WritesDone();
  EXPECT_FALSE(fetcher->stream->Read(&message));
  EXPECT_TRUE(fetcher->stream->Finish().ok());
  EXPECT_TRUE(first->stream->Finish().ok());
}

TEST_F(BrokerServiceTest, AFirstMessageThatIsNoHeaderIsRefused) {
  auto sender = std::make_unique<Sender>();
  sender->stream = goods_->SendGoods(&sender->context, &sender->sent);
  sender->Piece(std::string(kPieceBytes, 'x'));
  EXPECT_EQ(sender->stream->Finish().error_code(), grpc::StatusCode::UNAUTHENTICATED);
}

TEST_F(BrokerServiceTest, AnAgentThatLeavesEndsTheMerchantsStream) {
  ASSERT_TRUE(broker_->goods().Open(1, Id("delivery")));
  auto sender = Send(Id("delivery"));
  auto fetcher = Fetch(Id("delivery"));
  ASSERT_TRUE(sender->Piece("piece"));
  v1::GoodsMessage message;
  ASSERT_TRUE(fetcher->stream->Read(&message));
  fetcher->context.TryCancel();
  fetcher->stream->Finish();
  while (sender->Piece(std::string(kPieceBytes, 'x'))) {
  }
  EXPECT_FALSE(sender->stream->Finish().ok());
  EXPECT_EQ(broker_->goods().open_count(), 0u);
}

TEST_F(BrokerServiceTest, AMerchantThatLeavesEndsTheAgentsStream) {
  ASSERT_TRUE(broker_->goods().Open(1, Id("delivery")));
  auto sender = Send(Id("delivery"));
  auto fetcher = Fetch(Id("delivery"));
  ASSERT_TRUE(sender->Piece("piece"));
  v1::GoodsMessage message;
  ASSERT_TRUE(fetcher->stream->Read(&message));
  sender->context.TryCancel();
  sender->stream->Finish();
  EXPECT_FALSE(fetcher->stream->Read(&message));
  EXPECT_FALSE(fetcher->stream->Finish().ok());
}

TEST_F(BrokerServiceTest, ADeliveryThatStandsStillEndsAtBothEnds) {
  ASSERT_TRUE(broker_->goods().Open(1, Id("delivery")));
  auto sender = Send(Id("delivery"));
  auto fetcher = Fetch(Id("delivery"));
  ASSERT_TRUE(sender->Piece("piece"));
  v1::GoodsMessage message;
  ASSERT_TRUE(fetcher->stream->Read(&message));
  // The piece is here before the broker has heard that it was written, which is progress once more.
  while (broker_->goods().open_count() > 0) {
    clock_.Advance(GoodsRelay::Options().stall_limit_ms);
    broker_->Sweep();
  }
  EXPECT_FALSE(fetcher->stream->Read(&message));
  // A write that the broker still holds to be under way is cut off, which gRPC calls cancelled.
  EXPECT_THAT(fetcher->stream->Finish().error_code(),
              AnyOf(grpc::StatusCode::DEADLINE_EXCEEDED, grpc::StatusCode::CANCELLED));
  EXPECT_EQ(sender->stream->Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
}

TEST_F(BrokerServiceTest, LinksRefuseGarbageWithTheOneRefusal) {
  for (bool customer : {true, false}) {
    grpc::ClientContext context;
    auto stream = customer ? link_->CustomerLink(&context) : link_->MerchantLink(&context);
    v1::LinkMessage message;
    message.mutable_handshake()->set_body("garbage");
    stream->Write(message);
    EXPECT_FALSE(stream->Read(&message));
    const grpc::Status status = stream->Finish();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAUTHENTICATED);
    EXPECT_EQ(status.error_message(), "refused");
  }
  EXPECT_EQ(broker_->counters().Get(protocol::RefusalReason::kBounds), 2u);
  // A frame before any handshake.
  grpc::ClientContext context;
  auto stream = link_->CustomerLink(&context);
  v1::LinkMessage message;
  message.mutable_frame()->set_seq(1);
  stream->Write(message);
  EXPECT_FALSE(stream->Read(&message));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::UNAUTHENTICATED);
}

}  // namespace
}  // namespace blindcart::broker
