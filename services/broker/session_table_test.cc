#include "services/broker/session_table.h"

#include <vector>

#include "gtest/gtest.h"

namespace blindcart::broker {
namespace {

struct FakeSession : Session {
  void Sweep() override { ++sweeps; }
  void Close(const absl::Status& status) override { closed = status; }
  void Drain(const absl::Status& status) override { drained = status; }
  int sweeps = 0;
  absl::Status drained;
  absl::Status closed;
};

class SessionTableTest : public ::testing::Test {
 protected:
  static SessionTable::Options Limits() {
    SessionTable::Options options;
    options.max_customer_links = 3;
    options.max_merchant_links = 1;
    options.max_links_per_customer = 2;
    return options;
  }
  SessionTable table_{Limits()};
  std::vector<std::shared_ptr<FakeSession>> sessions_ = {
      std::make_shared<FakeSession>(), std::make_shared<FakeSession>(),
      std::make_shared<FakeSession>(), std::make_shared<FakeSession>()};
};

TEST_F(SessionTableTest, LinksOfEachKindAreBounded) {
  const auto first = table_.Add(SessionTable::Kind::kCustomer, sessions_[0]);
  ASSERT_TRUE(table_.Add(SessionTable::Kind::kCustomer, sessions_[1]).has_value());
  ASSERT_TRUE(table_.Add(SessionTable::Kind::kCustomer, sessions_[2]).has_value());
  EXPECT_FALSE(table_.Add(SessionTable::Kind::kCustomer, sessions_[3]).has_value());
  ASSERT_TRUE(table_.Add(SessionTable::Kind::kMerchant, sessions_[3]).has_value());
  EXPECT_FALSE(table_.Add(SessionTable::Kind::kMerchant, sessions_[3]).has_value());
  table_.Remove(*first);
  table_.Remove(*first);
  EXPECT_EQ(table_.count(SessionTable::Kind::kCustomer), 2u);
  EXPECT_TRUE(table_.Add(SessionTable::Kind::kCustomer, sessions_[0]).has_value());
}

TEST_F(SessionTableTest, ACustomersOldestLinkMakesWay) {
  std::vector<LinkId> ids;
  for (int i = 0; i < 3; ++i) {
    ids.push_back(*table_.Add(SessionTable::Kind::kCustomer, sessions_[i]));
    table_.BindCustomer(ids.back(), 7);
  }
  EXPECT_TRUE(absl::IsUnavailable(sessions_[0]->closed));
  EXPECT_TRUE(sessions_[1]->closed.ok());
  EXPECT_TRUE(sessions_[2]->closed.ok());
  table_.Remove(ids[0]);
  table_.Remove(ids[1]);
  const auto next = table_.Add(SessionTable::Kind::kCustomer, sessions_[3]);
  table_.BindCustomer(*next, 7);
  EXPECT_TRUE(sessions_[2]->closed.ok());
}

TEST_F(SessionTableTest, SweepsAndClosesWhatStillLives) {
  table_.Add(SessionTable::Kind::kCustomer, sessions_[0]);
  table_.Add(SessionTable::Kind::kMerchant, sessions_[1]);
  const auto gone = sessions_[0];
  table_.Sweep();
  EXPECT_EQ(gone->sweeps, 1);
  EXPECT_EQ(sessions_[1]->sweeps, 1);
  table_.CloseAll(absl::UnavailableError("stop"));
  EXPECT_TRUE(absl::IsUnavailable(sessions_[1]->closed));
}

TEST_F(SessionTableTest, DrainsOneKindAndTakesNoMore) {
  table_.Add(SessionTable::Kind::kCustomer, sessions_[0]);
  table_.Add(SessionTable::Kind::kMerchant, sessions_[1]);
  table_.StopAdding();
  EXPECT_FALSE(table_.Add(SessionTable::Kind::kCustomer, sessions_[2]).has_value());
  EXPECT_FALSE(table_.Add(SessionTable::Kind::kMerchant, sessions_[2]).has_value());
  const absl::Status going = absl::UnavailableError("going");
  table_.Drain(SessionTable::Kind::kCustomer, going);
  EXPECT_EQ(sessions_[0]->drained, going);
  EXPECT_TRUE(sessions_[1]->drained.ok());
  table_.Drain(SessionTable::Kind::kMerchant, going);
  EXPECT_EQ(sessions_[1]->drained, going);
}

}  // namespace
}  // namespace blindcart::broker
