#include "services/broker/relay.h"

#include <vector>

#include "crypto/testing/deterministic_random.h"
#include "gtest/gtest.h"
#include "protocol/refusal.h"
#include "protocol/testing/fake_clock.h"

namespace blindcart::broker {
namespace {

template <typename Message>
class FakeLink : public Link {
 public:
  void SendHandshake(v1::HandshakeMessage) override {}
  void Establish(std::unique_ptr<protocol::Channel>) override {}
  absl::Status Send(std::string bytes) override {
    Message message;
    EXPECT_TRUE(message.ParseFromString(bytes));
    sent.push_back(message);
    return absl::OkStatus();
  }
  void Close(absl::Status status) override { closed = status; }
  void CloseIfExpired() override {}

  Message Last() const { return sent.empty() ? Message() : sent.back(); }

  std::vector<Message> sent;
  absl::Status closed;
};

using CustomerLink = FakeLink<v1::BrokerToCustomer>;
using MerchantLink = FakeLink<v1::BrokerToMerchant>;

constexpr int64_t kBooks = 11;
constexpr int64_t kMusic = 12;
constexpr LinkId kBooksLink = 101;
constexpr LinkId kMusicLink = 102;

class RelayTest : public ::testing::Test {
 protected:
  RelayTest() {
    Relay::Options options;
    options.max_sessions_per_customer = 2;
    relay_ = std::make_unique<Relay>(options, clock_, random_);
    relay_->AddMerchant(kBooks, kBooksLink, books_);
    relay_->AddMerchant(kMusic, kMusicLink, music_);
    alice_end_ = {1, 21, alice_};
    bob_end_ = {2, 22, bob_};
  }

  static std::string Sid(char c) { return std::string(16, c); }

  absl::Status Open(const Relay::CustomerEnd& end, const std::string& sid,
                    int64_t merchant = kBooks) {
    v1::OpenShopCall call;
    call.set_sid(sid);
    call.set_hello("hello");
    return relay_->OpenShop(end, 7, merchant, call);
  }
  absl::Status Answer(LinkId link, const std::string& handle) {
    v1::SessionAnswer answer;
    answer.set_handle(handle);
    answer.set_answer("answer");
    return relay_->OnAnswer(link, answer);
  }
  absl::Status FromCustomer(LinkId link, const std::string& sid, const std::string& bytes) {
    v1::ShopFrame frame;
    frame.set_sid(sid);
    frame.set_frame(bytes);
    return relay_->FromCustomer(link, frame);
  }
  absl::Status FromMerchant(LinkId link, const std::string& handle, const std::string& bytes) {
    v1::SessionFrame frame;
    frame.set_handle(handle);
    frame.set_frame(bytes);
    return relay_->FromMerchant(link, frame);
  }
  // Opens and answers; gives the handle.
  std::string OpenAnswered(const Relay::CustomerEnd& end, const std::string& sid) {
    EXPECT_TRUE(Open(end, sid).ok());
    const std::string handle = books_->Last().session_hello().handle();
    EXPECT_TRUE(Answer(kBooksLink, handle).ok());
    return handle;
  }

  protocol::FakeClock clock_;
  crypto::DeterministicRandom random_{1};
  std::shared_ptr<CustomerLink> alice_ = std::make_shared<CustomerLink>();
  std::shared_ptr<CustomerLink> bob_ = std::make_shared<CustomerLink>();
  std::shared_ptr<MerchantLink> books_ = std::make_shared<MerchantLink>();
  std::shared_ptr<MerchantLink> music_ = std::make_shared<MerchantLink>();
  std::unique_ptr<Relay> relay_;
  Relay::CustomerEnd alice_end_;
  Relay::CustomerEnd bob_end_;
};

TEST_F(RelayTest, CarriesHelloAnswerAndFramesUnchanged) {
  ASSERT_TRUE(Open(alice_end_, Sid('a')).ok());
  const v1::SessionHello hello = books_->Last().session_hello();
  EXPECT_EQ(hello.sid(), Sid('a'));
  EXPECT_EQ(hello.hello(), "hello");
  EXPECT_EQ(hello.handle().size(), kHandleBytes);
  EXPECT_TRUE(alice_->sent.empty());

  ASSERT_TRUE(Answer(kBooksLink, hello.handle()).ok());
  EXPECT_EQ(alice_->Last().call_id(), 7u);
  EXPECT_EQ(alice_->Last().open_shop().state(), v1::SHOP_STATE_OPEN);
  EXPECT_EQ(alice_->Last().open_shop().answer(), "answer");

  ASSERT_TRUE(FromCustomer(1, Sid('a'), "request").ok());
  EXPECT_EQ(books_->Last().session_frame().handle(), hello.handle());
  EXPECT_EQ(books_->Last().session_frame().frame(), "request");
  ASSERT_TRUE(FromMerchant(kBooksLink, hello.handle(), "reply").ok());
  EXPECT_EQ(alice_->Last().call_id(), 0u);
  EXPECT_EQ(alice_->Last().shop_frame().sid(), Sid('a'));
  EXPECT_EQ(alice_->Last().shop_frame().frame(), "reply");
  EXPECT_TRUE(music_->sent.empty());
  EXPECT_TRUE(bob_->sent.empty());
}

TEST_F(RelayTest, TwoSessionsOfOneCustomerHaveNothingInCommonForTheMerchant) {
  const std::string first = OpenAnswered(alice_end_, Sid('a'));
  const std::string second = OpenAnswered(alice_end_, Sid('b'));
  EXPECT_NE(first, second);
}

TEST_F(RelayTest, ACustomerCannotUseAnothersSid) {
  OpenAnswered(alice_end_, Sid('a'));
  const size_t before = books_->sent.size();
  EXPECT_TRUE(FromCustomer(2, Sid('a'), "request").ok());
  relay_->CloseShop(2, Sid('a'));
  EXPECT_EQ(books_->sent.size(), before);
  EXPECT_FALSE(relay_->MerchantOf(2, Sid('a')).has_value());
  EXPECT_EQ(relay_->MerchantOf(1, Sid('a')), kBooks);
}

TEST_F(RelayTest, TwoCustomersMayChooseOneSid) {
  const std::string alices = OpenAnswered(alice_end_, Sid('a'));
  const std::string bobs = OpenAnswered(bob_end_, Sid('a'));
  ASSERT_TRUE(FromMerchant(kBooksLink, bobs, "for bob").ok());
  EXPECT_EQ(bob_->Last().shop_frame().frame(), "for bob");
  EXPECT_FALSE(alice_->Last().has_shop_frame());
  EXPECT_EQ(relay_->Find(kBooksLink, alices)->customer_id, 21);
  EXPECT_EQ(relay_->Find(kBooksLink, bobs)->customer_id, 22);
}

TEST_F(RelayTest, AMerchantCannotUseAnothersHandle) {
  ASSERT_TRUE(Open(alice_end_, Sid('a')).ok());
  const std::string handle = books_->Last().session_hello().handle();
  EXPECT_TRUE(Answer(kMusicLink, handle).ok());  // Dropped.
  EXPECT_TRUE(alice_->sent.empty());
  ASSERT_TRUE(Answer(kBooksLink, handle).ok());
  const size_t before = alice_->sent.size();
  EXPECT_TRUE(FromMerchant(kMusicLink, handle, "forged").ok());
  relay_->OnSessionClosed(kMusicLink, handle);
  EXPECT_EQ(alice_->sent.size(), before);
  EXPECT_FALSE(relay_->Find(kMusicLink, handle).has_value());
  EXPECT_TRUE(relay_->Find(kBooksLink, handle).has_value());
}

TEST_F(RelayTest, NothingFlowsBeforeTheAnswer) {
  ASSERT_TRUE(Open(alice_end_, Sid('a')).ok());
  const std::string handle = books_->Last().session_hello().handle();
  EXPECT_TRUE(FromCustomer(1, Sid('a'), "early").ok());
  EXPECT_EQ(books_->sent.size(), 1u);
  EXPECT_TRUE(protocol::IsRefusal(FromMerchant(kBooksLink, handle, "early")));
  EXPECT_FALSE(relay_->Find(kBooksLink, handle).has_value());
  EXPECT_FALSE(relay_->MerchantOf(1, Sid('a')).has_value());
}

TEST_F(RelayTest, ASecondAnswerIsRefused) {
  const std::string handle = OpenAnswered(alice_end_, Sid('a'));
  EXPECT_TRUE(protocol::IsRefusal(Answer(kBooksLink, handle)));
}

TEST_F(RelayTest, SizesAreBounded) {
  EXPECT_TRUE(protocol::IsRefusal(Open(alice_end_, "short")));
  v1::OpenShopCall call;
  call.set_sid(Sid('a'));
  EXPECT_TRUE(protocol::IsRefusal(relay_->OpenShop(alice_end_, 7, kBooks, call)));
  call.set_hello(std::string(kMaxShopHelloBytes + 1, 'x'));
  EXPECT_TRUE(protocol::IsRefusal(relay_->OpenShop(alice_end_, 7, kBooks, call)));
  const std::string handle = OpenAnswered(alice_end_, Sid('a'));
  EXPECT_TRUE(
      protocol::IsRefusal(FromCustomer(1, Sid('a'), std::string(kMaxShopRequestBytes + 1, 'x'))));
  EXPECT_TRUE(protocol::IsRefusal(FromCustomer(1, Sid('a'), "")));
  EXPECT_TRUE(protocol::IsRefusal(
      FromMerchant(kBooksLink, handle, std::string(kMaxShopReplyBytes + 1, 'x'))));
  EXPECT_TRUE(FromMerchant(kBooksLink, handle, std::string(kMaxShopReplyBytes, 'x')).ok());
}

TEST_F(RelayTest, ASidInUseIsRefused) {
  OpenAnswered(alice_end_, Sid('a'));
  EXPECT_TRUE(protocol::IsRefusal(Open(alice_end_, Sid('a'))));
}

TEST_F(RelayTest, SessionsPerCustomerAreBoundedOverAllLinks) {
  OpenAnswered(alice_end_, Sid('a'));
  Relay::CustomerEnd second_link = {3, 21, std::make_shared<CustomerLink>()};
  OpenAnswered(second_link, Sid('a'));
  ASSERT_TRUE(Open(alice_end_, Sid('c')).ok());
  EXPECT_EQ(alice_->Last().open_shop().state(), v1::SHOP_STATE_TOO_MANY);
  OpenAnswered(bob_end_, Sid('a'));
  relay_->CloseShop(1, Sid('a'));
  OpenAnswered(alice_end_, Sid('c'));
}

TEST_F(RelayTest, AnOfflineMerchantIsSaidToBe) {
  ASSERT_TRUE(Open(alice_end_, Sid('a'), 99).ok());
  EXPECT_EQ(alice_->Last().open_shop().state(), v1::SHOP_STATE_OFFLINE);
  EXPECT_EQ(relay_->session_count(), 0u);
}

TEST_F(RelayTest, ACustomerWhoLeavesEndsItsSessionsAtTheMerchant) {
  const std::string handle = OpenAnswered(alice_end_, Sid('a'));
  OpenAnswered(bob_end_, Sid('a'));
  relay_->RemoveCustomer(1);
  EXPECT_EQ(books_->Last().session_closed().handle(), handle);
  EXPECT_EQ(relay_->session_count(), 1u);
  relay_->RemoveCustomer(1);
  EXPECT_TRUE(FromMerchant(kBooksLink, handle, "late").ok());
}

TEST_F(RelayTest, AMerchantWhoLeavesEndsItsSessionsAtTheCustomers) {
  OpenAnswered(alice_end_, Sid('a'));
  ASSERT_TRUE(Open(bob_end_, Sid('b')).ok());
  relay_->RemoveMerchant(kBooksLink);
  EXPECT_EQ(alice_->Last().shop_closed().sid(), Sid('a'));
  EXPECT_EQ(alice_->Last().shop_closed().state(), v1::SHOP_STATE_OFFLINE);
  EXPECT_EQ(bob_->Last().call_id(), 7u);
  EXPECT_EQ(bob_->Last().open_shop().state(), v1::SHOP_STATE_OFFLINE);
  EXPECT_FALSE(relay_->IsOnline(kBooks));
  EXPECT_TRUE(relay_->IsOnline(kMusic));
}

TEST_F(RelayTest, ANewerLinkOfAMerchantReplacesTheOlder) {
  OpenAnswered(alice_end_, Sid('a'));
  auto newer = std::make_shared<MerchantLink>();
  relay_->AddMerchant(kBooks, 201, newer);
  EXPECT_TRUE(absl::IsUnavailable(books_->closed));
  EXPECT_TRUE(alice_->Last().has_shop_closed());
  relay_->RemoveMerchant(kBooksLink);  // The older link's end comes later.
  EXPECT_TRUE(relay_->IsOnline(kBooks));
  ASSERT_TRUE(Open(alice_end_, Sid('b')).ok());
  EXPECT_TRUE(newer->Last().has_session_hello());
}

TEST_F(RelayTest, EitherSideMayCloseASession) {
  const std::string handle = OpenAnswered(alice_end_, Sid('a'));
  relay_->CloseShop(1, Sid('a'));
  EXPECT_EQ(books_->Last().session_closed().handle(), handle);
  relay_->CloseShop(1, Sid('a'));
  const std::string other = OpenAnswered(alice_end_, Sid('a'));
  relay_->OnSessionClosed(kBooksLink, other);
  EXPECT_EQ(alice_->Last().shop_closed().sid(), Sid('a'));
  EXPECT_EQ(relay_->session_count(), 0u);
}

TEST_F(RelayTest, AMerchantThatDoesNotAnswerInTimeIsReported) {
  ASSERT_TRUE(Open(alice_end_, Sid('a')).ok());
  clock_.Advance(9'999);
  relay_->Sweep();
  EXPECT_TRUE(alice_->sent.empty());
  clock_.Advance(1);
  relay_->Sweep();
  EXPECT_EQ(alice_->Last().open_shop().state(), v1::SHOP_STATE_NO_ANSWER);
  EXPECT_TRUE(books_->Last().has_session_closed());
  OpenAnswered(alice_end_, Sid('b'));
  clock_.Advance(60'000);
  relay_->Sweep();
  EXPECT_EQ(relay_->session_count(), 1u);
}

TEST_F(RelayTest, AFloodEndsTheSessionAndNothingElse) {
  const std::string handle = OpenAnswered(alice_end_, Sid('a'));
  OpenAnswered(bob_end_, Sid('b'));
  for (int i = 0; i < Relay::kMaxUnanswered; ++i) {
    ASSERT_TRUE(FromCustomer(1, Sid('a'), "x").ok());
  }
  EXPECT_EQ(relay_->session_count(), 2u);
  ASSERT_TRUE(FromMerchant(kBooksLink, handle, "reply").ok());  // Makes room for one.
  ASSERT_TRUE(FromCustomer(1, Sid('a'), "x").ok());
  EXPECT_EQ(relay_->session_count(), 2u);
  ASSERT_TRUE(FromCustomer(1, Sid('a'), "x").ok());
  EXPECT_EQ(relay_->session_count(), 1u);
  EXPECT_EQ(alice_->Last().shop_closed().state(), v1::SHOP_STATE_TOO_MANY);
  EXPECT_EQ(books_->Last().session_closed().handle(), handle);
  EXPECT_TRUE(books_->closed.ok());
}

TEST_F(RelayTest, UnaskedRepliesEndTheSession) {
  const std::string handle = OpenAnswered(alice_end_, Sid('a'));
  for (int i = 0; i <= Relay::kMaxUnanswered; ++i) {
    ASSERT_TRUE(FromMerchant(kBooksLink, handle, "x").ok());
  }
  EXPECT_EQ(relay_->session_count(), 0u);
  EXPECT_TRUE(alice_->Last().has_shop_closed());
}

TEST_F(RelayTest, KnowsWhoIsStillOwedAnAnswer) {
  EXPECT_FALSE(relay_->HasUnanswered(alice_end_.link_id));
  ASSERT_TRUE(Open(alice_end_, Sid('a')).ok());
  EXPECT_TRUE(relay_->HasUnanswered(alice_end_.link_id));
  EXPECT_EQ(relay_->open_seconds().Collect().histogram.sample_count, 0u);
  clock_.Advance(40);
  const std::string handle = books_->Last().session_hello().handle();
  ASSERT_TRUE(Answer(kBooksLink, handle).ok());
  EXPECT_FALSE(relay_->HasUnanswered(alice_end_.link_id));
  EXPECT_EQ(relay_->open_seconds().Collect().histogram.sample_count, 1u);
  EXPECT_DOUBLE_EQ(relay_->open_seconds().Collect().histogram.sample_sum, 0.04);
  ASSERT_TRUE(FromCustomer(alice_end_.link_id, Sid('a'), "request").ok());
  EXPECT_TRUE(relay_->HasUnanswered(alice_end_.link_id));
  EXPECT_FALSE(relay_->HasUnanswered(bob_end_.link_id));
  ASSERT_TRUE(FromMerchant(kBooksLink, handle, "reply").ok());
  EXPECT_FALSE(relay_->HasUnanswered(alice_end_.link_id));
  ASSERT_TRUE(FromCustomer(alice_end_.link_id, Sid('a'), "request").ok());
  relay_->RemoveMerchant(kBooksLink);  // Nobody is left to answer.
  EXPECT_FALSE(relay_->HasUnanswered(alice_end_.link_id));
}

}  // namespace
}  // namespace blindcart::broker
