// Two brokers of one market over one store: what one of them leaves there reaches whoever is at the
// other, and what was said to one is worth nothing at the other.
#include <memory>
#include <set>
#include <string>

#include "gtest/gtest.h"
#include "services/broker/testing/broker_fixture.h"
#include "services/broker/testing/sealed_letter.h"

namespace blindcart::broker {
namespace {

// `broker_` is the first broker.
class SeveralBrokersTest : public BrokerFixture {
 protected:
  SeveralBrokersTest() {
    second_ = *BrokerCore::Create(config_, identity_, *store_, clock_, crypto::SystemRandom(),
                                  kTestCost, signers_);
  }
  ~SeveralBrokersTest() override { second_.reset(); }

  std::unique_ptr<TestCustomer> LoggedInAtSecond(const std::string& username) {
    auto customer = std::make_unique<TestCustomer>(*second_, username == kAlice ? alice_ : bob_,
                                                   identity_.public_identity(), clock_);
    EXPECT_TRUE(customer->Login(username, kPassword).success);
    return customer;
  }
  std::unique_ptr<TestMerchant> ConnectedToSecond(const crypto::Identity& identity) {
    auto merchant =
        std::make_unique<TestMerchant>(*second_, identity, identity_.public_identity(), clock_);
    EXPECT_TRUE(merchant->Connect());
    return merchant;
  }

  // As the first broker writes them: its own merchant's link has just gone.
  int64_t WriteNotice(const std::string& order) {
    int64_t id = 0;
    EXPECT_TRUE(store_
                    ->Write([&](storage::Transaction& transaction) {
                      const auto written =
                          Notices::Write(transaction, /*merchant_id=*/1, Id(order),
                                         v1::ORDER_STATUS_DECLINED, nullptr, clock_.NowUnixMs());
                      if (written.ok()) id = written->notice_id;
                      return written.status();
                    })
                    .ok());
    return id;
  }
  void AcknowledgeInStore(int64_t notice_id) {
    EXPECT_TRUE(store_
                    ->Write([&](storage::Transaction& transaction) {
                      return transaction.notices().Acknowledge(1, notice_id);
                    })
                    .ok());
  }
  // Everything sent to the merchant before has arrived after it.
  static void Settle(TestMerchant& merchant) {
    v1::MerchantToBroker probe;
    probe.mutable_offer_order();
    ASSERT_TRUE(merchant.Call(probe).has_value());
  }
  static void Settle(TestCustomer& customer) {
    v1::CustomerMessage probe;
    probe.mutable_balance();
    ASSERT_TRUE(customer.Call(probe).has_value());
  }

  static void SendMail(TestCustomer& from, const std::string& to, const std::string& text) {
    v1::CustomerMessage message;
    v1::SendMailCall& letter = *message.mutable_mail()->mutable_send();
    letter.set_message_id(Id(text));
    letter.set_recipient(to);
    letter.set_sealed(SealedLetter(text));
    const auto reply = from.Call(message);
    ASSERT_TRUE(reply.has_value());
    ASSERT_EQ(reply->mail().send().outcome(), v1::SEND_MAIL_OUTCOME_STORED);
  }
  static std::string PushedMail(TestCustomer& customer) {
    const auto push = customer.Push();
    return push.has_value() ? TextOfLetter(push->mail().push().sealed()) : "";
  }

  static void Announce(TestCustomer& customer, const std::string& address) {
    v1::CustomerMessage message;
    message.mutable_certificate()->mutable_announce()->set_address(address);
    ASSERT_TRUE(customer.Call(message).has_value());
  }
  // "": not found.
  static std::string AddressOf(TestCustomer& asker, const std::string& username) {
    v1::CustomerMessage message;
    message.mutable_certificate()->mutable_find_peer()->set_username(username);
    const auto reply = asker.Call(message);
    EXPECT_TRUE(reply.has_value());
    if (!reply.has_value()) return "";
    const v1::FindPeerResult& peer = reply->certificate().find_peer();
    EXPECT_EQ(peer.found(), !peer.address().empty());
    return peer.address();
  }

  std::unique_ptr<BrokerCore> second_;
};

TEST_F(SeveralBrokersTest, ANoticeThatNobodyAcknowledgedIsSentByTheOtherBroker) {
  const auto books = ConnectedToSecond(books_);
  WriteNotice("orphan");
  second_->Poll();
  Settle(*books);
  EXPECT_EQ(books->waiting(), 0u) << "the broker that wrote it comes first";
  second_->Poll();
  const auto notice = books->Notice(/*acknowledge=*/false);
  ASSERT_TRUE(notice.has_value());
  EXPECT_EQ(notice->order_id(), Id("orphan"));
  second_->Poll();
  second_->Poll();
  Settle(*books);
  EXPECT_EQ(books->waiting(), 0u) << "it is under way";

  const int64_t delivered = WriteNotice("delivered by the first");
  second_->Poll();
  AcknowledgeInStore(delivered);
  second_->Poll();
  Settle(*books);
  EXPECT_EQ(books->waiting(), 0u);
}

TEST_F(SeveralBrokersTest, ANoticeOfAnotherBrokerIsNotSkippedForLaterOnesOfItsOwn) {
  const auto books = ConnectedToSecond(books_);
  const auto alice = LoggedInAtSecond(kAlice);
  WriteNotice("orphan");
  const std::string handle = OpenSession(*alice, *books, books_, Id("sid"));
  const v1::OrderTerms terms = Terms(books_, Id("sid"));
  ASSERT_EQ(books->Offer(handle, terms).outcome(), v1::OFFER_OUTCOME_ACCEPTED);
  v1::CustomerMessage decline;
  decline.mutable_decline()->set_order_id(terms.order_id());
  ASSERT_TRUE(alice->Call(decline).has_value());
  EXPECT_EQ(books->Notice(/*acknowledge=*/false)->order_id(), terms.order_id());
  second_->Poll();
  second_->Poll();
  EXPECT_EQ(books->Notice(/*acknowledge=*/true)->order_id(), Id("orphan"));
  Settle(*books);
  EXPECT_EQ(books->waiting(), 0u) << "its own was sent once";
}

TEST_F(SeveralBrokersTest, MoreNoticesThanAWindowOfAnotherBrokerAllArrive) {
  const auto books = ConnectedToSecond(books_);
  constexpr int kCount = 2 * Notices::kWindow + 5;
  for (int i = 0; i < kCount; ++i) WriteNotice(std::to_string(i));
  second_->Poll();
  second_->Poll();
  std::set<std::string> orders;
  for (int i = 0; i < kCount; ++i) {
    const auto notice = books->Notice(/*acknowledge=*/true);
    ASSERT_TRUE(notice.has_value()) << i;
    orders.insert(notice->order_id());
  }
  EXPECT_EQ(orders.size(), static_cast<size_t>(kCount));
}

TEST_F(SeveralBrokersTest, MailReachesWhoIsAtTheOtherBroker) {
  const auto alice = LoggedIn(kAlice);
  SendMail(*alice, kBob, "before the login");
  const auto bob = LoggedInAtSecond(kBob);
  second_->Poll();
  Settle(*bob);
  EXPECT_EQ(bob->waiting(), 0u) << "what was there before, the agent fetches";

  SendMail(*alice, kBob, "one");
  SendMail(*alice, kBob, "two");
  second_->Poll();
  EXPECT_EQ(PushedMail(*bob), "one");
  EXPECT_EQ(PushedMail(*bob), "two");
  second_->Poll();
  Settle(*bob);
  EXPECT_EQ(bob->waiting(), 0u) << "pushed once";

  // What this broker stores itself comes at once, and does not hide what another one stored before.
  SendMail(*alice, kBob, "three, at the first");
  const auto alice_at_second = LoggedInAtSecond(kAlice);
  SendMail(*alice_at_second, kBob, "four, at the second");
  EXPECT_EQ(PushedMail(*bob), "four, at the second");
  second_->Poll();
  EXPECT_EQ(PushedMail(*bob), "three, at the first");
}

TEST_F(SeveralBrokersTest, MuchMailComesWithSeveralLooks) {
  const auto alice = LoggedIn(kAlice);
  const auto bob = LoggedInAtSecond(kBob);
  const int count = MailPushes::kMaxItemsPerLook + 3;
  for (int i = 0; i < count; ++i) SendMail(*alice, kBob, std::to_string(i));
  second_->Poll();
  Settle(*bob);
  EXPECT_EQ(bob->waiting(), static_cast<size_t>(MailPushes::kMaxItemsPerLook));
  second_->Poll();
  for (int i = 0; i < count; ++i) EXPECT_EQ(PushedMail(*bob), std::to_string(i));
}

TEST_F(SeveralBrokersTest, WhoListensIsFoundAtTheOtherBrokerUntilTheLinkIsGone) {
  auto alice = LoggedIn(kAlice);
  const auto bob = LoggedInAtSecond(kBob);
  EXPECT_EQ(AddressOf(*bob, kAlice), "");
  Announce(*alice, "192.0.2.7:9000");
  EXPECT_EQ(AddressOf(*bob, kAlice), "192.0.2.7:9000");

  // She moves, and the end of her old link comes late.
  auto moved = LoggedInAtSecond(kAlice);
  Announce(*moved, "192.0.2.8:9000");
  alice.reset();
  broker_.reset();  // Finishes its queue.
  EXPECT_EQ(AddressOf(*bob, kAlice), "192.0.2.8:9000");
  moved.reset();
  EXPECT_EQ(AddressOf(*bob, kAlice), "");
}

TEST_F(SeveralBrokersTest, WhoListenedAtABrokerThatDiedIsForgotten) {
  const auto bob = LoggedInAtSecond(kBob);
  const auto alice = LoggedIn(kAlice);
  Announce(*alice, "192.0.2.7:9000");
  for (int i = 0; i < 8; ++i) {
    clock_.Advance(Listeners::kProlongIntervalMs);
    broker_->Sweep();
    // A commit of the first broker's behind the one that prolongs.
    SendMail(*alice, kBob, std::to_string(i));
  }
  EXPECT_EQ(AddressOf(*bob, kAlice), "192.0.2.7:9000") << "its broker lives";
  clock_.Advance(Listeners::kLifetimeMs);
  EXPECT_EQ(AddressOf(*bob, kAlice), "") << "its broker has not said so for too long";
}

TEST_F(SeveralBrokersTest, APaymentSentToBothIsMadeOnce) {
  auto alice = LoggedIn(kAlice);
  auto books = Connected(books_);
  const std::string handle = OpenSession(*alice, *books, books_, Id("sid"));
  const v1::OrderTerms terms = Terms(books_, Id("sid"));
  ASSERT_EQ(books->Offer(handle, terms).outcome(), v1::OFFER_OUTCOME_ACCEPTED);
  const auto alice_at_second = LoggedInAtSecond(kAlice);
  const auto first = alice->Call(PayMessage(terms, Id("request"), 1'015));
  const auto second = alice_at_second->Call(PayMessage(terms, Id("request"), 1'015));
  const auto third = alice_at_second->Call(PayMessage(terms, Id("another request"), 1'015));
  for (const auto* reply : {&first, &second, &third}) {
    ASSERT_TRUE(reply->has_value());
    EXPECT_EQ((*reply)->pay().outcome(), v1::PAY_OUTCOME_SUCCESSFUL);
    EXPECT_EQ((*reply)->pay().receipt().SerializeAsString(),
              first->pay().receipt().SerializeAsString());
  }
  EXPECT_EQ(AccountOf(kAliceAccount).balance_minor, kOpeningBalanceMinor - 1'015);
  ExpectBooksRight();
}

TEST_F(SeveralBrokersTest, ALoginRecordedAtOneIsWorthNothingAtTheOther) {
  const auto alice = LoggedIn(kAlice);
  TestCustomer thief(*second_, bob_, identity_.public_identity(), clock_);
  TestCustomer::Options options;
  options.replayed_hello = alice->hello();
  options.replayed_finished = alice->finished();
  ASSERT_TRUE(options.replayed_finished->has_frame());
  const LoginOutcome outcome = thief.Login(kAlice, kPassword, options);
  EXPECT_TRUE(outcome.refused);
  EXPECT_FALSE(outcome.success);
  EXPECT_EQ(second_->counters().Get(protocol::RefusalReason::kFinished), 1u);
}

}  // namespace
}  // namespace blindcart::broker
