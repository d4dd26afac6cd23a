#include "protocol/channel.h"

#include <algorithm>
#include <limits>
#include <map>
#include <set>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "crypto/aes_gcm.h"
#include "crypto/hmac.h"
#include "crypto/padding.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/frame.pb.h"
#include "protocol/testing/channel_test_peer.h"
#include "protocol/testing/fake_clock.h"
#include "protocol/testing/flip_bit.h"

namespace blindcart::protocol {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::Not;

SessionKeys Keys(char id) {
  return SessionKeys{
      std::string(kSessionIdBytes, id),
      crypto::SecretBytes::CopyOf(std::string(kKeyBytes, static_cast<char>(id + 1))),
      crypto::SecretBytes::CopyOf(std::string(kKeyBytes, static_cast<char>(id + 2)))};
}

// Both ends of a session.
class Ends {
 public:
  explicit Ends(const Clock& clock, char id = 'i', Channel::Options options = {})
      : initiator_(Channel::Create(Keys(id), Role::kInitiator, clock, options).value()),
        responder_(Channel::Create(Keys(id), Role::kResponder, clock, options).value()) {}
  Channel& initiator() { return *initiator_; }
  Channel& responder() { return *responder_; }

 private:
  std::unique_ptr<Channel> initiator_;
  std::unique_ptr<Channel> responder_;
};

v1::Frame Seal(Channel& channel, const std::vector<std::string>& messages) {
  v1::Frame frame;
  const absl::Status status = channel.Seal(messages, &frame);
  EXPECT_TRUE(status.ok()) << status;
  return frame;
}

// Refuses the frame for that reason, says nothing about it, and is dead from then on.
void ExpectRefused(Channel& channel, const v1::Frame& frame, RefusalReason reason) {
  ASSERT_FALSE(channel.ended());
  const absl::StatusOr<std::vector<std::string>> opened = channel.Open(frame);
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.status(), Refused());
  EXPECT_EQ(RefusalReasonName(channel.last_refusal()), RefusalReasonName(reason));
  EXPECT_TRUE(channel.ended());
  v1::Frame out;
  EXPECT_EQ(channel.Seal({"late"}, &out), Refused());
  EXPECT_EQ(channel.Open(frame).status(), Refused());
  EXPECT_EQ(channel.DeliveryKeys(std::string(16, 'd')).status(), Refused());
  EXPECT_EQ(channel.last_refusal(), reason);
}

// A peer with the right keys that puts into a frame what it likes.
v1::Frame Forge(char id, Role sender, uint64_t seq, const std::string& plaintext) {
  const SessionKeys keys = Keys(id);
  const Direction direction = SendDirection(sender);
  const DirectionKeys half = DeriveDirectionKeys(keys, direction).value();
  const char d = static_cast<char>(direction);
  std::string header;
  const auto field = [&header](const std::string& bytes) {
    header += std::string(3, '\0') + static_cast<char>(bytes.size()) + bytes;
  };
  std::string seq_bytes(8, '\0');
  for (int i = 0; i < 8; ++i) seq_bytes[i] = static_cast<char>(seq >> (56 - 8 * i));
  field("blindcart/v1");
  field(keys.session_id);
  field(std::string(1, d));
  field(std::string(1, '\0'));  // a channel's frame
  field(seq_bytes);
  field(std::string(1, '\0'));  // not final
  const std::string nonce = std::string(1, d) + std::string(3, '\0') + seq_bytes;

  v1::Frame frame;
  frame.set_session_id(keys.session_id);
  frame.set_seq(seq);
  crypto::Aes256Gcm aead = crypto::Aes256Gcm::Create(half.seal.view()).value();
  EXPECT_TRUE(aead.Seal(nonce, header, plaintext, frame.mutable_ciphertext()).ok());
  frame.set_mac(crypto::HmacSha256(half.mac.view(), header + frame.ciphertext()));
  return frame;
}

std::string Padded(std::string text) {
  EXPECT_TRUE(crypto::Pad(text).ok());
  return text;
}

std::string EnvelopeBytes(int64_t sent_at_ms, const std::vector<std::string>& messages) {
  v1::Envelope envelope;
  envelope.set_sent_at_ms(sent_at_ms);
  for (const std::string& message : messages) envelope.add_messages(message);
  return envelope.SerializeAsString();
}

class ChannelTest : public ::testing::Test {
 protected:
  FakeClock clock_;
};

TEST_F(ChannelTest, CarriesMessagesBothWays) {
  Ends ends(clock_);
  EXPECT_THAT(*ends.responder().Open(Seal(ends.initiator(), {"one", "two"})),
              ElementsAre("one", "two"));
  EXPECT_THAT(*ends.initiator().Open(Seal(ends.responder(), {"three"})), ElementsAre("three"));
  EXPECT_THAT(*ends.responder().Open(Seal(ends.initiator(), {""})), ElementsAre(""));
  EXPECT_EQ(ends.initiator().session_id(), std::string(16, 'i'));
  EXPECT_FALSE(ends.initiator().ended());
  EXPECT_EQ(ends.initiator().last_refusal(), RefusalReason::kNone);
}

TEST_F(ChannelTest, FrameIsExactlyWhatTheProtocolSays) {
  Ends ends(clock_);
  Seal(ends.initiator(), {"zero"});
  const v1::Frame frame = Seal(ends.initiator(), {"first", std::string(300, 'x')});
  const v1::Frame expected =
      Forge('i', Role::kInitiator, 1,
            Padded(EnvelopeBytes(clock_.NowUnixMs(), {"first", std::string(300, 'x')})));
  EXPECT_EQ(frame.SerializeAsString(), expected.SerializeAsString());
  EXPECT_EQ(frame.ciphertext().size(), 1024 + 16);

  const v1::Frame back = Seal(ends.responder(), {"back"});
  EXPECT_EQ(back.SerializeAsString(),
            Forge('i', Role::kResponder, 0, Padded(EnvelopeBytes(clock_.NowUnixMs(), {"back"})))
                .SerializeAsString());
}

TEST_F(ChannelTest, AFrameObjectCanBeUsedAgain) {
  Ends ends(clock_);
  v1::Frame frame;
  for (const std::string& text :
       {std::string(5000, 'a'), std::string("b"), std::string(900, 'c')}) {
    ASSERT_TRUE(ends.initiator().Seal({text}, &frame).ok());
    EXPECT_THAT(*ends.responder().Open(frame), ElementsAre(text));
  }
}

TEST_F(ChannelTest, EveryFlippedByteIsRefused) {
  v1::Frame frame;
  {
    Ends ends(clock_);
    frame = Seal(ends.initiator(), {"secret"});
  }
  const auto refused = [&](const v1::Frame& altered, RefusalReason reason) {
    Ends ends(clock_);
    ExpectRefused(ends.responder(), altered, reason);
  };
  for (size_t at = 0; at < frame.session_id().size(); ++at) {
    v1::Frame altered = frame;
    (*altered.mutable_session_id())[at] ^= 1;
    refused(altered, RefusalReason::kUnknownSession);
  }
  for (int bit = 0; bit < 64; ++bit) {
    v1::Frame altered = frame;
    altered.set_seq(frame.seq() ^ (uint64_t{1} << bit));
    refused(altered, RefusalReason::kMac);
  }
  for (size_t at = 0; at < frame.ciphertext().size(); ++at) {
    v1::Frame altered = frame;
    FlipBit(*altered.mutable_ciphertext(), at);
    refused(altered, RefusalReason::kMac);
  }
  for (size_t at = 0; at < frame.mac().size(); ++at) {
    v1::Frame altered = frame;
    FlipBit(*altered.mutable_mac(), at);
    refused(altered, RefusalReason::kMac);
  }
  Ends ends(clock_);
  EXPECT_TRUE(ends.responder().Open(frame).ok());
}

TEST_F(ChannelTest, EveryTruncationAndExtensionIsRefused) {
  v1::Frame frame;
  {
    Ends ends(clock_);
    frame = Seal(ends.initiator(), {"secret"});
  }
  const auto refused = [&](const v1::Frame& altered) {
    Ends ends(clock_);
    ExpectRefused(ends.responder(), altered, RefusalReason::kBounds);
  };
  for (size_t size = 0; size < frame.ciphertext().size(); ++size) {
    v1::Frame altered = frame;
    altered.mutable_ciphertext()->resize(size);
    refused(altered);
  }
  for (size_t size = 0; size <= 64; ++size) {
    v1::Frame altered = frame;
    altered.mutable_mac()->resize(size);
    if (size != 32) refused(altered);
    altered = frame;
    altered.mutable_session_id()->resize(size);
    if (size != 16) refused(altered);
  }
  v1::Frame longer = frame;
  longer.mutable_ciphertext()->push_back('\0');
  refused(longer);
  refused(v1::Frame());
}

TEST_F(ChannelTest, RefusesAReplay) {
  Ends ends(clock_);
  const v1::Frame frame = Seal(ends.initiator(), {"pay"});
  ASSERT_TRUE(ends.responder().Open(frame).ok());
  ExpectRefused(ends.responder(), frame, RefusalReason::kSequence);
}

TEST_F(ChannelTest, RefusesReorderedFramesAndGaps) {
  Ends ends(clock_);
  Seal(ends.initiator(), {"first"});
  ExpectRefused(ends.responder(), Seal(ends.initiator(), {"second"}), RefusalReason::kSequence);
}

TEST_F(ChannelTest, RefusesItsOwnFramesReflected) {
  Ends ends(clock_);
  ExpectRefused(ends.initiator(), Seal(ends.initiator(), {"mirror"}), RefusalReason::kMac);
  ExpectRefused(ends.responder(), Seal(ends.responder(), {"mirror"}), RefusalReason::kMac);
}

TEST_F(ChannelTest, RefusesFramesOfAnotherSession) {
  Ends ends(clock_);
  Ends others(clock_, 'o');
  v1::Frame frame = Seal(others.initiator(), {"splice"});
  ExpectRefused(ends.responder(), frame, RefusalReason::kUnknownSession);

  Ends more(clock_);
  frame.set_session_id(more.responder().session_id());
  ExpectRefused(more.responder(), frame, RefusalReason::kMac);
}

TEST_F(ChannelTest, RefusesADeliveryFrame) {
  // The same keys and seq, but for the kind in the header.
  Ends ends(clock_);
  v1::Frame frame =
      Forge('i', Role::kInitiator, 0, Padded(EnvelopeBytes(clock_.NowUnixMs(), {"m"})));
  const DirectionKeys half =
      DeriveDirectionKeys(Keys('i'), Direction::kInitiatorToResponder).value();
  std::string header = std::string(
                           "\0\0\0\x0c"
                           "blindcart/v1\0\0\0\x10",
                           20) +
                       std::string(16, 'i') +
                       std::string("\0\0\0\1\0\0\0\0\1\1\0\0\0\x08\0\0\0\0\0\0\0\0\0\0\0\1\0", 27);
  frame.set_mac(crypto::HmacSha256(half.mac.view(), header + frame.ciphertext()));
  ExpectRefused(ends.responder(), frame, RefusalReason::kMac);
}

TEST_F(ChannelTest, ChecksTheSealBehindAGoodMac) {
  Ends ends(clock_);
  v1::Frame frame =
      Forge('i', Role::kInitiator, 0, Padded(EnvelopeBytes(clock_.NowUnixMs(), {"m"})));
  // Somebody who had only the MAC key.
  const DirectionKeys half =
      DeriveDirectionKeys(Keys('i'), Direction::kInitiatorToResponder).value();
  (*frame.mutable_ciphertext())[7] ^= 1;
  const std::string header =
      std::string(
          "\0\0\0\x0c"
          "blindcart/v1\0\0\0\x10",
          20) +
      std::string(16, 'i') +
      std::string("\0\0\0\1\0\0\0\0\1\0\0\0\0\x08\0\0\0\0\0\0\0\0\0\0\0\1\0", 27);
  frame.set_mac(crypto::HmacSha256(half.mac.view(), header + frame.ciphertext()));
  ExpectRefused(ends.responder(), frame, RefusalReason::kSeal);
}

TEST_F(ChannelTest, RefusesBadPadding) {
  const std::string envelope = EnvelopeBytes(clock_.NowUnixMs(), {"m"});
  std::string no_mark = envelope;
  no_mark.resize(1024, '\0');
  std::string trailing = Padded(envelope);
  trailing.back() = '\x01';
  for (const std::string& plaintext : {std::string(1024, '\0'), no_mark, trailing}) {
    Ends ends(clock_);
    ExpectRefused(ends.responder(), Forge('i', Role::kInitiator, 0, plaintext),
                  RefusalReason::kPadding);
  }
}

TEST_F(ChannelTest, TakesOneEncodingOfTheEnvelopeOnly) {
  const int64_t now_ms = clock_.NowUnixMs();
  const std::string good = EnvelopeBytes(now_ms, {"m"});
  const std::string time = EnvelopeBytes(now_ms, {});
  const std::string message = good.substr(time.size());
  std::map<std::string, std::string> bad = {
      {"empty", ""},
      {"no messages", time},
      {"no time", message},
      {"time last", message + time},
      {"time twice", time + time + message},
      {"time after a message", time + message + time},
      {"unknown field", good + std::string("\x18\x01", 2)},
      {"zero tag", good + std::string(1, '\0')},
      {"message cut", good.substr(0, good.size() - 1)},
      {"length without bytes", time + std::string("\x12\x05"
                                                  "abc",
                                                  5)},
      {"huge length", time + std::string("\x12\xff\xff\xff\xff\x0f", 6)},
      {"length of ten bytes",
       time + std::string("\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11)},
      {"endless varint", time + "\x12" + std::string(20, '\xff')},
      {"tag only", time + "\x12"},
      {"65 messages", EnvelopeBytes(now_ms, std::vector<std::string>(65, "m"))},
      {"endless time", "\x08" + std::string(20, '\xff')},
  };
  for (size_t size = 0; size < good.size(); ++size) {
    bad[absl::StrCat("first ", size, " bytes")] = good.substr(0, size);
  }
  for (const auto& [what, envelope] : bad) {
    SCOPED_TRACE(what);
    Ends ends(clock_);
    // A time that was cut is another time.
    const absl::StatusOr<std::vector<std::string>> opened =
        ends.responder().Open(Forge('i', Role::kInitiator, 0, Padded(envelope)));
    EXPECT_EQ(opened.status(), Refused());
    EXPECT_EQ(RefusalReasonName(ends.responder().last_refusal()),
              RefusalReasonName(RefusalReason::kMalformed));
  }
  Ends ends(clock_);
  EXPECT_THAT(*ends.responder().Open(Forge('i', Role::kInitiator, 0, Padded(good))),
              ElementsAre("m"));
}

TEST_F(ChannelTest, RefusesStaleAndFutureFrames) {
  const int64_t now_ms = clock_.NowUnixMs();
  for (const int64_t sent_at_ms :
       {now_ms - kFreshnessMs - 1, now_ms + kFreshnessMs + 1, int64_t{0}, int64_t{-1},
        std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max()}) {
    SCOPED_TRACE(sent_at_ms);
    Ends ends(clock_);
    std::string envelope = EnvelopeBytes(sent_at_ms, {"m"});
    // Protobuf leaves a zero out.
    if (sent_at_ms == 0) envelope.insert(0, std::string("\x08\0", 2));
    ExpectRefused(ends.responder(), Forge('i', Role::kInitiator, 0, Padded(envelope)),
                  RefusalReason::kStale);
  }
  for (const int64_t sent_at_ms : {now_ms - kFreshnessMs, now_ms, now_ms + kFreshnessMs}) {
    Ends ends(clock_);
    EXPECT_TRUE(ends.responder()
                    .Open(Forge('i', Role::kInitiator, 0, Padded(EnvelopeBytes(sent_at_ms, {"m"}))))
                    .ok());
  }
}

TEST_F(ChannelTest, FreshnessComesBeforeParsing) {
  Ends ends(clock_);
  const std::string stale_and_malformed =
      EnvelopeBytes(clock_.NowUnixMs() - kFreshnessMs - 1, {}) + "\x7f";
  ExpectRefused(ends.responder(), Forge('i', Role::kInitiator, 0, Padded(stale_and_malformed)),
                RefusalReason::kStale);
}

TEST_F(ChannelTest, AFrameHeldBackTooLongIsRefused) {
  Ends ends(clock_);
  const v1::Frame frame = Seal(ends.initiator(), {"late"});
  clock_.Advance(kFreshnessMs + 1);
  ExpectRefused(ends.responder(), frame, RefusalReason::kStale);
}

TEST_F(ChannelTest, ChecksComeInTheirOrder) {
  // A frame that is wrong in everything; each right thing uncovers the next check.
  Ends others(clock_, 'o');
  v1::Frame frame = Forge('i', Role::kInitiator, 5, std::string(1024, '\0'));
  const std::string mac = frame.mac();
  frame.set_session_id(std::string(16, 'o'));
  frame.set_mac(std::string(31, 'm'));
  {
    Ends ends(clock_);
    ExpectRefused(ends.responder(), frame, RefusalReason::kBounds);
  }
  frame.set_mac(std::string(32, 'm'));
  {
    Ends ends(clock_);
    ExpectRefused(ends.responder(), frame, RefusalReason::kUnknownSession);
  }
  frame.set_session_id(std::string(16, 'i'));
  {
    Ends ends(clock_);
    ExpectRefused(ends.responder(), frame, RefusalReason::kMac);
  }
  frame.set_mac(mac);
  {
    Ends ends(clock_);
    ExpectRefused(ends.responder(), frame, RefusalReason::kSequence);
  }
  {
    Ends ends(clock_);
    ChannelTestPeer::SetReceiveSeq(ends.responder(), 5);
    ExpectRefused(ends.responder(), frame, RefusalReason::kPadding);
  }
}

TEST_F(ChannelTest, EndsAfterFifteenIdleMinutes) {
  Ends ends(clock_);
  clock_.Advance(kIdleLimitMs - 1);
  EXPECT_FALSE(ends.initiator().ended());
  // Sealing and opening both count as activity.
  const v1::Frame frame = Seal(ends.initiator(), {"ping"});
  ASSERT_TRUE(ends.responder().Open(frame).ok());
  clock_.Advance(kIdleLimitMs - 1);
  EXPECT_FALSE(ends.initiator().ended());
  EXPECT_FALSE(ends.responder().ended());
  clock_.Advance(1);
  EXPECT_TRUE(ends.initiator().ended());
  EXPECT_TRUE(ends.responder().ended());
  v1::Frame late;
  EXPECT_EQ(ends.initiator().Seal({"late"}, &late), Refused());
  EXPECT_EQ(ends.initiator().last_refusal(), RefusalReason::kExpired);
  EXPECT_EQ(ends.responder().Open(frame).status(), Refused());
  EXPECT_EQ(ends.responder().last_refusal(), RefusalReason::kExpired);
  EXPECT_EQ(ends.responder().DeliveryKeys(std::string(16, 'd')).status(), Refused());
}

TEST_F(ChannelTest, ARefusedFrameIsNoActivity) {
  Ends ends(clock_);
  clock_.Advance(kIdleLimitMs - 1);
  EXPECT_FALSE(ends.responder().Open(v1::Frame()).ok());
  EXPECT_TRUE(ends.responder().ended());
}

TEST_F(ChannelTest, EndsAfterADayHoweverBusy) {
  Ends ends(clock_);
  int64_t elapsed_ms = 0;
  while (elapsed_ms + kIdleLimitMs / 2 < kSessionLimitMs) {
    clock_.Advance(kIdleLimitMs / 2);
    elapsed_ms += kIdleLimitMs / 2;
    ASSERT_TRUE(ends.responder().Open(Seal(ends.initiator(), {"busy"})).ok()) << elapsed_ms;
  }
  clock_.Advance(kSessionLimitMs - elapsed_ms - 1);
  const v1::Frame last = Seal(ends.initiator(), {"last"});
  clock_.Advance(1);
  EXPECT_TRUE(ends.initiator().ended());
  ASSERT_TRUE(ends.responder().ended());
  EXPECT_EQ(ends.responder().Open(last).status(), Refused());
  EXPECT_EQ(ends.responder().last_refusal(), RefusalReason::kExpired);
}

TEST_F(ChannelTest, TheWallClockDoesNotAgeASession) {
  Ends ends(clock_);
  clock_.ShiftUnix(2 * kSessionLimitMs);
  EXPECT_TRUE(ends.responder().Open(Seal(ends.initiator(), {"m"})).ok());
  clock_.ShiftUnix(-4 * kSessionLimitMs);
  EXPECT_TRUE(ends.responder().Open(Seal(ends.initiator(), {"m"})).ok());
}

TEST_F(ChannelTest, EndsAfterTheLastSequenceNumber) {
  Ends ends(clock_);
  ChannelTestPeer::SetSendSeq(ends.initiator(), kMaxFrames - 1);
  ChannelTestPeer::SetReceiveSeq(ends.responder(), kMaxFrames - 1);
  const v1::Frame last = Seal(ends.initiator(), {"last"});
  EXPECT_EQ(last.seq(), 0xffffffffu);
  EXPECT_THAT(*ends.responder().Open(last), ElementsAre("last"));

  v1::Frame more;
  EXPECT_EQ(ends.initiator().Seal({"more"}, &more), Refused());
  EXPECT_EQ(ends.initiator().last_refusal(), RefusalReason::kExpired);
  EXPECT_TRUE(ends.initiator().ended());
  ExpectRefused(
      ends.responder(),
      Forge('i', Role::kInitiator, kMaxFrames, Padded(EnvelopeBytes(clock_.NowUnixMs(), {"more"}))),
      RefusalReason::kExpired);
}

TEST_F(ChannelTest, SizesAreTheSixBucketsOnly) {
  std::set<size_t> sizes;
  for (size_t bytes : {size_t{0}, size_t{1}, size_t{1000}, size_t{1013}, size_t{1014}, size_t{1024},
                       size_t{4000}, size_t{4096}, size_t{16'000}, size_t{16'384}, size_t{65'000},
                       size_t{65'536}, size_t{262'000}, size_t{262'144}, kMaxBatchBytes}) {
    Ends ends(clock_);
    const std::string message(bytes, 'm');
    const v1::Frame frame = Seal(ends.initiator(), {message});
    sizes.insert(frame.ciphertext().size() - 16);
    EXPECT_THAT(*ends.responder().Open(frame), ElementsAre(message)) << bytes;
  }
  EXPECT_THAT(sizes, ElementsAreArray(crypto::kPaddingBuckets));
}

TEST_F(ChannelTest, ABucketIsFullAtOneByteLessThanItsSize) {
  // 1 + 6 for the time of these years, 1 + 2 for the message's length, 1 for the padding's mark.
  Ends ends(clock_);
  EXPECT_EQ(Seal(ends.initiator(), {std::string(1024 - 11, 'm')}).ciphertext().size(), 1024 + 16);
  EXPECT_EQ(Seal(ends.initiator(), {std::string(1024 - 10, 'm')}).ciphertext().size(), 4096 + 16);
}

TEST_F(ChannelTest, TheSmallestBucketIsTheOptionsChoice) {
  Channel::Options options;
  options.min_bucket_bytes = 4096;
  Ends ends(clock_, 'i', options);
  EXPECT_EQ(Seal(ends.initiator(), {"m"}).ciphertext().size(), 4096 + 16);
  // Only for what it seals: requests of 1 KiB are opened.
  std::unique_ptr<Channel> agent =
      Channel::Create(Keys('a'), Role::kInitiator, clock_, Channel::Options()).value();
  std::unique_ptr<Channel> merchant =
      Channel::Create(Keys('a'), Role::kResponder, clock_, options).value();
  EXPECT_TRUE(merchant->Open(Seal(*agent, {"request"})).ok());
  EXPECT_TRUE(agent->Open(Seal(*merchant, {"answer"})).ok());
}

TEST_F(ChannelTest, TheLargestPlaintextIsTheOptionsChoice) {
  Channel::Options options;
  options.max_plaintext_bytes = kMaxRelayedPlaintextBytes;
  Ends ends(clock_, 'i', options);
  const std::string fits(kMaxRelayedPlaintextBytes - 12, 'm');
  EXPECT_THAT(*ends.responder().Open(Seal(ends.initiator(), {fits})), ElementsAre(fits));
  v1::Frame frame;
  for (size_t more : {1, 2, 1000, 1'000'000}) {
    EXPECT_EQ(ends.initiator().Seal({fits + std::string(more, 'm')}, &frame).code(),
              absl::StatusCode::kResourceExhausted)
        << more;
  }
  // That cost the session nothing.
  EXPECT_THAT(*ends.responder().Open(Seal(ends.initiator(), {"next"})), ElementsAre("next"));
  // The receiver holds its peer to the same.
  ExpectRefused(ends.responder(),
                Forge('i', Role::kInitiator, 2,
                      Padded(EnvelopeBytes(clock_.NowUnixMs(), {std::string(300'000, 'm')}))),
                RefusalReason::kBounds);
}

TEST_F(ChannelTest, ABatchHasOneToSixtyFourMessages) {
  Ends ends(clock_);
  v1::Frame frame;
  EXPECT_EQ(ends.initiator().Seal({}, &frame).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ends.initiator().Seal(std::vector<std::string>(65, "m"), &frame).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(ends.initiator().ended());
  std::vector<std::string> batch;
  for (size_t i = 0; i < kMaxBatch; ++i) batch.push_back(absl::StrCat("message ", i));
  EXPECT_THAT(*ends.responder().Open(Seal(ends.initiator(), batch)), ElementsAreArray(batch));
}

TEST_F(ChannelTest, TheLargestBatchFits) {
  Ends ends(clock_);
  const std::vector<std::string> batch(kMaxBatch, std::string(kMaxBatchBytes / kMaxBatch, 'm'));
  EXPECT_THAT(*ends.responder().Open(Seal(ends.initiator(), batch)), ElementsAreArray(batch));
  v1::Frame frame;
  EXPECT_EQ(ends.initiator()
                .Seal(std::vector<std::string>(2, std::string(kMaxPlaintextBytes / 2, 'm')), &frame)
                .code(),
            absl::StatusCode::kResourceExhausted);
}

TEST_F(ChannelTest, TheCiphertextShowsNothingOfThePlaintext) {
  Ends ends(clock_);
  const std::string secret = "a secret of thirty-two characters";
  const v1::Frame one = Seal(ends.initiator(), {secret});
  const v1::Frame two = Seal(ends.initiator(), {secret});
  EXPECT_THAT(one.ciphertext(), Not(::testing::HasSubstr(secret.substr(0, 8))));
  EXPECT_NE(one.ciphertext(), two.ciphertext());
  EXPECT_NE(one.mac(), two.mac());
}

TEST_F(ChannelTest, EndIsForGood) {
  Ends ends(clock_);
  const v1::Frame frame = Seal(ends.initiator(), {"m"});
  ends.responder().End();
  ends.responder().End();
  EXPECT_TRUE(ends.responder().ended());
  EXPECT_EQ(ends.responder().Open(frame).status(), Refused());
  v1::Frame out;
  EXPECT_EQ(ends.responder().Seal({"m"}, &out), Refused());
  EXPECT_EQ(ends.responder().last_refusal(), RefusalReason::kNone);
}

TEST_F(ChannelTest, DeliveriesHaveKeysOfTheirOwn) {
  Ends ends(clock_);
  const SessionKeys session = Keys('i');
  const SessionKeys one = ends.initiator().DeliveryKeys(std::string(16, '1')).value();
  const SessionKeys same = ends.responder().DeliveryKeys(std::string(16, '1')).value();
  const SessionKeys two = ends.initiator().DeliveryKeys(std::string(16, '2')).value();
  EXPECT_EQ(one.session_id, std::string(16, '1'));
  EXPECT_EQ(one.seal.view(), same.seal.view());
  EXPECT_EQ(one.mac.view(), same.mac.view());
  EXPECT_NE(one.seal.view(), two.seal.view());
  EXPECT_NE(one.mac.view(), two.mac.view());
  EXPECT_NE(one.seal.view(), session.seal.view());
  EXPECT_NE(one.mac.view(), session.mac.view());
  EXPECT_EQ(ends.initiator().DeliveryKeys("short").status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(ChannelTest, TakesWholeKeysAndBucketsOnly) {
  const auto create = [this](SessionKeys keys, Channel::Options options) {
    return Channel::Create(std::move(keys), Role::kInitiator, clock_, options).status().code();
  };
  constexpr absl::StatusCode kInvalid = absl::StatusCode::kInvalidArgument;
  EXPECT_EQ(create(Keys('i'), {}), absl::StatusCode::kOk);
  EXPECT_EQ(create(SessionKeys(), {}), kInvalid);
  SessionKeys keys = Keys('i');
  keys.session_id = "short";
  EXPECT_EQ(create(std::move(keys), {}), kInvalid);
  keys = Keys('i');
  keys.seal = crypto::SecretBytes(16);
  EXPECT_EQ(create(std::move(keys), {}), kInvalid);
  keys = Keys('i');
  keys.mac = crypto::SecretBytes(64);
  EXPECT_EQ(create(std::move(keys), {}), kInvalid);
  Channel::Options options;
  options.max_plaintext_bytes = 2048;
  EXPECT_EQ(create(Keys('i'), options), kInvalid);
  options = {};
  options.max_plaintext_bytes = 2 * kMaxPlaintextBytes;
  EXPECT_EQ(create(Keys('i'), options), kInvalid);
  options = {};
  options.min_bucket_bytes = 0;
  EXPECT_EQ(create(Keys('i'), options), kInvalid);
  options = {};
  options.max_plaintext_bytes = 1024;
  options.min_bucket_bytes = 4096;
  EXPECT_EQ(create(Keys('i'), options), kInvalid);
}

TEST_F(ChannelTest, OneThreadSealsWhileAnotherOpens) {
  constexpr int kFrames = 2'000;
  Ends ends(clock_);
  std::vector<v1::Frame> inbound(kFrames);
  for (v1::Frame& frame : inbound) frame = Seal(ends.responder(), {"in"});
  std::vector<v1::Frame> outbound(kFrames);
  int opened = 0;
  std::thread opener([&] {
    for (const v1::Frame& frame : inbound) opened += ends.initiator().Open(frame).ok() ? 1 : 0;
  });
  std::thread watcher([&] {
    for (int i = 0; i < kFrames; ++i) {
      EXPECT_FALSE(ends.initiator().ended());
      EXPECT_TRUE(ends.initiator().DeliveryKeys(std::string(16, 'd')).ok());
    }
  });
  for (v1::Frame& frame : outbound) ASSERT_TRUE(ends.initiator().Seal({"out"}, &frame).ok());
  opener.join();
  watcher.join();
  EXPECT_EQ(opened, kFrames);
  for (const v1::Frame& frame : outbound) ASSERT_TRUE(ends.responder().Open(frame).ok());
}

}  // namespace
}  // namespace blindcart::protocol
