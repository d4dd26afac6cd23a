#include "protocol/testing/by_hand.h"

#include <cstdint>

#include "crypto/encoding.h"
#include "crypto/hash.h"
#include "crypto/hkdf.h"
#include "crypto/hmac.h"

namespace blindcart::protocol::by_hand {
namespace {

std::string Expand(const std::string& key, const std::string& info, size_t length) {
  return std::string(crypto::HkdfExpand(key, info, length).value().view());
}

}  // namespace

std::string Join(const std::vector<std::string>& fields) {
  std::string joined;
  for (const std::string& field : fields) {
    const uint32_t size = static_cast<uint32_t>(field.size());
    joined.push_back(static_cast<char>(size >> 24));
    joined.push_back(static_cast<char>(size >> 16));
    joined.push_back(static_cast<char>(size >> 8));
    joined.push_back(static_cast<char>(size));
    joined += field;
  }
  return joined;
}

std::string Encrypt(const crypto::PublicIdentity& reader, absl::string_view label,
                    const google::protobuf::Message& message) {
  return reader.rsa().EncryptOaep(label, message.SerializeAsString()).value();
}

bool Decrypt(const crypto::Identity& reader, absl::string_view label, absl::string_view ciphertext,
             google::protobuf::Message* message) {
  const crypto::OaepResult opened = reader.Decrypt(label, ciphertext);
  return opened.ok && message->ParseFromString(std::string(opened.plaintext.view()));
}

std::string Transcript(const DerivationInput& input) {
  std::vector<std::string> fields = {"blindcart/v1", input.pair, input.initiator_fingerprint,
                                     input.responder_fingerprint};
  fields.insert(fields.end(), input.wire.begin(), input.wire.end());
  return crypto::Sha256(Join(fields));
}

Keys Derive(const DerivationInput& input) {
  const std::string transcript = Transcript(input);
  std::vector<std::string> ikm1 = {input.shared1};
  std::vector<std::string> ikm2 = {input.shared2};
  ikm1.insert(ikm1.end(), input.nonces.begin(), input.nonces.end());
  ikm2.insert(ikm2.end(), input.nonces.begin(), input.nonces.end());
  Keys keys;
  keys.seal =
      std::string(crypto::Hkdf(transcript, Join(ikm1), Join({"S", input.pair}), 32).value().view());
  keys.mac =
      std::string(crypto::Hkdf(transcript, Join(ikm2), Join({"A", input.pair}), 32).value().view());
  keys.session_id = Expand(keys.mac, Join({"session id"}), 16);
  return keys;
}

std::string Finished(const Keys& keys, absl::string_view direction, absl::string_view transcript) {
  return crypto::HmacSha256(Expand(keys.mac, Join({"finished", std::string(direction)}), 32),
                            transcript);
}

std::string Exchange(const crypto::X25519KeyPair& own, absl::string_view peer) {
  return std::string(own.Exchange(peer).value().view());
}

const std::array<std::string, 7>& LowOrderPoints() {
  static const auto* const points = new std::array<std::string, 7>{
      std::string(32, '\0'),
      std::string("\x01") + std::string(31, '\0'),
      *crypto::HexDecode("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
      *crypto::HexDecode("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
      *crypto::HexDecode("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
      *crypto::HexDecode("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
      *crypto::HexDecode("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
  };
  return *points;
}

}  // namespace blindcart::protocol::by_hand
