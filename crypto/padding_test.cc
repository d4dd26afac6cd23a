#include "crypto/padding.h"

#include <sodium.h>

#include <string>

#include "crypto/testing/deterministic_random.h"
#include "gtest/gtest.h"

namespace blindcart::crypto {
namespace {

TEST(BucketForTest, LeavesRoomForOneByteOfPadding) {
  EXPECT_EQ(BucketFor(0).value(), 1024u);
  size_t next = 0;
  for (size_t bucket : kPaddingBuckets) {
    EXPECT_EQ(BucketFor(next).value(), bucket);
    EXPECT_EQ(BucketFor(bucket - 1).value(), bucket);
    next = bucket;
  }
  EXPECT_EQ(BucketFor(1024 * 1024).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(BucketFor(static_cast<size_t>(-1)).ok());
}

TEST(PadTest, GivesTheBytesThatSodiumGives) {
  DeterministicRandom random(19);
  for (size_t size : {0, 1, 7, 8, 9, 1000, 1022, 1023, 1024, 1025, 4095, 4096, 65535}) {
    const std::string data = random.Bytes(size);
    std::string ours = data;
    ASSERT_TRUE(Pad(ours).ok());
    const size_t bucket = BucketFor(size).value();
    std::string theirs = data;
    theirs.resize(bucket, '\0');
    size_t padded = 0;
    ASSERT_EQ(sodium_pad(&padded, reinterpret_cast<uint8_t*>(&theirs[0]), size, bucket, bucket), 0);
    ASSERT_EQ(padded, bucket);
    EXPECT_EQ(ours, theirs) << size;
  }
}

TEST(PadTest, ReachesAtLeastTheSmallestBucketAskedFor) {
  for (size_t bucket : kPaddingBuckets) {
    std::string data = "data";
    ASSERT_TRUE(Pad(data, bucket).ok());
    EXPECT_EQ(data.size(), bucket);
    EXPECT_EQ(UnpaddedSize(data).value(), 4u);
  }
  std::string data(2000, 'd');
  ASSERT_TRUE(Pad(data, 1024).ok());
  EXPECT_EQ(data.size(), 4096u);
}

TEST(PadTest, RefusesWhatDoesNotFit) {
  std::string largest(kMaxUnpaddedBytes, 'd');
  EXPECT_TRUE(Pad(largest).ok());
  std::string larger(kMaxUnpaddedBytes + 1, 'd');
  EXPECT_EQ(Pad(larger).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(larger, std::string(kMaxUnpaddedBytes + 1, 'd'));
  std::string data = "data";
  EXPECT_EQ(Pad(data, 2048).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(data, "data");
}

TEST(UnpaddedSizeTest, FindsEverySize) {
  for (size_t size = 0; size < 4096; ++size) {
    for (char fill : {'\0', '\x80', 'x'}) {
      std::string data(size, fill);
      ASSERT_TRUE(Pad(data).ok());
      ASSERT_EQ(UnpaddedSize(data).value(), size);
    }
  }
}

TEST(UnpaddedSizeTest, RefusesWhatIsNotPadded) {
  EXPECT_FALSE(UnpaddedSize("").ok());
  EXPECT_FALSE(UnpaddedSize(std::string(1024, '\0')).ok());
  EXPECT_FALSE(UnpaddedSize(std::string(1024, 'x')).ok());
  std::string data(1023, 'x');
  EXPECT_FALSE(UnpaddedSize(data + '\x81').ok());
  EXPECT_TRUE(UnpaddedSize(data + '\x80').ok());
  for (size_t size : {1, 1023, 1025, 2048, 2 * 1024 * 1024}) {
    std::string other(size, '\0');
    other[0] = '\x80';
    EXPECT_FALSE(UnpaddedSize(other).ok()) << size;
  }
}

TEST(UnpaddedSizeTest, AgreesWithSodiumOnRandomTails) {
  DeterministicRandom random(20);
  for (int i = 0; i < 5000; ++i) {
    std::string data(1024, '\0');
    // A few bytes anywhere, mostly zeros and marks.
    const std::string r = random.Bytes(12);
    for (size_t k = 0; k < 6; k += 2) {
      const size_t at = (static_cast<uint8_t>(r[k]) << 2 | static_cast<uint8_t>(r[11]) % 4);
      const uint8_t value = static_cast<uint8_t>(r[k + 1]);
      data[at] = value < 128 ? '\x80' : value < 192 ? '\0' : static_cast<char>(value);
    }
    size_t expected = 0;
    const bool valid = sodium_unpad(&expected, reinterpret_cast<const uint8_t*>(data.data()),
                                    data.size(), data.size()) == 0;
    const auto size = UnpaddedSize(data);
    ASSERT_EQ(size.ok(), valid);
    if (valid) {
      ASSERT_EQ(*size, expected);
    }
  }
}

}  // namespace
}  // namespace blindcart::crypto
