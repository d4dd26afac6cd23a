#include "protocol/double_ratchet.h"

#include <algorithm>
#include <functional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "crypto/aes_gcm.h"
#include "crypto/hkdf.h"
#include "crypto/hmac.h"
#include "crypto/testing/deterministic_random.h"
#include "gtest/gtest.h"
#include "protocol/testing/by_hand.h"
#include "protocol/testing/flip_bit.h"

namespace blindcart::protocol {
namespace {

using crypto::SecretBytes;
using crypto::X25519KeyPair;

constexpr absl::string_view kContext = "context";

std::string StateOf(const DoubleRatchet& ratchet) {
  v1::RatchetState state;
  ratchet.ToProto(&state);
  return state.SerializeAsString();
}

DoubleRatchet CopyOf(const DoubleRatchet& ratchet) {
  v1::RatchetState state;
  ratchet.ToProto(&state);
  return *DoubleRatchet::FromProto(state);
}

class DoubleRatchetTest : public ::testing::Test {
 protected:
  RatchetMessage Encrypt(DoubleRatchet& from, const std::string& text) {
    auto message = from.Encrypt(text, kContext);
    EXPECT_TRUE(message.ok()) << message.status();
    return *std::move(message);
  }
  absl::StatusOr<std::string> Decrypt(DoubleRatchet& to, const RatchetMessage& message) {
    return to.Decrypt(message, kContext, random_);
  }
  void Deliver(DoubleRatchet& from, DoubleRatchet& to, const std::string& text) {
    const auto got = Decrypt(to, Encrypt(from, text));
    ASSERT_TRUE(got.ok()) << got.status();
    EXPECT_EQ(*got, text);
  }
  void RoundTrip() {
    Deliver(alice_, bob_, "ping");
    Deliver(bob_, alice_, "pong");
  }
  void ExpectRefused(DoubleRatchet& to, const RatchetMessage& message, absl::StatusCode code) {
    const std::string before = StateOf(to);
    EXPECT_EQ(Decrypt(to, message).status().code(), code);
    EXPECT_EQ(StateOf(to), before);
  }

  crypto::DeterministicRandom random_{3};
  const SecretBytes secret_ = random_.Secret(32);
  const X25519KeyPair pre_key_ = X25519KeyPair::Generate(random_);
  DoubleRatchet alice_ =
      *DoubleRatchet::Initiate(secret_, pre_key_.public_key(), "associated", random_);
  DoubleRatchet bob_ = *DoubleRatchet::Respond(secret_, pre_key_, "associated");
};

TEST_F(DoubleRatchetTest, TalksBothWays) {
  for (int round = 0; round < 20; ++round) {
    for (int i = 0; i <= round % 4; ++i) Deliver(alice_, bob_, absl::StrCat("a", round, ".", i));
    for (int i = 0; i <= round % 3; ++i) Deliver(bob_, alice_, absl::StrCat("b", round, ".", i));
  }
  EXPECT_EQ(alice_.skipped_keys(), 0u);
  EXPECT_EQ(bob_.skipped_keys(), 0u);
  Deliver(alice_, bob_, "");
}

TEST_F(DoubleRatchetTest, DerivesWhatTheSpecificationSays) {
  const RatchetMessage message = Encrypt(alice_, "hello");
  EXPECT_EQ(message.header.number, 0u);
  EXPECT_EQ(message.header.previous_chain_length, 0u);
  const auto root = crypto::Hkdf(secret_.view(), by_hand::Exchange(pre_key_, message.header.key),
                                 "blindcart/v1 ratchet root", 64);
  const std::string chain(root->view().substr(32));
  const std::string message_key = crypto::HmacSha256(chain, "\x01");
  const auto keys = crypto::Hkdf(std::string(32, '\0'), message_key, "blindcart/v1 ratchet message",
                                 crypto::kAesGcmKeyBytes + crypto::kAesGcmNonceBytes);
  auto gcm = crypto::Aes256Gcm::Create(keys->view().substr(0, 32));
  ASSERT_TRUE(gcm.ok());
  const std::string zero(4, '\0');
  std::string plaintext;
  ASSERT_TRUE(gcm->Open(keys->view().substr(32),
                        by_hand::Join({"associated", "context", message.header.key, zero, zero}),
                        message.ciphertext, &plaintext)
                  .ok());
  EXPECT_EQ(plaintext, "hello");
}

TEST_F(DoubleRatchetTest, ResponderWaitsForTheFirstMessage) {
  EXPECT_FALSE(bob_.can_encrypt());
  EXPECT_EQ(bob_.Encrypt("x", kContext).status().code(), absl::StatusCode::kFailedPrecondition);
  Deliver(alice_, bob_, "first");
  EXPECT_TRUE(bob_.can_encrypt());
  Deliver(bob_, alice_, "second");
}

TEST_F(DoubleRatchetTest, ArrivesInAnyOrder) {
  std::mt19937 shuffle(5);
  for (int round = 0; round < 5; ++round) {
    // Three chains of Alice's, with answers between them, all but one of each arriving late.
    std::vector<std::pair<RatchetMessage, std::string>> late;
    for (int chain = 0; chain < 3; ++chain) {
      for (int i = 0; i < 10; ++i) {
        const std::string text = absl::StrCat(round, "/", chain, "/", i);
        RatchetMessage message = Encrypt(alice_, text);
        if (i == 5) {
          EXPECT_EQ(*Decrypt(bob_, message), text);
        } else {
          late.emplace_back(std::move(message), text);
        }
      }
      Deliver(bob_, alice_, "answer");
    }
    std::shuffle(late.begin(), late.end(), shuffle);
    for (const auto& [message, text] : late) {
      const auto got = Decrypt(bob_, message);
      ASSERT_TRUE(got.ok()) << text << " " << got.status();
      EXPECT_EQ(*got, text);
    }
    EXPECT_EQ(bob_.skipped_keys(), 0u);
  }
}

TEST_F(DoubleRatchetTest, DuplicatesAreRefusedAndHarmless) {
  const RatchetMessage first = Encrypt(alice_, "1");
  const RatchetMessage skipped = Encrypt(alice_, "2");
  const RatchetMessage third = Encrypt(alice_, "3");
  EXPECT_TRUE(Decrypt(bob_, first).ok());
  EXPECT_TRUE(Decrypt(bob_, third).ok());
  EXPECT_TRUE(Decrypt(bob_, skipped).ok());
  for (const RatchetMessage& message : {first, skipped, third}) {
    ExpectRefused(bob_, message, absl::StatusCode::kAlreadyExists);
  }
  // Of a chain that is over.
  Deliver(bob_, alice_, "answer");
  Deliver(alice_, bob_, "4");
  ExpectRefused(bob_, first, absl::StatusCode::kUnauthenticated);
  RoundTrip();
}

TEST_F(DoubleRatchetTest, AThousandMayBeSkippedAndNoMore) {
  Deliver(alice_, bob_, "first");
  std::vector<RatchetMessage> sent;
  for (uint32_t i = 0; i <= kMaxSkip; ++i) sent.push_back(Encrypt(alice_, absl::StrCat(i)));
  EXPECT_EQ(*Decrypt(bob_, sent.back()), absl::StrCat(kMaxSkip));
  EXPECT_EQ(bob_.skipped_keys(), kMaxSkip);
  for (uint32_t i = kMaxSkip; i-- > 0;) EXPECT_EQ(*Decrypt(bob_, sent[i]), absl::StrCat(i));
  EXPECT_EQ(bob_.skipped_keys(), 0u);

  for (uint32_t i = 0; i <= kMaxSkip; ++i) Encrypt(alice_, "lost");
  ExpectRefused(bob_, Encrypt(alice_, "one too many"), absl::StatusCode::kOutOfRange);
}

TEST_F(DoubleRatchetTest, TwoThousandAndOneSkippedAreRefused) {
  Deliver(alice_, bob_, "first");
  std::vector<RatchetMessage> sent;
  for (int i = 0; i <= 2'001; ++i) sent.push_back(Encrypt(alice_, absl::StrCat(i)));
  ExpectRefused(bob_, sent[2'001], absl::StatusCode::kOutOfRange);
  // What is not too far ahead still opens, and brings the rest into reach.
  EXPECT_EQ(*Decrypt(bob_, sent[1'000]), "1000");
  ExpectRefused(bob_, sent[1'000], absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(*Decrypt(bob_, sent[2'001]), "2001");
  // Of 2,000 keys the newest 1,000 are kept.
  EXPECT_EQ(bob_.skipped_keys(), kMaxSkippedKeys);
  EXPECT_EQ(*Decrypt(bob_, sent[2'000]), "2000");
  ExpectRefused(bob_, sent[0], absl::StatusCode::kAlreadyExists);
}

TEST_F(DoubleRatchetTest, AGapBeforeATurnCountsInItsOwnChain) {
  Deliver(alice_, bob_, "first");
  for (uint32_t i = 0; i < kMaxSkip; ++i) Encrypt(alice_, "lost");
  Deliver(bob_, alice_, "answer");
  for (uint32_t i = 0; i < kMaxSkip; ++i) Encrypt(alice_, "lost");
  Deliver(alice_, bob_, "after two gaps");
  // Of both gaps' keys the newest are kept.
  EXPECT_EQ(bob_.skipped_keys(), kMaxSkippedKeys);
  RoundTrip();

  Deliver(alice_, bob_, "again");
  for (uint32_t i = 0; i <= kMaxSkip; ++i) Encrypt(alice_, "lost");
  Deliver(bob_, alice_, "answer");
  ExpectRefused(bob_, Encrypt(alice_, "too many in the chain before"),
                absl::StatusCode::kOutOfRange);
}

TEST_F(DoubleRatchetTest, EveryAlteredByteIsRefusedAndHarmless) {
  RoundTrip();
  const RatchetMessage good = Encrypt(alice_, "hello");
  for (size_t at = 0; at < good.ciphertext.size(); ++at) {
    RatchetMessage altered = good;
    FlipBit(altered.ciphertext, at);
    ExpectRefused(bob_, altered, absl::StatusCode::kUnauthenticated);
  }
  for (size_t at = 0; at < good.header.key.size(); ++at) {
    RatchetMessage altered = good;
    FlipBit(altered.header.key, at);
    ExpectRefused(bob_, altered, absl::StatusCode::kUnauthenticated);
  }
  for (int bit = 0; bit < 32; ++bit) {
    RatchetMessage altered = good;
    altered.header.number ^= 1u << bit;
    const std::string before = StateOf(bob_);
    EXPECT_FALSE(Decrypt(bob_, altered).ok());
    EXPECT_EQ(StateOf(bob_), before);
    altered = good;
    altered.header.previous_chain_length ^= 1u << bit;
    EXPECT_FALSE(Decrypt(bob_, altered).ok());
    EXPECT_EQ(StateOf(bob_), before);
  }
  for (size_t size = 0; size < good.ciphertext.size(); ++size) {
    RatchetMessage cut = good;
    cut.ciphertext.resize(size);
    EXPECT_FALSE(Decrypt(bob_, cut).ok());
  }
  EXPECT_FALSE(bob_.Decrypt(good, "other context", random_).ok());
  for (const std::string& point : by_hand::LowOrderPoints()) {
    RatchetMessage altered = good;
    altered.header.key = point;
    ExpectRefused(bob_, altered, absl::StatusCode::kInvalidArgument);
  }
  RatchetMessage short_key = good;
  short_key.header.key.pop_back();
  ExpectRefused(bob_, short_key, absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(*Decrypt(bob_, good), "hello");
}

TEST_F(DoubleRatchetTest, AlteredSkippedMessagesLeaveTheirKey) {
  const RatchetMessage late = Encrypt(alice_, "late");
  Deliver(alice_, bob_, "early");
  RatchetMessage altered = late;
  FlipBit(altered.ciphertext, 3);
  ExpectRefused(bob_, altered, absl::StatusCode::kUnauthenticated);
  EXPECT_EQ(*Decrypt(bob_, late), "late");
}

TEST_F(DoubleRatchetTest, AssociatedDataIsAuthenticated) {
  DoubleRatchet other = *DoubleRatchet::Respond(secret_, pre_key_, "another");
  const RatchetMessage message = Encrypt(alice_, "hello");
  EXPECT_TRUE(absl::IsUnauthenticated(Decrypt(other, message).status()));
  EXPECT_TRUE(Decrypt(bob_, message).ok());
}

TEST_F(DoubleRatchetTest, AThiefOfAStateReadsNothingAfterOneRoundTrip) {
  RoundTrip();
  // Copies as they were stolen, and copies that go along with everything that is sent since.
  const DoubleRatchet stolen[] = {CopyOf(alice_), CopyOf(bob_)};
  DoubleRatchet following[] = {CopyOf(alice_), CopyOf(bob_)};
  const auto thief_reads = [&](const RatchetMessage& message) {
    bool any = false;
    for (const DoubleRatchet& state : stolen) {
      DoubleRatchet copy = CopyOf(state);
      any |= Decrypt(copy, message).ok();
    }
    for (DoubleRatchet& state : following) any |= Decrypt(state, message).ok();
    return any;
  };

  const RatchetMessage ping = Encrypt(alice_, "ping");
  EXPECT_TRUE(thief_reads(ping));  // The theft was a real one.
  EXPECT_EQ(*Decrypt(bob_, ping), "ping");
  const RatchetMessage pong = Encrypt(bob_, "pong");
  thief_reads(pong);
  EXPECT_EQ(*Decrypt(alice_, pong), "pong");

  for (int i = 0; i < 3; ++i) {
    const RatchetMessage after = Encrypt(alice_, "healed");
    EXPECT_FALSE(thief_reads(after));
    EXPECT_EQ(*Decrypt(bob_, after), "healed");
    const RatchetMessage answer = Encrypt(bob_, "healed too");
    EXPECT_FALSE(thief_reads(answer));
    EXPECT_EQ(*Decrypt(alice_, answer), "healed too");
  }
}

TEST_F(DoubleRatchetTest, AFullStateDoesNotOpenWhatIsReadAlready) {
  std::vector<RatchetMessage> to_bob;
  std::vector<RatchetMessage> to_alice;
  for (int i = 0; i < 5; ++i) {
    to_bob.push_back(Encrypt(alice_, "past"));
    ASSERT_TRUE(Decrypt(bob_, to_bob.back()).ok());
    to_alice.push_back(Encrypt(bob_, "past"));
    ASSERT_TRUE(Decrypt(alice_, to_alice.back()).ok());
  }
  for (const RatchetMessage& message : to_bob) {
    DoubleRatchet bobs = CopyOf(bob_);
    EXPECT_FALSE(Decrypt(bobs, message).ok());
    DoubleRatchet alices = CopyOf(alice_);
    EXPECT_FALSE(Decrypt(alices, message).ok());
  }
  for (const RatchetMessage& message : to_alice) {
    DoubleRatchet alices = CopyOf(alice_);
    EXPECT_FALSE(Decrypt(alices, message).ok());
    DoubleRatchet bobs = CopyOf(bob_);
    EXPECT_FALSE(Decrypt(bobs, message).ok());
  }
}

TEST_F(DoubleRatchetTest, EveryMessageHasItsOwnKey) {
  // The same plaintext never gives the same bytes, nor keys or nonces that are used twice.
  EXPECT_NE(Encrypt(alice_, "same").ciphertext, Encrypt(alice_, "same").ciphertext);
}

TEST_F(DoubleRatchetTest, SurvivesBeingWrittenDown) {
  const RatchetMessage late = Encrypt(alice_, "late");
  for (int i = 0; i < 5; ++i) {
    Deliver(alice_, bob_, "a");
    alice_ = CopyOf(alice_);
    bob_ = CopyOf(bob_);
    Deliver(bob_, alice_, "b");
    alice_ = CopyOf(alice_);
    bob_ = CopyOf(bob_);
  }
  EXPECT_EQ(*Decrypt(bob_, late), "late");
}

TEST_F(DoubleRatchetTest, RefusesStatesThatItNeverWrote) {
  Encrypt(alice_, "lost");
  Deliver(alice_, bob_, "first");
  v1::RatchetState good;
  bob_.ToProto(&good);
  ASSERT_TRUE(DoubleRatchet::FromProto(good).ok());
  ASSERT_EQ(good.skipped_size(), 1);
  const auto refused = [&](const std::function<void(v1::RatchetState&)>& alter) {
    v1::RatchetState state = good;
    alter(state);
    EXPECT_TRUE(absl::IsInvalidArgument(DoubleRatchet::FromProto(state).status()));
  };
  refused([](v1::RatchetState& s) { s.set_version(2); });
  refused([](v1::RatchetState& s) { s.mutable_own_private_key()->pop_back(); });
  refused([](v1::RatchetState& s) { s.clear_root_key(); });
  refused([](v1::RatchetState& s) { s.mutable_peer_key()->pop_back(); });
  refused([](v1::RatchetState& s) { s.mutable_sending_chain_key()->pop_back(); });
  refused([](v1::RatchetState& s) { s.mutable_receiving_chain_key()->push_back('x'); });
  refused([](v1::RatchetState& s) { s.mutable_skipped(0)->mutable_message_key()->pop_back(); });
  refused([](v1::RatchetState& s) { s.mutable_skipped(0)->clear_ratchet_key(); });
  refused([](v1::RatchetState& s) {
    for (size_t i = 0; i < kMaxSkippedKeys; ++i) *s.add_skipped() = s.skipped(0);
  });
}

TEST_F(DoubleRatchetTest, WipesAStateThatWasWritten) {
  Encrypt(alice_, "lost");
  Deliver(alice_, bob_, "first");
  v1::RatchetState state;
  bob_.ToProto(&state);
  WipeRatchetState(state);
  EXPECT_TRUE(state.own_private_key().empty());
  EXPECT_TRUE(state.root_key().empty());
  EXPECT_TRUE(state.sending_chain_key().empty());
  EXPECT_TRUE(state.receiving_chain_key().empty());
  EXPECT_TRUE(state.skipped(0).message_key().empty());
}

TEST_F(DoubleRatchetTest, RefusesSecretsOfAnotherSize) {
  EXPECT_FALSE(DoubleRatchet::Initiate(SecretBytes(31), pre_key_.public_key(), "", random_).ok());
  EXPECT_FALSE(DoubleRatchet::Initiate(secret_, "short", "", random_).ok());
  EXPECT_FALSE(DoubleRatchet::Respond(SecretBytes(33), pre_key_, "").ok());
}

}  // namespace
}  // namespace blindcart::protocol
