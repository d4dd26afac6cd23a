#include "services/broker/merchant_session.h"

#include "gtest/gtest.h"
#include "services/broker/testing/broker_fixture.h"

namespace blindcart::broker {
namespace {

using MerchantSessionTest = BrokerFixture;

TEST_F(MerchantSessionTest, AnEnrolledMerchantConnectsAndIsOnline) {
  auto books = Merchant(books_);
  EXPECT_FALSE(broker_->relay().IsOnline(1));
  ASSERT_TRUE(books->Connect());
  EXPECT_TRUE(broker_->relay().IsOnline(1));
  books->Disconnect();
  EXPECT_FALSE(broker_->relay().IsOnline(1));
  EXPECT_TRUE(books->Connect());
}

TEST_F(MerchantSessionTest, AStrangerIsChallengedAndRefused) {
  auto stranger = Merchant(bob_);
  EXPECT_FALSE(stranger->Connect());
  const auto closed = stranger->WaitClosed();
  ASSERT_TRUE(closed.has_value());
  EXPECT_TRUE(protocol::IsRefusal(*closed));
}

TEST_F(MerchantSessionTest, AMerchantThatExpectsAnotherBrokerDoesNotConnect) {
  TestMerchant books(*broker_, books_, alice_.public_identity(), clock_);
  EXPECT_FALSE(books.Connect());
  EXPECT_FALSE(broker_->relay().IsOnline(1));
}

TEST_F(MerchantSessionTest, GarbageEndsTheLink) {
  auto books = Connected(books_);
  books->Send(v1::MerchantToBroker());
  const auto closed = books->WaitClosed();
  ASSERT_TRUE(closed.has_value());
  EXPECT_TRUE(protocol::IsRefusal(*closed));
}

TEST_F(MerchantSessionTest, AnOfferWithoutACallIdEndsTheLink) {
  auto books = Connected(books_);
  v1::MerchantToBroker message;
  message.mutable_offer_order();
  books->Send(message);
  EXPECT_TRUE(books->WaitClosed().has_value());
}

TEST_F(MerchantSessionTest, ANewerLinkReplacesTheOlder) {
  auto older = Connected(books_);
  auto newer = Connected(books_);
  EXPECT_TRUE(older->WaitClosed().has_value());
  older->Disconnect();
  EXPECT_TRUE(broker_->relay().IsOnline(1));
}

TEST_F(MerchantSessionTest, AMerchantEnrolledWhileTheBrokerServesCanConnect) {
  const Enroller enroller = {*store_, "EUR", clock_.NowUnixMs(), crypto::SystemRandom(), kTestCost};
  const crypto::Identity& newcomer = crypto::TestIdentity(5);
  auto late = Merchant(newcomer);
  ASSERT_FALSE(late->Connect());
  ASSERT_TRUE(EnrolMerchant(enroller, {"late", newcomer.public_identity().ToPem(), "2003"}).ok());
  EXPECT_TRUE(late->Connect());
}

TEST_F(MerchantSessionTest, ShuttingDownClosesEveryLink) {
  auto books = Connected(books_);
  auto alice = LoggedIn(kAlice);
  broker_->CloseLinks();
  EXPECT_TRUE(books->WaitClosed().has_value());
  EXPECT_TRUE(alice->WaitClosed().has_value());
}

}  // namespace
}  // namespace blindcart::broker
