#include "services/broker/key_lock.h"

#include <thread>

#include "gtest/gtest.h"

namespace blindcart::broker {
namespace {

TEST(KeyLockTest, OneAtATimeAndNobodyWaitsForEver) {
  auto lock = KeyLock::Take(::testing::TempDir());
  ASSERT_TRUE(lock.ok()) << lock.status();
  EXPECT_TRUE(absl::IsUnavailable(KeyLock::Take(::testing::TempDir(), 50).status()));
  absl::StatusOr<std::unique_ptr<KeyLock>> second = absl::UnknownError("not tried");
  std::thread waiting([&] { second = KeyLock::Take(::testing::TempDir()); });
  lock->reset();
  waiting.join();
  EXPECT_TRUE(second.ok()) << second.status();
}

TEST(KeyLockTest, AFolderThatIsNotThereCannotBeLocked) {
  EXPECT_TRUE(absl::IsNotFound(KeyLock::Take(::testing::TempDir() + "/none").status()));
}

}  // namespace
}  // namespace blindcart::broker
