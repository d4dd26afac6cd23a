#include "protocol/x3dh.h"

#include <functional>
#include <string>
#include <vector>

#include "crypto/hkdf.h"
#include "crypto/testing/deterministic_random.h"
#include "crypto/testing/test_identity.h"
#include "gtest/gtest.h"
#include "protocol/testing/by_hand.h"
#include "protocol/testing/flip_bit.h"

namespace blindcart::protocol {
namespace {

using crypto::TestIdentity;
using crypto::X25519KeyPair;

class X3dhTest : public ::testing::Test {
 protected:
  v1::FetchKeysResult Published(bool with_one_time) {
    v1::FetchKeysResult keys;
    keys.set_found(true);
    keys.set_public_identity(TestIdentity(1).public_identity().Serialize());
    keys.set_identity_key(bob_key_.public_key());
    keys.set_identity_key_signature(SignIdentityKey(TestIdentity(1), bob_key_.public_key()));
    *keys.mutable_signed_pre_key() = SignPreKey(TestIdentity(1), 7, bob_pre_key_.public_key());
    if (with_one_time) {
      keys.mutable_one_time_pre_key()->set_id(9);
      keys.mutable_one_time_pre_key()->set_key(bob_one_time_.public_key());
    }
    return keys;
  }
  absl::StatusOr<X3dhInitiated> Initiate(const v1::FetchKeysResult& keys) {
    const absl::StatusOr<PreKeyBundle> bundle = CheckBundle(keys);
    if (!bundle.ok()) return bundle.status();
    return InitiateX3dh(Alice(), alice_key_, "bob", *bundle, random_);
  }
  absl::StatusOr<X3dhResult> Respond(const std::string& ephemeral, bool with_one_time,
                                     const X3dhParty& alice) {
    return RespondX3dh(Bob(), bob_key_, bob_pre_key_, with_one_time ? &bob_one_time_ : nullptr,
                       alice, ephemeral);
  }
  X3dhParty Alice() const {
    return {"alice", TestIdentity(0).public_identity().fingerprint(), alice_key_.public_key()};
  }
  X3dhParty Bob() const {
    return {"bob", TestIdentity(1).public_identity().fingerprint(), bob_key_.public_key()};
  }

  crypto::DeterministicRandom random_{1};
  const X25519KeyPair alice_key_ = X25519KeyPair::Generate(random_);
  const X25519KeyPair bob_key_ = X25519KeyPair::Generate(random_);
  const X25519KeyPair bob_pre_key_ = X25519KeyPair::Generate(random_);
  const X25519KeyPair bob_one_time_ = X25519KeyPair::Generate(random_);
};

TEST_F(X3dhTest, BothEndsAgree) {
  for (const bool with_one_time : {true, false}) {
    const auto initiated = Initiate(Published(with_one_time));
    ASSERT_TRUE(initiated.ok()) << initiated.status();
    const auto responded = Respond(initiated->ephemeral_key, with_one_time, Alice());
    ASSERT_TRUE(responded.ok()) << responded.status();
    EXPECT_EQ(responded->shared_secret.view(), initiated->result.shared_secret.view());
    EXPECT_EQ(responded->associated_data, initiated->result.associated_data);
  }
}

TEST_F(X3dhTest, DerivesWhatTheSpecificationSays) {
  for (const bool with_one_time : {true, false}) {
    const auto initiated = Initiate(Published(with_one_time));
    ASSERT_TRUE(initiated.ok());
    const std::string& ephemeral = initiated->ephemeral_key;
    std::string material(32, '\xff');
    material += by_hand::Exchange(bob_pre_key_, alice_key_.public_key());
    material += by_hand::Exchange(bob_key_, ephemeral);
    material += by_hand::Exchange(bob_pre_key_, ephemeral);
    if (with_one_time) material += by_hand::Exchange(bob_one_time_, ephemeral);
    EXPECT_EQ(crypto::Hkdf(std::string(32, '\0'), material, "blindcart/v1 x3dh", 32)->view(),
              initiated->result.shared_secret.view());
    EXPECT_EQ(initiated->result.associated_data,
              by_hand::Join({alice_key_.public_key(), bob_key_.public_key(), Alice().fingerprint,
                             Bob().fingerprint, "alice", "bob"}));
  }
}

TEST_F(X3dhTest, EverySessionHasItsOwnSecret) {
  const auto one = Initiate(Published(true));
  const auto other = Initiate(Published(true));
  ASSERT_TRUE(one.ok() && other.ok());
  EXPECT_NE(one->result.shared_secret.view(), other->result.shared_secret.view());
  // Without the one-time pre-key that the initiator used, the secret is another one.
  const auto without = Respond(one->ephemeral_key, false, Alice());
  ASSERT_TRUE(without.ok());
  EXPECT_NE(one->result.shared_secret.view(), without->shared_secret.view());
}

TEST_F(X3dhTest, WhoIsWhoIsAuthenticated) {
  const auto initiated = Initiate(Published(true));
  ASSERT_TRUE(initiated.ok());
  X3dhParty other_name = Alice();
  other_name.username = "mallory";
  EXPECT_NE(Respond(initiated->ephemeral_key, true, other_name)->associated_data,
            initiated->result.associated_data);
  X3dhParty other_identity = Alice();
  other_identity.fingerprint = TestIdentity(2).public_identity().fingerprint();
  EXPECT_NE(Respond(initiated->ephemeral_key, true, other_identity)->associated_data,
            initiated->result.associated_data);
  X3dhParty other_key = Alice();
  other_key.identity_key = bob_one_time_.public_key();
  EXPECT_NE(Respond(initiated->ephemeral_key, true, other_key)->shared_secret.view(),
            initiated->result.shared_secret.view());
}

TEST_F(X3dhTest, EveryAlteredByteOfABundleIsRefusedOrLeadsToAnotherSecret) {
  const v1::FetchKeysResult keys = Published(true);
  const auto refused = [&](const std::function<std::string*(v1::FetchKeysResult&)>& field) {
    v1::FetchKeysResult copy = keys;
    const size_t size = field(copy)->size();
    for (size_t at = 0; at < size; ++at) {
      v1::FetchKeysResult altered = keys;
      FlipBit(*field(altered), at);
      EXPECT_FALSE(CheckBundle(altered).ok()) << at;
    }
    v1::FetchKeysResult shorter = keys;
    field(shorter)->pop_back();
    EXPECT_FALSE(CheckBundle(shorter).ok());
    v1::FetchKeysResult longer = keys;
    field(longer)->push_back('x');
    EXPECT_FALSE(CheckBundle(longer).ok());
  };
  using Keys = v1::FetchKeysResult;
  refused([](Keys& k) { return k.mutable_identity_key(); });
  refused([](Keys& k) { return k.mutable_identity_key_signature(); });
  refused([](Keys& k) { return k.mutable_signed_pre_key()->mutable_key(); });
  refused([](Keys& k) { return k.mutable_signed_pre_key()->mutable_signature(); });

  v1::FetchKeysResult other_id = keys;
  other_id.mutable_signed_pre_key()->set_id(8);
  EXPECT_TRUE(absl::IsUnauthenticated(CheckBundle(other_id).status()));
  v1::FetchKeysResult other_owner = keys;
  other_owner.set_public_identity(TestIdentity(2).public_identity().Serialize());
  EXPECT_TRUE(absl::IsUnauthenticated(CheckBundle(other_owner).status()));
  v1::FetchKeysResult no_one_time_id = keys;
  no_one_time_id.mutable_one_time_pre_key()->set_id(0);
  EXPECT_FALSE(CheckBundle(no_one_time_id).ok());
  v1::FetchKeysResult short_one_time = keys;
  short_one_time.mutable_one_time_pre_key()->mutable_key()->pop_back();
  EXPECT_FALSE(CheckBundle(short_one_time).ok());
  v1::FetchKeysResult not_found = keys;
  not_found.set_found(false);
  EXPECT_FALSE(CheckBundle(not_found).ok());

  // One-time pre-keys are not signed (section 2.4): an altered one leads nowhere.
  v1::FetchKeysResult swapped = keys;
  swapped.mutable_one_time_pre_key()->set_key(alice_key_.public_key());
  const auto initiated = Initiate(swapped);
  ASSERT_TRUE(initiated.ok());
  EXPECT_NE(Respond(initiated->ephemeral_key, true, Alice())->shared_secret.view(),
            initiated->result.shared_secret.view());
}

TEST_F(X3dhTest, SignaturesServeOnePurpose) {
  // The signature over an identity key does not pass for one over a pre-key, nor the reverse.
  v1::SignedPreKey pre_key = SignPreKey(TestIdentity(1), 7, bob_key_.public_key());
  EXPECT_FALSE(VerifyIdentityKey(TestIdentity(1).public_identity(), bob_key_.public_key(),
                                 pre_key.signature())
                   .ok());
  pre_key.set_signature(SignIdentityKey(TestIdentity(1), bob_key_.public_key()));
  EXPECT_FALSE(VerifyPreKey(TestIdentity(1).public_identity(), pre_key).ok());
  EXPECT_FALSE(VerifyPreKey(TestIdentity(1).public_identity(),
                            SignPreKey(TestIdentity(1), 0, bob_key_.public_key()))
                   .ok());
}

TEST_F(X3dhTest, PointsOfSmallOrderAreRefused) {
  for (const std::string& point : by_hand::LowOrderPoints()) {
    v1::FetchKeysResult keys = Published(false);
    keys.set_identity_key(point);
    keys.set_identity_key_signature(SignIdentityKey(TestIdentity(1), point));
    EXPECT_TRUE(absl::IsInvalidArgument(Initiate(keys).status()));
    keys = Published(false);
    *keys.mutable_signed_pre_key() = SignPreKey(TestIdentity(1), 7, point);
    EXPECT_TRUE(absl::IsInvalidArgument(Initiate(keys).status()));
    keys = Published(true);
    keys.mutable_one_time_pre_key()->set_key(point);
    EXPECT_TRUE(absl::IsInvalidArgument(Initiate(keys).status()));
    EXPECT_TRUE(absl::IsInvalidArgument(Respond(point, true, Alice()).status()));
    X3dhParty alice = Alice();
    alice.identity_key = point;
    EXPECT_TRUE(absl::IsInvalidArgument(Respond(bob_one_time_.public_key(), true, alice).status()));
  }
}

}  // namespace
}  // namespace blindcart::protocol
