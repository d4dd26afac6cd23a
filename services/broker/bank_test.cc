#include "services/broker/bank.h"

#include <atomic>
#include <future>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "protocol/refusal.h"
#include "services/broker/config.h"
#include "services/broker/testing/broker_fixture.h"
#include "services/storage/commit_queue.h"

namespace blindcart::broker {
namespace {

constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
constexpr int64_t kMin = std::numeric_limits<int64_t>::min();

v1::CustomerMessage Deposit(const std::string& request_id, int64_t amount_minor) {
  v1::CustomerMessage message;
  v1::CashCall& call = *message.mutable_bank()->mutable_deposit();
  call.set_request_id(request_id);
  call.set_amount_minor(amount_minor);
  return message;
}

v1::CustomerMessage Withdraw(const std::string& request_id, int64_t amount_minor) {
  v1::CustomerMessage message;
  v1::CashCall& call = *message.mutable_bank()->mutable_withdraw();
  call.set_request_id(request_id);
  call.set_amount_minor(amount_minor);
  return message;
}

class BankTest : public BrokerFixture {
 protected:
  BankTest() {
    config_.set_customers_may_deposit(true);
    Restart();
    alice_link_ = LoggedIn(kAlice);
  }
  ~BankTest() override {
    alice_link_.reset();
    ExpectBooksRight();
  }

  void RestartBroker() {
    alice_link_.reset();
    Restart();
    alice_link_ = LoggedIn(kAlice);
  }
  v1::CashResult Ask(const v1::CustomerMessage& message) {
    const auto reply = alice_link_->Call(message);
    EXPECT_TRUE(reply.has_value() && reply->bank().has_cash());
    return reply.has_value() ? reply->bank().cash() : v1::CashResult();
  }
  v1::StatementResult Page(const std::string& after, int64_t since_ms = 0) {
    v1::CustomerMessage message;
    message.mutable_bank()->mutable_statement()->set_after_transfer_id(after);
    message.mutable_bank()->mutable_statement()->set_since_ms(since_ms);
    const auto reply = alice_link_->Call(message);
    EXPECT_TRUE(reply.has_value() && reply->bank().has_statement());
    return reply.has_value() ? reply->bank().statement() : v1::StatementResult();
  }
  // The one refusal, after which the session is over; nothing moved.
  void ExpectRefused(const v1::CustomerMessage& message) {
    const int64_t before = Balance();
    EXPECT_FALSE(alice_link_->Call(message).has_value()) << message.ShortDebugString();
    const auto closed = alice_link_->WaitClosed();
    ASSERT_TRUE(closed.has_value());
    EXPECT_TRUE(protocol::IsRefusal(*closed)) << *closed;
    EXPECT_EQ(Balance(), before);
    alice_link_ = LoggedIn(kAlice);
  }
  int64_t Balance(const std::string& account = kAliceAccount) {
    return AccountOf(account).balance_minor;
  }

  std::unique_ptr<TestCustomer> alice_link_;
};

TEST_F(BankTest, MoneyComesFromOutsideAndGoesBackThere) {
  const int64_t outside = Balance(kExternalAccountNumber);
  const v1::CashResult deposited = Ask(Deposit(Id("one"), 1'250));
  EXPECT_EQ(deposited.outcome(), v1::CASH_OUTCOME_DONE);
  EXPECT_EQ(deposited.balance_minor(), kOpeningBalanceMinor + 1'250);
  EXPECT_EQ(deposited.currency(), "EUR");
  EXPECT_EQ(Balance(kExternalAccountNumber), outside - 1'250);
  const v1::CashResult withdrawn = Ask(Withdraw(Id("two"), 250));
  EXPECT_EQ(withdrawn.outcome(), v1::CASH_OUTCOME_DONE);
  EXPECT_EQ(withdrawn.balance_minor(), kOpeningBalanceMinor + 1'000);
  EXPECT_EQ(Balance(), kOpeningBalanceMinor + 1'000);
  EXPECT_EQ(Balance(kExternalAccountNumber), outside - 1'000);
}

TEST_F(BankTest, TheSameRequestAgainGetsTheFirstAnswerAndMovesNothing) {
  const v1::CustomerMessage deposit = Deposit(Id("in"), 500);
  const v1::CustomerMessage withdraw = Withdraw(Id("out"), 700);
  const std::string first_in = Ask(deposit).SerializeAsString();
  const std::string first_out = Ask(withdraw).SerializeAsString();
  Ask(Deposit(Id("between"), 10));
  EXPECT_EQ(Ask(deposit).SerializeAsString(), first_in);
  EXPECT_EQ(Ask(withdraw).SerializeAsString(), first_out);
  RestartBroker();
  EXPECT_EQ(Ask(deposit).SerializeAsString(), first_in);
  EXPECT_EQ(Ask(withdraw).SerializeAsString(), first_out);
  EXPECT_EQ(Balance(), kOpeningBalanceMinor + 500 - 700 + 10);
}

TEST_F(BankTest, ARequestIdWithOtherContentIsRefused) {
  Ask(Withdraw(Id("id"), 100));
  ExpectRefused(Withdraw(Id("id"), 101));
  ExpectRefused(Deposit(Id("id"), 100));
  EXPECT_EQ(Balance(), kOpeningBalanceMinor - 100);
  // It is the customer's own: another's is another request.
  const auto bob = LoggedIn(kBob);
  EXPECT_EQ(bob->Call(Withdraw(Id("id"), 100))->bank().cash().outcome(), v1::CASH_OUTCOME_DONE);
  EXPECT_EQ(Balance(kBobAccount), kOpeningBalanceMinor - 100);
}

TEST_F(BankTest, RefusesWhatNoAgentSends) {
  for (const int64_t amount : {int64_t{0}, int64_t{-1}, kMin}) {
    ExpectRefused(Withdraw(Id("id"), amount));
    ExpectRefused(Deposit(Id("id"), amount));
  }
  for (const std::string& id : {std::string(), std::string(15, 'i'), std::string(17, 'i')}) {
    ExpectRefused(Withdraw(id, 1));
    ExpectRefused(Deposit(id, 1));
  }
  v1::CustomerMessage empty;
  empty.mutable_bank();
  ExpectRefused(empty);
}

TEST_F(BankTest, InsufficientBalanceIsAnAnswerAndStaysTheFirstOne) {
  const v1::CustomerMessage all_and_one = Withdraw(Id("much"), kOpeningBalanceMinor + 1);
  EXPECT_EQ(Ask(all_and_one).outcome(), v1::CASH_OUTCOME_INSUFFICIENT_BALANCE);
  EXPECT_EQ(Ask(Withdraw(Id("most"), kMax)).outcome(), v1::CASH_OUTCOME_INSUFFICIENT_BALANCE);
  EXPECT_EQ(Balance(), kOpeningBalanceMinor);
  Ask(Deposit(Id("more"), 100));
  EXPECT_EQ(Ask(all_and_one).outcome(), v1::CASH_OUTCOME_INSUFFICIENT_BALANCE);
  EXPECT_EQ(Ask(Withdraw(Id("anew"), kOpeningBalanceMinor + 1)).outcome(), v1::CASH_OUTCOME_DONE);
}

TEST_F(BankTest, NoBalanceLeavesWhatAnAccountCanHold) {
  EXPECT_EQ(Ask(Deposit(Id("max"), kMax)).outcome(), v1::CASH_OUTCOME_LIMIT);
  EXPECT_EQ(Ask(Deposit(Id("over"), kMax - kOpeningBalanceMinor + 1)).outcome(),
            v1::CASH_OUTCOME_LIMIT);
  EXPECT_EQ(Balance(), kOpeningBalanceMinor);
}

TEST_F(BankTest, DepositsByCustomersAreTheBrokersToAllow) {
  const v1::CustomerMessage before = Deposit(Id("before"), 5);
  const std::string first = Ask(before).SerializeAsString();
  config_.set_customers_may_deposit(false);
  RestartBroker();
  EXPECT_EQ(Ask(Deposit(Id("after"), 5)).outcome(), v1::CASH_OUTCOME_NOT_ALLOWED);
  EXPECT_EQ(Ask(before).SerializeAsString(), first) << "what was done stays done";
  EXPECT_EQ(Ask(Withdraw(Id("out"), 5)).outcome(), v1::CASH_OUTCOME_DONE);
  EXPECT_EQ(Balance(), kOpeningBalanceMinor);
  config_.set_customers_may_deposit(true);
  RestartBroker();
  EXPECT_EQ(Ask(Deposit(Id("after"), 5)).outcome(), v1::CASH_OUTCOME_DONE);
}

TEST_F(BankTest, OffUnlessTheOperatorSaysOtherwise) {
  EXPECT_FALSE(DefaultConfig().customers_may_deposit());
}

TEST_F(BankTest, AStatementHasEveryEntryOnceInOrder) {
  constexpr int kEntries = 450;
  int64_t expected = kOpeningBalanceMinor;
  for (int i = 1; i <= kEntries; ++i) {
    clock_.Advance(1);
    ASSERT_EQ(Ask(i % 3 == 0 ? Withdraw(Id(absl::StrCat(i)), i) : Deposit(Id(absl::StrCat(i)), i))
                  .outcome(),
              v1::CASH_OUTCOME_DONE);
    expected += i % 3 == 0 ? -i : i;
  }
  std::vector<v1::StatementEntry> entries;
  v1::StatementResult page = Page("");
  EXPECT_EQ(page.passed_over_minor(), 0);
  EXPECT_EQ(page.account_number(), kAliceAccount);
  EXPECT_EQ(page.currency(), "EUR");
  int pages = 1;
  while (true) {
    entries.insert(entries.end(), page.entries().begin(), page.entries().end());
    EXPECT_LE(page.entries_size(), Bank::kEntriesPerPage);
    if (!page.more() || page.entries().empty()) break;
    page = Page(page.entries().rbegin()->transfer_id());
    ++pages;
  }
  EXPECT_EQ(pages, 3);
  ASSERT_EQ(entries.size(), kEntries + 1u);  // The opening balance is one.
  int64_t balance = 0;
  for (size_t i = 0; i < entries.size(); ++i) {
    balance += entries[i].amount_minor();
    if (i == 0) continue;
    const bool out = i % 3 == 0;
    EXPECT_EQ(entries[i].kind(), out ? v1::ENTRY_KIND_WITHDRAWAL : v1::ENTRY_KIND_DEPOSIT);
    EXPECT_EQ(entries[i].amount_minor(), out ? -static_cast<int64_t>(i) : static_cast<int64_t>(i));
    EXPECT_GT(entries[i].created_at_ms(), entries[i - 1].created_at_ms());
  }
  EXPECT_EQ(balance, expected);
  EXPECT_EQ(balance, Balance());
  EXPECT_TRUE(Page(entries.back().transfer_id()).entries().empty());

  const v1::StatementResult since = Page("", entries[400].created_at_ms());
  ASSERT_EQ(since.entries_size(), 51);
  EXPECT_EQ(since.entries(0).transfer_id(), entries[400].transfer_id());
  int64_t before = 0;
  for (int i = 0; i < 400; ++i) before += entries[static_cast<size_t>(i)].amount_minor();
  EXPECT_EQ(since.passed_over_minor(), before);
  const v1::StatementResult nothing = Page("", clock_.NowUnixMs() + 1);
  EXPECT_TRUE(nothing.entries().empty());
  EXPECT_EQ(nothing.passed_over_minor(), expected);
  EXPECT_FALSE(nothing.more());
}

// A customer with a million entries who asks for the last ones again and again holds up nobody.
TEST_F(BankTest, OneCallPassesOverABoundedNumberOfEntries) {
  constexpr int kEntries = Bank::kMaxPassedOver + 300;
  for (int i = 1; i <= kEntries; ++i) {
    ASSERT_EQ(Ask(Deposit(Id(absl::StrCat(i)), i)).outcome(), v1::CASH_OUTCOME_DONE);
  }
  clock_.Advance(1);
  ASSERT_EQ(Ask(Deposit(Id("last"), 5)).outcome(), v1::CASH_OUTCOME_DONE);
  const int64_t since_ms = clock_.NowUnixMs();

  const v1::StatementResult first = Page("", since_ms);
  EXPECT_TRUE(first.entries().empty());
  EXPECT_TRUE(first.more());
  ASSERT_EQ(first.passed_transfer_id().size(), storage::kTransferIdBytes);
  const v1::StatementResult second = Page(first.passed_transfer_id(), since_ms);
  ASSERT_EQ(second.entries_size(), 1);
  EXPECT_EQ(second.entries(0).amount_minor(), 5);
  EXPECT_FALSE(second.more());
  EXPECT_TRUE(second.passed_transfer_id().empty());
  EXPECT_EQ(first.passed_over_minor() + second.passed_over_minor() + 5, Balance());
  // Exactly as many as one call passes over, then the one to show.
  const std::string number_200 = Page("").entries(199).transfer_id();
  const std::string number_301 = Page(number_200).entries(100).transfer_id();
  const v1::StatementResult exact = Page(number_301, since_ms);
  ASSERT_EQ(exact.entries_size(), 1);
  EXPECT_EQ(exact.entries(0).amount_minor(), 5);
}

TEST_F(BankTest, AStatementNamesTheOrderOfAPaymentAndNobodyElsesEntries) {
  const auto shop = Connected(books_);
  const std::string handle = OpenSession(*alice_link_, *shop, books_, Id("sid"));
  const v1::OrderTerms terms = Terms(books_, Id("sid"));
  ASSERT_EQ(shop->Offer(handle, terms).outcome(), v1::OFFER_OUTCOME_ACCEPTED);
  ASSERT_EQ(alice_link_->Call(PayMessage(terms, Id("pay"), 1'015))->pay().outcome(),
            v1::PAY_OUTCOME_SUCCESSFUL);
  const auto bob = LoggedIn(kBob);
  ASSERT_EQ(bob->Call(Deposit(Id("bobs"), 77))->bank().cash().outcome(), v1::CASH_OUTCOME_DONE);
  const v1::StatementResult page = Page("");
  ASSERT_EQ(page.entries_size(), 2);
  EXPECT_EQ(page.entries(1).kind(), v1::ENTRY_KIND_PAYMENT);
  EXPECT_EQ(page.entries(1).amount_minor(), -1'015);
  EXPECT_EQ(page.entries(1).order_id(), terms.order_id());

  // Another customer's entry is no place to begin at.
  v1::CustomerMessage ask;
  ask.mutable_bank()->mutable_statement();
  const v1::StatementResult bobs = bob->Call(ask)->bank().statement();
  v1::CustomerMessage foreign;
  foreign.mutable_bank()->mutable_statement()->set_after_transfer_id(bobs.entries(1).transfer_id());
  ExpectRefused(foreign);
}

TEST_F(BankTest, RefusesAStatementThatNoAgentAsksFor) {
  v1::CustomerMessage message;
  v1::StatementCall& call = *message.mutable_bank()->mutable_statement();
  call.set_since_ms(-1);
  ExpectRefused(message);
  call.set_since_ms(kMin);
  ExpectRefused(message);
  call.set_since_ms(0);
  for (const std::string& cursor :
       {std::string(1, 'x'), std::string(16, 'x'), std::string(17, 'x')}) {
    call.set_after_transfer_id(cursor);
    ExpectRefused(message);
  }
  call.set_since_ms(1);
  ExpectRefused(message);
}

TEST_F(BankTest, SixtyFourThreadsWithdrawOneAHundredTimesAndNeverOnceMore) {
  constexpr int kThreads = 64;
  constexpr int kWithdrawals = 1'000;
  constexpr int64_t kBalance = 100;
  ASSERT_EQ(Ask(Withdraw(Id("down to"), kOpeningBalanceMinor - kBalance)).outcome(),
            v1::CASH_OUTCOME_DONE);
  int64_t customer_id = 0;
  ASSERT_TRUE(store_
                  ->Read([&](storage::Transaction& transaction) {
                    const auto customer = transaction.customers().FindByUsername(kAlice);
                    if (customer.ok()) customer_id = customer->id;
                    return customer.status();
                  })
                  .ok());
  auto commits = storage::CommitQueue::Create(*store_, storage::CommitQueue::Options());
  ASSERT_TRUE(commits.ok());
  Bank bank(Bank::Options(), *store_, **commits, clock_);
  std::atomic<int> done{0};
  std::atomic<int> insufficient{0};
  std::atomic<int> other{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kWithdrawals; ++i) {
        v1::CashCall call;
        call.set_request_id(Id(absl::StrCat(t, "/", i)));
        call.set_amount_minor(1);
        std::promise<v1::CashOutcome> outcome;
        const absl::Status asked = bank.Cash(
            customer_id, Bank::Direction::kWithdraw, call,
            [&](const absl::StatusOr<v1::CashResult>& result) {
              outcome.set_value(result.ok() ? result->outcome() : v1::CASH_OUTCOME_UNSPECIFIED);
            });
        if (!asked.ok()) {
          ++other;
          continue;
        }
        switch (outcome.get_future().get()) {
          case v1::CASH_OUTCOME_DONE:
            ++done;
            break;
          case v1::CASH_OUTCOME_INSUFFICIENT_BALANCE:
            ++insufficient;
            break;
          default:
            ++other;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  (*commits)->Shutdown();
  EXPECT_EQ(done, kBalance);
  EXPECT_EQ(insufficient, kThreads * kWithdrawals - kBalance);
  EXPECT_EQ(other, 0);
  EXPECT_EQ(Balance(), 0);
}

}  // namespace
}  // namespace blindcart::broker
