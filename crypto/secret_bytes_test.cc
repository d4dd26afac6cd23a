#include "crypto/secret_bytes.h"

#include <sys/resource.h>

#include <algorithm>
#include <cstdlib>
#include <new>
#include <string>
#include <utility>

#include "gtest/gtest.h"

namespace {

// The array that the test watches, and what its bytes were when it was freed.
void* g_watched = nullptr;
size_t g_watched_bytes = 0;
bool g_freed = false;
bool g_wiped = false;

void Watch(const blindcart::crypto::SecretBytes& secret) {
  g_watched = const_cast<uint8_t*>(secret.data());
  g_watched_bytes = secret.size();
  g_freed = false;
  g_wiped = false;
}

void Release(void* p) {
  if (p != nullptr && p == g_watched) {
    const auto* bytes = static_cast<const unsigned char*>(p);
    g_freed = true;
    g_wiped = std::all_of(bytes, bytes + g_watched_bytes, [](unsigned char b) { return b == 0; });
    g_watched = nullptr;
  }
  std::free(p);
}

}  // namespace

void* operator new[](size_t size) {
  void* p = std::malloc(size);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}
void operator delete[](void* p) noexcept { Release(p); }
void operator delete[](void* p, size_t) noexcept { Release(p); }

namespace blindcart::crypto {
namespace {

TEST(SecretBytesTest, IsEmptyByDefault) {
  const SecretBytes secret;
  EXPECT_TRUE(secret.empty());
  EXPECT_EQ(secret.size(), 0u);
  EXPECT_EQ(secret.view(), "");
}

TEST(SecretBytesTest, StartsWithZeros) {
  const SecretBytes secret(5);
  EXPECT_EQ(secret.view(), std::string(5, '\0'));
}

TEST(SecretBytesTest, IsWipedWhenDestroyed) {
  {
    const SecretBytes secret = SecretBytes::CopyOf("a long-lived key");
    Watch(secret);
  }
  EXPECT_TRUE(g_freed);
  EXPECT_TRUE(g_wiped);
}

TEST(SecretBytesTest, IsWipedWhenAssignedTo) {
  SecretBytes secret = SecretBytes::CopyOf("the old key");
  Watch(secret);
  secret = SecretBytes::CopyOf("the new key");
  EXPECT_TRUE(g_freed);
  EXPECT_TRUE(g_wiped);
  EXPECT_EQ(secret.view(), "the new key");
}

TEST(SecretBytesTest, MovesWithoutCopyingAndLeavesNothingBehind) {
  SecretBytes from = SecretBytes::CopyOf("secret");
  const uint8_t* bytes = from.data();
  SecretBytes to = std::move(from);
  EXPECT_EQ(to.data(), bytes);
  EXPECT_EQ(to.view(), "secret");
  EXPECT_TRUE(from.empty());  // NOLINT(bugprone-use-after-move): the header promises it
  EXPECT_EQ(from.data(), nullptr);
}

TEST(SecretBytesTest, SurvivesAssignmentToItself) {
  SecretBytes secret = SecretBytes::CopyOf("secret");
  SecretBytes& same = secret;
  secret = std::move(same);
  EXPECT_EQ(secret.view(), "secret");
}

TEST(SecretBytesTest, TakeFromWipesTheSource) {
  std::string source(100, 's');
  const char* bytes = source.data();
  const SecretBytes secret = SecretBytes::TakeFrom(source);
  EXPECT_EQ(secret.view(), std::string(100, 's'));
  EXPECT_TRUE(source.empty());
  ASSERT_EQ(source.data(), bytes);
  source.resize(source.capacity(), '\0');
  EXPECT_EQ(source.find('s'), std::string::npos);
}

TEST(SecretBytesTest, CloneIsACopyOfItsOwn) {
  SecretBytes secret = SecretBytes::CopyOf("secret");
  const SecretBytes clone = secret.Clone();
  secret.mutable_span()[0] = 'S';
  EXPECT_EQ(secret.view(), "Secret");
  EXPECT_EQ(clone.view(), "secret");
}

TEST(WipeTest, OverwritesMemory) {
  char bytes[] = "secret";
  Wipe(bytes, 3);
  EXPECT_EQ(std::string(bytes, 6), std::string("\0\0\0ret", 6));
  Wipe(nullptr, 0);
}

TEST(WipeTest, LeavesAnEmptyStringEmpty) {
  std::string text;
  Wipe(text);
  EXPECT_TRUE(text.empty());
}

TEST(DisableCoreDumpsTest, LeavesNoRoomForACoreFile) {
  DisableCoreDumps();
  struct rlimit limit = {1, 1};
  ASSERT_EQ(getrlimit(RLIMIT_CORE, &limit), 0);
  EXPECT_EQ(limit.rlim_cur, 0u);
  EXPECT_EQ(limit.rlim_max, 0u);
}

}  // namespace
}  // namespace blindcart::crypto
