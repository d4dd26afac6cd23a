#include "protocol/frame_header.h"

#include <cstdint>
#include <limits>
#include <set>
#include <string>

#include "absl/strings/string_view.h"
#include "crypto/encoding.h"
#include "gtest/gtest.h"
#include "protocol/key_schedule.h"

namespace blindcart::protocol {
namespace {

const char kSessionId[] = "0123456789abcdef";

TEST(FrameHeaderTest, BytesAreAsDocumented) {
  FrameHeader header(kSessionId, Direction::kResponderToInitiator, FrameKind::kDelivery);
  EXPECT_EQ(crypto::HexEncode(header.Encode(0x0102030405060708, true)),
            "0000000c"
            "626c696e64636172742f7631"
            "00000010"
            "30313233343536373839616263646566"
            "00000001"
            "01"
            "00000001"
            "01"
            "00000008"
            "0102030405060708"
            "00000001"
            "01");
  FrameHeader channel(kSessionId, Direction::kInitiatorToResponder, FrameKind::kChannel);
  EXPECT_EQ(crypto::HexEncode(channel.Encode(0, false)),
            "0000000c"
            "626c696e64636172742f7631"
            "00000010"
            "30313233343536373839616263646566"
            "00000001"
            "00"
            "00000001"
            "00"
            "00000008"
            "0000000000000000"
            "00000001"
            "00");
}

TEST(FrameHeaderTest, IsTheLengthPrefixedJoinOfItsFields) {
  FrameHeader header(kSessionId, Direction::kInitiatorToResponder, FrameKind::kDelivery);
  const std::string seq("\0\0\0\0\0\0\x01\x02", 8);
  EXPECT_EQ(header.Encode(258, false),
            crypto::LengthPrefixed({"blindcart/v1", kSessionId, absl::string_view("\0", 1), "\x01",
                                    seq, absl::string_view("\0", 1)}));
}

TEST(FrameHeaderTest, EveryFieldChangesIt) {
  std::set<std::string> seen;
  for (const char* id : {"0123456789abcdef", "0123456789abcdeg"}) {
    for (const Direction direction :
         {Direction::kInitiatorToResponder, Direction::kResponderToInitiator}) {
      for (const FrameKind kind : {FrameKind::kChannel, FrameKind::kDelivery}) {
        FrameHeader header(id, direction, kind);
        for (const uint64_t seq : {uint64_t{0}, uint64_t{1}, uint64_t{256}, uint64_t{1} << 32}) {
          for (const bool final : {false, true}) {
            EXPECT_TRUE(seen.insert(std::string(header.Encode(seq, final))).second);
          }
        }
      }
    }
  }
  EXPECT_EQ(seen.size(), 2u * 2 * 2 * 4 * 2);
}

TEST(FrameHeaderTest, LeavesNothingOfTheFrameBefore) {
  FrameHeader used(kSessionId, Direction::kInitiatorToResponder, FrameKind::kDelivery);
  used.Encode(std::numeric_limits<uint64_t>::max(), true);
  FrameHeader fresh(kSessionId, Direction::kInitiatorToResponder, FrameKind::kDelivery);
  EXPECT_EQ(used.Encode(3, false), fresh.Encode(3, false));
}

TEST(FrameHeaderDeathTest, WrongSessionIdEndsTheProcess) {
  EXPECT_DEATH(FrameHeader("short", Direction::kInitiatorToResponder, FrameKind::kChannel), "");
}

TEST(FrameNonceTest, BytesAreAsDocumented) {
  EXPECT_EQ(crypto::HexEncode(FrameNonce(Direction::kResponderToInitiator, FrameKind::kDelivery,
                                         0x0102030405060708)
                                  .view()),
            "01010000"
            "0102030405060708");
  EXPECT_EQ(crypto::HexEncode(
                FrameNonce(Direction::kInitiatorToResponder, FrameKind::kChannel, 0).view()),
            "00000000"
            "0000000000000000");
}

}  // namespace
}  // namespace blindcart::protocol
