// The bank over the real programs: what people type, what scripts read, lost answers, and a customer
// who cheats.
#include <stdlib.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "crypto/identity.h"
#include "crypto/random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "protocol/refusal.h"
#include "tests/end_to_end/shopping.h"
#include "tests/support/interposed_marketplace.h"
#include "tests/support/raw_broker.h"
#include "tests/support/test_customer.h"

namespace blindcart::testing {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
constexpr int64_t kMin = std::numeric_limits<int64_t>::min();
const CustomerSpec kAlice = {"alice", "violet umbrella 7", "1001", "2468", "100.00"};

std::string NewId() { return crypto::SystemRandom().Bytes(16); }

v1::CustomerMessage Cash(bool deposit, const std::string& request_id, int64_t amount_minor) {
  v1::CustomerMessage message;
  v1::CashCall& call = deposit ? *message.mutable_bank()->mutable_deposit()
                               : *message.mutable_bank()->mutable_withdraw();
  call.set_request_id(request_id);
  call.set_amount_minor(amount_minor);
  return message;
}

// One marketplace for all: a test reckons from the balance that it finds.
class BankTest : public ::testing::Test {
 protected:
  struct World {
    std::unique_ptr<Shopping> shopping;
    std::unique_ptr<crypto::Identity> identity;
    std::unique_ptr<RawBroker> raw_broker;
  };

  static void SetUpTestSuite() {
    auto world = std::make_unique<World>();
    world->shopping = Shopping::Open({}, {kAlice}, {"--customers-may-deposit"});
    ASSERT_NE(world->shopping, nullptr);
    auto broker = RawBroker::Dial(world->shopping->market());
    ASSERT_TRUE(broker.ok()) << broker.status();
    world->raw_broker = *std::move(broker);
    auto identity = BorrowIdentity(world->shopping->market().agent_dir("alice"));
    ASSERT_TRUE(identity.ok()) << identity.status();
    world->identity = *std::move(identity);
    world_ = world.release();
  }
  static void TearDownTestSuite() {
    if (world_ == nullptr) return;
    shopping().ExpectBooksRight();
    delete world_;
    world_ = nullptr;
  }
  void SetUp() override {
    ASSERT_NE(world_, nullptr);
    before_ = shopping().Balance("alice");
    ASSERT_GE(before_, 50'00);
  }

  static Shopping& shopping() { return *world_->shopping; }
  static int64_t Balance() { return shopping().Balance("alice"); }
  static json Ask(const std::vector<std::string>& arguments) {
    return shopping().Ask("alice", arguments);
  }
  // As a person runs it: without --json.
  static Output Run(const std::vector<std::string>& arguments, const std::string& typed = "") {
    Command command = shopping().market().CliCommand("alice", arguments);
    command.input = typed;
    const auto output = RunToEnd(command);
    EXPECT_TRUE(output.ok()) << output.status();
    return output.ok() ? *output : Output();
  }
  // Alice's keys in the hands of a program that sends what it likes.
  static std::unique_ptr<TestCustomer> Raw() {
    auto customer = TestCustomer::LogIn(*world_->raw_broker, *world_->identity, kAlice);
    EXPECT_TRUE(customer.ok()) << customer.status();
    return customer.ok() ? *std::move(customer) : nullptr;
  }
  // "112.50 EUR"
  static std::string Euros(int64_t minor) {
    return absl::StrFormat("%d.%02d EUR", minor / 100, minor % 100);
  }

  static World* world_;
  int64_t before_ = 0;
};
BankTest::World* BankTest::world_ = nullptr;

TEST_F(BankTest, DepositWithdrawAndTheirAnswers) {
  json reply = Ask({"deposit", "12.50"});
  EXPECT_EQ(reply["outcome"], "CASH_OUTCOME_DONE");
  EXPECT_EQ(Int(reply["balance_minor"]), before_ + 12'50);
  reply = Ask({"withdraw", "0.5"});
  EXPECT_EQ(Int(reply["balance_minor"]), before_ + 12'00);
  EXPECT_EQ(reply["repeated"], false);
  EXPECT_EQ(Balance(), before_ + 12'00);

  const Output shown = Run({"withdraw", "12"});
  EXPECT_EQ(shown.exit_code, kOk);
  EXPECT_THAT(shown.out, HasSubstr("12.00 EUR"));
  EXPECT_THAT(shown.out, HasSubstr(Euros(before_)));

  const Output much = Run({"withdraw", "50000000.01"});
  EXPECT_EQ(much.exit_code, kRefused);
  EXPECT_THAT(much.err, HasSubstr("does not cover 50000000.01 EUR"));
  // Within what can be written, beyond what an account can hold.
  const Output limit = Run({"deposit", "92233720368547758.07"});
  EXPECT_EQ(limit.exit_code, kRefused);
  EXPECT_THAT(limit.err, HasSubstr("no account can hold that much"));
  EXPECT_EQ(Balance(), before_);
}

TEST_F(BankTest, SaysWhatIsWrongWithAnAmount) {
  const std::vector<std::pair<std::string, std::string>> bad = {
      {"0", "above zero"},
      {"0.00", "above zero"},
      {"-5", "not be negative"},
      {"1.234", "at most 2 decimals"},
      {"99999999999999999999", "too large"},
      {"ten", "plain number"},
      {"1,50", "plain number"},
      {"1.5e3", "plain number"},
      {"0x10", "plain number"},
      {"+5", "plain number"},
      {"", "plain number"},
      {"nan", "plain number"},
      {"12 EUR", "plain number"},
  };
  for (const auto& [amount, words] : bad) {
    for (const char* command : {"deposit", "withdraw"}) {
      const Output answer = Run({command, amount});
      EXPECT_EQ(answer.exit_code, kUsage) << command << " " << amount << answer.err;
      EXPECT_THAT(answer.err, HasSubstr(words)) << command << " " << amount;
    }
  }
  EXPECT_EQ(Balance(), before_);
}

TEST_F(BankTest, AStatementOfSeveralHundredEntries) {
  constexpr int kEntries = 450;
  const size_t earlier = Ask({"statement"})["lines"].size();
  ASSERT_GE(earlier, 1u) << "the opening balance";
  const auto raw = Raw();
  ASSERT_NE(raw, nullptr);
  int64_t balance = before_;
  for (int i = 1; i <= kEntries; ++i) {
    const bool deposit = i % 3 != 0;
    const auto reply = raw->Call(Cash(deposit, NewId(), i));
    ASSERT_TRUE(reply.has_value());
    ASSERT_EQ(reply->bank().cash().outcome(), v1::CASH_OUTCOME_DONE);
    balance += deposit ? i : -i;
  }
  const json document = Ask({"statement"});
  EXPECT_EQ(document["complete"], true);
  EXPECT_EQ(document["account_number"], "1001");
  EXPECT_EQ(document["currency"], "EUR");
  ASSERT_EQ(document["lines"].size(), earlier + kEntries);
  int64_t sum = 0;
  for (const json& line : document["lines"]) {
    sum += Int(line["amount_minor"]);
    ASSERT_EQ(Int(line["balance_minor"]), sum);
  }
  EXPECT_EQ(sum, balance);
  EXPECT_EQ(document["lines"][earlier + 2]["kind"], "ENTRY_KIND_WITHDRAWAL");

  const Output csv = Run({"statement", "--csv"});
  ASSERT_EQ(csv.exit_code, kOk) << csv.err;
  const std::vector<std::string> rows = absl::StrSplit(csv.out, '\n', absl::SkipEmpty());
  ASSERT_EQ(rows.size(), earlier + kEntries + 1);
  EXPECT_EQ(rows[0], "time,kind,order,transfer,amount,balance,currency");
  EXPECT_THAT(rows[earlier + 3], HasSubstr(",withdrawal,,"));
  EXPECT_THAT(rows[earlier + 3], HasSubstr(",-0.03,"));

  const std::string table = Run({"statement"}).out;
  EXPECT_THAT(table, HasSubstr("Account 1001"));
  EXPECT_THAT(table, HasSubstr("-0.03 EUR"));
  EXPECT_THAT(table, HasSubstr(Euros(balance)));

  EXPECT_THAT(Run({"statement", "--since", "2001-01-01"}).out, HasSubstr("-0.03 EUR"));
  const json future = Ask({"statement", "--since", "2101-01-01"});
  EXPECT_TRUE(future["lines"].empty());
  EXPECT_EQ(Int(future["balance_before_minor"]), balance);
  EXPECT_EQ(Run({"statement", "--since", "the beginning"}).exit_code, kUsage);
  EXPECT_EQ(Run({"--json", "statement", "--csv"}).exit_code, kUsage);
}

TEST_F(BankTest, TheTellerServesAPipe) {
  Output output = Run({"teller"}, "check\nWITHDRAW 10\n\ndeposit\n2.50\nc\nQUIT\nWITHDRAW 50\n");
  EXPECT_EQ(output.exit_code, kOk) << output.err;
  EXPECT_THAT(output.out, HasSubstr(Euros(before_)));
  EXPECT_THAT(output.out, HasSubstr(Euros(before_ - 10'00)));
  EXPECT_THAT(output.out, HasSubstr(Euros(before_ - 7'50)));
  EXPECT_EQ(Balance(), before_ - 7'50) << "nothing happens after QUIT";

  // The end of the input is a QUIT; what failed first is the exit code, and the rest is done.
  output = Run({"teller"}, "rob\nWITHDRAW 10000000\nWITHDRAW x\nWITHDRAW 1\n");
  EXPECT_EQ(output.exit_code, kUsage);
  EXPECT_THAT(output.err, HasSubstr("type CHECK, WITHDRAW"));
  EXPECT_THAT(output.err, HasSubstr("does not cover"));
  EXPECT_THAT(output.err, HasSubstr("plain number"));
  EXPECT_EQ(Balance(), before_ - 8'50);
}

TEST_F(BankTest, TheTellerSaysThatAnAmountIsMissing) {
  const Output output = Run({"teller"}, "CHECK\nWITHDRAW\n");
  EXPECT_EQ(output.exit_code, kUsage);
  EXPECT_THAT(output.err, HasSubstr("no amount was given. Nothing was moved"));
  EXPECT_EQ(Balance(), before_);
}

// An answer that could not be shown has not been seen.
TEST_F(BankTest, AnAnswerThatCannotBeWrittenIsGivenAgain) {
  const Command withdraw = shopping().market().CliCommand("alice", {"withdraw", "7.77"});
  Command nowhere = withdraw;
  nowhere.program = "/bin/sh";
  nowhere.arguments = {"-c", "exec \"$0\" \"$@\" > /dev/full", withdraw.program};
  nowhere.arguments.insert(nowhere.arguments.end(), withdraw.arguments.begin(),
                           withdraw.arguments.end());
  const auto unseen = RunToEnd(nowhere);
  ASSERT_TRUE(unseen.ok()) << unseen.status();
  EXPECT_EQ(unseen->exit_code, kFailure) << unseen->err;
  Answer again;
  WaitUntil("nobody waits for the answer any more", [&] {
    again = shopping().Run("alice", {"withdraw", "7.77"});
    return again.exit_code != kRefused;
  });
  EXPECT_EQ(again.json["repeated"], true) << again.out;
  EXPECT_EQ(Balance(), before_ - 7'77);
  EXPECT_EQ(Ask({"withdraw", "7.77"})["repeated"], false);
  EXPECT_EQ(Balance(), before_ - 2 * 7'77);
}

TEST_F(BankTest, OnlyWhoIsLoggedInReachesTheBankAndTheTellerLogsIn) {
  ASSERT_EQ(Run({"logout"}).exit_code, kOk);
  for (const std::vector<std::string>& command :
       {std::vector<std::string>{"deposit", "1"}, {"withdraw", "1"}, {"statement"}}) {
    EXPECT_EQ(Run(command).exit_code, kLogin);
  }
  const Output output = Run({"teller", "--username", "alice", "--password-file",
                             shopping().market().password_file("alice")},
                            "CHECK\n");
  EXPECT_EQ(output.exit_code, kOk) << output.err;
  EXPECT_THAT(output.out, HasSubstr(Euros(before_)));
}

TEST_F(BankTest, ACustomerWhoCheatsMovesNothing) {
  const auto refused = [&](const v1::CustomerMessage& message) {
    const auto raw = Raw();
    ASSERT_NE(raw, nullptr);
    EXPECT_FALSE(raw->Call(message).has_value()) << message.ShortDebugString();
    EXPECT_TRUE(protocol::IsRefusal(raw->link().AwaitEnd())) << message.ShortDebugString();
  };
  for (const bool deposit : {true, false}) {
    for (const int64_t amount : {int64_t{0}, int64_t{-1}, kMin}) {
      refused(Cash(deposit, NewId(), amount));
    }
    refused(Cash(deposit, "", 1));
    refused(Cash(deposit, std::string(17, 'x'), 1));
  }
  const auto raw = Raw();
  ASSERT_NE(raw, nullptr);
  const auto outcome = [&](const v1::CustomerMessage& message) {
    const auto reply = raw->Call(message);
    return reply.has_value() ? reply->bank().cash().outcome() : v1::CASH_OUTCOME_UNSPECIFIED;
  };
  EXPECT_EQ(outcome(Cash(true, NewId(), kMax)), v1::CASH_OUTCOME_LIMIT);
  EXPECT_EQ(outcome(Cash(false, NewId(), kMax)), v1::CASH_OUTCOME_INSUFFICIENT_BALANCE);
  EXPECT_EQ(Balance(), before_);

  // A request again is the same request, also in a new session.
  const std::string id = NewId();
  const auto first = raw->Call(Cash(false, id, 10'00));
  ASSERT_TRUE(first.has_value());
  EXPECT_EQ(first->bank().cash().outcome(), v1::CASH_OUTCOME_DONE);
  EXPECT_EQ(raw->Call(Cash(false, id, 10'00))->bank().SerializeAsString(),
            first->bank().SerializeAsString());
  EXPECT_EQ(Raw()->Call(Cash(false, id, 10'00))->bank().SerializeAsString(),
            first->bank().SerializeAsString());
  refused(Cash(false, id, 10'01));
  refused(Cash(true, id, 10'00));
  EXPECT_EQ(Balance(), before_ - 10'00);
}

TEST(BankDepositTest, DepositsByCustomersAreOffUnlessTheOperatorAllowsThem) {
  const auto shopping = Shopping::Open({}, {kAlice});
  ASSERT_NE(shopping, nullptr);
  const Answer answer = shopping->Run("alice", {"deposit", "5"});
  EXPECT_EQ(answer.exit_code, kRefused);
  EXPECT_THAT(answer.err, HasSubstr("does not let customers deposit"));
  EXPECT_EQ(Int(shopping->Ask("alice", {"withdraw", "5"})["balance_minor"]), 95'00);
}

// Between agent and broker somebody who can hold answers up. One marketplace for all.
class BankLostAnswerTest : public ::testing::Test {
 protected:
  struct World {
    std::string folder = "/tmp/blindcart-test-XXXXXX";
    std::unique_ptr<InterposedMarketplace> parties;
  };

  static void SetUpTestSuite() {
    auto world = std::make_unique<World>();
    ASSERT_NE(mkdtemp(world->folder.data()), nullptr);
    auto parties = InterposedMarketplace::Create(world->folder + "/m", {"--customers-may-deposit"});
    ASSERT_TRUE(parties.ok()) << parties.status();
    world->parties = *std::move(parties);
    ASSERT_TRUE(world->parties->AddCustomer(kAlice).ok());
    ASSERT_TRUE(world->parties->market().Login("alice").ok());
    world_ = world.release();
  }
  static void TearDownTestSuite() {
    if (world_ == nullptr) return;
    world_->parties.reset();
    std::filesystem::remove_all(world_->folder);
    delete world_;
    world_ = nullptr;
  }
  void SetUp() override {
    ASSERT_NE(world_, nullptr);
    before_ = Int(Ask({"balance"})["balance_minor"]);
  }

  static Marketplace& market() { return world_->parties->market(); }
  static Interposer& interposer() { return world_->parties->interposer(); }
  static json Ask(const std::vector<std::string>& arguments) {
    const auto text = market().CliJson("alice", arguments);
    EXPECT_TRUE(text.ok()) << text.status();
    return text.ok() ? json::parse(*text, nullptr, false) : json();
  }

  static World* world_;
  int64_t before_ = 0;
};
BankLostAnswerTest::World* BankLostAnswerTest::world_ = nullptr;

// The broker is killed when it has answered and before the agent has the answer; the agent too.
TEST_F(BankLostAnswerTest, ARetryAfterBothWereRestartedCountsOnce) {
  std::mutex mutex;
  std::condition_variable changed;
  bool lost = false;
  Interposer::Hooks hooks;
  hooks.to_customer = [&](v1::BrokerToCustomer message) {
    std::vector<v1::BrokerToCustomer> passed_on;
    if (!message.has_bank()) {
      passed_on.push_back(std::move(message));
      return passed_on;
    }
    std::lock_guard<std::mutex> lock(mutex);
    lost = true;
    changed.notify_all();
    return passed_on;
  };
  interposer().SetHooks(hooks);
  auto withdraw = Process::Start(market().CliCommand("alice", {"withdraw", "10"}));
  ASSERT_TRUE(withdraw.ok()) << withdraw.status();
  {
    std::unique_lock<std::mutex> lock(mutex);
    ASSERT_TRUE(changed.wait_for(lock, std::chrono::seconds(60), [&] { return lost; }));
  }
  market().KillBroker();
  const auto exit_code = (*withdraw)->Wait(/*timeout_ms=*/120'000);
  ASSERT_TRUE(exit_code.ok()) << exit_code.status();
  EXPECT_EQ(*exit_code, kUnreachable) << (*withdraw)->err();
  EXPECT_THAT((*withdraw)->err(), HasSubstr("never counted twice"));

  market().KillAgent("alice");
  interposer().SetHooks({});
  ASSERT_TRUE(market().StartBroker().ok());
  ASSERT_TRUE(market().StartAgent("alice").ok());
  WaitUntil("alice is logged in", [&] { return market().Login("alice").ok(); });
  EXPECT_EQ(Int(Ask({"balance"})["balance_minor"]), before_ - 10'00) << "it was done";
  const json again = Ask({"withdraw", "10"});
  EXPECT_EQ(again["repeated"], true);
  EXPECT_EQ(Int(again["balance_minor"]), before_ - 10'00);
  EXPECT_EQ(Int(Ask({"balance"})["balance_minor"]), before_ - 10'00);
  EXPECT_EQ(Ask({"withdraw", "10"})["repeated"], false);
  EXPECT_EQ(Int(Ask({"balance"})["balance_minor"]), before_ - 20'00);
  const auto audit = market().BrokerCommand({"audit"});
  ASSERT_TRUE(audit.ok());
  EXPECT_EQ(audit->exit_code, 0) << audit->out << audit->err;
}

// Whoever typed the command is gone before it could say what happened.
TEST_F(BankLostAnswerTest, AKilledCommandCountsOnceHoweverOftenItIsRunAgain) {
  std::mutex mutex;
  std::condition_variable changed;
  bool answered = false;
  bool killed = false;
  Interposer::Hooks hooks;
  hooks.to_customer = [&](v1::BrokerToCustomer message) {
    if (message.has_bank()) {
      std::unique_lock<std::mutex> lock(mutex);
      answered = true;
      changed.notify_all();
      EXPECT_TRUE(changed.wait_for(lock, std::chrono::seconds(60), [&] { return killed; }));
    }
    std::vector<v1::BrokerToCustomer> passed_on;
    passed_on.push_back(std::move(message));
    return passed_on;
  };
  interposer().SetHooks(hooks);
  auto withdraw = Process::Start(market().CliCommand("alice", {"withdraw", "10"}));
  ASSERT_TRUE(withdraw.ok()) << withdraw.status();
  {
    std::unique_lock<std::mutex> lock(mutex);
    ASSERT_TRUE(changed.wait_for(lock, std::chrono::seconds(60), [&] { return answered; }));
    (*withdraw)->Kill();
    killed = true;
    changed.notify_all();
  }
  json again;
  WaitUntil("the agent has the answer", [&] {
    const auto text = market().CliJson("alice", {"withdraw", "10"});
    if (text.ok()) again = json::parse(*text, nullptr, false);
    return text.ok();
  });
  interposer().SetHooks({});
  EXPECT_EQ(again["repeated"], true) << again;
  EXPECT_EQ(Int(again["balance_minor"]), before_ - 10'00);
  const json other = Ask({"withdraw", "10"});
  EXPECT_EQ(other["repeated"], false) << other;
  EXPECT_EQ(Int(other["balance_minor"]), before_ - 20'00);
}

}  // namespace
}  // namespace blindcart::testing
