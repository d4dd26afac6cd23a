#include "crypto/x25519.h"

#include <algorithm>
#include <string>

#include "crypto/encoding.h"
#include "crypto/testing/deterministic_random.h"
#include "crypto/testing/vectors.h"
#include "gtest/gtest.h"

namespace blindcart::crypto {
namespace {

TEST(X25519Test, PassesRfc7748) {
  int tests = 0;
  for (auto& test : ReadTextVectors("rfc/rfc7748_x25519.txt")) {
    const auto pair = X25519KeyPair::FromPrivate(FromHex(test["INPUT_SCALAR"]));
    ASSERT_TRUE(pair.ok());
    EXPECT_EQ(HexEncode(pair->Exchange(FromHex(test["INPUT_U"])).value().view()), test["OUTPUT_U"]);
    ++tests;
  }
  EXPECT_EQ(tests, 3);
}

TEST(X25519Test, ThePublicKeyIsTheExchangeWithTheBasePoint) {
  DeterministicRandom random(6);
  const X25519KeyPair pair = X25519KeyPair::Generate(random);
  std::string base_point(kX25519KeyBytes, '\0');
  base_point[0] = 9;  // RFC 7748, section 4.1
  EXPECT_EQ(pair.Exchange(base_point).value().view(), pair.public_key());
}

TEST(X25519Test, PassesWycheproof) {
  int tests = 0, zero = 0;
  const nlohmann::json vectors = ReadJsonVectors("wycheproof/x25519_test.part.json");
  for (const auto& group : vectors["testGroups"]) {
    for (const auto& test : group["tests"]) {
      ++tests;
      const auto pair = X25519KeyPair::FromPrivate(FromHex(test["private"]));
      ASSERT_TRUE(pair.ok()) << test["tcId"];
      const auto shared = pair->Exchange(FromHex(test["public"]));
      const auto& flags = test["flags"];
      if (std::find(flags.begin(), flags.end(), "ZeroSharedSecret") != flags.end()) {
        EXPECT_EQ(shared.status().code(), absl::StatusCode::kInvalidArgument) << test["tcId"];
        ++zero;
      } else {
        ASSERT_NE(test["result"], "invalid") << test["tcId"];
        ASSERT_TRUE(shared.ok()) << test["tcId"];
        EXPECT_EQ(HexEncode(shared->view()), test["shared"].get<std::string>()) << test["tcId"];
      }
    }
  }
  EXPECT_EQ(tests, 343);
  EXPECT_GT(zero, 0);
}

TEST(X25519Test, BothSidesAgree) {
  DeterministicRandom random(7);
  const X25519KeyPair a = X25519KeyPair::Generate(random);
  const X25519KeyPair b = X25519KeyPair::Generate(random);
  EXPECT_NE(a.public_key(), b.public_key());
  EXPECT_EQ(a.public_key().size(), kX25519KeyBytes);
  EXPECT_EQ(a.Exchange(b.public_key()).value().view(), b.Exchange(a.public_key()).value().view());
}

TEST(X25519Test, RefusesOtherLengths) {
  DeterministicRandom random(8);
  const X25519KeyPair pair = X25519KeyPair::Generate(random);
  for (size_t size : {0, 31, 33, 64}) {
    EXPECT_FALSE(X25519KeyPair::FromPrivate(std::string(size, 'k')).ok());
    EXPECT_FALSE(pair.Exchange(std::string(size, 'k')).ok());
  }
  EXPECT_FALSE(pair.Exchange(std::string(32, '\0')).ok());
}

}  // namespace
}  // namespace blindcart::crypto
