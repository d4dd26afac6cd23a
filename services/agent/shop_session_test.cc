#include "services/agent/shop_session.h"

#include <string>

#include "crypto/testing/test_identity.h"
#include "gtest/gtest.h"
#include "services/agent/testing/test_world.h"

namespace blindcart::agent {
namespace {

using testing::TestWorld;

v1::ShopRequest CatalogueCall() {
  v1::ShopRequest request;
  request.mutable_catalogue();
  return request;
}

class ShopSessionTest : public ::testing::Test {
 protected:
  ShopSessionTest() {
    world_.shop.AddProduct("A Book", 1000, "content");
    EXPECT_TRUE(world_.Login().ok());
  }

  // Asks for the catalogue in a fresh session.
  absl::Status Ask(const crypto::Identity& merchant) {
    ShopConnector connector(world_.agent().broker(), world_.random, world_.clock, options_);
    return connector.WithSession(merchant.public_identity(), [](ShopSession& session) {
      return session.Call(CatalogueCall(), v1::ShopReply::kCatalogue).status();
    });
  }
  absl::Status Ask() { return Ask(world_.shop.identity()); }

  ShopSession::Options options_{60'000, 60'000};
  TestWorld world_;
};

TEST_F(ShopSessionTest, AsksAShopThroughTheBroker) {
  EXPECT_TRUE(Ask().ok());
  EXPECT_EQ(world_.shop.requests.size(), 1u);
}

TEST_F(ShopSessionTest, EachUseHasASessionOfItsOwn) {
  ASSERT_TRUE(Ask().ok());
  ASSERT_TRUE(Ask().ok());
  EXPECT_EQ(world_.shop.sessions, 2);
}

TEST_F(ShopSessionTest, SaysWhatToDoWhenTheShopIsOffline) {
  world_.shop.online = false;
  const absl::Status status = Ask();
  EXPECT_TRUE(absl::IsUnavailable(status));
  EXPECT_NE(status.message().find("offline. Try again later"), absl::string_view::npos);
}

TEST_F(ShopSessionTest, AnUnknownShopIsNotFound) {
  EXPECT_TRUE(absl::IsNotFound(Ask(crypto::TestIdentity(5))));
}

TEST_F(ShopSessionTest, AShopThatDoesNotAnswerIsUnavailable) {
  options_.call_timeout_ms = 30;
  world_.shop.silent = true;
  EXPECT_TRUE(absl::IsUnavailable(Ask()));
}

TEST_F(ShopSessionTest, EveryAlteredByteOfAFrameIsDataLoss) {
  for (const size_t where : {size_t{3}, size_t{40}, size_t{2000}, size_t{4100}}) {
    world_.broker.alter_shop_frame = [where](std::string* frame) {
      ASSERT_LT(where, frame->size());
      (*frame)[where] ^= 1;
    };
    EXPECT_TRUE(absl::IsDataLoss(Ask())) << where;
  }
  world_.broker.alter_shop_frame = nullptr;
  EXPECT_TRUE(Ask().ok());
}

TEST_F(ShopSessionTest, AReplayedFrameIsDataLoss) {
  ShopConnector connector(world_.agent().broker(), world_.random, world_.clock, options_);
  std::string first;
  world_.broker.alter_shop_frame = [&first](std::string* frame) {
    if (first.empty()) {
      first = *frame;
    } else {
      *frame = first;
    }
  };
  const absl::Status status =
      connector.WithSession(world_.shop.identity().public_identity(), [](ShopSession& session) {
        EXPECT_TRUE(session.Call(CatalogueCall(), v1::ShopReply::kCatalogue).ok());
        const absl::Status second =
            session.Call(CatalogueCall(), v1::ShopReply::kCatalogue).status();
        // The session is over then.
        EXPECT_EQ(session.Call(CatalogueCall(), v1::ShopReply::kCatalogue).status(), second);
        return second;
      });
  EXPECT_TRUE(absl::IsDataLoss(status));
}

TEST_F(ShopSessionTest, ABrokerThatAnswersForTheShopIsDataLoss) {
  // The broker answers the hello with an identity of its own.
  testing::FakeShop impostor("books", crypto::TestIdentity(5), world_.random, world_.clock);
  world_.broker.alter = [&](const v1::CustomerMessage& call, v1::BrokerToCustomer* answer) {
    if (!call.has_open_shop()) return;
    answer->mutable_open_shop()->set_answer(
        impostor.OnHello(call.open_shop().sid(), call.open_shop().hello()).SerializeAsString());
  };
  EXPECT_TRUE(absl::IsDataLoss(Ask()));
  EXPECT_TRUE(world_.shop.requests.empty());
}

TEST_F(ShopSessionTest, AnAlteredAnswerToTheHelloIsDataLoss) {
  for (size_t where = 0; where < 200; where += 9) {
    world_.broker.alter = [where](const v1::CustomerMessage& call, v1::BrokerToCustomer* answer) {
      if (!call.has_open_shop()) return;
      std::string& bytes = *answer->mutable_open_shop()->mutable_answer();
      ASSERT_LT(where, bytes.size());
      bytes[where] ^= 1;
    };
    const absl::Status status = Ask();
    EXPECT_TRUE(absl::IsDataLoss(status)) << where << status;
  }
}

TEST_F(ShopSessionTest, AnAnswerOfAnotherKindIsDataLoss) {
  world_.shop.alter_reply = [](const v1::ShopRequest&, v1::ShopReply* reply) {
    reply->mutable_checkout();
  };
  EXPECT_TRUE(absl::IsDataLoss(Ask()));
}

TEST_F(ShopSessionTest, RepeatsOnceWhenTheLinkBroke) {
  world_.broker.break_before = {v1::CustomerMessage::kShopFrame};
  EXPECT_TRUE(Ask().ok());
  EXPECT_EQ(world_.broker.logins, 2);
}

TEST_F(ShopSessionTest, ABrokerThatClosesTheSessionIsUnavailable) {
  world_.broker.alter_shop_frame = [](std::string*) {};
  world_.shop.silent = true;
  world_.shop.alter_reply = [this](const v1::ShopRequest&, v1::ShopReply*) {
    world_.broker.BreakLinks();
  };
  EXPECT_TRUE(absl::IsUnavailable(Ask()));
}

}  // namespace
}  // namespace blindcart::agent
