#include "services/agent/broker_peer_directory.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace blindcart::agent {

absl::StatusOr<protocol::PeerCertificates> BrokerPeerDirectory::OwnCertificates() {
  const absl::StatusOr<UserCertificates> own = certificates_.store().Own();
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
      certificates_.store().Verify(certificates.signing, certificates.encryption);
  if (user.ok())
    return protocol::CertifiedPeer{std::move(user->username), std::move(user->identity)};
  if (absl::IsPermissionDenied(user.status())) {
    return absl::DataLossError(
        absl::StrCat("the other agent's certificate is not accepted: ", user.status().message()));
  }
  return user.status();
}

void BrokerPeerDirectory::Refresh() {
  // What is kept stays as it is when there is no newer list, until it is too old.
  if (broker_.state().connected) (void)certificates_.Refresh();
}

absl::StatusOr<std::string> BrokerPeerDirectory::FindAddress(const std::string& username,
                                                             bool patiently) {
  if (!patiently && !broker_.state().connected) {
    return absl::UnavailableError("no link to the broker stands");
  }
  absl::StatusOr<PeerAddress> found = certificates_.FindPeer(username);
  if (!found.ok()) return found.status();
  if (found->address.empty()) return absl::NotFoundError("no address is known");
  return std::move(found->address);
}

bool BrokerPeerDirectory::Announce(const std::string& address) {
  if (!broker_.state().connected) return false;
  const absl::StatusOr<std::shared_ptr<BrokerLink>> link = broker_.Connection();
  if (!link.ok()) return false;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (told_link_.lock() == *link && told_address_ == address) return true;
  }
  // Should another link take this one's place meanwhile, the next sweep tells it once more.
  if (!certificates_.Announce(address).ok()) return false;
  std::lock_guard<std::mutex> lock(mutex_);
  told_link_ = *link;
  told_address_ = address;
  return true;
}

}  // namespace blindcart::agent
