#include "services/agent/broker_peer_directory.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace blindcart::agent {

absl::StatusOr<protocol::PeerCertificates> BrokerPeerDirectory::OwnCertificates() {
  const absl::StatusOr<UserCertificates> own = certificates_.Own();
  if (absl::IsNotFound(own.status())) {
    return absl::FailedPreconditionError(
        "you have no certificate yet, and direct sessions need one. Get it with: blindcart "
        "certificate request");
  }
  if (!own.ok()) return own.status();
  const absl::Time now = absl::FromUnixMillis(clock_.NowUnixMs());
  if (now > own->signing.not_after() || now > own->encryption.not_after()) {
    return absl::FailedPreconditionError(
        "your certificate has run out. Log in and renew it with: blindcart certificate request");
  }
  return protocol::PeerCertificates{own->signing.der(), own->encryption.der()};
}

absl::StatusOr<protocol::CertifiedPeer> BrokerPeerDirectory::Verify(
    const protocol::PeerCertificates& certificates) {
  absl::StatusOr<CertifiedUser> user =
      certificates_.Verify(certificates.signing, certificates.encryption);
  if (user.ok())
    return protocol::CertifiedPeer{std::move(user->username), std::move(user->identity)};
  if (absl::IsPermissionDenied(user.status())) {
    return absl::DataLossError(
        absl::StrCat("the other agent's certificate is not accepted: ", user.status().message()));
  }
  return user.status();
}

void BrokerPeerDirectory::Refresh() {
  if (!broker_.state().connected) return;
  v1::CustomerMessage message;
  message.mutable_certificate()->mutable_revocation_list();
  const absl::StatusOr<v1::BrokerToCustomer> answer =
      broker_.Call(message, v1::BrokerToCustomer::kCertificate, OnBreak::kGiveUp);
  if (!answer.ok() || !answer->certificate().has_revocation_list()) return;
  const absl::StatusOr<crypto::RevocationList> list =
      crypto::RevocationList::Parse(answer->certificate().revocation_list().revocation_list());
  // One that is no good is left out: what is kept stays, until it is too old.
  if (list.ok()) (void)certificates_.SetRevocationList(*list);
}

absl::StatusOr<std::string> BrokerPeerDirectory::FindAddress(const std::string& username,
                                                             bool patiently) {
  if (!patiently && !broker_.state().connected) {
    return absl::UnavailableError("no link to the broker stands");
  }
  v1::CustomerMessage message;
  message.mutable_certificate()->mutable_find_peer()->set_username(username);
  const absl::StatusOr<v1::BrokerToCustomer> answer =
      broker_.Call(message, v1::BrokerToCustomer::kCertificate, OnBreak::kRepeat);
  if (!answer.ok()) return answer.status();
  if (!answer->certificate().has_find_peer()) {
    return absl::UnavailableError("the broker's answer makes no sense");
  }
  const v1::FindPeerResult& found = answer->certificate().find_peer();
  if (!found.found() || found.address().empty()) {
    return absl::NotFoundError("the broker does not know where that user listens");
  }
  return found.address();
}

bool BrokerPeerDirectory::Announce(const std::string& address) {
  if (!broker_.state().connected) return false;
  const absl::StatusOr<std::shared_ptr<BrokerLink>> link = broker_.Connection();
  if (!link.ok()) return false;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (told_link_.lock() == *link && told_address_ == address) return true;
  }
  v1::CustomerMessage message;
  message.mutable_certificate()->mutable_announce()->set_address(address);
  const absl::StatusOr<v1::BrokerToCustomer> answer =
      (*link)->Call(message, v1::BrokerToCustomer::kCertificate, broker_.options().call_timeout_ms);
  if (!answer.ok() || !answer->certificate().has_announce()) return false;
  std::lock_guard<std::mutex> lock(mutex_);
  told_link_ = *link;
  told_address_ = address;
  return true;
}

}  // namespace blindcart::agent
