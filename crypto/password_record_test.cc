#include "crypto/password_record.h"

#include <sodium.h>

#include <string>

#include "crypto/encoding.h"
#include "crypto/hash.h"
#include "crypto/testing/deterministic_random.h"
#include "crypto/testing/vectors.h"
#include "gtest/gtest.h"

namespace blindcart::crypto {
namespace {

constexpr Argon2Cost kCheap = {64, 1};

std::string CheapRecord(absl::string_view secret, uint64_t seed) {
  DeterministicRandom random(seed);
  return MakePasswordRecord(secret, random, kCheap).value();
}

TEST(PasswordRecordTest, AcceptsThePublishedRecords) {
  int tests = 0;
  for (const auto& test : ReadJsonVectors("rfc/argon2id_phc.json")) {
    const std::string record = test["encoded"];
    const std::string password = test["password"];
    EXPECT_TRUE(VerifyPasswordRecord(record, password)) << record;
    EXPECT_FALSE(VerifyPasswordRecord(record, password + "x")) << record;
    ++tests;
  }
  EXPECT_EQ(tests, 5);
}

TEST(PasswordRecordTest, DefaultsToTheProductionCost) {
  const std::string record = MakePasswordRecord("secret").value();
  EXPECT_EQ(record.rfind("$argon2id$v=19$m=19456,t=2,p=1$", 0), 0u) << record;
  EXPECT_LT(record.size(), 128u);
  EXPECT_TRUE(VerifyPasswordRecord(record, "secret"));
  EXPECT_FALSE(VerifyPasswordRecord(record, "Secret"));
  EXPECT_EQ(crypto_pwhash_str_verify(record.c_str(), "secret", 6), 0) << "libsodium's own reading";
}

TEST(PasswordRecordTest, SaltsEachRecord) {
  const std::string a = MakePasswordRecord("secret", SystemRandom(), kCheap).value();
  const std::string b = MakePasswordRecord("secret", SystemRandom(), kCheap).value();
  EXPECT_NE(a, b);
  EXPECT_TRUE(VerifyPasswordRecord(a, "secret"));
  EXPECT_TRUE(VerifyPasswordRecord(b, "secret"));
  EXPECT_EQ(CheapRecord("secret", 1), CheapRecord("secret", 1));
}

TEST(PasswordRecordTest, TakesAnySecretBytes) {
  for (const std::string& secret : {std::string(), std::string("\0x", 2), std::string(1000, 's')}) {
    const std::string record = CheapRecord(secret, 2);
    EXPECT_TRUE(VerifyPasswordRecord(record, secret));
    EXPECT_FALSE(VerifyPasswordRecord(record, secret + "x"));
  }
}

TEST(PasswordRecordTest, BoundsTheCost) {
  for (const Argon2Cost& cost :
       {Argon2Cost{7, 1}, Argon2Cost{1024 * 1024 + 1, 1}, Argon2Cost{64, 0}, Argon2Cost{64, 17}}) {
    EXPECT_EQ(MakePasswordRecord("secret", SystemRandom(), cost).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
}

TEST(PasswordRecordTest, RefusesMalformedAndExcessiveRecords) {
  const std::string good = CheapRecord("secret", 3);
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_FALSE(VerifyPasswordRecord(good.substr(0, size), "secret")) << size;
  }
  EXPECT_FALSE(VerifyPasswordRecord(good + "A", "secret"));
  EXPECT_FALSE(VerifyPasswordRecord(good + std::string(200, 'A'), "secret"));
  const std::string tail = good.substr(good.find(",p=1"));
  for (const char* head : {"$argon2id$v=19$m=4294967295,t=1", "$argon2id$v=19$m=99999999999,t=1",
                           "$argon2id$v=19$m=64,t=1000", "$argon2id$v=19$m=-64,t=1",
                           "$argon2id$v=19$m=,t=", "$argon2i$v=19$m=64,t=1",
                           "$argon2id$v=16$m=64,t=1", "$2b$12$m=64,t=1"}) {
    EXPECT_FALSE(VerifyPasswordRecord(head + tail, "secret")) << head;
  }
}

TEST(PasswordRecordTest, SurvivesRandomChanges) {
  DeterministicRandom random(18);
  const std::string good = CheapRecord("secret", 4);
  // Behind the cost, so that no change asks for much memory.
  const size_t start = good.find(",p=1");
  for (int i = 0; i < 2000; ++i) {
    const std::string r = random.Bytes(2);
    std::string changed = good;
    const size_t at = start + static_cast<uint8_t>(r[0]) % (good.size() - start);
    changed[at] = r[1];
    EXPECT_EQ(VerifyPasswordRecord(changed, "secret"), changed == good) << changed;
  }
}

TEST(DecoyPasswordRecordTest, CostsTheSameAndOpensForNobody) {
  const std::string& decoy = DecoyPasswordRecord();
  EXPECT_EQ(&decoy, &DecoyPasswordRecord());
  const std::string real = MakePasswordRecord("secret").value();
  EXPECT_EQ(decoy.size(), real.size());
  EXPECT_EQ(decoy.substr(0, 31), real.substr(0, 31));
  EXPECT_FALSE(VerifyPasswordRecord(decoy, ""));
  EXPECT_FALSE(VerifyPasswordRecord(decoy, "secret"));
  DeterministicRandom random(5);
  EXPECT_EQ(MakeDecoyPasswordRecord(random, kCheap).rfind("$argon2id$v=19$m=64,t=1,p=1$", 0), 0u);
}

TEST(PasswordHashTest, IsTheProtocolsHash) {
  EXPECT_EQ(PasswordHash("alice", "pa55").view(),
            Sha256(LengthPrefixed({"blindcart/v1 password", "alice", "pa55"})));
  EXPECT_EQ(PinHash("1000-1", "1234").view(),
            Sha256(LengthPrefixed({"blindcart/v1 pin", "1000-1", "1234"})));
  EXPECT_NE(PasswordHash("alice", "1234").view(), PinHash("alice", "1234").view());
  EXPECT_NE(PasswordHash("ab", "c").view(), PasswordHash("a", "bc").view());
}

}  // namespace
}  // namespace blindcart::crypto
