#include "crypto/certificate.h"

#include <stdlib.h>
#include <sys/wait.h>

#include <cstdio>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/time.h"
#include "crypto/certificate_authority.h"
#include "crypto/identity.h"
#include "crypto/testing/test_identity.h"
#include "gtest/gtest.h"

namespace blindcart::crypto {
namespace {

constexpr absl::Time kNow = absl::FromUnixSeconds(1'800'000'000);
constexpr absl::Duration kDay = absl::Hours(24);

ValidityPeriod Around(absl::Time now) { return {now - absl::Hours(1), now + 90 * kDay}; }

CertificateAuthority NewAuthority(absl::string_view name = "Example broker") {
  return CertificateAuthority::Create(name, {kNow - kDay, kNow + 3650 * kDay}).value();
}

// What somebody without our program says of the same files.
class OpensslVerify {
 public:
  OpensslVerify() {
    folder_ = ::testing::TempDir() + "/openssl_XXXXXX";
    EXPECT_NE(mkdtemp(&folder_[0]), nullptr);
  }

  bool Accepts(const Certificate& certificate, const Certificate& authority,
               CertificatePurpose purpose, absl::Time at, const RevocationList* list) {
    std::string command = absl::StrCat("/usr/bin/openssl verify -x509_strict -crl_check -CAfile ",
                                       Write("ca", authority.ToPem()), " -attime ",
                                       absl::ToUnixSeconds(at), " -purpose ", NameOf(purpose));
    if (list != nullptr) absl::StrAppend(&command, " -CRLfile ", Write("crl", list->ToPem()));
    absl::StrAppend(&command, " ", Write("certificate", certificate.ToPem()), " 2>&1");
    FILE* pipe = popen(command.c_str(), "r");
    output_.clear();
    char buffer[256];
    while (fgets(buffer, sizeof(buffer), pipe) != nullptr) output_ += buffer;
    const int status = pclose(pipe);
    EXPECT_TRUE(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 2))
        << command << "\n"
        << output_;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
  }
  const std::string& output() const { return output_; }

 private:
  static std::string NameOf(CertificatePurpose purpose) {
    switch (purpose) {
      case CertificatePurpose::kSigning:
        return "smimesign";
      case CertificatePurpose::kEncryption:
        return "smimeencrypt";
      case CertificatePurpose::kTimeStamping:
        return "timestampsign";
      case CertificatePurpose::kAuthority:
        break;
    }
    return "any";
  }
  std::string Write(const std::string& name, const std::string& content) {
    const std::string path = absl::StrCat(folder_, "/", name, ".pem");
    std::ofstream(path, std::ios::binary) << content;
    return path;
  }
  std::string folder_, output_;
};

TEST(CertificateTest, OurVerdictAgreesWithOpensslVerify) {
  const CertificateAuthority ours = NewAuthority();
  const CertificateAuthority same_name = NewAuthority();  // Another key.
  const CertificateAuthority other_name = NewAuthority("Another broker");
  const Identity& alice = TestIdentity(0);
  const Certificate signing =
      ours.IssueSigning("alice", alice.ed25519().public_key(), Around(kNow)).value();
  const Certificate revoked =
      ours.IssueSigning("alice", alice.ed25519().public_key(), Around(kNow)).value();
  const Certificate encryption =
      ours.IssueEncryption("alice", alice.rsa().public_key(), Around(kNow)).value();
  const Certificate stamping =
      ours.IssueTimeStamping("Example broker's notary", alice.rsa().public_key(), Around(kNow))
          .value();
  const Certificate of_same_name =
      same_name.IssueSigning("alice", alice.ed25519().public_key(), Around(kNow)).value();
  const Certificate of_other =
      other_name.IssueSigning("alice", alice.ed25519().public_key(), Around(kNow)).value();

  const auto list_of = [](const CertificateAuthority& authority,
                          const std::vector<RevokedSerial>& serials, absl::Time from) {
    return authority.MakeRevocationList(serials, 7, from, from + 7 * kDay).value();
  };
  const std::vector<RevokedSerial> serials = {
      {revoked.serial(), kNow - absl::Minutes(5)},
      {encryption.serial().substr(0, 15) + std::string(1, '\x7f'), kNow - absl::Minutes(4)}};
  const RevocationList list = list_of(ours, serials, kNow - absl::Minutes(1));
  const RevocationList old_list = list_of(ours, serials, kNow - 8 * kDay);
  const RevocationList future_list = list_of(ours, serials, kNow + absl::Hours(1));
  const RevocationList late_list = list_of(ours, serials, kNow + 90 * kDay);
  const RevocationList foreign_list = list_of(same_name, {}, kNow - absl::Minutes(1));
  const RevocationList other_list = list_of(other_name, {}, kNow - absl::Minutes(1));
  EXPECT_EQ(list.size(), 2u);

  using Purpose = CertificatePurpose;
  using Verdict = CertificateVerdict;
  struct Case {
    const char* name;
    const Certificate& certificate;
    Purpose purpose;
    absl::Time at;
    const RevocationList* list;
    Verdict verdict;
  };
  const Case cases[] = {
      {"good, signing", signing, Purpose::kSigning, kNow, &list, Verdict::kGood},
      {"good, encryption", encryption, Purpose::kEncryption, kNow, &list, Verdict::kGood},
      {"good, time stamping", stamping, Purpose::kTimeStamping, kNow, &list, Verdict::kGood},
      {"wrong purpose: signing for encryption", signing, Purpose::kEncryption, kNow, &list,
       Verdict::kWrongPurpose},
      {"wrong purpose: signing for time stamps", signing, Purpose::kTimeStamping, kNow, &list,
       Verdict::kWrongPurpose},
      {"wrong purpose: encryption for signing", encryption, Purpose::kSigning, kNow, &list,
       Verdict::kWrongPurpose},
      {"wrong purpose: encryption for time stamps", encryption, Purpose::kTimeStamping, kNow, &list,
       Verdict::kWrongPurpose},
      {"wrong purpose: time stamping for signing", stamping, Purpose::kSigning, kNow, &list,
       Verdict::kWrongPurpose},
      {"not yet valid", signing, Purpose::kSigning, kNow - absl::Hours(2), &old_list,
       Verdict::kNotYetValid},
      {"expired", signing, Purpose::kSigning, kNow + 90 * kDay + absl::Seconds(1), &late_list,
       Verdict::kExpired},
      {"its last second", signing, Purpose::kSigning, kNow + 90 * kDay - absl::Seconds(1),
       &future_list, Verdict::kRevocationExpired},
      {"revoked", revoked, Purpose::kSigning, kNow, &list, Verdict::kRevoked},
      {"wrong authority", of_other, Purpose::kSigning, kNow, &list, Verdict::kWrongAuthority},
      {"wrong authority of the same name", of_same_name, Purpose::kSigning, kNow, &list,
       Verdict::kWrongAuthority},
      {"no list", signing, Purpose::kSigning, kNow, nullptr, Verdict::kRevocationMissing},
      {"list of an authority of the same name", signing, Purpose::kSigning, kNow, &foreign_list,
       Verdict::kRevocationInvalid},
      {"list of another authority", signing, Purpose::kSigning, kNow, &other_list,
       Verdict::kRevocationInvalid},
      {"list too old", signing, Purpose::kSigning, kNow, &old_list, Verdict::kRevocationExpired},
      {"list from the future", signing, Purpose::kSigning, kNow, &future_list,
       Verdict::kRevocationInvalid},
      {"list too old, but it says revoked", revoked, Purpose::kSigning, kNow, &old_list,
       Verdict::kRevoked},
  };
  OpensslVerify openssl;
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const Verdict verdict =
        VerifyCertificate(c.certificate, ours.certificate(), c.purpose, c.at, c.list);
    EXPECT_EQ(verdict, c.verdict) << Describe(verdict);
    EXPECT_EQ(openssl.Accepts(c.certificate, ours.certificate(), c.purpose, c.at, c.list),
              c.verdict == Verdict::kGood)
        << openssl.output();
    EXPECT_EQ(VerifyCertificate(c.certificate.der(), ours.certificate(), c.purpose, c.at, c.list),
              c.verdict);
  }
  EXPECT_EQ(
      VerifyCertificateWithoutRevocation(revoked, ours.certificate(), Purpose::kSigning, kNow),
      Verdict::kGood);
  // The authority's certificate itself, and a customer's certificate in its place.
  EXPECT_EQ(
      VerifyCertificate(ours.certificate(), ours.certificate(), Purpose::kAuthority, kNow, nullptr),
      Verdict::kGood);
  EXPECT_EQ(VerifyCertificate(signing, signing, Purpose::kSigning, kNow, &list),
            Verdict::kWrongAuthority);
  EXPECT_EQ(VerifyCertificate(ours.certificate(), ours.certificate(), Purpose::kAuthority,
                              kNow + 3651 * kDay, nullptr),
            Verdict::kExpired);
}

TEST(CertificateTest, SaysWhatWasIssued) {
  const CertificateAuthority authority = NewAuthority();
  const Identity& alice = TestIdentity(0);
  const Certificate signing =
      authority.IssueSigning("alice", alice.ed25519().public_key(), Around(kNow)).value();
  EXPECT_EQ(signing.subject(), "alice");
  EXPECT_EQ(signing.issuer(), "Example broker");
  EXPECT_EQ(signing.not_before(), kNow - absl::Hours(1));
  EXPECT_EQ(signing.not_after(), kNow + 90 * kDay);
  EXPECT_EQ(signing.serial().size(), kCertificateSerialBytes);
  EXPECT_EQ(signing.Ed25519Key().value(), alice.ed25519().public_key());
  EXPECT_FALSE(signing.RsaKey().ok());
  EXPECT_EQ(Certificate::ParsePem(signing.ToPem())->der(), signing.der());
  EXPECT_EQ(Certificate::ParsePem(absl::StrReplaceAll(signing.ToPem(), {{"\n", "\r\n"}}))->der(),
            signing.der());

  const Certificate encryption =
      authority.IssueEncryption("Zoë 🦊", alice.rsa().public_key(), Around(kNow)).value();
  EXPECT_EQ(encryption.subject(), "Zoë 🦊");
  EXPECT_EQ(encryption.RsaKey()->SpkiDer(), alice.rsa().public_key().SpkiDer());
  EXPECT_FALSE(encryption.Ed25519Key().ok());
  EXPECT_NE(encryption.serial(), signing.serial());
}

TEST(CertificateTest, ChangedByteAnywhereIsRefused) {
  const CertificateAuthority authority = NewAuthority();
  const RevocationList list =
      authority.MakeRevocationList({}, 1, kNow - absl::Minutes(1), kNow + kDay).value();
  const std::string der =
      authority.IssueSigning("alice", TestIdentity(0).ed25519().public_key(), Around(kNow))->der();
  const auto verdict = [&](const std::string& bytes) {
    return VerifyCertificate(bytes, authority.certificate(), CertificatePurpose::kSigning, kNow,
                             &list);
  };
  ASSERT_EQ(verdict(der), CertificateVerdict::kGood);
  for (size_t at = 0; at < der.size(); ++at) {
    for (const int flip : {0x01, 0x80, 0xff}) {
      std::string changed = der;
      changed[at] = static_cast<char>(changed[at] ^ flip);
      EXPECT_NE(verdict(changed), CertificateVerdict::kGood) << "byte " << at << " ^ " << flip;
    }
  }
  for (size_t size = 0; size < der.size(); ++size) {
    EXPECT_EQ(verdict(der.substr(0, size)), CertificateVerdict::kMalformed);
  }
  EXPECT_EQ(verdict(der + std::string(1, '\0')), CertificateVerdict::kMalformed);
  EXPECT_EQ(verdict(std::string(kMaxCertificateBytes + 1, '0')), CertificateVerdict::kMalformed);
}

TEST(CertificateTest, ARevocationListNamesAsManyAsItSays) {
  const CertificateAuthority authority = NewAuthority();
  const absl::Time late = absl::FromCivil(absl::CivilSecond(2055, 5, 5), absl::UTCTimeZone());
  std::vector<RevokedSerial> revoked;
  for (size_t i = 0; i < kMaxRevokedInList; ++i) {
    std::string serial(16, '\xff');
    for (size_t byte = 0; byte < 4; ++byte) serial[12 + byte] = static_cast<char>(i >> (8 * byte));
    revoked.push_back({serial, late});
  }
  const auto list = authority.MakeRevocationList(revoked, UINT64_MAX, late, late + kDay);
  ASSERT_TRUE(list.ok()) << list.status();
  EXPECT_EQ(list->size(), kMaxRevokedInList);
  revoked.push_back({std::string(16, '\x01'), late});
  EXPECT_TRUE(absl::IsResourceExhausted(
      authority.MakeRevocationList(revoked, 1, late, late + kDay).status()));
}

TEST(CertificateTest, ChangedByteInARevocationListIsRefused) {
  const CertificateAuthority authority = NewAuthority();
  const Certificate certificate =
      authority.IssueSigning("alice", TestIdentity(0).ed25519().public_key(), Around(kNow)).value();
  const std::string der = authority
                              .MakeRevocationList({{certificate.serial(), kNow}}, 3,
                                                  kNow - absl::Minutes(1), kNow + kDay)
                              ->der();
  ASSERT_TRUE(RevocationList::Parse(der)->IsSignedBy(authority.certificate()));
  for (size_t at = 0; at < der.size(); ++at) {
    std::string changed = der;
    changed[at] = static_cast<char>(changed[at] ^ 1);
    const auto list = RevocationList::Parse(changed);
    EXPECT_FALSE(list.ok() && list->IsSignedBy(authority.certificate())) << "byte " << at;
  }
  EXPECT_FALSE(RevocationList::Parse(der + "x").ok());
  EXPECT_FALSE(RevocationList::Parse(certificate.der()).ok());
  EXPECT_FALSE(Certificate::Parse(der).ok());
}

TEST(CertificateTest, ListKnowsNumberTimesAndSerials) {
  const CertificateAuthority authority = NewAuthority();
  const auto issue = [&] {
    return authority.IssueSigning("alice", TestIdentity(0).ed25519().public_key(), Around(kNow))
        .value();
  };
  const Certificate first = issue();
  const Certificate second = issue();
  const RevocationList list = authority
                                  .MakeRevocationList({{first.serial(), kNow - absl::Hours(3)}},
                                                      (1ull << 40) + 1, kNow, kNow + kDay)
                                  .value();
  EXPECT_EQ(list.number(), (1ull << 40) + 1);
  EXPECT_EQ(list.issuer(), "Example broker");
  EXPECT_EQ(list.this_update(), kNow);
  EXPECT_EQ(list.next_update(), kNow + kDay);
  EXPECT_EQ(list.RevokedAt(first), kNow - absl::Hours(3));
  EXPECT_FALSE(list.RevokedAt(second).has_value());
  EXPECT_EQ(RevocationList::ParsePem(list.ToPem())->der(), list.der());
  EXPECT_FALSE(RevocationList::ParsePem(first.ToPem()).ok());
  EXPECT_FALSE(authority.MakeRevocationList({}, 1, kNow, kNow).ok());
}

TEST(CertificateTest, NamesThatMisleadAreNotIssued) {
  const CertificateAuthority authority = NewAuthority();
  const std::string key = TestIdentity(0).ed25519().public_key();
  for (const std::string& name :
       {std::string(), std::string(65, 'a'), std::string("alice\0mallory", 13),
        std::string("alice\n"), std::string("\xff\xfe"), std::string("\xc2\x85")}) {
    EXPECT_FALSE(authority.IssueSigning(name, key, Around(kNow)).ok());
    EXPECT_FALSE(CertificateAuthority::Create(name, Around(kNow)).ok());
  }
  EXPECT_TRUE(authority.IssueSigning(std::string(64, 'a'), key, Around(kNow)).ok());
  EXPECT_FALSE(authority.IssueSigning("alice", std::string(32, '\0'), Around(kNow)).ok());
  EXPECT_FALSE(authority.IssueSigning("alice", key, {kNow, kNow}).ok());
}

TEST(CertificateAuthorityTest, GoesOnWithItsKeyAndCertificate) {
  const CertificateAuthority made = NewAuthority();
  const auto loaded = CertificateAuthority::FromKey(
      made.Pkcs8Der().view(), Certificate::ParsePem(made.certificate().ToPem()).value());
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const Certificate certificate =
      loaded->IssueSigning("bob", TestIdentity(1).ed25519().public_key(), Around(kNow)).value();
  EXPECT_EQ(VerifyCertificateWithoutRevocation(certificate, made.certificate(),
                                               CertificatePurpose::kSigning, kNow),
            CertificateVerdict::kGood);

  const CertificateAuthority other = NewAuthority();
  EXPECT_FALSE(CertificateAuthority::FromKey(other.Pkcs8Der().view(), made.certificate()).ok());
  EXPECT_FALSE(CertificateAuthority::FromKey("", made.certificate()).ok());
  EXPECT_FALSE(CertificateAuthority::FromKey(made.Pkcs8Der().view(), certificate).ok());
}

}  // namespace
}  // namespace blindcart::crypto
