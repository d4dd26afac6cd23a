#include "services/broker/authority.h"

#include <stdlib.h>
#include <unistd.h>

#include <string>

#include "absl/time/time.h"
#include "crypto/testing/test_identity.h"
#include "gtest/gtest.h"
#include "services/common/files.h"

namespace blindcart::broker {
namespace {

constexpr char kPassPhrase[] = "correct horse battery staple";
constexpr absl::Time kNow = absl::FromUnixSeconds(1'800'000'000);

class AuthorityTest : public ::testing::Test {
 protected:
  AuthorityTest() : folder_(NewFolder()), paths_(folder_) {}

  static std::string NewFolder() {
    std::string folder = ::testing::TempDir() + "/authority_XXXXXX";
    EXPECT_NE(mkdtemp(&folder[0]), nullptr);
    return folder;
  }
  absl::StatusOr<crypto::CertificateAuthority> Load(const std::string& pass_phrase = kPassPhrase,
                                                    absl::Time now = kNow) {
    return LoadAuthority(paths_, crypto::TestIdentity(0).public_identity(), pass_phrase, now,
                         crypto::SystemRandom());
  }
  void WriteCard(const v1::BrokerCard& card) {
    ASSERT_TRUE(WriteFileAtomically(paths_.card, ToTextProto(card), 0644, true).ok());
  }
  v1::BrokerCard Card() {
    v1::BrokerCard card;
    EXPECT_TRUE(ReadTextProto(paths_.card, &card).ok());
    return card;
  }

  const std::string folder_;
  const DataPaths paths_;
};

TEST_F(AuthorityTest, IsMadeOnceAndNamedOnTheCard) {
  v1::BrokerCard card;
  card.set_address("127.0.0.1:7443");
  WriteCard(card);
  const auto made = Load();
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_TRUE(made->certificate().IsFor(crypto::CertificatePurpose::kAuthority));
  EXPECT_EQ(made->certificate().not_after(), kNow + kAuthorityLifetime);
  EXPECT_EQ(Card().ca_certificate_pem(), made->certificate().ToPem());
  EXPECT_EQ(Card().address(), "127.0.0.1:7443");

  const auto loaded = Load(kPassPhrase, kNow + absl::Hours(24));
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->certificate().der(), made->certificate().der());
}

TEST_F(AuthorityTest, WorksWithoutACard) { EXPECT_TRUE(Load().ok()); }

TEST_F(AuthorityTest, NeedsItsPassPhrase) {
  ASSERT_TRUE(Load().ok());
  EXPECT_EQ(Load("another").status().code(), absl::StatusCode::kPermissionDenied);
}

TEST_F(AuthorityTest, HalfAnAuthorityIsNotReplacedByANewOne) {
  ASSERT_TRUE(Load().ok());
  const std::string certificate = ReadFile(paths_.authority_certificate).value();
  ASSERT_EQ(unlink(paths_.authority_certificate.c_str()), 0);
  EXPECT_EQ(Load().status().code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(WriteFileAtomically(paths_.authority_certificate, certificate, 0644, false).ok());
  EXPECT_TRUE(Load().ok());
  ASSERT_EQ(unlink(paths_.authority_key.c_str()), 0);
  EXPECT_EQ(Load().status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(AuthorityTest, KeyAndCertificateHaveToFit) {
  ASSERT_TRUE(Load().ok());
  const DataPaths others(NewFolder());
  const auto other = MakeAuthority(others, crypto::TestIdentity(0).public_identity(), kPassPhrase,
                                   kNow, crypto::SystemRandom());
  ASSERT_TRUE(other.ok());
  ASSERT_TRUE(
      WriteFileAtomically(paths_.authority_certificate, other->certificate().ToPem(), 0644, true)
          .ok());
  EXPECT_EQ(Load().status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace blindcart::broker
