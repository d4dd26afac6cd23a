#include "crypto/hkdf.h"

#include <string>

#include "crypto/encoding.h"
#include "crypto/testing/vectors.h"
#include "gtest/gtest.h"

namespace blindcart::crypto {
namespace {

TEST(HkdfTest, PassesRfc5869) {
  int tests = 0;
  for (auto& test : ReadTextVectors("rfc/rfc5869_hkdf_sha256.txt")) {
    const std::string ikm = FromHex(test["IKM"]);
    const std::string salt = FromHex(test["salt"]);
    const std::string info = FromHex(test["info"]);
    const size_t length = std::stoul(test["L"]);
    const SecretBytes prk = HkdfExtract(salt, ikm);
    EXPECT_EQ(HexEncode(prk.view()), test["PRK"]);
    EXPECT_EQ(HexEncode(HkdfExpand(prk.view(), info, length).value().view()), test["OKM"]);
    EXPECT_EQ(HexEncode(Hkdf(salt, ikm, info, length).value().view()), test["OKM"]);
    ++tests;
  }
  EXPECT_EQ(tests, 3);
}

TEST(HkdfTest, PassesWycheproof) {
  int tests = 0;
  const nlohmann::json vectors = ReadJsonVectors("wycheproof/hkdf_sha256_test.part.json");
  for (const auto& group : vectors["testGroups"]) {
    for (const auto& test : group["tests"]) {
      const auto output = Hkdf(FromHex(test["salt"]), FromHex(test["ikm"]), FromHex(test["info"]),
                               test["size"].get<size_t>());
      if (test["result"] == "valid") {
        ASSERT_TRUE(output.ok()) << test["tcId"];
        EXPECT_EQ(HexEncode(output->view()), test["okm"].get<std::string>()) << test["tcId"];
      } else {
        EXPECT_EQ(output.status().code(), absl::StatusCode::kInvalidArgument) << test["tcId"];
      }
      ++tests;
    }
  }
  EXPECT_EQ(tests, 64);
}

TEST(HkdfTest, BoundsTheLength) {
  const SecretBytes prk = HkdfExtract("salt", "ikm");
  EXPECT_TRUE(HkdfExpand(prk.view(), "", 1).ok());
  EXPECT_TRUE(HkdfExpand(prk.view(), "", kMaxHkdfOutputBytes).ok());
  EXPECT_FALSE(HkdfExpand(prk.view(), "", kMaxHkdfOutputBytes + 1).ok());
  EXPECT_FALSE(HkdfExpand(prk.view(), "", 0).ok());
}

TEST(HkdfTest, RefusesAShortKey) {
  EXPECT_FALSE(HkdfExpand(std::string(31, 'k'), "", 32).ok());
  EXPECT_FALSE(HkdfExpand("", "", 32).ok());
}

TEST(HkdfTest, TakesALongInfoAndRefusesOneThatTheLibraryRefuses) {
  const std::string prk(32, 'k');
  EXPECT_TRUE(HkdfExpand(prk, std::string(1024, 'i'), 32).ok());
  EXPECT_EQ(HkdfExpand(prk, std::string(1 << 20, 'i'), 32).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(HkdfTest, AnEmptySaltIsThirtyTwoZeros) {
  EXPECT_EQ(HkdfExtract("", "ikm").view(), HkdfExtract(std::string(32, '\0'), "ikm").view());
  EXPECT_EQ(HkdfExtract("salt", "").size(), 32u);
}

}  // namespace
}  // namespace blindcart::crypto
