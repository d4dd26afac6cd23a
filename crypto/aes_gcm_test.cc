#include "crypto/aes_gcm.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "crypto/encoding.h"
#include "crypto/testing/deterministic_random.h"
#include "crypto/testing/vectors.h"
#include "gtest/gtest.h"

namespace blindcart::crypto {
namespace {

const std::string kKey(32, 'k');
const std::string kNonce(12, 'n');

TEST(Aes256GcmTest, PassesWycheproof) {
  int tests = 0, accepted = 0;
  const nlohmann::json vectors = ReadJsonVectors("wycheproof/aes_gcm_test.part.json");
  for (const auto& group : vectors["testGroups"]) {
    for (const auto& test : group["tests"]) {
      ++tests;
      const std::string key = FromHex(test["key"]);
      auto aead = Aes256Gcm::Create(key);
      // Shorter keys are another algorithm's.
      ASSERT_EQ(aead.ok(), key.size() == kAesGcmKeyBytes) << test["tcId"];
      if (!aead.ok()) continue;
      const std::string nonce = FromHex(test["iv"]);
      const std::string ad = FromHex(test["aad"]);
      const std::string message = FromHex(test["msg"]);
      const std::string sealed = FromHex(test["ct"]) + FromHex(test["tag"]);
      std::string opened;
      const absl::Status status = aead->Open(nonce, ad, sealed, &opened);
      if (nonce.size() != kAesGcmNonceBytes) {
        EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << test["tcId"];
      } else if (test["result"] == "valid") {
        ASSERT_TRUE(status.ok()) << test["tcId"];
        EXPECT_EQ(opened, message) << test["tcId"];
        std::string resealed;
        ASSERT_TRUE(aead->Seal(nonce, ad, message, &resealed).ok());
        EXPECT_EQ(resealed, sealed) << test["tcId"];
        ++accepted;
      } else {
        EXPECT_EQ(status.code(), absl::StatusCode::kUnauthenticated) << test["tcId"];
        EXPECT_EQ(opened, "") << test["tcId"];
      }
    }
  }
  EXPECT_EQ(tests, 200);
  EXPECT_GT(accepted, 10);
}

TEST(Aes256GcmTest, RefusesOtherSizes) {
  EXPECT_FALSE(Aes256Gcm::Create(std::string(31, 'k')).ok());
  EXPECT_FALSE(Aes256Gcm::Create(std::string(33, 'k')).ok());
  Aes256Gcm aead = Aes256Gcm::Create(kKey).value();
  std::string out = "before";
  EXPECT_EQ(aead.Seal(std::string(11, 'n'), "", "m", &out).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(aead.Open(kNonce, "", std::string(15, 'c'), &out).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(out, "before");
}

TEST(Aes256GcmTest, RefusesEveryFlippedBit) {
  Aes256Gcm aead = Aes256Gcm::Create(kKey).value();
  std::string sealed;
  ASSERT_TRUE(aead.Seal(kNonce, "ad", "message", &sealed).ok());
  for (size_t i = 0; i < sealed.size() * 8; ++i) {
    std::string wrong = sealed;
    wrong[i / 8] = static_cast<char>(wrong[i / 8] ^ (1 << (i % 8)));
    std::string opened = "before";
    EXPECT_EQ(aead.Open(kNonce, "ad", wrong, &opened).code(), absl::StatusCode::kUnauthenticated);
    EXPECT_EQ(opened, "before");
  }
  std::string opened;
  EXPECT_FALSE(aead.Open(kNonce, "da", sealed, &opened).ok());
  EXPECT_FALSE(aead.Open(std::string(12, 'm'), "ad", sealed, &opened).ok());
  // And after all those failures the context still opens what is right.
  ASSERT_TRUE(aead.Open(kNonce, "ad", sealed, &opened).ok());
  EXPECT_EQ(opened, "message");
}

TEST(Aes256GcmTest, AppendsToItsOutput) {
  Aes256Gcm aead = Aes256Gcm::Create(kKey).value();
  std::string sealed = "header";
  ASSERT_TRUE(aead.Seal(kNonce, "", "message", &sealed).ok());
  EXPECT_EQ(sealed.substr(0, 6), "header");
  EXPECT_EQ(sealed.size(), 6 + 7 + kAesGcmTagBytes);
  std::string opened = "plain ";
  ASSERT_TRUE(aead.Open(kNonce, "", sealed.substr(6), &opened).ok());
  EXPECT_EQ(opened, "plain message");
}

TEST(Aes256GcmTest, TakesAnEmptyMessage) {
  Aes256Gcm aead = Aes256Gcm::Create(kKey).value();
  std::string sealed, opened;
  ASSERT_TRUE(aead.Seal(kNonce, "ad", absl::string_view(), &sealed).ok());
  EXPECT_EQ(sealed.size(), kAesGcmTagBytes);
  ASSERT_TRUE(aead.Open(kNonce, "ad", sealed, &opened).ok());
  EXPECT_EQ(opened, "");
  EXPECT_FALSE(aead.Open(kNonce, "da", sealed, &opened).ok());
}

TEST(Aes256GcmTest, BufferFormsAgreeAlsoInPlace) {
  Aes256Gcm aead = Aes256Gcm::Create(kKey).value();
  const std::string message = DeterministicRandom(6).Bytes(256 * 1024);
  std::string sealed;
  ASSERT_TRUE(aead.Seal(kNonce, "ad", message, &sealed).ok());

  std::vector<uint8_t> buffer(message.begin(), message.end());
  buffer.resize(message.size() + kAesGcmTagBytes);
  const auto* bytes = reinterpret_cast<const char*>(buffer.data());
  ASSERT_TRUE(
      aead.SealTo(kNonce, "ad", absl::string_view(bytes, message.size()), buffer.data()).ok());
  EXPECT_EQ(absl::string_view(bytes, buffer.size()), sealed);
  ASSERT_TRUE(
      aead.OpenTo(kNonce, "ad", absl::string_view(bytes, buffer.size()), buffer.data()).ok());
  EXPECT_EQ(absl::string_view(bytes, message.size()), message);
}

TEST(Aes256GcmTest, WipesWhatItDecryptedBeforeItFailed) {
  Aes256Gcm aead = Aes256Gcm::Create(kKey).value();
  std::string sealed;
  ASSERT_TRUE(aead.Seal(kNonce, "", std::string(1000, 'p'), &sealed).ok());
  sealed.back() ^= 1;
  std::vector<uint8_t> out(1000, 'x');
  EXPECT_FALSE(aead.OpenTo(kNonce, "", sealed, out.data()).ok());
  EXPECT_EQ(std::count(out.begin(), out.end(), 0), 1000);
}

TEST(Aes256GcmTest, SurvivesBeingMoved) {
  Aes256Gcm aead = Aes256Gcm::Create(kKey).value();
  std::string sealed, opened;
  ASSERT_TRUE(aead.Seal(kNonce, "", "message", &sealed).ok());
  Aes256Gcm moved = std::move(aead);
  ASSERT_TRUE(moved.Open(kNonce, "", sealed, &opened).ok());
  EXPECT_EQ(opened, "message");
}

}  // namespace
}  // namespace blindcart::crypto
