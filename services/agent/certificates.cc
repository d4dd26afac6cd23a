#include "services/agent/certificates.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "crypto/certification_request.h"
#include "services/agent/narrator.h"

namespace blindcart::agent {
namespace {

constexpr char kPart[] = "certificates";

absl::Status BadAnswer(absl::string_view what) {
  return absl::DataLossError(absl::StrCat(what, "; nothing of it was kept"));
}

absl::Status InWords(v1::CertificateRefusal refusal) {
  switch (refusal) {
    case v1::CERTIFICATE_REFUSAL_NO_AUTHORITY:
      return absl::FailedPreconditionError("this broker has no certificate authority");
    case v1::CERTIFICATE_REFUSAL_BLOCKED:
      return absl::PermissionDeniedError(
          "the broker's operator revoked your certificates and lets you have no new ones. Ask them "
          "why, and to lift it");
    case v1::CERTIFICATE_REFUSAL_LIST_FULL:
      return absl::ResourceExhaustedError(
          "the broker issues no certificates for now: its revocation list is nearly full, until "
          "revoked certificates expire. Ask its operator");
    default:
      return absl::ResourceExhaustedError(
          "the broker issues no more certificates to you for now: too many of yours, revoked ones "
          "included, have not expired yet. Ask its operator if you need one at once");
  }
}

}  // namespace

absl::Time RenewalTime(const crypto::Certificate& certificate) {
  return certificate.not_after() - (certificate.not_after() - certificate.not_before()) / 3;
}

absl::StatusOr<v1::CertificateResult> Certificates::Ask(const v1::CertificateCall& call,
                                                        v1::CertificateResult::KindCase expected) {
  v1::CustomerMessage message;
  *message.mutable_certificate() = call;
  absl::StatusOr<v1::BrokerToCustomer> answer =
      broker_.Call(message, v1::BrokerToCustomer::kCertificate, OnBreak::kRepeat);
  if (!answer.ok()) return answer.status();
  if (answer->certificate().kind_case() != expected) {
    return BadAnswer("the broker's answer is not one to what was asked");
  }
  return std::move(*answer->mutable_certificate());
}

absl::Status Certificates::Refresh() {
  v1::CertificateCall call;
  call.mutable_revocation_list();
  const absl::StatusOr<v1::CertificateResult> result =
      Ask(call, v1::CertificateResult::kRevocationList);
  if (!result.ok()) return result.status();
  const v1::FetchRevocationListResult& fetched = result->revocation_list();
  if (fetched.revocation_list().empty()) {
    return absl::FailedPreconditionError("this broker has no certificate authority");
  }
  // An older card does not name it; the broker itself does, whose identity is pinned.
  const absl::StatusOr<crypto::Certificate> authority =
      crypto::Certificate::Parse(fetched.authority_certificate());
  if (!authority.ok()) return BadAnswer("what the broker names as its authority is none");
  absl::Status status = store_.PinAuthority(*authority);
  if (!status.ok()) return status;
  const absl::StatusOr<crypto::RevocationList> list =
      crypto::RevocationList::Parse(fetched.revocation_list());
  if (!list.ok()) return BadAnswer("the broker's revocation list is none");
  status = store_.SetRevocationList(*list);
  if (absl::IsPermissionDenied(status)) return BadAnswer(status.message());
  if (!status.ok()) return status;
  Narration().Say(kPart, absl::StrCat("Revocation list number ", list->number(), " with ",
                                      list->size(), " entries fetched, its signature verified"));
  return absl::OkStatus();
}

absl::StatusOr<UserCertificates> Certificates::Request() {
  std::lock_guard<std::mutex> lock(changing_);
  return RequestAlone();
}

absl::StatusOr<UserCertificates> Certificates::RequestAlone() {
  // Opens the session if need be, and with it comes the name.
  const absl::Status connected = broker_.Connection().status();
  if (!connected.ok()) return connected;
  const std::string username = broker_.state().username;
  const absl::StatusOr<std::string> request = crypto::MakeCertificationRequest(username, identity_);
  if (!request.ok()) return request.status();
  Narration().Say(kPart, absl::StrCat("Certification request for ", username,
                                      " made: both public keys, signed with the Ed25519 key"));
  v1::CertificateCall call;
  call.mutable_request()->set_certification_request(*request);
  const absl::StatusOr<v1::CertificateResult> result = Ask(call, v1::CertificateResult::kRequest);
  if (!result.ok()) return result.status();
  if (!result->request().issued()) {
    return InWords(result->request().refusal());
  }
  const absl::Status refreshed = Refresh();
  if (!refreshed.ok()) return refreshed;
  const std::string& signing_der = result->request().signing_certificate();
  const std::string& encryption_der = result->request().encryption_certificate();
  const absl::StatusOr<CertifiedUser> user = store_.Verify(signing_der, encryption_der);
  if (!user.ok()) {
    return absl::IsPermissionDenied(user.status()) ? BadAnswer(user.status().message())
                                                   : user.status();
  }
  if (user->username != username ||
      user->identity.fingerprint() != identity_.public_identity().fingerprint()) {
    return BadAnswer("the broker certified somebody else's name or keys");
  }
  UserCertificates own = {crypto::Certificate::Parse(signing_der).value(),
                          crypto::Certificate::Parse(encryption_der).value()};
  const absl::Status kept = store_.SetOwn(own);
  if (!kept.ok()) return kept;
  Narration().Say(kPart,
                  "Both certificates verified: the authority's signature, the name, the keys");
  return own;
}

absl::StatusOr<int> Certificates::Revoke() {
  std::lock_guard<std::mutex> lock(changing_);
  v1::CertificateCall call;
  call.mutable_revoke();
  const absl::StatusOr<v1::CertificateResult> result = Ask(call, v1::CertificateResult::kRevoke);
  if (!result.ok()) return result.status();
  Narration().Say(kPart, absl::StrCat(result->revoke().revoked(),
                                      " certificates revoked, the broker's list names them"));
  const absl::Status forgotten = store_.SetOwn(absl::nullopt);
  if (!forgotten.ok()) return forgotten;
  const absl::Status refreshed = Refresh();
  if (!refreshed.ok()) return refreshed;
  return static_cast<int>(result->revoke().revoked());
}

absl::Status Certificates::RenewIfDue() {
  std::lock_guard<std::mutex> lock(changing_);
  const absl::StatusOr<UserCertificates> own = store_.Own();
  if (absl::IsNotFound(own.status())) return absl::OkStatus();
  if (!own.ok()) return own.status();
  const absl::Time now = absl::FromUnixMillis(clock_.NowUnixMs());
  if (now < RenewalTime(own->signing) && now < RenewalTime(own->encryption)) {
    return absl::OkStatus();
  }
  // A revoked one is not renewed: whoever revoked it wanted an end of it.
  const absl::StatusOr<crypto::RevocationList> list = store_.RevocationList();
  if (!list.ok()) return list.status();
  if (list->RevokedAt(own->signing).has_value()) return absl::OkStatus();
  return RequestAlone().status();
}

absl::Time Certificates::NextStep() {
  absl::Time next = absl::InfiniteFuture();
  const absl::StatusOr<UserCertificates> own = store_.Own();
  if (own.ok()) next = std::min(RenewalTime(own->signing), RenewalTime(own->encryption));
  const absl::StatusOr<crypto::RevocationList> list = store_.RevocationList();
  if (list.ok()) {
    // The broker has made its next one when half of the time is left.
    next = std::min(next, list->next_update() - (list->next_update() - list->this_update()) / 4);
  }
  return next;
}

absl::Status Certificates::Announce(const std::string& address) {
  v1::CertificateCall call;
  call.mutable_announce()->set_address(address);
  return Ask(call, v1::CertificateResult::kAnnounce).status();
}

absl::StatusOr<PeerAddress> Certificates::FindPeer(const std::string& username) {
  v1::CertificateCall call;
  call.mutable_find_peer()->set_username(username);
  absl::StatusOr<v1::CertificateResult> result = Ask(call, v1::CertificateResult::kFindPeer);
  if (!result.ok()) return result.status();
  v1::FindPeerResult& peer = *result->mutable_find_peer();
  if (!peer.found()) {
    return absl::NotFoundError(
        "the broker knows no address of that user: there is no such user, or the agent does not "
        "listen now");
  }
  return PeerAddress{std::move(*peer.mutable_address()),
                     std::move(*peer.mutable_signing_certificate())};
}

}  // namespace blindcart::agent
