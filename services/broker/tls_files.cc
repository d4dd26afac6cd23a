#include "services/broker/tls_files.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "crypto/tls_certificate.h"
#include "services/common/files.h"
#include "services/common/transport.h"

namespace blindcart::broker {
namespace {

constexpr int kTlsCertificateDays = 3'650;

}  // namespace

absl::StatusOr<std::string> MakeTlsFiles(const DataPaths& paths,
                                         const std::vector<std::string>& hosts) {
  std::vector<std::string> names = {kBrokerTlsName};
  names.insert(names.end(), hosts.begin(), hosts.end());
  const absl::StatusOr<crypto::TlsCertificate> tls =
      crypto::MakeSelfSignedCertificate(kBrokerTlsName, names, kTlsCertificateDays);
  if (!tls.ok()) {
    return absl::InvalidArgumentError(absl::StrCat("--host: ", tls.status().message()));
  }
  absl::Status status = MakePrivateDirectory(paths.tls_dir);
  if (!status.ok()) return status;
  status = WriteFileAtomically(paths.tls_key, tls->private_key_pem, 0600, /*replace=*/false);
  if (!status.ok()) return status;
  status =
      WriteFileAtomically(paths.tls_certificate, tls->certificate_pem, 0644, /*replace=*/false);
  if (!status.ok()) return status;
  return tls->certificate_pem;
}

std::string PublicAddress(const std::string& address, const std::vector<std::string>& hosts,
                          const std::string& listen) {
  if (!address.empty()) return address;
  const bool anywhere = absl::StartsWith(listen, "0.0.0.0:") || absl::StartsWith(listen, "[::]:");
  if (!anywhere || hosts.empty()) return listen;
  return absl::StrCat(hosts.front(), listen.substr(listen.rfind(':')));
}

}  // namespace blindcart::broker
