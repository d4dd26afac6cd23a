// Payments that must not go through, and payments that must go through once: over real processes.
#include <sqlite3.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/end_to_end/shopping.h"

namespace blindcart::testing {
namespace {

using nlohmann::json;
using ::testing::AnyOf;
using ::testing::Eq;
using ::testing::HasSubstr;

class PaymentTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    // Ten seconds is the shortest life that a shop may give to an order.
    shopping_ = Shopping::Open({{"quiet-books", "2001", 0}, {"hasty-books", "2002", 10'000}},
                               {{"alice", "violet umbrella 7", "1001", "2468", "100.00"},
                                {"bob", "paper lantern 3", "1002", "1357", "5.00"}})
                    .release();
  }
  static void TearDownTestSuite() { delete shopping_; }
  void SetUp() override { ASSERT_NE(shopping_, nullptr); }
  void TearDown() override {
    if (shopping_ != nullptr) shopping_->ExpectBooksRight();
  }

  Shopping& shopping() { return *shopping_; }
  Answer PayWith(const std::string& username, const std::string& order, const std::string& account,
                 const std::string& owner_of_pin) {
    return shopping().Run(username, {"pay", order, "--account", account, "--pin-file",
                                     shopping().market().pin_file(owner_of_pin)});
  }

 private:
  static Shopping* shopping_;
};
Shopping* PaymentTest::shopping_ = nullptr;

TEST_F(PaymentTest, ADeclinedOrderIsNeverPaid) {
  ProductSpec product = Goods("One copy", "4.00", "content");
  product.stock = 1;
  const std::string id = shopping().Offer("quiet-books", product);
  const int64_t before = shopping().Balance("alice");
  const std::string order = shopping().Checkout("alice", id);
  shopping().Ask("alice", {"checkout", id}, kRefused);  // It is set aside.

  const json declined = shopping().Ask("alice", {"decline", order});
  EXPECT_EQ(declined["purchase"]["status"], "ORDER_STATUS_DECLINED");
  shopping().WaitForStatusAtShop("quiet-books", order, "ORDER_STATUS_DECLINED");
  const json paid = shopping().Pay("alice", order, kRefused);
  EXPECT_EQ(paid["outcome"], "PAY_OUTCOME_ORDER_DECLINED");
  shopping().Ask("alice", {"download", order}, kRefused);
  EXPECT_EQ(shopping().Balance("alice"), before);
  // The copy can be sold to somebody else.
  shopping().Checkout("alice", id);
}

TEST_F(PaymentTest, APaidOrderCannotBeDeclined) {
  const std::string id = shopping().Offer("quiet-books", Goods("Kept", "1.00", "content"));
  const std::string order = shopping().Checkout("alice", id);
  shopping().Pay("alice", order);
  const int64_t balance = shopping().Balance("alice");
  shopping().Ask("alice", {"decline", order}, kRefused);
  EXPECT_EQ(shopping().Purchase("alice", order)["status"], "ORDER_STATUS_PAID");
  EXPECT_EQ(shopping().Balance("alice"), balance);
  shopping().ExpectDelivered("alice", order, "content");
}

TEST_F(PaymentTest, AnInsufficientBalanceChangesNothing) {
  const std::string id = shopping().Offer("quiet-books", Goods("Dear", "5.00", "content"));
  const int64_t before = shopping().Balance("bob");
  ASSERT_EQ(before, 5'00) << "enough for the price, not for the charge";
  const std::string order = shopping().Checkout("bob", id);
  const Answer answer = PayWith("bob", order, "1002", "bob");
  EXPECT_EQ(answer.exit_code, kRefused);
  EXPECT_EQ(answer.json["outcome"], "PAY_OUTCOME_INSUFFICIENT_BALANCE");
  EXPECT_THAT(answer.err, HasSubstr("your balance does not cover the total of 5.05 EUR"));
  EXPECT_EQ(shopping().Balance("bob"), before);
  EXPECT_EQ(shopping().Purchase("bob", order)["status"], "ORDER_STATUS_CREATED");
  EXPECT_EQ(shopping().StatusAtShop("quiet-books", order), "ORDER_STATUS_CREATED");
  shopping().Ask("bob", {"download", order}, kRefused);
}

TEST_F(PaymentTest, AnUnknownAccountAndAWrongPinLookAlike) {
  const std::string id = shopping().Offer("quiet-books", Goods("Alike", "1.00", "content"));
  const int64_t before = shopping().Balance("alice");
  const std::string order = shopping().Checkout("alice", id);
  const Answer unknown = PayWith("alice", order, "7777", "alice");
  const Answer of_another = PayWith("alice", order, "1002", "bob");
  const Answer wrong_pin = PayWith("alice", order, "1001", "bob");
  EXPECT_EQ(wrong_pin.exit_code, kRefused);
  EXPECT_EQ(wrong_pin.json["outcome"], "PAY_OUTCOME_ACCOUNT_OR_PIN");
  for (const Answer& other : {unknown, of_another}) {
    EXPECT_EQ(other.exit_code, wrong_pin.exit_code);
    EXPECT_EQ(other.json, wrong_pin.json);
    EXPECT_EQ(other.err, wrong_pin.err);
  }
  EXPECT_EQ(shopping().Balance("alice"), before);
  EXPECT_EQ(shopping().AccountBalance("1002"), 5'00);

  // The order is still open, and the right PIN pays it.
  shopping().Pay("alice", order);
  EXPECT_EQ(shopping().Balance("alice"), before - 1'01);
}

TEST_F(PaymentTest, AnotherTotalThanAgreedIsNotPaid) {
  const std::string id = shopping().Offer("quiet-books", Goods("Agreed", "2.00", "content"));
  const int64_t before = shopping().Balance("alice");
  const std::string order = shopping().Checkout("alice", id);
  const std::string pin_file = shopping().market().pin_file("alice");
  const json reply =
      shopping().Ask("alice", {"pay", order, "--pin-file", pin_file, "--total", "2.01"}, kRefused);
  EXPECT_EQ(reply["outcome"], "PAY_OUTCOME_TOTAL_DIFFERS");
  shopping().Ask("alice", {"pay", order, "--pin-file", pin_file, "--total", "-2.02"}, kUsage);
  EXPECT_EQ(shopping().Balance("alice"), before);
  shopping().Ask("alice", {"pay", order, "--pin-file", pin_file, "--total", "2.02"});
  EXPECT_EQ(shopping().Balance("alice"), before - 2'02);
}

// Runs SQL on the database of an agent that does not run.
void Execute(const std::string& database, const std::string& sql) {
  sqlite3* handle = nullptr;
  ASSERT_EQ(sqlite3_open(database.c_str(), &handle), SQLITE_OK);
  char* error = nullptr;
  EXPECT_EQ(sqlite3_exec(handle, sql.c_str(), nullptr, nullptr, &error), SQLITE_OK)
      << (error == nullptr ? "" : error);
  sqlite3_free(error);
  sqlite3_close(handle);
}

TEST_F(PaymentTest, NobodyPaysOrGetsSomebodyElsesOrder) {
  const std::string id = shopping().Offer("quiet-books", Goods("Hers", "1.00", "content"));
  const std::string order = shopping().Checkout("alice", id);
  const int64_t alice_before = shopping().Balance("alice");
  const int64_t bob_before = shopping().Balance("bob");
  // Bob's agent knows nothing of it.
  shopping().Ask("bob", {"pay", order, "--pin-file", shopping().market().pin_file("bob")},
                 kFailure);
  shopping().Ask("bob", {"download", order}, kFailure);

  // Now it knows all that hers does, secrets included.
  Marketplace& market = shopping().market();
  market.KillAgent("bob");
  market.KillAgent("alice");
  Execute(
      market.agent_dir("bob") + "/agent.db",
      absl::StrCat("ATTACH '", market.agent_dir("alice"),
                   "/agent.db' AS hers;"
                   "CREATE TEMP TABLE stolen AS SELECT * FROM hers.purchases WHERE order_id = x'",
                   order,
                   "';"
                   "UPDATE stolen SET id = 1 + (SELECT IFNULL(MAX(id), 0) FROM main.purchases);"
                   "INSERT INTO main.purchases SELECT * FROM stolen;"));
  shopping().RestartAgent("bob");
  shopping().RestartAgent("alice");
  ASSERT_TRUE(shopping().Purchase("bob", order).is_object());
  const json refused = shopping().Pay("bob", order, kRefused);
  EXPECT_EQ(refused["outcome"], "PAY_OUTCOME_ORDER_UNKNOWN");
  EXPECT_EQ(shopping().Balance("bob"), bob_before);
  shopping().Ask("bob", {"decline", order}, kVerification);

  EXPECT_EQ(shopping().StatusAtShop("quiet-books", order), "ORDER_STATUS_CREATED");
  shopping().Pay("alice", order);
  EXPECT_EQ(shopping().Balance("alice"), alice_before - 1'01);
  shopping().ExpectDelivered("alice", order, "content");
}

TEST_F(PaymentTest, TheSamePaymentAgainChargesOnce) {
  const std::string id = shopping().Offer("quiet-books", Goods("Again", "3.00", "content"));
  const int64_t before = shopping().Balance("alice");
  const std::string order = shopping().Checkout("alice", id);
  const json first = shopping().Pay("alice", order);
  const json second = shopping().Pay("alice", order);
  EXPECT_EQ(second, first);
  EXPECT_EQ(shopping().Balance("alice"), before - 3'03);
}

TEST_F(PaymentTest, TheSamePaymentAtOnceChargesOnce) {
  const std::string id = shopping().Offer("quiet-books", Goods("At once", "3.00", "content"));
  const int64_t before = shopping().Balance("alice");
  const std::string order = shopping().Checkout("alice", id);
  const std::vector<Command> commands(6, shopping().PayCommand("alice", order));
  const absl::StatusOr<std::vector<Output>> outputs = RunAllToEnd(commands);
  ASSERT_TRUE(outputs.ok()) << outputs.status();
  int paid = 0;
  for (const Output& output : *outputs) {
    // The agent makes one payment at a time and says so.
    EXPECT_THAT(output.exit_code, AnyOf(Eq(kOk), Eq(kRefused))) << output.out << output.err;
    if (output.exit_code == kOk) {
      ++paid;
    } else {
      EXPECT_THAT(output.err, HasSubstr("under way"));
    }
  }
  EXPECT_GE(paid, 1);
  EXPECT_EQ(shopping().Balance("alice"), before - 3'03);
}

TEST_F(PaymentTest, TheSameOrderPaidFromTwoMachinesAtOnceIsChargedOnce) {
  const std::string id = shopping().Offer("quiet-books", Goods("Two places", "3.00", "content"));
  const int64_t before = shopping().Balance("alice");
  const std::string order = shopping().Checkout("alice", id);
  Marketplace& market = shopping().market();
  market.KillAgent("alice");
  const absl::Status copied = market.CopyAgent("alice", "alice-laptop");
  ASSERT_TRUE(copied.ok()) << copied;
  shopping().RestartAgent("alice");
  shopping().RestartAgent("alice-laptop");

  const absl::StatusOr<std::vector<Output>> outputs = RunAllToEnd(
      {shopping().PayCommand("alice", order), shopping().PayCommand("alice-laptop", order)});
  ASSERT_TRUE(outputs.ok()) << outputs.status();
  for (const Output& output : *outputs) {
    EXPECT_EQ(output.exit_code, kOk) << output.out << output.err;
  }
  EXPECT_EQ(shopping().Balance("alice"), before - 3'03);
  shopping().ExpectDelivered("alice", order, "content");
  shopping().ExpectDelivered("alice-laptop", order, "content");
  market.KillAgent("alice-laptop");
}

TEST_F(PaymentTest, AnExpiredOrderIsNeverPaid) {
  ProductSpec product = Goods("Brief", "1.00", "content");
  product.stock = 1;
  const std::string id = shopping().Offer("hasty-books", product);
  const int64_t before = shopping().Balance("alice");
  const std::string order = shopping().Checkout("alice", id);
  shopping().WaitForStatusAtShop("hasty-books", order, "ORDER_STATUS_EXPIRED");
  EXPECT_EQ(shopping().Purchase("alice", order)["status"], "ORDER_STATUS_EXPIRED");
  const json reply = shopping().Pay("alice", order, kRefused);
  EXPECT_EQ(reply["outcome"], "PAY_OUTCOME_ORDER_EXPIRED");
  shopping().Ask("alice", {"download", order}, kRefused);
  EXPECT_EQ(shopping().Balance("alice"), before);
  // What was set aside for it is for sale again.
  const std::string next = shopping().Checkout("alice", id);
  EXPECT_NE(next, order);
  shopping().Pay("alice", next);
  shopping().ExpectDelivered("alice", next, "content");
}

}  // namespace
}  // namespace blindcart::testing
