#include "services/agent/certificate_store.h"

#include <stdlib.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "crypto/certificate_authority.h"
#include "crypto/testing/test_identity.h"
#include "gtest/gtest.h"
#include "protocol/testing/fake_clock.h"

namespace blindcart::agent {
namespace {

constexpr int64_t kDayMs = 24 * 60 * 60 * 1000;

class CertificateStoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string folder = ::testing::TempDir() + "/certificate_store_XXXXXX";
    ASSERT_NE(mkdtemp(&folder[0]), nullptr);
    path_ = folder + "/agent.db";
    Open();
  }
  void Open() {
    database_.reset();
    database_ = AgentDatabase::Open(path_).value();
    store_ = std::make_unique<CertificateStore>(*database_, clock_);
  }

  absl::Time Now() const { return absl::FromUnixMillis(clock_.NowUnixMs()); }
  crypto::CertificateAuthority NewAuthority() const {
    return crypto::CertificateAuthority::Create(
               "A broker", {Now() - absl::Hours(1), Now() + absl::Hours(24 * 3650)})
        .value();
  }
  UserCertificates Issue(const crypto::CertificateAuthority& authority, const std::string& username,
                         const crypto::Identity& identity) const {
    const crypto::ValidityPeriod validity = {Now() - absl::Hours(1), Now() + absl::Hours(24 * 90)};
    return {authority.IssueSigning(username, identity.ed25519().public_key(), validity).value(),
            authority.IssueEncryption(username, identity.rsa().public_key(), validity).value()};
  }
  crypto::RevocationList List(const crypto::CertificateAuthority& authority, uint64_t number,
                              const std::vector<crypto::RevokedSerial>& revoked = {}) const {
    return authority
        .MakeRevocationList(revoked, number, Now() - absl::Minutes(1), Now() + absl::Hours(24 * 7))
        .value();
  }
  absl::StatusOr<CertifiedUser> Verify(const UserCertificates& certificates) {
    return store_->Verify(certificates.signing.der(), certificates.encryption.der());
  }

  protocol::FakeClock clock_;
  std::string path_;
  std::unique_ptr<AgentDatabase> database_;
  std::unique_ptr<CertificateStore> store_;
  const crypto::Identity& alice_ = crypto::TestIdentity(0);
  const crypto::Identity& bob_ = crypto::TestIdentity(1);
};

TEST_F(CertificateStoreTest, KeepsWhatItWasGivenAcrossRestarts) {
  EXPECT_EQ(store_->Authority().status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(store_->Own().status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(store_->RevocationList().status().code(), absl::StatusCode::kFailedPrecondition);
  const auto authority = NewAuthority();
  const UserCertificates own = Issue(authority, "alice", alice_);
  EXPECT_FALSE(store_->SetOwn(own).ok());  // Nobody knows yet who issued them.
  EXPECT_FALSE(store_->SetRevocationList(List(authority, 1)).ok());
  ASSERT_TRUE(store_->PinAuthority(authority.certificate()).ok());
  ASSERT_TRUE(store_->SetOwn(own).ok());
  ASSERT_TRUE(store_->SetRevocationList(List(authority, 1)).ok());

  Open();
  EXPECT_EQ(store_->Authority()->der(), authority.certificate().der());
  EXPECT_EQ(store_->Own()->signing.der(), own.signing.der());
  EXPECT_EQ(store_->Own()->encryption.der(), own.encryption.der());
  EXPECT_EQ(store_->RevocationList()->number(), 1u);
  ASSERT_TRUE(store_->SetOwn(absl::nullopt).ok());
  EXPECT_EQ(store_->Own().status().code(), absl::StatusCode::kNotFound);
}

TEST_F(CertificateStoreTest, AnotherAuthorityIsRefused) {
  const auto authority = NewAuthority();
  ASSERT_TRUE(store_->PinAuthority(authority.certificate()).ok());
  EXPECT_TRUE(store_->PinAuthority(authority.certificate()).ok());
  EXPECT_EQ(store_->PinAuthority(NewAuthority().certificate()).code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_FALSE(store_->PinAuthority(Issue(authority, "alice", alice_).signing).ok());
}

TEST_F(CertificateStoreTest, RevocationIsNotForgotten) {
  const auto authority = NewAuthority();
  ASSERT_TRUE(store_->PinAuthority(authority.certificate()).ok());
  const UserCertificates bobs = Issue(authority, "bob", bob_);
  ASSERT_TRUE(store_->SetRevocationList(List(authority, 5, {{bobs.signing.serial(), Now()}})).ok());
  EXPECT_EQ(Verify(bobs).status().code(), absl::StatusCode::kPermissionDenied);
  // An older list, from before the revocation, changes nothing.
  EXPECT_TRUE(store_->SetRevocationList(List(authority, 4)).ok());
  EXPECT_EQ(store_->RevocationList()->number(), 5u);
  EXPECT_FALSE(Verify(bobs).ok());
  EXPECT_EQ(store_->SetRevocationList(List(NewAuthority(), 9)).code(),
            absl::StatusCode::kPermissionDenied);
}

TEST_F(CertificateStoreTest, JudgesOtherPeoplesCertificates) {
  const auto authority = NewAuthority();
  const UserCertificates bobs = Issue(authority, "bob", bob_);
  EXPECT_EQ(Verify(bobs).status().code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(store_->PinAuthority(authority.certificate()).ok());
  EXPECT_EQ(Verify(bobs).status().code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(store_->SetRevocationList(List(authority, 1)).ok());
  const auto user = Verify(bobs);
  ASSERT_TRUE(user.ok()) << user.status();
  EXPECT_EQ(user->username, "bob");
  EXPECT_EQ(user->identity.fingerprint(), bob_.public_identity().fingerprint());

  // A zero-width space and a Cyrillic o: names that a screen shows as bob.
  for (const char* name : {"bob\u200b", "b\u043eb"}) {
    EXPECT_EQ(Verify(Issue(authority, name, bob_)).status().code(),
              absl::StatusCode::kPermissionDenied);
  }

  const UserCertificates alices = Issue(authority, "alice", alice_);
  EXPECT_EQ(Verify({bobs.signing, alices.encryption}).status().code(),
            absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(Verify({bobs.encryption, bobs.signing}).status().code(),
            absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(Verify({bobs.signing, bobs.signing}).status().code(),
            absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(Verify(Issue(NewAuthority(), "bob", bob_)).status().code(),
            absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(store_->Verify("", "").status().code(), absl::StatusCode::kPermissionDenied);
}

TEST_F(CertificateStoreTest, TimeEndsCertificatesAndLists) {
  const auto authority = NewAuthority();
  ASSERT_TRUE(store_->PinAuthority(authority.certificate()).ok());
  const UserCertificates bobs = Issue(authority, "bob", bob_);
  ASSERT_TRUE(store_->SetRevocationList(List(authority, 1)).ok());
  clock_.Advance(7 * kDayMs - 1'000);
  EXPECT_TRUE(Verify(bobs).ok());
  clock_.Advance(2'000);
  EXPECT_EQ(Verify(bobs).status().code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(store_->SetRevocationList(List(authority, 2)).ok());
  EXPECT_TRUE(Verify(bobs).ok());
  clock_.Advance(83 * kDayMs);
  ASSERT_TRUE(store_->SetRevocationList(List(authority, 3)).ok());
  EXPECT_EQ(Verify(bobs).status().code(), absl::StatusCode::kPermissionDenied);
}

}  // namespace
}  // namespace blindcart::agent
