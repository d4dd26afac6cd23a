#include "services/broker/authority.h"

#include <sys/stat.h>

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "crypto/encoding.h"
#include "crypto/key_file.h"
#include "services/common/files.h"

namespace blindcart::broker {
namespace {

// Of the fingerprint, in the authority's name: two brokers' authorities should not share one.
constexpr size_t kNameDigits = 16;
// For clocks that are behind.
constexpr absl::Duration kGrace = absl::Hours(1);
constexpr mode_t kPublicMode = 0644;

bool Exists(const std::string& path) {
  struct stat info;
  return lstat(path.c_str(), &info) == 0;
}

absl::StatusOr<crypto::Certificate> ReadCertificate(const std::string& path) {
  const absl::StatusOr<std::string> pem = ReadFile(path);
  if (!pem.ok()) return pem.status();
  absl::StatusOr<crypto::Certificate> certificate = crypto::Certificate::ParsePem(*pem);
  if (!certificate.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", certificate.status().message()));
  }
  return certificate;
}

absl::Status NameOnCard(const DataPaths& paths, const crypto::Certificate& certificate) {
  v1::BrokerCard card;
  absl::Status status = ReadTextProto(paths.card, &card);
  // The operator may have moved it; what matters lies in the authority's folder.
  if (absl::IsNotFound(status)) return absl::OkStatus();
  if (!status.ok() || card.ca_certificate_pem() == certificate.ToPem()) return status;
  card.set_ca_certificate_pem(certificate.ToPem());
  return WriteFileAtomically(paths.card, ToTextProto(card), kPublicMode, /*replace=*/true);
}

}  // namespace

absl::StatusOr<crypto::CertificateAuthority> MakeAuthority(const DataPaths& paths,
                                                           const crypto::PublicIdentity& broker,
                                                           absl::string_view pass_phrase,
                                                           absl::Time now,
                                                           crypto::RandomSource& random) {
  absl::StatusOr<crypto::CertificateAuthority> authority = crypto::CertificateAuthority::Create(
      absl::StrCat("Blindcart broker ",
                   crypto::HexEncode(broker.fingerprint()).substr(0, kNameDigits)),
      {now - kGrace, now + kAuthorityLifetime}, random);
  if (!authority.ok()) return authority.status();
  absl::Status status = MakePrivateDirectory(paths.authority_dir);
  if (status.ok()) {
    status = crypto::SavePrivateKey(paths.authority_key, authority->Pkcs8Der().view(), pass_phrase);
  }
  if (status.ok()) {
    status = WriteFileAtomically(paths.authority_certificate, authority->certificate().ToPem(),
                                 kPublicMode, /*replace=*/false);
  }
  if (!status.ok()) return status;
  return authority;
}

absl::StatusOr<crypto::CertificateAuthority> LoadAuthority(const DataPaths& paths,
                                                           const crypto::PublicIdentity& broker,
                                                           absl::string_view pass_phrase,
                                                           absl::Time now,
                                                           crypto::RandomSource& random) {
  const bool has_key = Exists(paths.authority_key);
  const bool has_certificate = Exists(paths.authority_certificate);
  if (has_key != has_certificate) {
    return absl::FailedPreconditionError(
        absl::StrCat(has_key ? paths.authority_certificate : paths.authority_key,
                     " is missing. Restore it from a backup; only when this authority has never "
                     "issued anything, "
                     "remove the folder ",
                     paths.authority_dir, " and a new one is made"));
  }
  absl::StatusOr<crypto::CertificateAuthority> authority = absl::UnknownError("not loaded");
  if (has_key) {
    const absl::StatusOr<crypto::SecretBytes> key =
        crypto::LoadPrivateKey(paths.authority_key, pass_phrase);
    if (!key.ok()) return key.status();
    absl::StatusOr<crypto::Certificate> certificate = ReadCertificate(paths.authority_certificate);
    if (!certificate.ok()) return certificate.status();
    authority = crypto::CertificateAuthority::FromKey(key->view(), *std::move(certificate));
  } else {
    authority = MakeAuthority(paths, broker, pass_phrase, now, random);
  }
  if (!authority.ok()) return authority.status();
  const absl::Status named = NameOnCard(paths, authority->certificate());
  if (!named.ok()) return named;
  return authority;
}

}  // namespace blindcart::broker
