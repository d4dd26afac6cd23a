#include "services/common/readiness.h"

#include <atomic>
#include <future>

#include "gtest/gtest.h"
#include "protocol/testing/fake_clock.h"

namespace blindcart {
namespace {

using protocol::FakeClock;

TEST(ReadinessTest, ReadyUntilItDrains) {
  FakeClock clock;
  Readiness readiness([] { return absl::OkStatus(); }, clock);
  EXPECT_TRUE(readiness.ready());
  EXPECT_FALSE(readiness.draining());
  readiness.StartDraining();
  EXPECT_FALSE(readiness.ready());
  EXPECT_TRUE(readiness.draining());
}

TEST(ReadinessTest, NotReadyOnceChecksHaveFailedForLong) {
  FakeClock clock;
  std::promise<void> checked;
  std::atomic<bool> told{false};
  Readiness readiness(
      [&] {
        if (!told.exchange(true)) checked.set_value();
        return absl::UnavailableError("the store is away");
      },
      clock);
  checked.get_future().wait();
  EXPECT_TRUE(readiness.ready());
  clock.Advance(Readiness::kPatienceMs - 1);
  EXPECT_TRUE(readiness.ready());
  clock.Advance(1);
  EXPECT_FALSE(readiness.ready());
}

TEST(ReadinessTest, ACheckThatHangsIsOneThatFailsAndMayRecover) {
  FakeClock clock;
  std::promise<void> hanging;
  std::promise<void> go_on;
  std::promise<void> again;
  std::atomic<int> checks{0};
  Readiness readiness(
      [&] {
        const int number = checks++;
        if (number == 0) {
          hanging.set_value();
          go_on.get_future().wait();
        } else if (number == 1) {
          again.set_value();
        }
        return absl::OkStatus();
      },
      clock);
  hanging.get_future().wait();
  clock.Advance(Readiness::kPatienceMs);
  EXPECT_FALSE(readiness.ready());
  go_on.set_value();
  again.get_future().wait();  // The first one is over by then, and was good.
  EXPECT_TRUE(readiness.ready());
}

}  // namespace
}  // namespace blindcart
