#include "protocol/handshake_support.h"

#include <limits>

#include "absl/strings/str_cat.h"
#include "proto/frame.pb.h"

namespace blindcart::protocol {
namespace {

using crypto::SecretBytes;
using google::protobuf::Message;

std::string OaepLabel(absl::string_view name) { return absl::StrCat(kProtocolName, "/", name); }

bool ParseExactly(absl::string_view bytes, Message* message) {
  // A field that stands twice parses as its last value; the size tells.
  return message->ParseFromArray(bytes.data(), static_cast<int>(bytes.size())) &&
         message->GetReflection()->GetUnknownFields(*message).empty() &&
         message->ByteSizeLong() == bytes.size();
}

}  // namespace

EphemeralKeys EphemeralKeys::Generate(crypto::RandomSource& random) {
  crypto::X25519KeyPair encryption = crypto::X25519KeyPair::Generate(random);
  crypto::X25519KeyPair authentication = crypto::X25519KeyPair::Generate(random);
  return EphemeralKeys{std::move(encryption), std::move(authentication)};
}

void KeepFirst(RefusalReason candidate, RefusalReason* reason) {
  if (*reason == RefusalReason::kNone) *reason = candidate;
}

bool HasShape(const v1::HandshakeMessage& message, const HandshakeShape& shape) {
  return message.body().size() == shape.body_bytes &&
         message.finished().size() == (shape.finished ? kFinishedBytes : 0) &&
         (shape.may_frame || !message.has_frame());
}

SecretBytes SerializeSecret(const Message& message) {
  SecretBytes bytes(message.ByteSizeLong());
  message.SerializeWithCachedSizesToArray(bytes.data());
  return bytes;
}

absl::StatusOr<std::string> EncryptMessage(const crypto::PublicIdentity& reader,
                                           absl::string_view name, const Message& message) {
  return reader.rsa().EncryptOaep(OaepLabel(name), SerializeSecret(message).view());
}

RefusalReason DecryptMessage(const crypto::Identity& reader, absl::string_view name,
                             absl::string_view ciphertext, const Message& stand_in,
                             Message* opened) {
  const SecretBytes spare = SerializeSecret(stand_in);
  const crypto::OaepResult result = reader.Decrypt(OaepLabel(name), ciphertext);
  const bool parsed = ParseExactly(result.ok ? result.plaintext.view() : spare.view(), opened);
  if (!result.ok) return RefusalReason::kDecryption;
  return parsed ? RefusalReason::kNone : RefusalReason::kMalformed;
}

SessionKeys DeriveOrRandomKeys(absl::string_view pair, absl::string_view transcript,
                               const EphemeralKeys& own, absl::string_view peer_encryption,
                               absl::string_view peer_authentication,
                               absl::Span<const absl::string_view> nonces,
                               crypto::RandomSource& random, RefusalReason* reason) {
  absl::StatusOr<SessionKeys> keys =
      DeriveSessionKeys(pair, transcript, own.encryption, peer_encryption, own.authentication,
                        peer_authentication, nonces);
  if (keys.ok()) return *std::move(keys);
  KeepFirst(RefusalReason::kKeyExchange, reason);
  return SessionKeys{random.Bytes(kSessionIdBytes), random.Secret(kKeyBytes),
                     random.Secret(kKeyBytes)};
}

}  // namespace blindcart::protocol
