// A direct session of two agents (docs/protocol.md, "Certificates and direct sessions").
//
//   X->Y  hello: certificates, nonce, C1, C2                                  PeerInitiator::Start
//   Y->X  certificates, nonce, B1, B2, Ed25519_Y(T)                           PeerResponder::OnHello
//   X->Y  Ed25519_X(T), P_Y{ master secret ; peer-master }, Finished          PeerInitiator::OnAnswer
//   Y->X  Finished                                                            PeerResponder::OnFinish
//                                                                             PeerInitiator::OnFinished
// The bodies of the four messages (‖ as in crypto/encoding.h):
//   hello   signing certificate ‖ encryption certificate ‖ nonce ‖ C1 ‖ C2
//   answer  signing certificate ‖ encryption certificate ‖ nonce ‖ B1 ‖ B2 ‖ signature
//   finish  signature ‖ RSA-OAEP ciphertext, as long as Y's modulus; with Finished
//   last    nothing; with Finished
// Certificates are DER, at most kMaxPeerCertificateBytes each; nonces and keys 32 bytes. No message
// carries a frame. T is of the pair "peer-peer" with both fingerprints, X's first, and covers
//   for Y's signature        hello's body, and answer's first five fields joined
//   for X's signature        hello's and answer's bodies, and the ciphertext
//   for keys and Finished    the bodies of hello, answer and finish
// The signatures are Identity::Sign("blindcart/v1 peer-answer", T) and "blindcart/v1 peer-finish".
// The nonces of the key derivation are X's, Y's and the master secret.
//
// Certificates are judged by a PeerVerifier that is handed in; the machine itself refuses its own
// fingerprint. What the two certificates say stands in clear in the first two messages: whoever
// carries the session learns who meets whom (docs/peers.md). X has to know by other means whom it
// wants; ask peer() before using the keys.
//
// One instance per run; a message in, a message out. A call out of order is FailedPrecondition and
// ends the machine: every later call is FailedPrecondition, too, as it is after a refusal. A failed
// check is Refused(), with the reason in refusal(). A master secret that does not decrypt goes on
// with a random one to the same end, at Finished.
// Thread safety: none. Identity, verifier and `random` must outlive the machine.
#ifndef BLINDCART_PROTOCOL_PEER_HANDSHAKE_H_
#define BLINDCART_PROTOCOL_PEER_HANDSHAKE_H_

#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "crypto/identity.h"
#include "crypto/random.h"
#include "protocol/key_schedule.h"
#include "protocol/refusal.h"

namespace blindcart::v1 {
class HandshakeMessage;
}

namespace blindcart::protocol {

inline constexpr size_t kMaxPeerCertificateBytes = 3 * 1024;

// One user's two certificates, DER.
struct PeerCertificates {
  std::string signing;     // Of the Ed25519 key.
  std::string encryption;  // Of the RSA key.
};

// Whom a pair of certificates belongs to.
struct CertifiedPeer {
  std::string username;
  crypto::PublicIdentity identity;
};

// Judges certificates: that one authority that is trusted here issued both, for one user and for
// these purposes, that they are valid now and not revoked, and that this user is the one wanted.
class PeerVerifier {
 public:
  virtual ~PeerVerifier() = default;
  // An error's words are for this side's own user and never leave the process.
  virtual absl::StatusOr<CertifiedPeer> Verify(const PeerCertificates& certificates) = 0;
};

class PeerInitiator {
 public:
  PeerInitiator(const crypto::Identity& own, PeerCertificates own_certificates,
                PeerVerifier& verifier, crypto::RandomSource& random);
  ~PeerInitiator();

  absl::StatusOr<v1::HandshakeMessage> Start();
  absl::StatusOr<v1::HandshakeMessage> OnAnswer(const v1::HandshakeMessage& answer);
  absl::Status OnFinished(const v1::HandshakeMessage& finished);

  bool done() const;
  RefusalReason refusal() const;
  // What the verifier said of the other's certificates; Ok until it has been asked.
  const absl::Status& verdict() const;
  // The other end; once done, and before the keys are taken as well as after.
  const CertifiedPeer& peer() const;
  absl::StatusOr<SessionKeys> TakeKeys();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

class PeerResponder {
 public:
  PeerResponder(const crypto::Identity& own, PeerCertificates own_certificates,
                PeerVerifier& verifier, crypto::RandomSource& random);
  ~PeerResponder();

  absl::StatusOr<v1::HandshakeMessage> OnHello(const v1::HandshakeMessage& hello);
  // Done afterwards.
  absl::StatusOr<v1::HandshakeMessage> OnFinish(const v1::HandshakeMessage& finish);

  bool done() const;
  RefusalReason refusal() const;
  const absl::Status& verdict() const;
  const CertifiedPeer& peer() const;
  absl::StatusOr<SessionKeys> TakeKeys();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace blindcart::protocol

#endif  // BLINDCART_PROTOCOL_PEER_HANDSHAKE_H_
