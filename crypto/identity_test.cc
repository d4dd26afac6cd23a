#include "crypto/identity.h"

#include <string>
#include <thread>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "crypto/encoding.h"
#include "crypto/hash.h"
#include "crypto/testing/deterministic_random.h"
#include "crypto/testing/test_identity.h"
#include "gtest/gtest.h"

namespace blindcart::crypto {
namespace {

const PublicIdentity& TestPublic() { return TestIdentity(0).public_identity(); }

TEST(PublicIdentityTest, FingerprintCoversBothKeys) {
  const PublicIdentity& a = TestPublic();
  EXPECT_EQ(a.fingerprint(), Sha256(LengthPrefixed({a.rsa().SpkiDer(), a.ed25519()})));
  EXPECT_EQ(a.fingerprint().size(), kFingerprintBytes);
  const PublicIdentity& b = TestIdentity(1).public_identity();
  const auto mixed = PublicIdentity::Create(a.rsa(), b.ed25519());
  ASSERT_TRUE(mixed.ok());
  EXPECT_NE(mixed->fingerprint(), a.fingerprint());
  EXPECT_NE(mixed->fingerprint(), b.fingerprint());
}

TEST(PublicIdentityTest, ParsesWhatItSerializes) {
  const auto parsed = PublicIdentity::Parse(TestPublic().Serialize());
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(parsed->fingerprint(), TestPublic().fingerprint());
  EXPECT_EQ(parsed->ed25519(), TestPublic().ed25519());
  EXPECT_EQ(parsed->rsa().SpkiDer(), TestPublic().rsa().SpkiDer());
}

TEST(PublicIdentityTest, RefusesAnInvalidSigningKey) {
  EXPECT_FALSE(PublicIdentity::Create(TestPublic().rsa(), std::string(32, '\0')).ok());
  EXPECT_FALSE(PublicIdentity::Create(TestPublic().rsa(), "short").ok());
}

TEST(PublicIdentityTest, ParseRefusesTruncationAndExtension) {
  const std::string& good = TestPublic().Serialize();
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_FALSE(PublicIdentity::Parse(good.substr(0, size)).ok()) << size;
  }
  EXPECT_FALSE(PublicIdentity::Parse(good + '\0').ok());
  EXPECT_FALSE(PublicIdentity::Parse(std::string(1 << 20, '\0')).ok());
}

// Random changes: what still parses is exactly what was parsed (one form for one identity).
TEST(PublicIdentityTest, ParseSurvivesRandomChanges) {
  DeterministicRandom random(15);
  const std::string& good = TestPublic().Serialize();
  for (int i = 0; i < 3000; ++i) {
    const std::string r = random.Bytes(8);
    std::string changed = good;
    const size_t changes = 1 + static_cast<uint8_t>(r[0]) % 3;
    for (size_t c = 0; c < changes; ++c) {
      const size_t at = static_cast<size_t>(static_cast<uint8_t>(r[2 * c + 1])) * 4 +
                        static_cast<uint8_t>(r[7]) % 4;
      changed[at % changed.size()] = r[2 * c + 2];
    }
    const auto parsed = PublicIdentity::Parse(changed);
    if (parsed.ok()) {
      EXPECT_EQ(parsed->Serialize(), changed);
    }
  }
}

TEST(PublicIdentityTest, PemReadsBack) {
  const std::string pem = TestPublic().ToPem();
  EXPECT_EQ(pem.substr(0, 42), "-----BEGIN BLINDCART PUBLIC IDENTITY-----\n");
  EXPECT_LE(pem.size(), kMaxPublicIdentityPemBytes);
  for (const std::string& text :
       {pem, absl::StrCat("\n  ", pem, "\n"), absl::StrReplaceAll(pem, {{"\n", "\r\n"}})}) {
    const auto parsed = PublicIdentity::ParsePem(text);
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(parsed->fingerprint(), TestPublic().fingerprint());
  }
}

TEST(PublicIdentityTest, PemRefusesWhatIsNone) {
  const std::string pem = TestPublic().ToPem();
  for (size_t size = 0; size + 1 < pem.size(); ++size) {
    EXPECT_FALSE(PublicIdentity::ParsePem(pem.substr(0, size)).ok()) << size;
  }
  EXPECT_FALSE(PublicIdentity::ParsePem(absl::StrCat("x", pem)).ok());
  EXPECT_FALSE(PublicIdentity::ParsePem(absl::StrCat(pem, pem)).ok());
  EXPECT_FALSE(PublicIdentity::ParsePem(absl::StrCat(pem, std::string(2048, ' '))).ok());
  std::string spaced = pem;
  spaced.insert(60, " ");
  EXPECT_FALSE(PublicIdentity::ParsePem(spaced).ok());
  EXPECT_FALSE(PublicIdentity::ParsePem(absl::StrReplaceAll(pem, {{"PUBLIC", "PRIVATE"}})).ok());
}

TEST(PublicIdentityTest, PemSurvivesRandomChanges) {
  DeterministicRandom random(16);
  const std::string good = TestPublic().ToPem();
  for (int i = 0; i < 3000; ++i) {
    const std::string r = random.Bytes(3);
    std::string changed = good;
    const size_t at = static_cast<uint8_t>(r[0]) << 8 | static_cast<uint8_t>(r[1]);
    changed[at % changed.size()] = r[2];
    const auto parsed = PublicIdentity::ParsePem(changed);
    if (!parsed.ok() || changed == good) continue;
    // Only white space can change without changing the identity.
    if (parsed->fingerprint() == TestPublic().fingerprint()) {
      EXPECT_TRUE(good[at % good.size()] == '\n' || r[2] == '\n') << i;
    }
  }
}

TEST(IdentityTest, DecryptsAndSigns) {
  const Identity& identity = TestIdentity(0);
  const std::string ciphertext =
      TestPublic().rsa().EncryptOaep("blindcart/v1/login", "challenge").value();
  const OaepResult result = identity.Decrypt("blindcart/v1/login", ciphertext);
  EXPECT_TRUE(result.ok);
  EXPECT_EQ(result.plaintext.view(), "challenge");
  EXPECT_FALSE(identity.Decrypt("blindcart/v1/other", ciphertext).ok);

  const std::string signature = identity.Sign("blindcart/v1 order", "message");
  EXPECT_TRUE(TestPublic().VerifySignature("blindcart/v1 order", "message", signature).ok());
  EXPECT_TRUE(Ed25519Verify(TestPublic().ed25519(),
                            LengthPrefixed({"blindcart/v1 order", "message"}), signature)
                  .ok());
}

TEST(IdentityTest, ASignatureServesOnePurposeAndOneSigner) {
  const std::string signature = TestIdentity(0).Sign("blindcart/v1 order", "message");
  const auto refused = [&](const absl::Status& status) {
    return status.code() == absl::StatusCode::kUnauthenticated;
  };
  EXPECT_TRUE(refused(TestPublic().VerifySignature("blindcart/v1 receipt", "message", signature)));
  EXPECT_TRUE(refused(TestPublic().VerifySignature("blindcart/v1 order", "massage", signature)));
  EXPECT_TRUE(refused(TestPublic().VerifySignature("blindcart/v1 orderm", "essage", signature)));
  EXPECT_TRUE(refused(TestPublic().VerifySignature("blindcart/v1 order", "message", "short")));
  EXPECT_TRUE(refused(TestIdentity(1).public_identity().VerifySignature("blindcart/v1 order",
                                                                        "message", signature)));
}

TEST(IdentityTest, GeneratesWithTheRandomSourceHandedIn) {
  DeterministicRandom a(17), b(17);
  const auto one = Identity::Generate(3072, a);
  ASSERT_TRUE(one.ok());
  EXPECT_EQ(one->public_identity().ed25519(), Ed25519PrivateKey::Generate(b).public_key());
  EXPECT_FALSE(Identity::Generate(2048, a).ok());
}

TEST(IdentityTest, IsSharedBetweenThreads) {
  const Identity& identity = TestIdentity(0);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&identity, t] {
      for (int i = 0; i < 20; ++i) {
        const std::string message = absl::StrCat(t, " ", i);
        const PublicIdentity copy = identity.public_identity();
        const OaepResult result =
            identity.Decrypt("label", copy.rsa().EncryptOaep("label", message).value());
        EXPECT_TRUE(result.ok);
        EXPECT_EQ(result.plaintext.view(), message);
        EXPECT_TRUE(
            copy.VerifySignature("context", message, identity.Sign("context", message)).ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace blindcart::crypto
