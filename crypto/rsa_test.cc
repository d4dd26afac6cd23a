#include "crypto/rsa.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include <string>
#include <thread>
#include <vector>

#include "crypto/encoding.h"
#include "crypto/testing/deterministic_random.h"
#include "crypto/testing/rsa_test_peer.h"
#include "crypto/testing/vectors.h"
#include "gtest/gtest.h"

namespace blindcart::crypto {
namespace {

const RsaPrivateKey& TestKey() {
  static const auto* const key = new RsaPrivateKey(RsaPrivateKey::Generate().value());
  return *key;
}

std::string ToSpki(EVP_PKEY* key) {
  uint8_t* der = nullptr;
  const int size = i2d_PUBKEY(key, &der);
  std::string spki(reinterpret_cast<char*>(der), static_cast<size_t>(size));
  OPENSSL_free(der);
  EVP_PKEY_free(key);
  return spki;
}

// A public key of any modulus and exponent.
std::string SpkiOf(int bits, bool odd, uint64_t exponent) {
  BIGNUM* n = BN_new();
  BIGNUM* e = BN_new();
  BN_rand(n, bits, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ODD);
  if (!odd) BN_clear_bit(n, 0);
  BN_set_word(e, exponent);
  OSSL_PARAM_BLD* builder = OSSL_PARAM_BLD_new();
  OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, n);
  OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_E, e);
  OSSL_PARAM* parameters = OSSL_PARAM_BLD_to_param(builder);
  EVP_PKEY_CTX* context = EVP_PKEY_CTX_new_from_name(nullptr, "RSA", nullptr);
  EVP_PKEY* key = nullptr;
  EXPECT_EQ(EVP_PKEY_fromdata_init(context), 1);
  EXPECT_EQ(EVP_PKEY_fromdata(context, &key, EVP_PKEY_PUBLIC_KEY, parameters), 1);
  EVP_PKEY_CTX_free(context);
  OSSL_PARAM_free(parameters);
  OSSL_PARAM_BLD_free(builder);
  BN_free(n);
  BN_free(e);
  return ToSpki(key);
}

struct VectorCounts {
  int tests = 0;
  int accepted = 0;
};

// Judges one file. Whatever was made for other hash functions must be refused.
VectorCounts RunVectors(const std::string& name) {
  VectorCounts counts;
  const nlohmann::json vectors = ReadJsonVectors(name);
  for (const auto& group : vectors["testGroups"]) {
    const auto key = RsaTestPeer::FromPkcs8Der(FromHex(group["privateKeyPkcs8"]));
    EXPECT_TRUE(key.ok()) << key.status();
    const bool our_suite = group["sha"] == "SHA-256" && group["mgfSha"] == "SHA-256";
    for (const auto& test : group["tests"]) {
      ++counts.tests;
      const OaepResult result = key->DecryptOaep(FromHex(test["label"]), FromHex(test["ct"]));
      const std::string message = FromHex(test["msg"]);
      counts.accepted += result.ok;
      if (result.ok) {
        EXPECT_EQ(result.plaintext.view(), message) << test["tcId"];
      }
      if (!result.ok) {
        EXPECT_EQ(result.plaintext.size(), key->public_key().max_plaintext_bytes());
      }
      if (test["result"] == "acceptable" && our_suite) continue;
      EXPECT_EQ(result.ok, our_suite && test["result"] == "valid") << test["tcId"];
      EXPECT_EQ(ERR_peek_error(), 0u) << "the error queue tells";
    }
  }
  return counts;
}

TEST(RsaOaepTest, PassesWycheproof2048) {
  const VectorCounts counts = RunVectors("wycheproof/rsa_oaep_2048_sha256_mgf1sha256_test.json");
  EXPECT_EQ(counts.tests, 37);
  EXPECT_EQ(counts.accepted, 18);
}

TEST(RsaOaepTest, PassesWycheproof4096) {
  const VectorCounts counts = RunVectors("wycheproof/rsa_oaep_4096_sha256_mgf1sha256_test.json");
  EXPECT_EQ(counts.tests, 37);
  EXPECT_EQ(counts.accepted, 18);
}

TEST(RsaOaepTest, RefusesMgf1WithSha1) {
  const VectorCounts counts = RunVectors("wycheproof/rsa_oaep_2048_sha256_mgf1sha1_test.json");
  EXPECT_EQ(counts.tests, 31);
  EXPECT_EQ(counts.accepted, 0);
}

TEST(RsaOaepTest, PassesWycheproofMiscellaneous) {
  const VectorCounts counts = RunVectors("wycheproof/rsa_oaep_misc_test.part.json");
  EXPECT_EQ(counts.tests, 265);
  EXPECT_GE(counts.accepted, 26);
}

TEST(RsaOaepTest, EncryptsWhatThePrivateKeyDecrypts) {
  const RsaPublicKey& key = TestKey().public_key();
  EXPECT_EQ(key.modulus_bytes(), 384u);
  EXPECT_EQ(key.max_plaintext_bytes(), 318u);
  DeterministicRandom random(13);
  for (size_t size : {size_t{0}, size_t{1}, size_t{32}, key.max_plaintext_bytes()}) {
    const std::string plaintext = random.Bytes(size);
    const std::string ciphertext = key.EncryptOaep("blindcart/v1/login", plaintext).value();
    EXPECT_EQ(ciphertext.size(), key.modulus_bytes());
    EXPECT_NE(ciphertext, key.EncryptOaep("blindcart/v1/login", plaintext).value());
    const OaepResult result = TestKey().DecryptOaep("blindcart/v1/login", ciphertext);
    EXPECT_TRUE(result.ok);
    EXPECT_EQ(result.plaintext.view(), plaintext);
  }
  EXPECT_TRUE(
      TestKey()
          .DecryptOaep(absl::string_view(), key.EncryptOaep("", absl::string_view()).value())
          .ok);
  EXPECT_EQ(key.EncryptOaep("", std::string(319, 'p')).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(RsaOaepTest, RefusesAnotherLabelKeyOrCiphertext) {
  const RsaPublicKey& key = TestKey().public_key();
  const std::string ciphertext = key.EncryptOaep("label", "plaintext").value();
  EXPECT_FALSE(TestKey().DecryptOaep("lapel", ciphertext).ok);
  EXPECT_FALSE(TestKey().DecryptOaep("", ciphertext).ok);
  const RsaPrivateKey other = RsaPrivateKey::Generate().value();
  EXPECT_FALSE(other.DecryptOaep("label", ciphertext).ok);
  for (size_t byte = 0; byte < ciphertext.size(); byte += 7) {
    std::string wrong = ciphertext;
    wrong[byte] = static_cast<char>(wrong[byte] ^ 0x10);
    EXPECT_FALSE(TestKey().DecryptOaep("label", wrong).ok) << byte;
  }
  for (size_t size : {0, 1, 383}) {
    EXPECT_FALSE(TestKey().DecryptOaep("label", ciphertext.substr(0, size)).ok) << size;
  }
  EXPECT_FALSE(TestKey().DecryptOaep("label", absl::string_view()).ok);
  EXPECT_FALSE(TestKey().DecryptOaep("label", ciphertext + '\0').ok);
  EXPECT_FALSE(TestKey().DecryptOaep("label", std::string(384, '\xff')).ok);
  EXPECT_FALSE(TestKey().DecryptOaep("label", std::string(384, '\0')).ok);
}

TEST(RsaOaepTest, AFailureGivesFreshRandomBytes) {
  const std::string wrong(384, '\x01');
  const OaepResult a = TestKey().DecryptOaep("label", wrong);
  const OaepResult b = TestKey().DecryptOaep("label", wrong);
  EXPECT_FALSE(a.ok);
  EXPECT_EQ(a.plaintext.size(), 318u);
  EXPECT_NE(a.plaintext.view(), b.plaintext.view());
}

TEST(RsaOaepTest, IsSharedBetweenThreads) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([t] {
      const RsaPublicKey key = TestKey().public_key();
      for (int i = 0; i < 20; ++i) {
        const std::string plaintext = std::to_string(t * 100 + i);
        const OaepResult result =
            TestKey().DecryptOaep("label", key.EncryptOaep("label", plaintext).value());
        EXPECT_TRUE(result.ok);
        EXPECT_EQ(result.plaintext.view(), plaintext);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(RsaPublicKeyTest, ReadsWhatItWrites) {
  const std::string& der = TestKey().public_key().SpkiDer();
  const auto key = RsaPublicKey::FromSpkiDer(der);
  ASSERT_TRUE(key.ok());
  EXPECT_EQ(key->SpkiDer(), der);
  const OaepResult result =
      TestKey().DecryptOaep("label", key->EncryptOaep("label", "plaintext").value());
  EXPECT_TRUE(result.ok);
}

TEST(RsaPublicKeyTest, AcceptsOnlyTwoSizesAndLargeOddExponents) {
  EXPECT_TRUE(RsaPublicKey::FromSpkiDer(SpkiOf(3072, true, 65537)).ok());
  EXPECT_TRUE(RsaPublicKey::FromSpkiDer(SpkiOf(4096, true, 65537)).ok());
  EXPECT_TRUE(RsaPublicKey::FromSpkiDer(SpkiOf(3072, true, 0xffffffffffffffff)).ok());
  for (int bits : {1024, 2048, 3071, 3073, 4095, 4097, 8192}) {
    EXPECT_FALSE(RsaPublicKey::FromSpkiDer(SpkiOf(bits, true, 65537)).ok()) << bits;
  }
  EXPECT_FALSE(RsaPublicKey::FromSpkiDer(SpkiOf(3072, false, 65537)).ok());
  for (uint64_t exponent : {1, 3, 17, 65535, 65536, 65538}) {
    EXPECT_FALSE(RsaPublicKey::FromSpkiDer(SpkiOf(3072, true, exponent)).ok()) << exponent;
  }
}

TEST(RsaPublicKeyTest, RefusesOtherAlgorithms) {
  EXPECT_FALSE(RsaPublicKey::FromSpkiDer(ToSpki(EVP_EC_gen("P-256"))).ok());
  EVP_PKEY_CTX* context = EVP_PKEY_CTX_new_from_name(nullptr, "RSA-PSS", nullptr);
  EVP_PKEY* pss = nullptr;
  ASSERT_EQ(EVP_PKEY_keygen_init(context), 1);
  ASSERT_EQ(EVP_PKEY_CTX_set_rsa_keygen_bits(context, 3072), 1);
  ASSERT_EQ(EVP_PKEY_keygen(context, &pss), 1);
  EVP_PKEY_CTX_free(context);
  EXPECT_FALSE(RsaPublicKey::FromSpkiDer(ToSpki(pss)).ok());
}

TEST(RsaPublicKeyTest, RefusesTruncationExtensionAndGarbage) {
  const std::string& der = TestKey().public_key().SpkiDer();
  for (size_t size = 0; size < der.size(); ++size) {
    EXPECT_FALSE(RsaPublicKey::FromSpkiDer(der.substr(0, size)).ok()) << size;
  }
  EXPECT_FALSE(RsaPublicKey::FromSpkiDer(absl::string_view()).ok());
  EXPECT_FALSE(RsaPublicKey::FromSpkiDer(der + '\0').ok());
  EXPECT_FALSE(RsaPublicKey::FromSpkiDer(std::string(kMaxRsaSpkiBytes + 1, '\x30')).ok());
  DeterministicRandom random(14);
  for (int i = 0; i < 2000; ++i) {
    // What still parses after a change is written the same way again.
    std::string changed = der;
    const std::string where = random.Bytes(4);
    const size_t at = (static_cast<uint8_t>(where[0]) << 8 | static_cast<uint8_t>(where[1]));
    changed[at % changed.size()] = where[2];
    const auto key = RsaPublicKey::FromSpkiDer(changed);
    if (key.ok()) {
      EXPECT_EQ(key->SpkiDer(), changed);
    }
    EXPECT_FALSE(RsaPublicKey::FromSpkiDer(random.Bytes(at % 600)).ok());
  }
  EXPECT_EQ(ERR_peek_error(), 0u);
}

TEST(RsaPrivateKeyTest, GeneratesTheTwoSizesOnly) {
  EXPECT_EQ(RsaPrivateKey::Generate(4096).value().public_key().modulus_bytes(), 512u);
  for (int bits : {-1, 0, 2048, 3073, 8192}) {
    EXPECT_EQ(RsaPrivateKey::Generate(bits).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST(RsaPrivateKeyTest, ReadsWhatItWrites) {
  const SecretBytes der = TestKey().Pkcs8Der();
  const auto key = RsaPrivateKey::FromPkcs8Der(der.view());
  ASSERT_TRUE(key.ok());
  EXPECT_EQ(key->public_key().SpkiDer(), TestKey().public_key().SpkiDer());
  const OaepResult result =
      key->DecryptOaep("label", TestKey().public_key().EncryptOaep("label", "plaintext").value());
  EXPECT_TRUE(result.ok);
  EXPECT_FALSE(RsaPrivateKey::FromPkcs8Der(der.view().substr(1)).ok());
  EXPECT_FALSE(RsaPrivateKey::FromPkcs8Der(std::string(der.view()) + '\0').ok());
  EXPECT_FALSE(RsaPrivateKey::FromPkcs8Der(absl::string_view()).ok());
}

TEST(RsaPrivateKeyTest, RefusesASmallKey) {
  const nlohmann::json vectors =
      ReadJsonVectors("wycheproof/rsa_oaep_2048_sha256_mgf1sha256_test.json");
  const std::string der = FromHex(vectors["testGroups"][0]["privateKeyPkcs8"]);
  EXPECT_TRUE(RsaTestPeer::FromPkcs8Der(der).ok());
  EXPECT_EQ(RsaPrivateKey::FromPkcs8Der(der).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace blindcart::crypto
