#include "services/broker/listeners.h"

#include <atomic>
#include <future>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "services/broker/testing/broker_fixture.h"
#include "services/storage/commit_queue.h"
#include "services/storage/testing/gated_store.h"

namespace blindcart::broker {
namespace {

constexpr int64_t kAliceId = 1;
constexpr int64_t kBobId = 2;

// The fixture's store, and two brokers' listeners over it.
class ListenersTest : public BrokerFixture {
 protected:
  ~ListenersTest() override {
    gate_.Open();
    commits_->Shutdown();
  }

  // What the two announce has been written, or refused, when the queue has ended.
  Listeners::Done Count() {
    return [this](const absl::Status& status) { ++(status.ok() ? written_ : refused_); };
  }
  std::string Find(Listeners& listeners, int64_t customer_id) {
    std::string address;
    EXPECT_TRUE(gate_
                    .Read([&](storage::Transaction& transaction) {
                      const auto found = listeners.Find(transaction, customer_id);
                      if (found.ok()) address = *found;
                      return found.status();
                    })
                    .ok());
    return address;
  }
  // The queue has done everything that it had.
  void Settle() {
    std::promise<void> done;
    ASSERT_TRUE(commits_
                    ->Submit([](storage::Transaction&) { return absl::OkStatus(); },
                             [&](const absl::Status&) { done.set_value(); })
                    .ok());
    done.get_future().wait();
  }

  storage::testing::GatedStore gate_{*store_};
  std::unique_ptr<storage::CommitQueue> commits_ =
      *storage::CommitQueue::Create(gate_, storage::CommitQueue::Options());
  Listeners listeners_{*commits_, clock_, crypto::SystemRandom()};
  Listeners others_{*commits_, clock_, crypto::SystemRandom()};
  std::atomic<int> written_{0};
  std::atomic<int> refused_{0};
};

TEST_F(ListenersTest, OnlyTheLatestAddressOfALinkIsWritten) {
  gate_.Shut();
  for (int i = 0; i < 100; ++i) {
    listeners_.Announce(kAliceId, 7, absl::StrCat("192.0.2.7:", 9000 + i), Count());
  }
  EXPECT_LE(commits_->waiting(), 1u);
  gate_.Open();
  Settle();
  Settle();  // The first one's answer brought the second.
  EXPECT_EQ(Find(others_, kAliceId), "192.0.2.7:9099");
  EXPECT_EQ(written_, 100);
  EXPECT_LE(gate_.batch_sizes().size(), 4u);
}

TEST_F(ListenersTest, ManyLinksThatEndAtOnceLeaveTheQueueToOthers) {
  constexpr LinkId kLinks = 1'000;
  gate_.Shut();
  for (LinkId link = 1; link <= kLinks; ++link) {
    listeners_.Announce(kAliceId, link, "192.0.2.7:9000", Count());
  }
  for (LinkId link = 1; link <= kLinks; ++link) listeners_.RemoveLink(link);
  for (int i = 0; i < 3; ++i) {
    clock_.Advance(Listeners::kProlongIntervalMs);
    listeners_.Sweep();
  }
  EXPECT_LE(commits_->waiting(), 1u);
  gate_.Open();
  while (written_ < static_cast<int>(kLinks)) Settle();
  EXPECT_EQ(Find(others_, kAliceId), "");
  EXPECT_EQ(refused_, 0);
}

TEST_F(ListenersTest, TheNewestLinkOfThoseThatAreWrittenTogetherCounts) {
  gate_.Shut();
  listeners_.Announce(kBobId, 1, "192.0.2.1:9000", Count());
  listeners_.Announce(kAliceId, 7, "192.0.2.7:9000", Count());
  listeners_.Announce(kAliceId, 8, "192.0.2.8:9000", Count());
  gate_.Open();
  while (written_ < 3) Settle();
  EXPECT_EQ(Find(others_, kAliceId), "192.0.2.8:9000");
  listeners_.RemoveLink(7);
  Settle();
  EXPECT_EQ(Find(others_, kAliceId), "192.0.2.8:9000");
}

TEST_F(ListenersTest, WhatCouldNotBeRemovedIsRemovedByALaterSweep) {
  listeners_.Announce(kAliceId, 7, "192.0.2.7:9000", Count());
  Settle();
  gate_.Open(absl::UnavailableError("no database"));
  listeners_.RemoveLink(7);
  listeners_.Announce(kBobId, 8, "192.0.2.8:9000", Count());
  while (refused_ == 0) Settle();
  gate_.Open();
  EXPECT_EQ(Find(others_, kAliceId), "192.0.2.7:9000");
  EXPECT_EQ(Find(listeners_, kAliceId), "") << "of its own links it knows";
  clock_.Advance(Listeners::kProlongIntervalMs);
  listeners_.Sweep();
  Settle();
  EXPECT_EQ(Find(others_, kAliceId), "");
}

TEST_F(ListenersTest, AProlongationThatMeetsAWriteFollowsIt) {
  listeners_.Announce(kAliceId, 7, "192.0.2.7:9000", Count());
  Settle();
  gate_.Shut();
  listeners_.Announce(kBobId, 8, "192.0.2.8:9000", Count());
  clock_.Advance(Listeners::kProlongIntervalMs);
  listeners_.Sweep();
  gate_.Open();
  Settle();
  Settle();  // The first one's answer brought the second.
  clock_.Advance(Listeners::kLifetimeMs - Listeners::kProlongIntervalMs / 2);
  EXPECT_EQ(Find(others_, kAliceId), "192.0.2.7:9000");
}

TEST_F(ListenersTest, AFullQueueIsAnsweredToo) {
  commits_->Shutdown();
  listeners_.Announce(kAliceId, 7, "192.0.2.7:9000", Count());
  EXPECT_EQ(refused_, 1);
}

TEST_F(ListenersTest, WhoListensIsFoundAgainAfterTheDatabaseWasAway) {
  listeners_.Announce(kAliceId, 7, "192.0.2.7:9000", Count());
  others_.Announce(kBobId, 7, "192.0.2.8:9000", Count());
  Settle();
  // Nobody could prolong anything for so long; then one broker is the first.
  clock_.Advance(10 * Listeners::kLifetimeMs);
  EXPECT_EQ(Find(others_, kAliceId), "");
  others_.Sweep();
  Settle();
  listeners_.Sweep();
  Settle();
  EXPECT_EQ(Find(others_, kAliceId), "192.0.2.7:9000");
  EXPECT_EQ(Find(listeners_, kBobId), "192.0.2.8:9000");
}

TEST_F(ListenersTest, WhatABrokerLeftBehindIsRemovedInTheEnd) {
  const auto is_stored = [&] {
    return store_
        ->Read([](storage::Transaction& transaction) {
          return transaction.listeners().Get(kAliceId).status();
        })
        .ok();
  };
  listeners_.Announce(kAliceId, 7, "192.0.2.7:9000", Count());
  Settle();
  clock_.Advance(Listeners::kLifetimeMs + Listeners::kKeptExpiredMs - 1);
  others_.Sweep();
  Settle();
  EXPECT_TRUE(is_stored());
  clock_.Advance(Listeners::kRemoveIntervalMs);
  others_.Sweep();
  Settle();
  EXPECT_FALSE(is_stored());
}

}  // namespace
}  // namespace blindcart::broker
