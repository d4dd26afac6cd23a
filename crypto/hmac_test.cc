#include "crypto/hmac.h"

#include <string>
#include <utility>
#include <vector>

#include "crypto/encoding.h"
#include "crypto/testing/vectors.h"
#include "gtest/gtest.h"

namespace blindcart::crypto {
namespace {

std::string SignWith(HmacKey& key, const std::vector<absl::string_view>& parts) {
  std::string mac(kHmacSha256Bytes, '\0');
  key.Sign(parts, reinterpret_cast<uint8_t*>(&mac[0]));
  return mac;
}

TEST(HmacTest, PassesWycheproof) {
  int tests = 0;
  const nlohmann::json vectors = ReadJsonVectors("wycheproof/hmac_sha256_test.part.json");
  for (const auto& group : vectors["testGroups"]) {
    const size_t tag_bytes = group["tagSize"].get<size_t>() / 8;
    for (const auto& test : group["tests"]) {
      const std::string key = FromHex(test["key"]);
      const std::string message = FromHex(test["msg"]);
      const std::string tag = FromHex(test["tag"]);
      const bool valid = test["result"] == "valid";
      const std::string mac = HmacSha256(key, message);
      EXPECT_EQ(mac.substr(0, tag_bytes) == tag, valid) << test["tcId"];
      HmacKey reusable = HmacKey::Create(key).value();
      EXPECT_EQ(SignWith(reusable, {message}), mac) << test["tcId"];
      if (tag_bytes == kHmacSha256Bytes) {
        EXPECT_EQ(reusable.Verify({message}, tag), valid) << test["tcId"];
      } else {
        EXPECT_FALSE(reusable.Verify({message}, tag)) << "a truncated tag";
      }
      ++tests;
    }
  }
  EXPECT_EQ(tests, 118);
}

TEST(HmacTest, TakesAnEmptyKeyAndMessage) {
  EXPECT_EQ(HexEncode(HmacSha256("", "")),
            "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
  EXPECT_EQ(HmacSha256(absl::string_view(), absl::string_view()), HmacSha256("", ""));
}

TEST(HmacKeyTest, RefusesAnEmptyKey) {
  EXPECT_EQ(HmacKey::Create("").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(HmacKeyTest, IsReusableAndJoinsParts) {
  HmacKey key = HmacKey::Create("key").value();
  const std::string first = SignWith(key, {"one", "", "two"});
  EXPECT_EQ(first, HmacSha256("key", "onetwo"));
  EXPECT_EQ(SignWith(key, {}), HmacSha256("key", absl::string_view()));
  EXPECT_EQ(SignWith(key, {absl::string_view()}), HmacSha256("key", ""));
  EXPECT_EQ(SignWith(key, {"onetwo"}), first);
  HmacKey moved = std::move(key);
  EXPECT_EQ(SignWith(moved, {"onetwo"}), first);
}

TEST(HmacKeyTest, VerifyRefusesEveryFlippedBitAndLength) {
  HmacKey key = HmacKey::Create("key").value();
  const std::string mac = SignWith(key, {"message"});
  EXPECT_TRUE(key.Verify({"message"}, mac));
  EXPECT_FALSE(key.Verify({"massage"}, mac));
  for (size_t i = 0; i < mac.size() * 8; ++i) {
    std::string wrong = mac;
    wrong[i / 8] = static_cast<char>(wrong[i / 8] ^ (1 << (i % 8)));
    EXPECT_FALSE(key.Verify({"message"}, wrong));
  }
  for (size_t size = 0; size < mac.size(); ++size) {
    EXPECT_FALSE(key.Verify({"message"}, mac.substr(0, size)));
  }
  EXPECT_FALSE(key.Verify({"message"}, mac + '\0'));
}

}  // namespace
}  // namespace blindcart::crypto
