#include "services/broker/payments.h"

#include <thread>

#include "gtest/gtest.h"
#include "protocol/order.h"
#include "services/broker/testing/broker_fixture.h"
#include "services/common/testing/inline_executor.h"
#include "services/storage/testing/gated_store.h"

namespace blindcart::broker {
namespace {

constexpr int64_t kTotal = 1'015;  // 10.00, 1 % of it, and 0.05.

class PaymentsTest : public BrokerFixture {
 protected:
  PaymentsTest() {
    alice_link_ = LoggedIn(kAlice);
    shop_ = Connected(books_);
    handle_ = OpenSession(*alice_link_, *shop_, books_, Id("sid"));
  }
  ~PaymentsTest() override {
    alice_link_.reset();
    shop_.reset();
    if (expect_books_right_) ExpectBooksRight();
  }

  v1::OrderTerms Offered(int64_t price_minor = 1'000) {
    const v1::OrderTerms terms = Terms(books_, Id("sid"), price_minor);
    EXPECT_EQ(shop_->Offer(handle_, terms).outcome(), v1::OFFER_OUTCOME_ACCEPTED);
    return terms;
  }
  v1::PayResult Pay(const v1::CustomerMessage& message) {
    const auto reply = alice_link_->Call(message);
    EXPECT_TRUE(reply.has_value());
    return reply.has_value() ? reply->pay() : v1::PayResult();
  }
  v1::PayOutcome Outcome(const v1::CustomerMessage& message) { return Pay(message).outcome(); }
  int64_t Balance(const std::string& number) { return AccountOf(number).balance_minor; }

  std::unique_ptr<TestCustomer> alice_link_;
  std::unique_ptr<TestMerchant> shop_;
  std::string handle_;
  bool expect_books_right_ = true;
};

TEST_F(PaymentsTest, MovesTheMoneySignsAReceiptAndTellsTheMerchant) {
  const v1::OrderTerms terms = Offered();
  const v1::PayResult result = Pay(PayMessage(terms, Id("request"), kTotal));
  ASSERT_EQ(result.outcome(), v1::PAY_OUTCOME_SUCCESSFUL);
  EXPECT_TRUE(protocol::CheckReceipt(identity_.public_identity(),
                                     books_.public_identity().fingerprint(), terms, kTotal,
                                     result.receipt())
                  .ok());
  EXPECT_EQ(Balance(kAliceAccount), kOpeningBalanceMinor - kTotal);
  EXPECT_EQ(Balance("2001"), 1'000);
  EXPECT_EQ(Balance("BROKER"), 15);
  EXPECT_EQ(StatusOf(terms.order_id()), v1::ORDER_STATUS_PAID);

  const auto notice = shop_->Notice(/*acknowledge=*/true);
  ASSERT_TRUE(notice.has_value());
  EXPECT_EQ(notice->status(), v1::ORDER_STATUS_PAID);
  EXPECT_EQ(notice->receipt().SerializeAsString(), result.receipt().SerializeAsString());

  v1::CustomerMessage get;
  get.mutable_get_order()->set_order_id(terms.order_id());
  const auto order = alice_link_->Call(get);
  EXPECT_EQ(order->get_order().status(), v1::ORDER_STATUS_PAID);
  EXPECT_EQ(order->get_order().receipt().SerializeAsString(), result.receipt().SerializeAsString());
}

TEST_F(PaymentsTest, TheSameRequestAgainGetsTheSameAnswerAlsoAfterARestart) {
  const v1::OrderTerms terms = Offered();
  const v1::CustomerMessage message = PayMessage(terms, Id("request"), kTotal);
  const v1::PayResult first = Pay(message);
  EXPECT_EQ(Pay(message).SerializeAsString(), first.SerializeAsString());
  alice_link_.reset();
  shop_.reset();
  Restart();
  alice_link_ = LoggedIn(kAlice);
  EXPECT_EQ(Pay(message).SerializeAsString(), first.SerializeAsString());
  EXPECT_EQ(Balance(kAliceAccount), kOpeningBalanceMinor - kTotal);
}

TEST_F(PaymentsTest, AnOrderIsChargedOnceWhateverTheRequestIds) {
  const v1::OrderTerms terms = Offered();
  const v1::PayResult first = Pay(PayMessage(terms, Id("one"), kTotal));
  const v1::PayResult second = Pay(PayMessage(terms, Id("two"), kTotal));
  EXPECT_EQ(second.outcome(), v1::PAY_OUTCOME_SUCCESSFUL);
  EXPECT_EQ(second.receipt().SerializeAsString(), first.receipt().SerializeAsString());
  EXPECT_EQ(Balance(kAliceAccount), kOpeningBalanceMinor - kTotal);
}

TEST_F(PaymentsTest, ConcurrentPaymentsOfOneOrderChargeOnce) {
  const v1::OrderTerms terms = Offered();
  std::vector<std::unique_ptr<TestCustomer>> links;
  for (int i = 0; i < 3; ++i) links.push_back(LoggedIn(kAlice));
  std::vector<std::thread> threads;
  std::atomic<int> successful{0};
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&, i] {
      const auto reply =
          links[i]->Call(PayMessage(terms, Id("request" + std::to_string(i)), kTotal));
      if (reply.has_value() && reply->pay().outcome() == v1::PAY_OUTCOME_SUCCESSFUL) ++successful;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(successful, 3);
  EXPECT_EQ(Balance(kAliceAccount), kOpeningBalanceMinor - kTotal);
}

TEST_F(PaymentsTest, AWrongPinOrAccountFailsAndTellsTheMerchantThatTheOrderIsOpen) {
  const v1::OrderTerms terms = Offered();
  EXPECT_EQ(Outcome(PayMessage(terms, Id("r1"), kTotal, kAliceAccount, "9999")),
            v1::PAY_OUTCOME_ACCOUNT_OR_PIN);
  const auto notice = shop_->Notice(/*acknowledge=*/true);
  ASSERT_TRUE(notice.has_value());
  EXPECT_EQ(notice->status(), v1::ORDER_STATUS_CREATED);
  EXPECT_FALSE(notice->has_receipt());
  // Bob's account with bob's PIN is not alice's to pay with; nor is one that is not there.
  EXPECT_EQ(Outcome(PayMessage(terms, Id("r2"), kTotal, kBobAccount)),
            v1::PAY_OUTCOME_ACCOUNT_OR_PIN);
  EXPECT_EQ(Outcome(PayMessage(terms, Id("r3"), kTotal, "9999")), v1::PAY_OUTCOME_ACCOUNT_OR_PIN);
  EXPECT_EQ(Outcome(PayMessage(terms, Id("r4"), kTotal, "2001")), v1::PAY_OUTCOME_ACCOUNT_OR_PIN);
  EXPECT_EQ(Outcome(PayMessage(terms, Id("r5"), kTotal, "")), v1::PAY_OUTCOME_ACCOUNT_OR_PIN);
  EXPECT_EQ(AccountOf(kBobAccount).pin_failures, 0);
  EXPECT_EQ(Balance(kAliceAccount), kOpeningBalanceMinor);
  // The same request id with the right PIN goes through: the order is still open.
  EXPECT_EQ(Outcome(PayMessage(terms, Id("r1"), kTotal)), v1::PAY_OUTCOME_SUCCESSFUL);
}

TEST_F(PaymentsTest, WrongPinsDelayButNeverLock) {
  const v1::OrderTerms terms = Offered();
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(
        Outcome(PayMessage(terms, Id("r" + std::to_string(i)), kTotal, kAliceAccount, "9999")),
        v1::PAY_OUTCOME_ACCOUNT_OR_PIN);
  }
  // The right PIN is not looked at while the delay runs.
  const v1::PayResult later = Pay(PayMessage(terms, Id("r8"), kTotal));
  EXPECT_EQ(later.outcome(), v1::PAY_OUTCOME_TRY_LATER);
  EXPECT_EQ(later.retry_after_ms(), 1'000);
  EXPECT_EQ(AccountOf(kAliceAccount).pin_failures, 3);
  clock_.Advance(1'000);
  EXPECT_EQ(Outcome(PayMessage(terms, Id("r8"), kTotal)), v1::PAY_OUTCOME_SUCCESSFUL);
  EXPECT_EQ(AccountOf(kAliceAccount).pin_failures, 0);
}

TEST_F(PaymentsTest, ManyWrongPinsAtOnceAreCountedOneByOne) {
  const v1::OrderTerms terms = Offered();
  std::vector<std::unique_ptr<TestCustomer>> links;
  for (int i = 0; i < 3; ++i) links.push_back(LoggedIn(kAlice));
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&, i] {
      for (int j = 0; j < 10; ++j) {
        links[i]->Call(
            PayMessage(terms, Id(std::to_string(i * 100 + j)), kTotal, kAliceAccount, "9999"));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  // The clock stands still: after the third the delay runs for all the others.
  EXPECT_EQ(AccountOf(kAliceAccount).pin_failures, 3);
}

TEST_F(PaymentsTest, InsufficientBalanceChangesNothing) {
  const v1::OrderTerms terms = Offered(20'000);
  const v1::CustomerMessage message = PayMessage(terms, Id("request"), 20'205);
  EXPECT_EQ(Outcome(message), v1::PAY_OUTCOME_INSUFFICIENT_BALANCE);
  EXPECT_EQ(shop_->Notice(true)->status(), v1::ORDER_STATUS_CREATED);
  EXPECT_EQ(Outcome(message), v1::PAY_OUTCOME_INSUFFICIENT_BALANCE);
  EXPECT_EQ(Balance(kAliceAccount), kOpeningBalanceMinor);
  EXPECT_EQ(StatusOf(terms.order_id()), v1::ORDER_STATUS_CREATED);
}

TEST_F(PaymentsTest, AnotherTotalIsNotCharged) {
  const v1::OrderTerms terms = Offered();
  for (int64_t total : {kTotal - 1, kTotal + 1, int64_t{0}, -kTotal, INT64_MAX, INT64_MIN}) {
    EXPECT_EQ(Outcome(PayMessage(terms, Id(std::to_string(total)), total)),
              v1::PAY_OUTCOME_TOTAL_DIFFERS);
  }
  EXPECT_EQ(Balance(kAliceAccount), kOpeningBalanceMinor);
}

TEST_F(PaymentsTest, ADearestPriceDoesNotOverflow) {
  const v1::OrderTerms terms = Offered(protocol::kMaxPriceMinor);
  EXPECT_EQ(Outcome(PayMessage(terms, Id("request"),
                               protocol::kMaxPriceMinor + protocol::kMaxPriceMinor / 100 + 5)),
            v1::PAY_OUTCOME_INSUFFICIENT_BALANCE);
}

TEST_F(PaymentsTest, UnknownOrdersAndThoseOfOthersLookAlike) {
  const v1::OrderTerms terms = Offered();
  auto bob_link = LoggedIn(kBob);
  const auto reply = bob_link->Call(PayMessage(terms, Id("request"), kTotal, kBobAccount));
  EXPECT_EQ(reply->pay().outcome(), v1::PAY_OUTCOME_ORDER_UNKNOWN);
  v1::OrderTerms unknown = terms;
  unknown.set_order_id(Id("unknown"));
  const auto other = bob_link->Call(PayMessage(unknown, Id("request2"), kTotal, kBobAccount));
  EXPECT_EQ(other->pay().SerializeAsString(), reply->pay().SerializeAsString());
  EXPECT_EQ(Balance(kBobAccount), kOpeningBalanceMinor);
  EXPECT_EQ(StatusOf(terms.order_id()), v1::ORDER_STATUS_CREATED);
}

TEST_F(PaymentsTest, RequestIdsOfTwoCustomersDoNotMeet) {
  const v1::OrderTerms terms = Offered();
  ASSERT_EQ(Outcome(PayMessage(terms, Id("request"), kTotal)), v1::PAY_OUTCOME_SUCCESSFUL);
  auto bob_link = LoggedIn(kBob);
  const auto reply = bob_link->Call(PayMessage(terms, Id("request"), kTotal));
  EXPECT_EQ(reply->pay().outcome(), v1::PAY_OUTCOME_ORDER_UNKNOWN);
  EXPECT_FALSE(reply->pay().has_receipt());
}

TEST_F(PaymentsTest, ADeclinedOrderStaysDeclined) {
  const v1::OrderTerms terms = Offered();
  v1::CustomerMessage decline;
  decline.mutable_decline()->set_order_id(terms.order_id());
  ASSERT_EQ(alice_link_->Call(decline)->decline().status(), v1::ORDER_STATUS_DECLINED);
  EXPECT_EQ(Outcome(PayMessage(terms, Id("request"), kTotal)), v1::PAY_OUTCOME_ORDER_DECLINED);
}

TEST_F(PaymentsTest, APaidOrderCannotBeDeclined) {
  const v1::OrderTerms terms = Offered();
  ASSERT_EQ(Outcome(PayMessage(terms, Id("request"), kTotal)), v1::PAY_OUTCOME_SUCCESSFUL);
  v1::CustomerMessage decline;
  decline.mutable_decline()->set_order_id(terms.order_id());
  EXPECT_EQ(alice_link_->Call(decline)->decline().status(), v1::ORDER_STATUS_PAID);
}

TEST_F(PaymentsTest, AnExpiredOrderIsNotPaidWhetherOrNotItWasSwept) {
  const v1::OrderTerms terms = Offered();
  const v1::OrderTerms swept = Offered();
  clock_.Advance(terms.expires_at_ms() - clock_.NowUnixMs());
  EXPECT_EQ(Outcome(PayMessage(terms, Id("r1"), kTotal)), v1::PAY_OUTCOME_ORDER_EXPIRED);
  broker_->Sweep();
  ASSERT_TRUE(shop_->Notice(true).has_value());
  EXPECT_EQ(Outcome(PayMessage(swept, Id("r2"), kTotal)), v1::PAY_OUTCOME_ORDER_EXPIRED);
  EXPECT_EQ(Balance(kAliceAccount), kOpeningBalanceMinor);
}

TEST_F(PaymentsTest, AnAccountInAnotherCurrencyDoesNotPay) {
  // A customer whose account holds dollars at a broker that sells in euros, which an audit names too.
  expect_books_right_ = false;
  const Enroller enroller = {*store_, "USD", clock_.NowUnixMs(), crypto::SystemRandom(), kTestCost};
  NewCustomer carol;
  carol.username = "carol";
  carol.identity_pem = crypto::TestIdentity(5).public_identity().ToPem();
  carol.account_number = "1003";
  carol.password = crypto::SecretBytes::CopyOf(kPassword);
  carol.pin = crypto::SecretBytes::CopyOf(kPin);
  ASSERT_TRUE(EnrolCustomer(enroller, carol).ok());
  auto link = Customer(crypto::TestIdentity(5));
  ASSERT_TRUE(link->Login("carol", kPassword).success);
  const std::string handle = OpenSession(*link, *shop_, books_, Id("carol's sid"));
  const v1::OrderTerms terms = Terms(books_, Id("carol's sid"));
  ASSERT_EQ(shop_->Offer(handle, terms).outcome(), v1::OFFER_OUTCOME_ACCEPTED);
  EXPECT_EQ(link->Call(PayMessage(terms, Id("request"), kTotal, "1003"))->pay().outcome(),
            v1::PAY_OUTCOME_CURRENCY);
}

TEST_F(PaymentsTest, MalformedPaymentsEndTheSession) {
  const v1::OrderTerms terms = Offered();
  v1::CustomerMessage message = PayMessage(terms, "short", kTotal);
  EXPECT_FALSE(alice_link_->Call(message).has_value());
  EXPECT_TRUE(protocol::IsRefusal(*alice_link_->WaitClosed()));
  alice_link_ = LoggedIn(kAlice);
  message = PayMessage(terms, Id("request"), kTotal, std::string(300, '1'));
  EXPECT_FALSE(alice_link_->Call(message).has_value());
  alice_link_ = LoggedIn(kAlice);
  message = PayMessage(terms, Id("request"), kTotal);
  message.mutable_pay()->set_pin_hash("1234");
  EXPECT_FALSE(alice_link_->Call(message).has_value());
}

TEST_F(PaymentsTest, AFullPoolMeansBusyAndChargesNothing) {
  const v1::OrderTerms terms = Offered();
  testing::InlineExecutor full;
  full.SetFull(true);
  auto commits = *storage::CommitQueue::Create(*store_, storage::CommitQueue::Options());
  Notices notices(*store_, *commits, clock_);
  Payments payments(Payments::Options(), identity_, *store_, *commits, full, notices, clock_);
  v1::PayCall call = PayMessage(terms, Id("request"), kTotal).pay();
  v1::PayResult result;
  for (int i = 0; i < 2 * Payments::kMaxUnderWay; ++i) {
    ASSERT_TRUE(payments.Pay(1, call, [&](v1::PayResult answer) { result = answer; }).ok());
    EXPECT_EQ(result.outcome(), v1::PAY_OUTCOME_BUSY);
  }
  EXPECT_EQ(Balance(kAliceAccount), kOpeningBalanceMinor);
}

TEST_F(PaymentsTest, WhenTheCommitsOutcomeIsUnknownTheSameRequestFindsOut) {
  const v1::OrderTerms terms = Offered();
  storage::testing::GatedStore lossy(*store_);
  lossy.LoseAnswers();
  auto commits = *storage::CommitQueue::Create(lossy, storage::CommitQueue::Options());
  testing::InlineExecutor inline_executor;
  Notices notices(lossy, *commits, clock_);
  Payments payments(Payments::Options(), identity_, lossy, *commits, inline_executor, notices,
                    clock_);
  const v1::CustomerMessage message = PayMessage(terms, Id("request"), kTotal);
  v1::PayResult result;
  ASSERT_TRUE(payments.Pay(1, message.pay(), [&](v1::PayResult answer) { result = answer; }).ok());
  commits->Shutdown();
  EXPECT_EQ(result.outcome(), v1::PAY_OUTCOME_BUSY);
  EXPECT_EQ(Balance(kAliceAccount), kOpeningBalanceMinor - kTotal) << "charged all the same";
  EXPECT_EQ(Outcome(message), v1::PAY_OUTCOME_SUCCESSFUL);
  EXPECT_EQ(Balance(kAliceAccount), kOpeningBalanceMinor - kTotal);
}

TEST_F(PaymentsTest, OneCustomerHasFewPaymentsUnderWay) {
  // Holds tasks instead of running them.
  struct HoldingExecutor : Executor {
    absl::Status Run(std::function<void()> task) override {
      held.push_back(std::move(task));
      return absl::OkStatus();
    }
    std::vector<std::function<void()>> held;
  } holding;
  const v1::OrderTerms terms = Offered();
  auto commits = *storage::CommitQueue::Create(*store_, storage::CommitQueue::Options());
  Notices notices(*store_, *commits, clock_);
  Payments payments(Payments::Options(), identity_, *store_, *commits, holding, notices, clock_);
  std::atomic<int> busy{0};
  for (int i = 0; i < Payments::kMaxUnderWay + 2; ++i) {
    v1::PayCall call = PayMessage(terms, Id(std::to_string(i)), kTotal).pay();
    ASSERT_TRUE(payments
                    .Pay(1, call,
                         [&](v1::PayResult result) {
                           if (result.outcome() == v1::PAY_OUTCOME_BUSY) ++busy;
                         })
                    .ok());
  }
  EXPECT_EQ(busy, 2);
  EXPECT_EQ(holding.held.size(), static_cast<size_t>(Payments::kMaxUnderWay));
  for (const auto& task : holding.held) task();
  commits->Shutdown();
  EXPECT_EQ(busy, 2);
}

}  // namespace
}  // namespace blindcart::broker
