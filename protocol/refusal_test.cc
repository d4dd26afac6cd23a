#include "protocol/refusal.h"

#include <set>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace blindcart::protocol {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

TEST(RefusalTest, SaysTheSameWordsWhateverTheReason) {
  EXPECT_EQ(Refused().code(), absl::StatusCode::kUnauthenticated);
  EXPECT_EQ(Refused().message(), "refused");
  EXPECT_TRUE(IsRefusal(Refused()));
}

TEST(RefusalTest, KnowsARefusalFromOtherErrors) {
  EXPECT_FALSE(IsRefusal(absl::OkStatus()));
  EXPECT_FALSE(IsRefusal(absl::UnauthenticatedError("bad MAC")));
  EXPECT_FALSE(IsRefusal(absl::InternalError("refused")));
}

TEST(RefusalTest, EveryReasonHasANameOfItsOwn) {
  std::set<std::string> names;
  for (int i = 0; i < static_cast<int>(RefusalReason::kCount); ++i) {
    const std::string name(RefusalReasonName(static_cast<RefusalReason>(i)));
    EXPECT_NE(name, "unknown") << i;
    EXPECT_TRUE(names.insert(name).second) << name;
  }
}

TEST(RefusalCountersTest, CountsByReasonAndShowsWhatWasCounted) {
  RefusalCounters counters;
  EXPECT_THAT(counters.Snapshot(), IsEmpty());
  counters.Add(RefusalReason::kMac);
  counters.Add(RefusalReason::kMac);
  counters.Add(RefusalReason::kBounds);
  EXPECT_EQ(counters.Get(RefusalReason::kMac), 2);
  EXPECT_EQ(counters.Get(RefusalReason::kSeal), 0);
  EXPECT_THAT(counters.Snapshot(), ElementsAre(Pair("bounds", 1), Pair("mac", 2)));
}

TEST(RefusalCountersTest, NoReasonIsNotCounted) {
  RefusalCounters counters;
  counters.Add(RefusalReason::kNone);
  counters.Add(RefusalReason::kCount);
  EXPECT_THAT(counters.Snapshot(), IsEmpty());
  EXPECT_EQ(counters.Get(RefusalReason::kCount), 0);
}

TEST(RefusalCountersTest, LosesNothingAmongThreads) {
  constexpr int kThreads = 4;
  constexpr int kEach = 10'000;
  RefusalCounters counters;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&counters] {
      for (int j = 0; j < kEach; ++j) counters.Add(RefusalReason::kStale);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(counters.Get(RefusalReason::kStale), kThreads * kEach);
}

}  // namespace
}  // namespace blindcart::protocol
