#include "protocol/key_schedule.h"

#include <utility>

#include "crypto/constant_time.h"
#include "crypto/encoding.h"
#include "crypto/hash.h"
#include "crypto/hkdf.h"
#include "crypto/hmac.h"

namespace blindcart::protocol {
namespace {

using crypto::LengthPrefixed;
using crypto::SecretBytes;

// S or A: one exchange, joined with the nonces.
absl::StatusOr<SecretBytes> DeriveKey(absl::string_view name, absl::string_view pair,
                                      absl::string_view transcript,
                                      const crypto::X25519KeyPair& own, absl::string_view peer,
                                      absl::Span<const absl::string_view> nonces) {
  absl::StatusOr<SecretBytes> shared = own.Exchange(peer);
  if (!shared.ok()) return shared.status();
  std::vector<absl::string_view> fields = {shared->view()};
  fields.insert(fields.end(), nonces.begin(), nonces.end());
  std::string joined = LengthPrefixed(fields);
  const SecretBytes ikm = SecretBytes::TakeFrom(joined);
  return crypto::Hkdf(transcript, ikm.view(), LengthPrefixed({name, pair}), kKeyBytes);
}

}  // namespace

Direction SendDirection(Role role) {
  return role == Role::kInitiator ? Direction::kInitiatorToResponder
                                  : Direction::kResponderToInitiator;
}

Direction ReceiveDirection(Role role) {
  return role == Role::kInitiator ? Direction::kResponderToInitiator
                                  : Direction::kInitiatorToResponder;
}

absl::string_view DirectionName(Direction direction) {
  return direction == Direction::kInitiatorToResponder ? "initiator->responder"
                                                       : "responder->initiator";
}

std::string TranscriptHash(absl::string_view pair, absl::string_view initiator_fingerprint,
                           absl::string_view responder_fingerprint,
                           absl::Span<const std::string> wire) {
  std::vector<absl::string_view> fields = {kProtocolName, pair, initiator_fingerprint,
                                           responder_fingerprint};
  fields.insert(fields.end(), wire.begin(), wire.end());
  return crypto::Sha256(LengthPrefixed(fields));
}

absl::StatusOr<SessionKeys> DeriveSessionKeys(absl::string_view pair, absl::string_view transcript,
                                              const crypto::X25519KeyPair& own1,
                                              absl::string_view peer1,
                                              const crypto::X25519KeyPair& own2,
                                              absl::string_view peer2,
                                              absl::Span<const absl::string_view> nonces) {
  absl::StatusOr<SecretBytes> seal = DeriveKey("S", pair, transcript, own1, peer1, nonces);
  if (!seal.ok()) return seal.status();
  absl::StatusOr<SecretBytes> mac = DeriveKey("A", pair, transcript, own2, peer2, nonces);
  if (!mac.ok()) return mac.status();
  absl::StatusOr<SecretBytes> id =
      crypto::HkdfExpand(mac->view(), LengthPrefixed({"session id"}), kSessionIdBytes);
  if (!id.ok()) return id.status();
  return SessionKeys{std::string(id->view()), *std::move(seal), *std::move(mac)};
}

absl::StatusOr<std::string> FinishedMac(const SessionKeys& keys, Direction sender,
                                        absl::string_view transcript) {
  absl::StatusOr<SecretBytes> key = crypto::HkdfExpand(
      keys.mac.view(), LengthPrefixed({"finished", DirectionName(sender)}), kKeyBytes);
  if (!key.ok()) return key.status();
  return crypto::HmacSha256(key->view(), transcript);
}

bool FinishedMatches(const SessionKeys& keys, Direction sender, absl::string_view transcript,
                     absl::string_view finished) {
  const absl::StatusOr<std::string> expected = FinishedMac(keys, sender, transcript);
  return expected.ok() && crypto::ConstantTimeEquals(*expected, finished);
}

absl::StatusOr<DirectionKeys> DeriveDirectionKeys(const SessionKeys& keys, Direction direction) {
  const absl::string_view name = DirectionName(direction);
  absl::StatusOr<SecretBytes> seal =
      crypto::HkdfExpand(keys.seal.view(), LengthPrefixed({"seal", name}), kKeyBytes);
  if (!seal.ok()) return seal.status();
  absl::StatusOr<SecretBytes> mac =
      crypto::HkdfExpand(keys.mac.view(), LengthPrefixed({"mac", name}), kKeyBytes);
  if (!mac.ok()) return mac.status();
  return DirectionKeys{*std::move(seal), *std::move(mac)};
}

absl::StatusOr<SessionKeys> DeriveDeliveryKeys(const SessionKeys& session,
                                               absl::string_view delivery_id) {
  if (delivery_id.size() != kSessionIdBytes) {
    return absl::InvalidArgumentError("delivery id not 16 bytes");
  }
  const std::string info = LengthPrefixed({"delivery", delivery_id});
  absl::StatusOr<SecretBytes> seal = crypto::HkdfExpand(session.seal.view(), info, kKeyBytes);
  if (!seal.ok()) return seal.status();
  absl::StatusOr<SecretBytes> mac = crypto::HkdfExpand(session.mac.view(), info, kKeyBytes);
  if (!mac.ok()) return mac.status();
  return SessionKeys{std::string(delivery_id), *std::move(seal), *std::move(mac)};
}

}  // namespace blindcart::protocol
