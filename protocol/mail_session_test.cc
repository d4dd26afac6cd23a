#include "protocol/mail_session.h"

#include <set>
#include <string>
#include <vector>

#include "crypto/testing/deterministic_random.h"
#include "crypto/testing/test_identity.h"
#include "gtest/gtest.h"
#include "protocol/testing/flip_bit.h"

namespace blindcart::protocol {
namespace {

using crypto::TestIdentity;
using crypto::X25519KeyPair;

class MailSessionTest : public ::testing::Test {
 protected:
  v1::FetchKeysResult Published(bool with_one_time = true) {
    v1::FetchKeysResult keys;
    keys.set_found(true);
    keys.set_public_identity(TestIdentity(1).public_identity().Serialize());
    keys.set_identity_key(bob_key_.public_key());
    keys.set_identity_key_signature(SignIdentityKey(TestIdentity(1), bob_key_.public_key()));
    *keys.mutable_signed_pre_key() = SignPreKey(TestIdentity(1), 7, pre_key_.public_key());
    if (with_one_time) {
      keys.mutable_one_time_pre_key()->set_id(9);
      keys.mutable_one_time_pre_key()->set_key(one_time_.public_key());
    }
    return keys;
  }
  MailSession Initiate(bool with_one_time = true) {
    auto session = MailSession::Initiate({"alice", &TestIdentity(0), &alice_key_}, "bob",
                                         *CheckBundle(Published(with_one_time)), random_);
    EXPECT_TRUE(session.ok()) << session.status();
    return *std::move(session);
  }
  absl::StatusOr<MailSession> Respond(const v1::MailEnvelope& envelope,
                                      const std::string& from = "alice",
                                      const std::string& to = "bob") {
    const auto identity = CheckInitial(envelope.initial());
    if (!identity.ok()) return identity.status();
    return MailSession::Respond(
        {to, &TestIdentity(1), &bob_key_}, from, *identity, envelope, pre_key_,
        envelope.initial().one_time_pre_key_id() == 0 ? nullptr : &one_time_);
  }
  absl::StatusOr<std::string> Open(MailSession& session, const std::string& sealed) {
    const auto envelope = ParseEnvelope(sealed);
    if (!envelope.ok()) return envelope.status();
    return session.Open(*envelope, random_);
  }

  crypto::DeterministicRandom random_{11};
  const X25519KeyPair alice_key_ = X25519KeyPair::Generate(random_);
  const X25519KeyPair bob_key_ = X25519KeyPair::Generate(random_);
  const X25519KeyPair pre_key_ = X25519KeyPair::Generate(random_);
  const X25519KeyPair one_time_ = X25519KeyPair::Generate(random_);
};

TEST_F(MailSessionTest, BeginsWithAndWithoutAOneTimePreKey) {
  for (const bool with_one_time : {true, false}) {
    MailSession alice = Initiate(with_one_time);
    const std::string first = *alice.Seal("first");
    const auto envelope = ParseEnvelope(first);
    ASSERT_TRUE(envelope.ok()) << envelope.status();
    EXPECT_EQ(envelope->initial().one_time_pre_key_id(), with_one_time ? 9u : 0u);
    auto bob = Respond(*envelope);
    ASSERT_TRUE(bob.ok()) << bob.status();
    EXPECT_EQ(bob->id(), alice.id());
    EXPECT_EQ(*Open(*bob, first), "first");
    EXPECT_EQ(*Open(alice, *bob->Seal("answer")), "answer");
    EXPECT_EQ(*Open(*bob, *alice.Seal("second")), "second");
  }
}

TEST_F(MailSessionTest, TheInitialMessageGoesAlongUntilAnAnswerCame) {
  MailSession alice = Initiate();
  const std::string lost = *alice.Seal("lost");
  const std::string second = *alice.Seal("second");
  auto bob = Respond(*ParseEnvelope(second));
  ASSERT_TRUE(bob.ok());
  EXPECT_EQ(*Open(*bob, second), "second");
  EXPECT_FALSE(ParseEnvelope(*bob->Seal("x"))->has_initial());
  EXPECT_TRUE(ParseEnvelope(*alice.Seal("x"))->has_initial());
  EXPECT_EQ(*Open(alice, *bob->Seal("answer")), "answer");
  EXPECT_FALSE(ParseEnvelope(*alice.Seal("x"))->has_initial());
  EXPECT_EQ(*Open(*bob, lost), "lost");
}

TEST_F(MailSessionTest, SurvivesBeingWrittenDown) {
  MailSession alice = Initiate();
  const auto again = MailSession::Parse(alice.Serialize().view());
  ASSERT_TRUE(again.ok());
  const std::string before = std::string(alice.Serialize().view());
  EXPECT_EQ(std::string(again->Serialize().view()), before);
  auto copy = MailSession::Parse(alice.Serialize().view());
  const std::string first = *copy->Seal("first");
  auto bob = Respond(*ParseEnvelope(first));
  EXPECT_EQ(*Open(*bob, first), "first");
  auto bob_again = MailSession::Parse(bob->Serialize().view());
  ASSERT_TRUE(bob_again.ok());
  EXPECT_EQ(*Open(*copy, *bob_again->Seal("answer")), "answer");

  EXPECT_FALSE(MailSession::Parse("").ok());
  EXPECT_FALSE(MailSession::Parse("x").ok());
  std::string wrong_version = before;
  wrong_version[1] = 2;
  EXPECT_FALSE(MailSession::Parse(wrong_version).ok());
}

TEST_F(MailSessionTest, EveryAlteredByteIsRefusedAndHarmless) {
  MailSession alice = Initiate();
  const std::string first = *alice.Seal("first");
  // As an initial message; of the ciphertext, which is last, some bytes will do here.
  const size_t outer_bytes = first.size() - ParseEnvelope(first)->ciphertext().size();
  for (size_t at = 0; at < first.size(); at += at < outer_bytes ? 1 : 50) {
    std::string altered = first;
    FlipBit(altered, at);
    const auto envelope = ParseEnvelope(altered);
    if (!envelope.ok() || !envelope->has_initial()) continue;
    auto bob = Respond(*envelope);
    if (bob.ok()) {
      EXPECT_FALSE(bob->Open(*envelope, random_).ok()) << at;
    }
  }
  // Under a session that stands.
  auto bob = Respond(*ParseEnvelope(first));
  ASSERT_TRUE(bob.ok());
  for (const std::string& good : {first, *alice.Seal("second")}) {
    const std::string state = std::string(bob->Serialize().view());
    for (size_t at = 0; at < good.size(); ++at) {
      std::string altered = good;
      FlipBit(altered, at);
      EXPECT_FALSE(Open(*bob, altered).ok()) << at;
    }
    for (size_t size = 0; size < good.size(); ++size) {
      EXPECT_FALSE(ParseEnvelope(good.substr(0, size)).ok());
    }
    EXPECT_EQ(std::string(bob->Serialize().view()), state);
    EXPECT_TRUE(Open(*bob, good).ok());
  }
}

TEST_F(MailSessionTest, ParsesOneEncodingOnly) {
  MailSession alice = Initiate();
  const std::string good = *alice.Seal("first");
  EXPECT_TRUE(ParseEnvelope(good).ok());
  EXPECT_FALSE(ParseEnvelope(good + good).ok());
  EXPECT_FALSE(ParseEnvelope(good + std::string("\x98\x06\x01")).ok());
  EXPECT_FALSE(ParseEnvelope("").ok());
  EXPECT_FALSE(ParseEnvelope(std::string(kMaxSealedBytes + 1, 'x')).ok());
  v1::MailEnvelope other = *ParseEnvelope(good);
  other.set_version(2);
  EXPECT_FALSE(ParseEnvelope(other.SerializeAsString()).ok());
  other = *ParseEnvelope(good);
  other.mutable_initial()->clear_identity();
  EXPECT_FALSE(ParseEnvelope(other.SerializeAsString()).ok());
  other = *ParseEnvelope(good);
  other.set_ciphertext(std::string(16, 'x'));
  EXPECT_FALSE(ParseEnvelope(other.SerializeAsString()).ok());
}

TEST_F(MailSessionTest, AnotherNameOrIdentityOpensNothing) {
  MailSession alice = Initiate();
  const std::string first = *alice.Seal("first");
  const auto envelope = ParseEnvelope(first);
  auto as_mallory = Respond(*envelope, "mallory");
  ASSERT_TRUE(as_mallory.ok());
  EXPECT_TRUE(absl::IsUnauthenticated(as_mallory->Open(*envelope, random_).status()));
  auto for_carol = Respond(*envelope, "alice", "carol");
  ASSERT_TRUE(for_carol.ok());
  EXPECT_TRUE(absl::IsUnauthenticated(for_carol->Open(*envelope, random_).status()));

  v1::MailEnvelope other = *envelope;
  other.mutable_initial()->set_identity(TestIdentity(2).public_identity().Serialize());
  EXPECT_TRUE(absl::IsUnauthenticated(CheckInitial(other.initial()).status()));
  // Mallory signs Alice's key as her own.
  other.mutable_initial()->set_identity_key_signature(
      SignIdentityKey(TestIdentity(2), alice_key_.public_key()));
  ASSERT_TRUE(CheckInitial(other.initial()).ok());
  auto as_other = Respond(other);
  ASSERT_TRUE(as_other.ok());
  EXPECT_TRUE(absl::IsUnauthenticated(as_other->Open(other, random_).status()));
}

TEST_F(MailSessionTest, TheKeysOfTheInitialMessageAreNeeded) {
  MailSession alice = Initiate();
  const auto envelope = ParseEnvelope(*alice.Seal("first"));
  const crypto::PublicIdentity& identity = TestIdentity(0).public_identity();
  const MailOwner bob = {"bob", &TestIdentity(1), &bob_key_};
  EXPECT_TRUE(absl::IsUnauthenticated(
      MailSession::Respond(bob, "alice", identity, *envelope, one_time_, &one_time_).status()));
  EXPECT_TRUE(absl::IsUnauthenticated(
      MailSession::Respond(bob, "alice", identity, *envelope, pre_key_, &pre_key_).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(
      MailSession::Respond(bob, "alice", identity, *envelope, pre_key_, nullptr).status()));
  const MailOwner reinstalled = {"bob", &TestIdentity(1), &one_time_};
  EXPECT_TRUE(absl::IsUnauthenticated(
      MailSession::Respond(reinstalled, "alice", identity, *envelope, pre_key_, &one_time_)
          .status()));
}

TEST_F(MailSessionTest, SizesTellTheBucketOnly) {
  MailSession alice = Initiate();
  std::set<size_t> sizes;
  for (const size_t bytes : {0, 1, 500, 1'023}) {
    const auto envelope = ParseEnvelope(*alice.Seal(std::string(bytes, 'x')));
    ASSERT_TRUE(envelope.ok());
    sizes.insert(envelope->ciphertext().size());
  }
  EXPECT_EQ(sizes, std::set<size_t>({1024 + 16}));
  const auto next = ParseEnvelope(*alice.Seal(std::string(1'024, 'x')));
  EXPECT_EQ(next->ciphertext().size(), 4096u + 16);
  EXPECT_FALSE(alice.Seal(std::string(kMaxMessagePlaintextBytes, 'x')).ok());
  const std::string largest = *alice.Seal(std::string(kMaxMessagePlaintextBytes - 1, 'x'));
  EXPECT_LE(largest.size(), kMaxSealedBytes);
  auto bob = Respond(*ParseEnvelope(largest));
  ASSERT_TRUE(bob.ok());
  EXPECT_EQ(Open(*bob, largest)->size(), kMaxMessagePlaintextBytes - 1);
}

TEST_F(MailSessionTest, SessionsDoNotOpenEachOthersMail) {
  MailSession one = Initiate();
  MailSession other = Initiate();
  EXPECT_NE(one.id(), other.id());
  const std::string sealed = *one.Seal("first");
  auto bob = Respond(*ParseEnvelope(*other.Seal("x")));
  EXPECT_TRUE(absl::IsInvalidArgument(Open(*bob, sealed).status()));
  v1::MailEnvelope moved = *ParseEnvelope(sealed);
  moved.set_session_id(other.id());
  EXPECT_FALSE(bob->Open(moved, random_).ok());
}

}  // namespace
}  // namespace blindcart::protocol
