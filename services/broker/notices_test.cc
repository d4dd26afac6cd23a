#include "services/broker/notices.h"

#include <set>

#include "gtest/gtest.h"
#include "services/broker/testing/broker_fixture.h"

namespace blindcart::broker {
namespace {

class NoticesTest : public BrokerFixture {
 protected:
  // Writes notices as an earlier run of the broker would have.
  void Owe(int count, int64_t merchant_id = 1) {
    for (int i = 0; i < count; ++i) {
      ASSERT_TRUE(store_
                      ->Write([&](storage::Transaction& transaction) {
                        return Notices::Write(
                                   transaction, merchant_id, Id("order" + std::to_string(i)),
                                   v1::ORDER_STATUS_DECLINED, nullptr, clock_.NowUnixMs())
                            .status();
                      })
                      .ok());
    }
  }
  size_t Owed(int64_t merchant_id = 1) {
    size_t owed = 0;
    EXPECT_TRUE(store_
                    ->Read([&](storage::Transaction& transaction) {
                      const auto listed = transaction.notices().List(merchant_id, 0, 10'000);
                      if (listed.ok()) owed = listed->size();
                      return listed.status();
                    })
                    .ok());
    return owed;
  }
  // The acknowledgements that were sent are durable once a later commit is.
  void Settle(TestMerchant& merchant) {
    v1::MerchantToBroker probe;
    probe.mutable_offer_order();
    ASSERT_TRUE(merchant.Call(probe).has_value());
  }
};

TEST_F(NoticesTest, WhatIsOwedIsSentOnEveryNewLinkUntilAcknowledged) {
  Owe(3);
  Owe(1, 2);
  for (int round = 0; round < 2; ++round) {
    auto books = Connected(books_);
    for (int i = 0; i < 3; ++i) {
      const auto notice = books->Notice(/*acknowledge=*/false);
      ASSERT_TRUE(notice.has_value());
      EXPECT_EQ(notice->order_id(), Id("order" + std::to_string(i)));
    }
  }
  Restart();
  {
    auto books = Connected(books_);
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(books->Notice(/*acknowledge=*/true).has_value());
    Settle(*books);
  }
  Restart();  // Finishes the queue.
  EXPECT_EQ(Owed(), 0u);
  EXPECT_EQ(Owed(2), 1u);
  auto books = Connected(books_);
  EXPECT_EQ(books->waiting(), 0u);
}

TEST_F(NoticesTest, MoreThanAWindowFollowsAsTheMerchantAcknowledges) {
  constexpr int kCount = 3 * Notices::kWindow + 5;
  Owe(kCount);
  std::set<int64_t> ids;
  {
    auto books = Connected(books_);
    for (int i = 0; i < kCount; ++i) {
      const auto notice = books->Notice(/*acknowledge=*/true);
      ASSERT_TRUE(notice.has_value()) << i;
      EXPECT_TRUE(ids.insert(notice->notice_id()).second);
    }
    Settle(*books);
  }
  Restart();
  EXPECT_EQ(Owed(), 0u);
}

TEST_F(NoticesTest, NoMoreThanAWindowIsUnderWay) {
  Owe(2 * Notices::kWindow);
  auto books = Connected(books_);
  for (size_t i = 0; i < Notices::kWindow; ++i) ASSERT_TRUE(books->Notice(false).has_value());
  Settle(*books);
  EXPECT_EQ(books->waiting(), 0u);
}

TEST_F(NoticesTest, AMerchantCannotAcknowledgeForAnother) {
  Owe(1);
  {
    auto books = Connected(books_);
    const auto notice = books->Notice(/*acknowledge=*/false);
    ASSERT_TRUE(notice.has_value());
    auto music = Connected(music_);
    v1::MerchantToBroker ack;
    ack.mutable_notice_ack()->set_notice_id(notice->notice_id());
    music->Send(ack);
    Settle(*music);
  }
  Restart();
  EXPECT_EQ(Owed(), 1u);
}

TEST_F(NoticesTest, AnUnacknowledgedNoticeIsSentAgainOnASilentLink) {
  Owe(1);
  auto books = Connected(books_);
  ASSERT_TRUE(books->Notice(/*acknowledge=*/false).has_value());
  broker_->Sweep();
  Settle(*books);
  EXPECT_EQ(books->waiting(), 0u);
  clock_.Advance(Notices::kResendAfterMs);
  broker_->Sweep();
  EXPECT_TRUE(books->Notice(/*acknowledge=*/true).has_value());
}

TEST_F(NoticesTest, NewNoticesReachAConnectedMerchantAtOnce) {
  auto alice = LoggedIn(kAlice);
  auto books = Connected(books_);
  const std::string handle = OpenSession(*alice, *books, books_, Id("sid"));
  for (int i = 0; i < 5; ++i) {
    const v1::OrderTerms terms = Terms(books_, Id("sid"));
    ASSERT_EQ(books->Offer(handle, terms).outcome(), v1::OFFER_OUTCOME_ACCEPTED);
    v1::CustomerMessage decline;
    decline.mutable_decline()->set_order_id(terms.order_id());
    ASSERT_TRUE(alice->Call(decline).has_value());
    const auto notice = books->Notice(/*acknowledge=*/i % 2 == 0);
    ASSERT_TRUE(notice.has_value());
    EXPECT_EQ(notice->order_id(), terms.order_id());
  }
}

TEST_F(NoticesTest, AnOfflineMerchantHearsLater) {
  auto alice = LoggedIn(kAlice);
  v1::OrderTerms terms;
  {
    auto books = Connected(books_);
    const std::string handle = OpenSession(*alice, *books, books_, Id("sid"));
    terms = Terms(books_, Id("sid"));
    ASSERT_EQ(books->Offer(handle, terms).outcome(), v1::OFFER_OUTCOME_ACCEPTED);
  }
  const auto paid = alice->Call(PayMessage(terms, Id("request"), 1'015));
  ASSERT_EQ(paid->pay().outcome(), v1::PAY_OUTCOME_SUCCESSFUL);
  auto books = Connected(books_);
  const auto notice = books->Notice(/*acknowledge=*/true);
  ASSERT_TRUE(notice.has_value());
  EXPECT_EQ(notice->status(), v1::ORDER_STATUS_PAID);
  EXPECT_EQ(notice->receipt().SerializeAsString(), paid->pay().receipt().SerializeAsString());
}

}  // namespace
}  // namespace blindcart::broker
