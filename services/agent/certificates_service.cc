#include "services/agent/certificates_service.h"

#include <algorithm>
#include <string>

#include "absl/time/time.h"
#include "crypto/certificate.h"
#include "crypto/encoding.h"
#include "crypto/hash.h"
#include "services/agent/unary_call.h"

namespace blindcart::agent {
namespace {

// What is not there yet leaves its fields empty; anything else is an error.
template <typename T>
absl::Status ErrorOf(const absl::StatusOr<T>& found) {
  if (absl::IsNotFound(found.status()) || absl::IsFailedPrecondition(found.status())) {
    return absl::OkStatus();
  }
  return found.status();
}

}  // namespace

absl::Status CertificatesService::Fill(v1::CertificatesReply* reply) {
  CertificateStore& store = certificates_.store();
  const absl::StatusOr<crypto::Certificate> authority = store.Authority();
  if (!authority.ok()) return ErrorOf(authority);
  reply->set_authority_name(authority->subject());
  reply->set_authority_sha256_hex(crypto::HexEncode(crypto::Sha256(authority->der())));
  reply->set_authority_pem(authority->ToPem());
  reply->set_authority_not_after_ms(absl::ToUnixMillis(authority->not_after()));
  const absl::StatusOr<crypto::RevocationList> list = store.RevocationList();
  if (list.ok()) {
    reply->set_revocation_list_number(list->number());
    reply->set_revocation_list_entries(list->size());
    reply->set_revocation_list_next_update_ms(absl::ToUnixMillis(list->next_update()));
    reply->set_revocation_list_pem(list->ToPem());
  } else if (!ErrorOf(list).ok()) {
    return list.status();
  }
  const absl::StatusOr<UserCertificates> own = store.Own();
  if (!own.ok()) return ErrorOf(own);
  const absl::Time now = absl::FromUnixMillis(clock_.NowUnixMs());
  const auto add = [&](const crypto::Certificate& certificate, const char* purpose_name,
                       crypto::CertificatePurpose purpose) {
    v1::CertificateInfo& info = *reply->add_certificates();
    info.set_purpose(purpose_name);
    info.set_serial_hex(crypto::HexEncode(certificate.serial()));
    info.set_subject(certificate.subject());
    info.set_issuer(certificate.issuer());
    info.set_not_before_ms(absl::ToUnixMillis(certificate.not_before()));
    info.set_not_after_ms(absl::ToUnixMillis(certificate.not_after()));
    info.set_sha256_hex(crypto::HexEncode(crypto::Sha256(certificate.der())));
    info.set_pem(certificate.ToPem());
    const crypto::CertificateVerdict verdict = crypto::VerifyCertificate(
        certificate, *authority, purpose, now, list.ok() ? &*list : nullptr);
    info.set_good(verdict == crypto::CertificateVerdict::kGood);
    info.set_verdict(std::string(crypto::Describe(verdict)));
  };
  add(own->signing, "signing", crypto::CertificatePurpose::kSigning);
  add(own->encryption, "encryption", crypto::CertificatePurpose::kEncryption);
  reply->set_renewal_at_ms(
      absl::ToUnixMillis(std::min(RenewalTime(own->signing), RenewalTime(own->encryption))));
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* CertificatesService::Request(grpc::CallbackServerContext* context,
                                                       const v1::RequestCertificatesRequest*,
                                                       v1::CertificatesReply* reply) {
  return RunUnaryCall(context, calls_, [this, reply] {
    const absl::Status requested = certificates_.Request().status();
    if (!requested.ok()) return requested;
    keeper_.RoundSoon();
    return Fill(reply);
  });
}

grpc::ServerUnaryReactor* CertificatesService::Show(grpc::CallbackServerContext* context,
                                                    const v1::ShowCertificatesRequest*,
                                                    v1::CertificatesReply* reply) {
  return RunUnaryCall(context, calls_, [this, reply] { return Fill(reply); });
}

grpc::ServerUnaryReactor* CertificatesService::Revoke(grpc::CallbackServerContext* context,
                                                      const v1::RevokeCertificatesRequest*,
                                                      v1::RevokeCertificatesReply* reply) {
  return RunUnaryCall(context, calls_, [this, reply] {
    const absl::StatusOr<int> revoked = certificates_.Revoke();
    if (!revoked.ok()) return revoked.status();
    reply->set_revoked(static_cast<uint32_t>(*revoked));
    return absl::OkStatus();
  });
}

}  // namespace blindcart::agent
