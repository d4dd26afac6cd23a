// What direct sessions need to know of certificates and of the broker's address book. Behind it are the
// agent's certificate store and, when there is one, the link to the broker; tests have their own.
//
// Thread safety: every method may be called from any thread and may block.
#ifndef BLINDCART_SERVICES_AGENT_PEER_DIRECTORY_H_
#define BLINDCART_SERVICES_AGENT_PEER_DIRECTORY_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "protocol/peer_handshake.h"

namespace blindcart::agent {

class PeerDirectory {
 public:
  virtual ~PeerDirectory() = default;

  // FailedPrecondition, with what to do, when there are none that are valid now.
  virtual absl::StatusOr<protocol::PeerCertificates> OwnCertificates() = 0;
  // Whose certificates these are, judged now and against the revocation list that is kept, with no
  // question to the broker. DataLoss for certificates that are not accepted; FailedPrecondition when
  // this agent cannot judge, because its list is missing or too old.
  virtual absl::StatusOr<protocol::CertifiedPeer> Verify(
      const protocol::PeerCertificates& certificates) = 0;

  // Brings the revocation list up to date when the broker can be reached; does nothing otherwise.
  virtual void Refresh() = 0;
  // Where that user's agent listens, as the broker says. NotFound when it does not know; Unavailable
  // or Unauthenticated when the broker cannot be asked: at once when there is no link to it, unless
  // `patiently`.
  virtual absl::StatusOr<std::string> FindAddress(const std::string& username, bool patiently) = 0;
  // Tells the broker where this agent listens, once for each link to it that stands; an empty address
  // withdraws it. True when the broker knows now, false when it cannot be told.
  virtual bool Announce(const std::string& address) = 0;
};

}  // namespace blindcart::agent

#endif  // BLINDCART_SERVICES_AGENT_PEER_DIRECTORY_H_
