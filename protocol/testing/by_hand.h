// The handshakes' arithmetic written a second time, straight from docs/protocol.md and out of bare
// primitives, so that tests can play one end by hand: rightly, to pin the bytes that the machines
// exchange, or wrongly, to see it refused.
#ifndef BLINDCART_PROTOCOL_TESTING_BY_HAND_H_
#define BLINDCART_PROTOCOL_TESTING_BY_HAND_H_

#include <array>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "crypto/identity.h"
#include "crypto/x25519.h"
#include "google/protobuf/message.h"

namespace blindcart::protocol::by_hand {

// The join of protocol.md: each field behind its length in 4 bytes, most significant first.
std::string Join(const std::vector<std::string>& fields);

// P_X{message; name}, with the label spelled out by the caller.
std::string Encrypt(const crypto::PublicIdentity& reader, absl::string_view label,
                    const google::protobuf::Message& message);
// False when it does not decrypt or parse.
bool Decrypt(const crypto::Identity& reader, absl::string_view label, absl::string_view ciphertext,
             google::protobuf::Message* message);

struct Keys {
  std::string session_id;
  std::string seal;
  std::string mac;
};

struct DerivationInput {
  std::string pair;
  std::string initiator_fingerprint;
  std::string responder_fingerprint;
  std::vector<std::string> wire;
  std::string shared1;  // X25519(c1, B1)
  std::string shared2;  // X25519(c2, B2)
  std::vector<std::string> nonces;
};
std::string Transcript(const DerivationInput& input);
Keys Derive(const DerivationInput& input);
// `direction` is "initiator->responder" or "responder->initiator".
std::string Finished(const Keys& keys, absl::string_view direction, absl::string_view transcript);

std::string Exchange(const crypto::X25519KeyPair& own, absl::string_view peer);

// Every encoding of a point of small order (RFC 7748, section 6.1; the bit above the 255th is
// ignored and left out): X25519 with any of them gives zero.
const std::array<std::string, 7>& LowOrderPoints();

}  // namespace blindcart::protocol::by_hand

#endif  // BLINDCART_PROTOCOL_TESTING_BY_HAND_H_
