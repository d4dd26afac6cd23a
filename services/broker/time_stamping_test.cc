#include "services/broker/time_stamping.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "services/common/files.h"

namespace blindcart::broker {
namespace {

constexpr char kPassPhrase[] = "correct horse battery staple";
constexpr absl::Time kNow = absl::FromUnixSeconds(1'800'000'000);
constexpr absl::Duration kYear = absl::Hours(24 * 365);

const crypto::TimeStampKey& Key() {
  static const auto* const key = new crypto::TimeStampKey(crypto::TimeStampKey::Generate());
  return *key;
}

crypto::CertificateAuthority Authority(absl::Duration lifetime) {
  return *crypto::CertificateAuthority::Create("A broker", {kNow - kYear, kNow + lifetime});
}

class TimeStampingTest : public ::testing::Test {
 protected:
  TimeStampingTest() : folder_(NewFolder()), paths_(folder_) {}

  static std::string NewFolder() {
    std::string folder = ::testing::TempDir() + "/time_stamping_XXXXXX";
    EXPECT_NE(mkdtemp(&folder[0]), nullptr);
    return folder;
  }
  absl::StatusOr<crypto::TimeStampResponder> Make(const crypto::CertificateAuthority& authority) {
    return MakeTimeStamping(paths_, Key(), authority, kPassPhrase, kNow, crypto::SystemRandom());
  }
  absl::StatusOr<crypto::TimeStampResponder> Load(const crypto::CertificateAuthority& authority,
                                                  absl::Time now = kNow,
                                                  const std::string& pass_phrase = kPassPhrase) {
    return LoadTimeStamping(paths_, authority, pass_phrase, now, crypto::SystemRandom());
  }
  std::string Certificate() { return *ReadFile(paths_.notary_certificate); }

  const std::string folder_;
  const DataPaths paths_;
};

TEST_F(TimeStampingTest, KeepsKeyAndCertificate) {
  const crypto::CertificateAuthority authority = Authority(20 * kYear);
  const auto made = Make(authority);
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_EQ(made->not_after_ms(), absl::ToUnixMillis(kNow + kTimeStampingLifetime));
  struct stat info;
  ASSERT_EQ(stat(paths_.notary_key.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0600u);
  const std::string certificate = Certificate();
  ASSERT_TRUE(Load(authority, kNow + kYear).ok());
  EXPECT_EQ(Certificate(), certificate);
  EXPECT_EQ(Load(authority, kNow, "wrong").status().code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(Make(authority).status().code(), absl::StatusCode::kAlreadyExists);
}

TEST_F(TimeStampingTest, EndsNoLaterThanItsAuthority) {
  EXPECT_EQ(Make(Authority(2 * kYear))->not_after_ms(), absl::ToUnixMillis(kNow + 2 * kYear));
}

TEST_F(TimeStampingTest, RenewsTheCertificateWhenHalfOfItIsOver) {
  const crypto::CertificateAuthority authority = Authority(20 * kYear);
  ASSERT_TRUE(Make(authority).ok());
  const std::string first = Certificate();
  const auto renewed = Load(authority, kNow + 6 * kYear);
  ASSERT_TRUE(renewed.ok()) << renewed.status();
  EXPECT_NE(Certificate(), first);
  EXPECT_EQ(renewed->not_after_ms(), absl::ToUnixMillis(kNow + 6 * kYear + kTimeStampingLifetime));
}

TEST_F(TimeStampingTest, KeepsWhatNoOtherWouldOutlast) {
  const crypto::CertificateAuthority authority = Authority(2 * kYear);
  ASSERT_TRUE(Make(authority).ok());
  const std::string first = Certificate();
  ASSERT_TRUE(Load(authority, kNow + kYear).ok());
  EXPECT_EQ(Certificate(), first);
}

TEST_F(TimeStampingTest, IsCertifiedAnewByANewAuthority) {
  ASSERT_TRUE(Make(Authority(20 * kYear)).ok());
  const std::string first = Certificate();
  ASSERT_TRUE(Load(Authority(20 * kYear)).ok());
  EXPECT_NE(Certificate(), first);
}

TEST_F(TimeStampingTest, MakesAMissingCertificateButNotAMissingKey) {
  const crypto::CertificateAuthority authority = Authority(20 * kYear);
  ASSERT_TRUE(Make(authority).ok());
  ASSERT_EQ(unlink(paths_.notary_certificate.c_str()), 0);
  ASSERT_TRUE(Load(authority).ok());
  ASSERT_EQ(unlink(paths_.notary_key.c_str()), 0);
  EXPECT_EQ(Load(authority).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(TimeStampingTest, MakesAllWhenThereIsNothing) {
  const crypto::CertificateAuthority authority = Authority(20 * kYear);
  ASSERT_TRUE(Load(authority).ok());
  const std::string certificate = Certificate();
  ASSERT_TRUE(Load(authority).ok());
  EXPECT_EQ(Certificate(), certificate);
}

}  // namespace
}  // namespace blindcart::broker
