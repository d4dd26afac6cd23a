#include "crypto/ed25519.h"

#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "crypto/encoding.h"
#include "crypto/testing/deterministic_random.h"
#include "crypto/testing/vectors.h"
#include "gtest/gtest.h"

namespace blindcart::crypto {
namespace {

// Lines of "sk||pk : pk : message : signature||message :".
TEST(Ed25519Test, PassesSignInput) {
  int tests = 0;
  std::istringstream lines(ReadVectors("rfc/ed25519_sign.input"));
  for (std::string line; std::getline(lines, line);) {
    const std::vector<std::string> fields = absl::StrSplit(line, ':');
    ASSERT_GE(fields.size(), 4u);
    const std::string message = FromHex(fields[2]);
    const std::string signature = FromHex(fields[3]).substr(0, kEd25519SignatureBytes);
    const auto key = Ed25519PrivateKey::FromSeed(FromHex(fields[0]).substr(0, 32));
    ASSERT_TRUE(key.ok());
    EXPECT_EQ(HexEncode(key->public_key()), fields[1]);
    EXPECT_EQ(key->Sign(message), signature);
    EXPECT_TRUE(Ed25519Verify(key->public_key(), message, signature).ok());
    EXPECT_FALSE(Ed25519Verify(key->public_key(), message + "x", signature).ok());
    ++tests;
  }
  EXPECT_EQ(tests, 85);
}

TEST(Ed25519Test, PassesWycheproof) {
  int tests = 0, accepted = 0;
  const nlohmann::json vectors = ReadJsonVectors("wycheproof/ed25519_test.part.json");
  for (const auto& group : vectors["testGroups"]) {
    const std::string key = FromHex(group["publicKey"]["pk"]);
    for (const auto& test : group["tests"]) {
      const bool ok = Ed25519Verify(key, FromHex(test["msg"]), FromHex(test["sig"])).ok();
      EXPECT_EQ(ok, test["result"] == "valid") << test["tcId"];
      ++tests;
      accepted += ok;
    }
  }
  EXPECT_EQ(tests, 105);
  EXPECT_GT(accepted, 10);
}

TEST(Ed25519Test, JudgesEdgeCasesByTheStrictPolicy) {
  const std::set<std::string> refused = {"low_order_A",     "low_order_R",       "non_canonical_A",
                                         "non_canonical_R", "low_order_residue", "reencoded_k"};
  int tests = 0, accepted = 0;
  for (const auto& test : ReadJsonVectors("rfc/ed25519_cctv.json")) {
    bool expected = true;
    if (!test["flags"].is_null()) {
      for (const auto& flag : test["flags"]) expected &= refused.count(flag) == 0;
    }
    const bool ok =
        Ed25519Verify(FromHex(test["key"]), test["msg"].get<std::string>(), FromHex(test["sig"]))
            .ok();
    EXPECT_EQ(ok, expected) << test["number"];
    ++tests;
    accepted += ok;
  }
  EXPECT_EQ(tests, 603);
  EXPECT_EQ(accepted, 27);
}

TEST(Ed25519Test, GeneratesDifferentKeysThatSign) {
  DeterministicRandom random(9);
  const Ed25519PrivateKey a = Ed25519PrivateKey::Generate(random);
  const Ed25519PrivateKey b = Ed25519PrivateKey::Generate(random);
  EXPECT_NE(a.public_key(), b.public_key());
  const std::string signature = a.Sign("message");
  EXPECT_TRUE(Ed25519Verify(a.public_key(), "message", signature).ok());
  EXPECT_EQ(Ed25519Verify(b.public_key(), "message", signature).code(),
            absl::StatusCode::kUnauthenticated);
  EXPECT_TRUE(Ed25519Verify(a.public_key(), absl::string_view(), a.Sign(absl::string_view())).ok());
  EXPECT_EQ(Ed25519PrivateKey::FromSeed(a.seed().view()).value().public_key(), a.public_key());
}

TEST(Ed25519Test, RefusesEveryFlippedBit) {
  DeterministicRandom random(10);
  const Ed25519PrivateKey key = Ed25519PrivateKey::Generate(random);
  const std::string signature = key.Sign("message");
  for (size_t i = 0; i < signature.size() * 8; ++i) {
    std::string wrong = signature;
    wrong[i / 8] = static_cast<char>(wrong[i / 8] ^ (1 << (i % 8)));
    EXPECT_FALSE(Ed25519Verify(key.public_key(), "message", wrong).ok()) << i;
  }
}

TEST(Ed25519Test, RefusesOtherLengths) {
  DeterministicRandom random(11);
  const Ed25519PrivateKey key = Ed25519PrivateKey::Generate(random);
  const std::string signature = key.Sign("message");
  EXPECT_FALSE(Ed25519PrivateKey::FromSeed(std::string(31, 's')).ok());
  EXPECT_FALSE(Ed25519PrivateKey::FromSeed(std::string(64, 's')).ok());
  EXPECT_EQ(Ed25519Verify(key.public_key(), "message", signature.substr(1)).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(Ed25519Verify(key.public_key(), "message", signature + '\0').ok());
  EXPECT_FALSE(Ed25519Verify(key.public_key().substr(1), "message", signature).ok());
}

TEST(Ed25519Test, KnowsValidPublicKeys) {
  DeterministicRandom random(12);
  EXPECT_TRUE(IsValidEd25519PublicKey(Ed25519PrivateKey::Generate(random).public_key()));
  EXPECT_FALSE(IsValidEd25519PublicKey(std::string(32, '\0')));  // of order 4
  EXPECT_FALSE(IsValidEd25519PublicKey(std::string(1, '\1') + std::string(31, '\0')));  // neutral
  EXPECT_FALSE(IsValidEd25519PublicKey(std::string(32, '\xff')));  // not canonical
  EXPECT_FALSE(IsValidEd25519PublicKey(""));
}

}  // namespace
}  // namespace blindcart::crypto
