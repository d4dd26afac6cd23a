#include "services/broker/time_stamping.h"

#include <sys/stat.h>

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "crypto/certificate.h"
#include "crypto/key_file.h"
#include "crypto/rsa.h"
#include "services/common/files.h"
#include "services/common/log.h"

namespace blindcart::broker {
namespace {

// For clocks that are behind.
constexpr absl::Duration kGrace = absl::Hours(1);
constexpr mode_t kPublicMode = 0644;
// Of this name of its authority, so that people see whose time stamps these are.
constexpr char kNameSuffix[] = ", time stamps";

bool Exists(const std::string& path) {
  struct stat info;
  return lstat(path.c_str(), &info) == 0;
}

crypto::ValidityPeriod PeriodFrom(absl::Time now, const crypto::Certificate& authority) {
  return {std::max(now - kGrace, authority.not_before()),
          std::min(now + kTimeStampingLifetime, authority.not_after())};
}

absl::StatusOr<std::string> Certify(const crypto::TimeStampKey& key,
                                    const crypto::CertificateAuthority& authority, absl::Time now,
                                    crypto::RandomSource& random) {
  const absl::StatusOr<crypto::RsaPublicKey> public_key =
      crypto::RsaPublicKey::FromSpkiDer(key.SpkiDer());
  if (!public_key.ok()) return public_key.status();
  const absl::StatusOr<crypto::Certificate> certificate =
      authority.IssueTimeStamping(absl::StrCat(authority.certificate().subject(), kNameSuffix),
                                  *public_key, PeriodFrom(now, authority.certificate()), random);
  if (!certificate.ok()) return certificate.status();
  return certificate->ToPem();
}

// Whether to go on with this certificate.
bool IsGoodEnough(absl::string_view pem, const crypto::TimeStampKey& key,
                  const crypto::Certificate& authority, absl::Time now) {
  const absl::StatusOr<crypto::Certificate> certificate = crypto::Certificate::ParsePem(pem);
  if (!certificate.ok() || certificate->public_key_der() != key.SpkiDer() ||
      crypto::VerifyCertificateWithoutRevocation(*certificate, authority,
                                                 crypto::CertificatePurpose::kTimeStamping,
                                                 now) != crypto::CertificateVerdict::kGood) {
    return false;
  }
  const bool half_over = certificate->not_after() - now < kTimeStampingLifetime / 2;
  const bool would_last_longer =
      PeriodFrom(now, authority).not_after > certificate->not_after() + absl::Hours(24);
  return !half_over || !would_last_longer;
}

}  // namespace

absl::StatusOr<crypto::TimeStampResponder> MakeTimeStamping(
    const DataPaths& paths, const crypto::TimeStampKey& key,
    const crypto::CertificateAuthority& authority, absl::string_view pass_phrase, absl::Time now,
    crypto::RandomSource& random) {
  const absl::StatusOr<std::string> certificate = Certify(key, authority, now, random);
  if (!certificate.ok()) return certificate.status();
  absl::Status status = MakePrivateDirectory(paths.notary_dir);
  if (status.ok()) {
    status = crypto::SavePrivateKey(paths.notary_key, key.Pkcs8Der().view(), pass_phrase);
  }
  if (status.ok()) {
    status = WriteFileAtomically(paths.notary_certificate, *certificate, kPublicMode,
                                 /*replace=*/false);
  }
  if (!status.ok()) return status;
  return crypto::TimeStampResponder::Create(key, *certificate);
}

absl::StatusOr<crypto::TimeStampResponder> LoadTimeStamping(
    const DataPaths& paths, const crypto::CertificateAuthority& authority,
    absl::string_view pass_phrase, absl::Time now, crypto::RandomSource& random) {
  if (!Exists(paths.notary_key)) {
    if (Exists(paths.notary_certificate)) {
      return absl::FailedPreconditionError(absl::StrCat(
          paths.notary_key, " is missing. Restore it from a backup, or remove the folder ",
          paths.notary_dir, " and a new one is made: time stamps that were given out stay valid"));
    }
    return MakeTimeStamping(paths, crypto::TimeStampKey::Generate(), authority, pass_phrase, now,
                            random);
  }
  const absl::StatusOr<crypto::SecretBytes> der =
      crypto::LoadPrivateKey(paths.notary_key, pass_phrase);
  if (!der.ok()) return der.status();
  const absl::StatusOr<crypto::TimeStampKey> key = crypto::TimeStampKey::FromPkcs8Der(der->view());
  if (!key.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(paths.notary_key, ": ", key.status().message()));
  }
  absl::StatusOr<std::string> certificate = ReadFile(paths.notary_certificate);
  if (!certificate.ok() && !absl::IsNotFound(certificate.status())) return certificate.status();
  if (!certificate.ok() || !IsGoodEnough(*certificate, *key, authority.certificate(), now)) {
    certificate = Certify(*key, authority, now, random);
    if (!certificate.ok()) return certificate.status();
    const absl::Status written =
        WriteFileAtomically(paths.notary_certificate, *certificate, kPublicMode, /*replace=*/true);
    if (!written.ok()) return written;
    LogInfo("notary.certificate_made");
  }
  return crypto::TimeStampResponder::Create(*key, *certificate);
}

}  // namespace blindcart::broker
