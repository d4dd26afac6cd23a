#include "services/broker/listing.h"

#include <nlohmann/json.hpp>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/broker/testing/broker_fixture.h"

namespace blindcart::broker {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class ListingTest : public BrokerFixture {
 protected:
  static constexpr ListingParts kAll = {true, true, true, true, true};
};

TEST_F(ListingTest, ShowsEveryPartInTablesAndJson) {
  auto alice = LoggedIn(kAlice);
  auto books = Connected(books_);
  const std::string handle = OpenSession(*alice, *books, books_, Id("sid"));
  const v1::OrderTerms terms = Terms(books_, Id("sid"));
  ASSERT_EQ(books->Offer(handle, terms).outcome(), v1::OFFER_OUTCOME_ACCEPTED);

  const auto listing = ListStore(*store_, kAll);
  ASSERT_TRUE(listing.ok());
  EXPECT_EQ(listing->customers_size(), 2);
  EXPECT_EQ(listing->merchants_size(), 2);
  EXPECT_EQ(listing->orders_size(), 1);
  EXPECT_EQ(listing->accounts_size(), 6);
  const std::string text = ToText(*listing, kAll);
  for (const char* expected :
       {"Customers", "alice", "1001", "books", "10.00 EUR", "10.15 EUR", "created", "external"}) {
    EXPECT_THAT(text, HasSubstr(expected));
  }

  const auto json_text = ToJson(*listing);
  ASSERT_TRUE(json_text.ok());
  const auto json = nlohmann::json::parse(*json_text);
  EXPECT_EQ(json["orders"][0]["total_minor"], "1015");
  EXPECT_EQ(json["orders"][0]["customer"], "alice");
  EXPECT_EQ(json["orders"][0]["status"], "ORDER_STATUS_CREATED");
  EXPECT_EQ(json["orders"][0]["paid_at_ms"], "0");
  EXPECT_EQ(json["accounts"][0]["kind"], "broker");
}

TEST_F(ListingTest, ShowsOnlyWhatWasAskedFor) {
  ListingParts parts;
  parts.merchants = true;
  const auto listing = ListStore(*store_, parts);
  ASSERT_TRUE(listing.ok());
  const std::string text = ToText(*listing, parts);
  EXPECT_THAT(text, HasSubstr("music"));
  EXPECT_THAT(text, Not(HasSubstr("alice")));
}

TEST(AuditTextTest, NamesEachProblemOnALine) {
  ledger::AuditReport report;
  report.accounts = 3;
  EXPECT_THAT(ToText(ToMessage(report)), HasSubstr("The books are right."));
  report.problems.push_back({"accounts", "7", "the balance is wrong."});
  const v1::BrokerAudit audit = ToMessage(report);
  EXPECT_FALSE(audit.ok());
  EXPECT_THAT(ToText(audit), HasSubstr("accounts 7: the balance is wrong.\n"));
  EXPECT_THAT(ToText(audit), Not(HasSubstr("right.")));
}

}  // namespace
}  // namespace blindcart::broker
