// What another agent may send: before it has proved anything a hello, an answer and a finish, and once it has,
// messages. Nothing but a refusal or a message within its bounds may come of it.
#include <cstddef>
#include <cstdint>
#include <string>

#include "crypto/identity.h"
#include "crypto/random.h"
#include "proto/frame.pb.h"
#include "proto/peer.pb.h"
#include "protocol/peer_handshake.h"
#include "protocol/peer_message.h"

namespace {

namespace crypto = blindcart::crypto;
namespace protocol = blindcart::protocol;

const crypto::Identity& Own() {
  static const crypto::Identity* const own = new crypto::Identity(*crypto::Identity::Generate());
  return *own;
}

const crypto::Identity& Other() {
  static const crypto::Identity* const other = new crypto::Identity(*crypto::Identity::Generate());
  return *other;
}

// Takes any certificates for those of another user, so that what lies behind them is reached.
class Credulous : public protocol::PeerVerifier {
 public:
  absl::StatusOr<protocol::CertifiedPeer> Verify(
      const protocol::PeerCertificates& certificates) override {
    if (certificates.signing.size() > protocol::kMaxPeerCertificateBytes ||
        certificates.encryption.size() > protocol::kMaxPeerCertificateBytes) {
      __builtin_trap();
    }
    return protocol::CertifiedPeer{"other", Other().public_identity()};
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string input(reinterpret_cast<const char*>(data), size);
  const auto message = protocol::ParsePeerMessage(input);
  if (message.ok()) {
    if (message->SerializeAsString().size() != input.size()) __builtin_trap();
    if (message->text().text().size() > protocol::kMaxPeerTextBytes ||
        message->file_piece().content().size() > protocol::kPeerPieceBytes ||
        message->file_offer().size_bytes() > protocol::kMaxPeerFileBytes ||
        message->file_offer().name().size() > protocol::kMaxPeerFileNameBytes) {
      __builtin_trap();
    }
  }

  Credulous verifier;
  const protocol::PeerCertificates own = {"signing", "encryption"};
  blindcart::v1::HandshakeMessage wire;
  wire.set_body(input);
  protocol::PeerResponder y(Own(), own, verifier, crypto::SystemRandom());
  if (y.OnHello(wire).ok() && y.OnFinish(wire).ok()) __builtin_trap();
  protocol::PeerInitiator x(Own(), own, verifier, crypto::SystemRandom());
  if (!x.Start().ok() || x.OnAnswer(wire).ok() || x.OnFinished(wire).ok()) __builtin_trap();
  return 0;
}
