#include "services/agent/bank.h"

#include <limits>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "services/agent/testing/test_world.h"

namespace blindcart::agent {
namespace {

using testing::TestWorld;

constexpr int64_t kBalance = 100'000;  // What the fake broker begins with.

v1::StatementEntry Entry(int number, int64_t amount_minor) {
  v1::StatementEntry entry;
  entry.set_transfer_id(std::string(12, 't') + std::to_string(1'000 + number));
  entry.set_kind(amount_minor > 0 ? v1::ENTRY_KIND_DEPOSIT : v1::ENTRY_KIND_WITHDRAWAL);
  entry.set_amount_minor(amount_minor);
  entry.set_created_at_ms(number);
  return entry;
}

// As whoever asked and has seen the answer.
void Acknowledge(TestWorld& world, const absl::StatusOr<Bank::Moved>& moved) {
  ASSERT_TRUE(moved.ok()) << moved.status();
  ASSERT_TRUE(world.agent().bank().Acknowledge(moved->request.request_id).ok());
}

TEST(BankTest, MovesMoneyBothWays) {
  TestWorld world;
  ASSERT_TRUE(world.Login().ok());
  const auto deposited = world.agent().bank().Deposit(1'250);
  ASSERT_TRUE(deposited.ok()) << deposited.status();
  EXPECT_EQ(deposited->result.outcome(), v1::CASH_OUTCOME_DONE);
  EXPECT_EQ(deposited->result.balance_minor(), kBalance + 1'250);
  EXPECT_FALSE(deposited->request.repeated);
  const auto withdrawn = world.agent().bank().Withdraw(250);
  ASSERT_TRUE(withdrawn.ok()) << withdrawn.status();
  EXPECT_EQ(withdrawn->result.balance_minor(), kBalance + 1'000);
  // The same again is another one: somebody has the first one's answer.
  Acknowledge(world, withdrawn);
  EXPECT_EQ(world.agent().bank().Withdraw(250)->result.balance_minor(), kBalance + 750);
  EXPECT_EQ(world.broker.cash_moves, 3);
  EXPECT_EQ(world.agent().bank().Withdraw(kBalance + 751)->result.outcome(),
            v1::CASH_OUTCOME_INSUFFICIENT_BALANCE);
}

TEST(BankTest, ALostAnswerIsAskedForAgainOverANewLink) {
  TestWorld world;
  ASSERT_TRUE(world.Login().ok());
  world.broker.break_after = {v1::CustomerMessage::kBank};
  const auto withdrawn = world.agent().bank().Withdraw(100);
  ASSERT_TRUE(withdrawn.ok()) << withdrawn.status();
  EXPECT_EQ(withdrawn->result.outcome(), v1::CASH_OUTCOME_DONE);
  EXPECT_EQ(world.broker.cash_moves, 1);
  EXPECT_EQ(world.broker.balance_minor, kBalance - 100);
}

TEST(BankTest, TheSameCommandAfterALostAnswerAndARestartCountsOnce) {
  TestWorld world;
  ASSERT_TRUE(world.Login().ok());
  // The money moves over the link that stands; then that is gone, and the broker too.
  world.broker.reachable = false;
  world.broker.break_after = {v1::CustomerMessage::kBank};
  const auto lost = world.agent().bank().Withdraw(100);
  ASSERT_EQ(lost.status().code(), absl::StatusCode::kUnavailable) << lost.status();
  EXPECT_NE(lost.status().message().find("never counted twice"), std::string::npos);
  EXPECT_EQ(world.broker.cash_moves, 1);

  world.RestartAgent();
  world.broker.reachable = true;
  ASSERT_TRUE(world.Login().ok());
  // Another amount, or the other way, is another request.
  EXPECT_FALSE(world.agent().bank().Withdraw(101)->request.repeated);
  EXPECT_FALSE(world.agent().bank().Deposit(100)->request.repeated);
  const auto again = world.agent().bank().Withdraw(100);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(again->request.repeated);
  EXPECT_EQ(again->result.outcome(), v1::CASH_OUTCOME_DONE);
  EXPECT_EQ(again->result.balance_minor(), kBalance - 100);
  EXPECT_EQ(world.broker.cash_moves, 3);
  Acknowledge(world, again);
  EXPECT_FALSE(world.agent().bank().Withdraw(100)->request.repeated);
  EXPECT_EQ(world.broker.cash_moves, 4);
}

// The agent has the answer, and whoever asked dies before it is told.
TEST(BankTest, AnAnswerThatNobodySawIsGivenAgainAndCountsOnce) {
  TestWorld world;
  ASSERT_TRUE(world.Login().ok());
  const auto unseen = world.agent().bank().Withdraw(100);
  ASSERT_TRUE(unseen.ok()) << unseen.status();
  // It may be on its way still.
  EXPECT_EQ(world.agent().bank().Withdraw(100).status().code(),
            absl::StatusCode::kFailedPrecondition);
  world.clock.Advance(Bank::kHandOverMs);
  const auto again = world.agent().bank().Withdraw(100);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(again->request.repeated);
  EXPECT_EQ(again->result.SerializeAsString(), unseen->result.SerializeAsString());
  EXPECT_EQ(world.broker.cash_moves, 1);

  // Known to be gone, or the agent dies too.
  world.agent().bank().Abandon(again->request.request_id);
  EXPECT_TRUE(world.agent().bank().Withdraw(100)->request.repeated);
  world.RestartAgent();
  ASSERT_TRUE(world.Login().ok());
  const auto last = world.agent().bank().Withdraw(100);
  ASSERT_TRUE(last.ok()) << last.status();
  EXPECT_TRUE(last->request.repeated);
  EXPECT_EQ(world.broker.cash_moves, 1);
  Acknowledge(world, last);
  Acknowledge(world, last);
  EXPECT_FALSE(world.agent().bank().Withdraw(100)->request.repeated);
  EXPECT_EQ(world.broker.cash_moves, 2);
}

TEST(BankTest, ALostRefusalDoesNotStandInTheWayOfALaterRequest) {
  TestWorld world;
  ASSERT_TRUE(world.Login().ok());
  world.broker.reachable = false;
  world.broker.break_after = {v1::CustomerMessage::kBank};
  ASSERT_FALSE(world.agent().bank().Withdraw(kBalance + 1).ok());
  world.broker.reachable = true;
  const auto deposited = world.agent().bank().Deposit(1);
  ASSERT_TRUE(deposited.ok()) << deposited.status();
  // The broker's first answer was that there is not enough. Now there is.
  const auto withdrawn = world.agent().bank().Withdraw(kBalance + 1);
  ASSERT_TRUE(withdrawn.ok()) << withdrawn.status();
  EXPECT_EQ(withdrawn->result.outcome(), v1::CASH_OUTCOME_DONE);
  EXPECT_FALSE(withdrawn->request.repeated);
  EXPECT_EQ(world.broker.cash_moves, 2);
}

TEST(BankTest, WhoCannotAskLeavesNoRequestBehind) {
  TestWorld world;
  EXPECT_EQ(world.agent().bank().Withdraw(100).status().code(), absl::StatusCode::kUnauthenticated);
  ASSERT_TRUE(world.Login().ok());
  EXPECT_FALSE(world.agent().bank().Withdraw(100)->request.repeated);
  EXPECT_EQ(world.agent().bank().Withdraw(0).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(world.agent().bank().Deposit(-1).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(BankTest, ABusyBrokerIsAskedAgainUnderTheSameId) {
  TestWorld world;
  ASSERT_TRUE(world.Login().ok());
  world.broker.alter = [](const v1::CustomerMessage& call, v1::BrokerToCustomer* answer) {
    if (!call.has_bank()) return;
    answer->mutable_bank()->mutable_cash()->Clear();
    answer->mutable_bank()->mutable_cash()->set_outcome(v1::CASH_OUTCOME_BUSY);
  };
  EXPECT_EQ(world.agent().bank().Withdraw(100)->result.outcome(), v1::CASH_OUTCOME_BUSY);
  world.broker.alter = nullptr;
  EXPECT_TRUE(world.agent().bank().Withdraw(100)->request.repeated);
  EXPECT_EQ(world.broker.cash_moves, 1);
}

TEST(BankTest, RefusesAnswersThatMakeNoSense) {
  TestWorld world;
  ASSERT_TRUE(world.Login().ok());
  const std::vector<void (*)(v1::CashResult*)> lies = {
      [](v1::CashResult* r) { r->Clear(); },
      [](v1::CashResult* r) { r->set_balance_minor(-1); },
      [](v1::CashResult* r) { r->set_currency("EURO"); },
      [](v1::CashResult* r) { r->set_currency("=1+"); },
      [](v1::CashResult* r) { r->set_outcome(static_cast<v1::CashOutcome>(77)); },
  };
  for (const auto& lie : lies) {
    world.broker.alter = [&](const v1::CustomerMessage& call, v1::BrokerToCustomer* answer) {
      if (call.has_bank()) lie(answer->mutable_bank()->mutable_cash());
    };
    EXPECT_EQ(world.agent().bank().Withdraw(1).status().code(), absl::StatusCode::kDataLoss);
  }
}

class StatementTest : public ::testing::Test {
 protected:
  StatementTest() { EXPECT_TRUE(world_.Login().ok()); }

  absl::Status Read(int64_t since_ms = 0) {
    lines_.clear();
    pages_ = 0;
    return world_.agent().bank().Statement(since_ms, [this](const Bank::Page& page) {
      ++pages_;
      if (lines_.empty()) balance_before_ = page.balance_before_minor;
      lines_.insert(lines_.end(), page.lines.begin(), page.lines.end());
      return true;
    });
  }

  TestWorld world_;
  std::vector<Bank::Line> lines_;
  int pages_ = 0;
  int64_t balance_before_ = 0;  // The first line.
};

TEST_F(StatementTest, AddsUpEveryPage) {
  ASSERT_TRUE(Read().ok());
  EXPECT_EQ(pages_, 1) << "also an empty one says whose account it is";
  EXPECT_TRUE(lines_.empty());
  for (int i = 1; i <= 10; ++i) world_.broker.entries.push_back(Entry(i, i % 4 == 0 ? -i : 10 * i));
  ASSERT_TRUE(Read().ok());
  EXPECT_EQ(pages_, 4);
  ASSERT_EQ(lines_.size(), 10u);
  int64_t balance = 0;
  for (const Bank::Line& line : lines_) {
    balance += line.entry.amount_minor();
    EXPECT_EQ(line.balance_minor, balance);
  }
  ASSERT_TRUE(Read(/*since_ms=*/6).ok());
  ASSERT_EQ(lines_.size(), 5u);
  EXPECT_EQ(lines_.back().balance_minor, balance);
  EXPECT_EQ(pages_, 4) << "two that passed over two entries each, one with the last of them";
  ASSERT_TRUE(Read(/*since_ms=*/11).ok());
  EXPECT_TRUE(lines_.empty());
  EXPECT_EQ(balance_before_, balance);
}

TEST_F(StatementTest, GoesOnAfterABrokenLink) {
  for (int i = 1; i <= 10; ++i) world_.broker.entries.push_back(Entry(i, i));
  world_.broker.break_after = {v1::CustomerMessage::kBank};
  ASSERT_TRUE(Read().ok());
  EXPECT_EQ(lines_.size(), 10u);
}

TEST_F(StatementTest, StopsWhenNobodyReadsOn) {
  for (int i = 1; i <= 10; ++i) world_.broker.entries.push_back(Entry(i, i));
  EXPECT_EQ(world_.agent().bank().Statement(0, [](const Bank::Page&) { return false; }).code(),
            absl::StatusCode::kCancelled);
}

TEST_F(StatementTest, RefusesWhatDoesNotAddUp) {
  const std::vector<void (*)(v1::StatementResult*)> lies = {
      [](v1::StatementResult* r) { r->set_account_number(""); },
      [](v1::StatementResult* r) { r->set_currency(""); },
      // It would be a formula to a spreadsheet, a row of its own in its table, or an escape sequence.
      [](v1::StatementResult* r) { r->set_currency("=A1"); },
      [](v1::StatementResult* r) { r->set_currency(",\nx"); },
      [](v1::StatementResult* r) { r->set_currency("\x1b[J"); },
      [](v1::StatementResult* r) { r->set_currency("eur"); },
      [](v1::StatementResult* r) { r->set_passed_over_minor(1); },
      [](v1::StatementResult* r) { r->set_passed_transfer_id(std::string(16, 'p')); },
      [](v1::StatementResult* r) { r->mutable_entries(0)->set_amount_minor(-1); },
      [](v1::StatementResult* r) { r->mutable_entries(0)->set_amount_minor(0); },
      [](v1::StatementResult* r) {
        r->mutable_entries(1)->set_amount_minor(std::numeric_limits<int64_t>::max());
      },
      [](v1::StatementResult* r) { r->mutable_entries(1)->set_transfer_id("short"); },
      [](v1::StatementResult* r) { r->mutable_entries(1)->set_kind(v1::ENTRY_KIND_UNSPECIFIED); },
      [](v1::StatementResult* r) { r->mutable_entries(1)->set_kind(v1::ENTRY_KIND_PAYMENT); },
      [](v1::StatementResult* r) {
        r->clear_entries();
        r->set_more(true);
      },
      [](v1::StatementResult* r) {
        r->clear_entries();
        r->set_more(true);
        r->set_passed_transfer_id(std::string(16, 'p'));
      },
  };
  for (int i = 1; i <= 3; ++i) world_.broker.entries.push_back(Entry(i, i));
  for (const auto& lie : lies) {
    world_.broker.alter = [&](const v1::CustomerMessage& call, v1::BrokerToCustomer* answer) {
      if (call.has_bank()) lie(answer->mutable_bank()->mutable_statement());
    };
    EXPECT_EQ(Read().code(), absl::StatusCode::kDataLoss);
  }
}

TEST_F(StatementTest, RefusesWhatIsWronglyPassedOver) {
  const std::vector<void (*)(v1::StatementResult*)> lies = {
      [](v1::StatementResult* r) { r->set_passed_over_minor(-1); },
      [](v1::StatementResult* r) { r->set_passed_transfer_id("short"); },
      [](v1::StatementResult* r) { r->set_more(false); },
      [](v1::StatementResult* r) { r->clear_passed_transfer_id(); },
      [](v1::StatementResult* r) { *r->add_entries() = Entry(7, 7); },
      // Once and again: it does not get on, or beyond what can be counted.
      [](v1::StatementResult* r) { r->set_passed_transfer_id(std::string(16, 'p')); },
      [](v1::StatementResult* r) { r->set_passed_over_minor(std::numeric_limits<int64_t>::max()); },
  };
  for (int i = 1; i <= 9; ++i) world_.broker.entries.push_back(Entry(i, i));
  ASSERT_TRUE(Read(/*since_ms=*/9).ok());
  for (const auto& lie : lies) {
    world_.broker.alter = [&](const v1::CustomerMessage& call, v1::BrokerToCustomer* answer) {
      if (call.has_bank()) lie(answer->mutable_bank()->mutable_statement());
    };
    EXPECT_EQ(Read(/*since_ms=*/9).code(), absl::StatusCode::kDataLoss);
  }
}

TEST_F(StatementTest, EndsWhenTheBrokerGoesRoundInCircles) {
  for (int i = 1; i <= 3; ++i) world_.broker.entries.push_back(Entry(i, i));
  world_.broker.alter = [](const v1::CustomerMessage& call, v1::BrokerToCustomer* answer) {
    if (!call.has_bank()) return;
    v1::StatementResult& result = *answer->mutable_bank()->mutable_statement();
    result.clear_entries();
    *result.add_entries() = Entry(1, 1);
    result.set_more(true);
  };
  EXPECT_EQ(Read().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace blindcart::agent
