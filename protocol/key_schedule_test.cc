#include "protocol/key_schedule.h"

#include <set>
#include <string>
#include <vector>

#include "crypto/encoding.h"
#include "crypto/hash.h"
#include "crypto/hkdf.h"
#include "crypto/hmac.h"
#include "crypto/random.h"
#include "gtest/gtest.h"
#include "protocol/testing/by_hand.h"

namespace blindcart::protocol {
namespace {

using crypto::HexEncode;
using crypto::X25519KeyPair;

X25519KeyPair Pair(char byte) {
  return X25519KeyPair::FromPrivate(std::string(crypto::kX25519KeyBytes, byte)).value();
}

// One fixed session, seen from either end.
class FixedSession {
 public:
  std::string transcript() const {
    return TranscriptHash(kPairCustomerBroker, std::string(32, '\xa1'), std::string(32, '\xa2'),
                          {"first message", "second message"});
  }
  SessionKeys InitiatorKeys() const { return Derive(c1_, b1_, c2_, b2_); }
  SessionKeys ResponderKeys() const { return Derive(b1_, c1_, b2_, c2_); }

 private:
  SessionKeys Derive(const X25519KeyPair& own1, const X25519KeyPair& peer1,
                     const X25519KeyPair& own2, const X25519KeyPair& peer2) const {
    const std::string r_c(kNonceBytes, '\x0c');
    const std::string r_b(kNonceBytes, '\x0b');
    return DeriveSessionKeys(kPairCustomerBroker, transcript(), own1, peer1.public_key(), own2,
                             peer2.public_key(), {r_c, r_b})
        .value();
  }

  X25519KeyPair c1_ = Pair('\x11');
  X25519KeyPair b1_ = Pair('\x22');
  X25519KeyPair c2_ = Pair('\x33');
  X25519KeyPair b2_ = Pair('\x44');
};

constexpr Direction kForth = Direction::kInitiatorToResponder;
constexpr Direction kBack = Direction::kResponderToInitiator;

// The values are those of a program that shares no code with this one (hashlib, hmac and RFC 7748's
// ladder in Python).
TEST(KeyScheduleTest, GivesThePinnedBytes) {
  const FixedSession session;
  const std::string transcript = session.transcript();
  EXPECT_EQ(HexEncode(transcript),
            "a875635423db340774b7b0ebeff34d502a630c65b19aca0bbd15c02f6f3b2838");

  const SessionKeys keys = session.InitiatorKeys();
  EXPECT_EQ(HexEncode(keys.seal.view()),
            "649e49098a7d29d6d54cb007856449e8536fcc214df9d513a88aaf335b8811e3");
  EXPECT_EQ(HexEncode(keys.mac.view()),
            "8737f2f1e7cf68735444790f8b1bf14f3ab6bb1a7db6606cb30d2ef73d5dbf3b");
  EXPECT_EQ(HexEncode(keys.session_id), "c9bcfe52ab557c5d91f943788f86b78e");

  const DirectionKeys forth = DeriveDirectionKeys(keys, kForth).value();
  EXPECT_EQ(HexEncode(forth.seal.view()),
            "d837a580a778ac3cfaf06ae12e0f6054e2238504410df6a79e077315d4e4e829");
  EXPECT_EQ(HexEncode(forth.mac.view()),
            "88702e85f67cdc5e1e8ab97397821162faa0060474f4bca6d0c7035691e610c9");
  const DirectionKeys back = DeriveDirectionKeys(keys, kBack).value();
  EXPECT_EQ(HexEncode(back.seal.view()),
            "6cd4d1e97af01735f887fad81352a0989803aecc8753274f70476c2400274df4");
  EXPECT_EQ(HexEncode(back.mac.view()),
            "d1194110417cca69c960f2c630e8de4cf2a358e569357a91078f27ecae1b9155");

  EXPECT_EQ(HexEncode(FinishedMac(keys, kForth, transcript).value()),
            "f8295a15e0da6c88425f65ff4313cd1c1c52ab13b544be690de1a73f6fadd867");
  EXPECT_EQ(HexEncode(FinishedMac(keys, kBack, transcript).value()),
            "6c757814023e588b4e67a899c9089391543493f01e856be0d8b0e7bdbd245f42");

  const std::string delivery_id(16, '\xdd');
  const SessionKeys delivery = DeriveDeliveryKeys(keys, delivery_id).value();
  EXPECT_EQ(delivery.session_id, delivery_id);
  EXPECT_EQ(HexEncode(delivery.seal.view()),
            "fe0acabd4980bd397a1957d2b3257e38377c566d23abb86a6587ec79449c6196");
  EXPECT_EQ(HexEncode(delivery.mac.view()),
            "982436b7a1691486f43b9e5be262404d466db9b188cbbe9d4fd10200f21dfc7d");
}

// The same once more with every byte of the infos written out.
TEST(KeyScheduleTest, InfosAreLengthPrefixedFields) {
  const FixedSession session;
  const std::string transcript = session.transcript();
  const SessionKeys keys = session.ResponderKeys();
  const std::string frame = std::string("\0\0\0\x20", 4);
  const std::string ikm =
      frame + std::string(Pair('\x11').Exchange(Pair('\x22').public_key()).value().view()) + frame +
      std::string(32, '\x0c') + frame + std::string(32, '\x0b');
  EXPECT_EQ(
      keys.seal.view(),
      crypto::Hkdf(transcript, ikm, std::string("\0\0\0\x01S\0\0\0\x0f", 9) + "customer-broker", 32)
          .value()
          .view());
  EXPECT_EQ(keys.session_id,
            crypto::HkdfExpand(keys.mac.view(), std::string("\0\0\0\x0asession id", 14), 16)
                .value()
                .view());
  EXPECT_EQ(DeriveDirectionKeys(keys, kForth)->seal.view(),
            crypto::HkdfExpand(keys.seal.view(),
                               std::string("\0\0\0\x04seal\0\0\0\x14initiator->responder", 32), 32)
                .value()
                .view());
  const crypto::SecretBytes finished_key =
      crypto::HkdfExpand(keys.mac.view(),
                         std::string("\0\0\0\x08"
                                     "finished\0\0\0\x14responder->initiator",
                                     36),
                         32)
          .value();
  EXPECT_EQ(FinishedMac(keys, kBack, transcript).value(),
            crypto::HmacSha256(finished_key.view(), transcript));
  EXPECT_EQ(transcript,
            crypto::Sha256(std::string("\0\0\0\x0c"
                                       "blindcart/v1\0\0\0\x0f"
                                       "customer-broker",
                                       35) +
                           frame + std::string(32, '\xa1') + frame + std::string(32, '\xa2') +
                           std::string("\0\0\0\x0d"
                                       "first message\0\0\0\x0e"
                                       "second message",
                                       35)));
}

TEST(KeyScheduleTest, BothEndsAgree) {
  const FixedSession session;
  const SessionKeys initiator = session.InitiatorKeys();
  const SessionKeys responder = session.ResponderKeys();
  EXPECT_EQ(initiator.session_id, responder.session_id);
  EXPECT_EQ(initiator.seal.view(), responder.seal.view());
  EXPECT_EQ(initiator.mac.view(), responder.mac.view());
}

TEST(KeyScheduleTest, DirectionsOfTheTwoRolesMeet) {
  EXPECT_EQ(SendDirection(Role::kInitiator), ReceiveDirection(Role::kResponder));
  EXPECT_EQ(SendDirection(Role::kResponder), ReceiveDirection(Role::kInitiator));
  EXPECT_NE(SendDirection(Role::kInitiator), ReceiveDirection(Role::kInitiator));
  EXPECT_EQ(DirectionName(kForth), "initiator->responder");
  EXPECT_EQ(DirectionName(kBack), "responder->initiator");
}

TEST(KeyScheduleTest, NoTwoKeysAreEqual) {
  const FixedSession session;
  const SessionKeys keys = session.InitiatorKeys();
  std::vector<std::string> all = {std::string(keys.seal.view()), std::string(keys.mac.view())};
  for (Direction direction : {kForth, kBack}) {
    const DirectionKeys half = DeriveDirectionKeys(keys, direction).value();
    all.emplace_back(half.seal.view());
    all.emplace_back(half.mac.view());
    all.push_back(FinishedMac(keys, direction, session.transcript()).value());
  }
  for (char id : {'\x01', '\x02'}) {
    const SessionKeys delivery = DeriveDeliveryKeys(keys, std::string(16, id)).value();
    all.emplace_back(delivery.seal.view());
    all.emplace_back(delivery.mac.view());
    const DirectionKeys half = DeriveDirectionKeys(delivery, kBack).value();
    all.emplace_back(half.seal.view());
    all.emplace_back(half.mac.view());
  }
  EXPECT_EQ(std::set<std::string>(all.begin(), all.end()).size(), all.size());
}

TEST(KeyScheduleTest, EveryPartOfTheTranscriptCounts) {
  const std::string base = TranscriptHash("pair", "a", "b", {"m1", "m2"});
  EXPECT_NE(base, TranscriptHash("pais", "a", "b", {"m1", "m2"}));
  EXPECT_NE(base, TranscriptHash("pair", "b", "a", {"m1", "m2"}));
  EXPECT_NE(base, TranscriptHash("pair", "", "b", {"m1", "m2"}));
  EXPECT_NE(base, TranscriptHash("pair", "a", "b", {"m2", "m1"}));
  EXPECT_NE(base, TranscriptHash("pair", "a", "b", {"m1m2"}));
  EXPECT_NE(base, TranscriptHash("pair", "a", "b", {"m1"}));
  EXPECT_NE(base, TranscriptHash("pair", "ab", "", {"m1", "m2"}));
  EXPECT_EQ(base, TranscriptHash("pair", "a", "b", {"m1", "m2"}));
}

TEST(KeyScheduleTest, EveryInputOfTheKeysCounts) {
  const X25519KeyPair own = Pair('\x01');
  const std::string peer = Pair('\x02').public_key();
  const std::string other = Pair('\x03').public_key();
  const auto derive = [&](absl::string_view pair, absl::string_view transcript,
                          absl::string_view peer1, absl::string_view peer2,
                          std::vector<absl::string_view> nonces) {
    return DeriveSessionKeys(pair, transcript, own, peer1, own, peer2, nonces).value();
  };
  const SessionKeys base = derive("pair", "t", peer, peer, {"n1", "n2"});
  // The pair, the transcript and the nonces change both keys.
  for (const SessionKeys& keys : {
           derive("pais", "t", peer, peer, {"n1", "n2"}),
           derive("pair", "u", peer, peer, {"n1", "n2"}),
           derive("pair", "t", peer, peer, {"n2", "n1"}),
           derive("pair", "t", peer, peer, {"n1n2"}),
           derive("pair", "t", peer, peer, {}),
       }) {
    EXPECT_NE(keys.seal.view(), base.seal.view());
    EXPECT_NE(keys.mac.view(), base.mac.view());
    EXPECT_NE(keys.session_id, base.session_id);
  }
  // Each exchange changes its own.
  const SessionKeys other1 = derive("pair", "t", other, peer, {"n1", "n2"});
  EXPECT_NE(other1.seal.view(), base.seal.view());
  EXPECT_EQ(other1.mac.view(), base.mac.view());
  const SessionKeys other2 = derive("pair", "t", peer, other, {"n1", "n2"});
  EXPECT_EQ(other2.seal.view(), base.seal.view());
  EXPECT_NE(other2.mac.view(), base.mac.view());
}

TEST(KeyScheduleTest, RefusesPointsOfSmallOrder) {
  const X25519KeyPair own = X25519KeyPair::Generate(crypto::SystemRandom());
  const std::string good = X25519KeyPair::Generate(crypto::SystemRandom()).public_key();
  for (const std::string& point : by_hand::LowOrderPoints()) {
    EXPECT_FALSE(DeriveSessionKeys("pair", "t", own, point, own, good, {}).ok())
        << HexEncode(point);
    EXPECT_FALSE(DeriveSessionKeys("pair", "t", own, good, own, point, {}).ok())
        << HexEncode(point);
  }
  EXPECT_TRUE(DeriveSessionKeys("pair", "t", own, good, own, good, {}).ok());
}

TEST(KeyScheduleTest, FinishedMatchesOnlyItself) {
  const FixedSession session;
  const SessionKeys keys = session.InitiatorKeys();
  const std::string transcript = session.transcript();
  const std::string finished = FinishedMac(keys, kForth, transcript).value();
  EXPECT_TRUE(FinishedMatches(keys, kForth, transcript, finished));
  EXPECT_FALSE(FinishedMatches(keys, kBack, transcript, finished));
  EXPECT_FALSE(FinishedMatches(keys, kForth, transcript + "x", finished));
  EXPECT_FALSE(FinishedMatches(keys, kForth, transcript, ""));
  for (size_t size = 0; size < finished.size(); ++size) {
    EXPECT_FALSE(FinishedMatches(keys, kForth, transcript, finished.substr(0, size)));
    std::string flipped = finished;
    flipped[size] ^= 1;
    EXPECT_FALSE(FinishedMatches(keys, kForth, transcript, flipped));
  }
}

TEST(KeyScheduleTest, NothingComesOfKeysThatAreNotThere) {
  const SessionKeys none;
  EXPECT_FALSE(FinishedMac(none, kForth, "t").ok());
  EXPECT_FALSE(FinishedMatches(none, kForth, "t", std::string(kFinishedBytes, '\0')));
  EXPECT_FALSE(DeriveDirectionKeys(none, kForth).ok());
  EXPECT_FALSE(DeriveDeliveryKeys(none, std::string(16, 'd')).ok());
}

TEST(KeyScheduleTest, DeliveryIdsHaveSixteenBytes) {
  const SessionKeys keys = FixedSession().InitiatorKeys();
  for (size_t size : {0, 15, 17, 32}) {
    EXPECT_EQ(DeriveDeliveryKeys(keys, std::string(size, 'd')).status().code(),
              absl::StatusCode::kInvalidArgument)
        << size;
  }
}

}  // namespace
}  // namespace blindcart::protocol
