// The customer's certificates (docs/certificates.md): asks the broker for them, renews and revokes
// them, keeps the revocation list fresh, and tells the broker where this agent listens for direct
// sessions. Whatever the broker sends is checked before it is kept.
//
// Errors, with words for people: those of BrokerSession and CertificateStore; ResourceExhausted when
// the broker issues no more for now; DataLoss when what it sent is not what was asked for.
// Thread-safe. Every method but store() blocks, so never from a network thread.
#ifndef BLINDCART_SERVICES_AGENT_CERTIFICATES_H_
#define BLINDCART_SERVICES_AGENT_CERTIFICATES_H_

#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "crypto/certificate.h"
#include "crypto/identity.h"
#include "proto/certificate.pb.h"
#include "protocol/clock.h"
#include "services/agent/broker_session.h"
#include "services/agent/certificate_store.h"

namespace blindcart::agent {

// From then on certificates are renewed: when a third of their time is left.
absl::Time RenewalTime(const crypto::Certificate& certificate);

// Where a user's agent listens for direct sessions, as the broker says. It proves nothing: the
// session's handshake does.
struct PeerAddress {
  std::string address;
  std::string signing_certificate;  // DER, or empty.
};

class Certificates {
 public:
  // All must outlive the object.
  Certificates(BrokerSession& broker, CertificateStore& store, const crypto::Identity& identity,
               const protocol::Clock& clock)
      : broker_(broker), store_(store), identity_(identity), clock_(clock) {}

  CertificateStore& store() { return store_; }

  // The broker's latest pair, checked and kept in place of the old one. PermissionDenied when the
  // operator issues none to this customer, ResourceExhausted when there are too many.
  absl::StatusOr<UserCertificates> Request();
  // Revokes all of this customer's at the broker and forgets the ones that are here. How many the
  // broker revoked.
  absl::StatusOr<int> Revoke();
  // Fetches the latest revocation list.
  absl::Status Refresh();
  // Asks for a new pair when it is time. Ok also when there is none to renew.
  absl::Status RenewIfDue();
  // When the first of certificates and list wants to be renewed; infinitely late without either.
  absl::Time NextStep();

  // Empty: nowhere any more. The broker forgets it when the link ends.
  absl::Status Announce(const std::string& address);
  // NotFound when the user's agent does not listen now, or there is no such user.
  absl::StatusOr<PeerAddress> FindPeer(const std::string& username);

 private:
  absl::StatusOr<UserCertificates> RequestAlone();
  absl::StatusOr<v1::CertificateResult> Ask(const v1::CertificateCall& call,
                                            v1::CertificateResult::KindCase expected);

  BrokerSession& broker_;
  CertificateStore& store_;
  const crypto::Identity& identity_;
  const protocol::Clock& clock_;
  // Held while the certificates that are kept are changed, the broker's answer included: a revocation
  // and a renewal at the same time would leave behind what the broker has revoked.
  std::mutex changing_;
};

}  // namespace blindcart::agent

#endif  // BLINDCART_SERVICES_AGENT_CERTIFICATES_H_
