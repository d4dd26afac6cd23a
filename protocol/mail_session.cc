#include "protocol/mail_session.h"

#include <utility>

#include "crypto/constant_time.h"
#include "crypto/ed25519.h"
#include "crypto/encoding.h"
#include "crypto/hkdf.h"
#include "crypto/padding.h"

namespace blindcart::protocol {
namespace {

using crypto::SecretBytes;
using crypto::X25519KeyPair;

constexpr uint32_t kVersion = 1;
constexpr size_t kTagBytes = 16;
constexpr size_t kSignatureBytes = 64;
// 1,000 skipped keys and what else there is, in plenty.
constexpr size_t kMaxStateBytes = 256 * 1024;

absl::StatusOr<std::string> SessionId(const SecretBytes& shared_secret) {
  const absl::StatusOr<SecretBytes> id = crypto::HkdfExpand(
      shared_secret.view(), crypto::LengthPrefixed({"mail session id"}), kMailSessionIdBytes);
  if (!id.ok()) return id.status();
  return std::string(id->view());
}

bool IsInitial(const v1::X3dhInitial& initial) {
  return !initial.identity().empty() &&
         initial.identity().size() <= crypto::kMaxPublicIdentityBytes &&
         initial.identity_key().size() == crypto::kX25519KeyBytes &&
         initial.identity_key_signature().size() == kSignatureBytes &&
         initial.ephemeral_key().size() == crypto::kX25519KeyBytes &&
         initial.signed_pre_key_id() != 0;
}

// What the ratchet authenticates beside its own header.
std::string Context(const std::string& session_id, const v1::X3dhInitial* initial) {
  v1::MailEnvelope outer;
  outer.set_version(kVersion);
  outer.set_session_id(session_id);
  if (initial != nullptr) *outer.mutable_initial() = *initial;
  return outer.SerializeAsString();
}

std::string Context(const v1::MailEnvelope& envelope) {
  return Context(envelope.session_id(), envelope.has_initial() ? &envelope.initial() : nullptr);
}

X3dhParty PartyOf(const MailOwner& own) {
  return {own.username, own.identity->public_identity().fingerprint(),
          own.identity_key->public_key()};
}

}  // namespace

absl::StatusOr<v1::MailEnvelope> ParseEnvelope(absl::string_view sealed) {
  v1::MailEnvelope envelope;
  if (sealed.size() > kMaxSealedBytes ||
      !envelope.ParseFromArray(sealed.data(), static_cast<int>(sealed.size()))) {
    return absl::InvalidArgumentError("not a sealed message");
  }
  envelope.DiscardUnknownFields();
  const bool valid = envelope.version() == kVersion &&
                     envelope.session_id().size() == kMailSessionIdBytes &&
                     (!envelope.has_initial() || IsInitial(envelope.initial())) &&
                     envelope.ratchet_key().size() == crypto::kX25519KeyBytes &&
                     envelope.ciphertext().size() > kTagBytes &&
                     envelope.ciphertext().size() <= kMaxMessagePlaintextBytes + kTagBytes &&
                     envelope.SerializeAsString() == sealed;
  if (!valid) return absl::InvalidArgumentError("not a sealed message of this version");
  return envelope;
}

absl::StatusOr<crypto::PublicIdentity> CheckInitial(const v1::X3dhInitial& initial) {
  absl::StatusOr<crypto::PublicIdentity> identity =
      crypto::PublicIdentity::Parse(initial.identity());
  if (!identity.ok()) return identity.status();
  const absl::Status verified =
      VerifyIdentityKey(*identity, initial.identity_key(), initial.identity_key_signature());
  if (!verified.ok()) return verified;
  return identity;
}

absl::StatusOr<MailSession> MailSession::Initiate(const MailOwner& own,
                                                  absl::string_view peer_username,
                                                  const PreKeyBundle& peer,
                                                  crypto::RandomSource& random) {
  const absl::StatusOr<X3dhInitiated> agreed =
      InitiateX3dh(PartyOf(own), *own.identity_key, peer_username, peer, random);
  if (!agreed.ok()) return agreed.status();
  absl::StatusOr<std::string> id = SessionId(agreed->result.shared_secret);
  if (!id.ok()) return id.status();
  absl::StatusOr<DoubleRatchet> ratchet = DoubleRatchet::Initiate(
      agreed->result.shared_secret, peer.signed_pre_key, agreed->result.associated_data, random);
  if (!ratchet.ok()) return ratchet.status();
  MailSession session(*std::move(id), *std::move(ratchet));
  session.initial_.set_identity(own.identity->public_identity().Serialize());
  session.initial_.set_identity_key(own.identity_key->public_key());
  session.initial_.set_identity_key_signature(
      SignIdentityKey(*own.identity, own.identity_key->public_key()));
  session.initial_.set_ephemeral_key(agreed->ephemeral_key);
  session.initial_.set_signed_pre_key_id(peer.signed_pre_key_id);
  session.initial_.set_one_time_pre_key_id(peer.one_time_pre_key_id);
  return session;
}

absl::StatusOr<MailSession> MailSession::Respond(const MailOwner& own,
                                                 absl::string_view peer_username,
                                                 const crypto::PublicIdentity& peer_identity,
                                                 const v1::MailEnvelope& envelope,
                                                 const X25519KeyPair& signed_pre_key,
                                                 const X25519KeyPair* one_time_pre_key) {
  const v1::X3dhInitial& initial = envelope.initial();
  if (!envelope.has_initial() ||
      (one_time_pre_key == nullptr) != (initial.one_time_pre_key_id() == 0)) {
    return absl::InvalidArgumentError("not the keys of this initial message");
  }
  const absl::StatusOr<X3dhResult> agreed =
      RespondX3dh(PartyOf(own), *own.identity_key, signed_pre_key, one_time_pre_key,
                  {std::string(peer_username), peer_identity.fingerprint(), initial.identity_key()},
                  initial.ephemeral_key());
  if (!agreed.ok()) return agreed.status();
  absl::StatusOr<std::string> id = SessionId(agreed->shared_secret);
  if (!id.ok()) return id.status();
  if (!crypto::ConstantTimeEquals(*id, envelope.session_id())) {
    return absl::UnauthenticatedError("these keys lead to another session");
  }
  absl::StatusOr<DoubleRatchet> ratchet =
      DoubleRatchet::Respond(agreed->shared_secret, signed_pre_key, agreed->associated_data);
  if (!ratchet.ok()) return ratchet.status();
  return MailSession(*std::move(id), *std::move(ratchet));
}

absl::StatusOr<MailSession> MailSession::Parse(absl::string_view serialized) {
  v1::MailSessionState state;
  if (serialized.size() > kMaxStateBytes ||
      !state.ParseFromArray(serialized.data(), static_cast<int>(serialized.size())) ||
      state.version() != kVersion || state.session_id().size() != kMailSessionIdBytes ||
      (state.has_initial() && !IsInitial(state.initial()))) {
    WipeRatchetState(*state.mutable_ratchet());
    return absl::InvalidArgumentError("not a session's state");
  }
  absl::StatusOr<DoubleRatchet> ratchet = DoubleRatchet::FromProto(state.ratchet());
  WipeRatchetState(*state.mutable_ratchet());
  if (!ratchet.ok()) return ratchet.status();
  MailSession session(state.session_id(), *std::move(ratchet));
  session.initial_ = state.initial();
  return session;
}

SecretBytes MailSession::Serialize() const {
  v1::MailSessionState state;
  state.set_version(kVersion);
  state.set_session_id(id_);
  if (unanswered()) *state.mutable_initial() = initial_;
  ratchet_.ToProto(state.mutable_ratchet());
  SecretBytes serialized(state.ByteSizeLong());
  state.SerializeWithCachedSizesToArray(serialized.data());
  WipeRatchetState(*state.mutable_ratchet());
  return serialized;
}

absl::StatusOr<std::string> MailSession::Seal(absl::string_view plaintext) {
  if (plaintext.size() >= kMaxMessagePlaintextBytes) {
    return absl::InvalidArgumentError("the message is too long");
  }
  // Reserved first, so that padding leaves no copy behind.
  std::string padded;
  padded.reserve(*crypto::BucketFor(plaintext.size()));
  padded.append(plaintext.data(), plaintext.size());
  const absl::Status fits = crypto::Pad(padded);
  if (!fits.ok()) return fits;
  const v1::X3dhInitial* const initial = unanswered() ? &initial_ : nullptr;
  absl::StatusOr<RatchetMessage> message = ratchet_.Encrypt(padded, Context(id_, initial));
  crypto::Wipe(padded);
  if (!message.ok()) return message.status();
  v1::MailEnvelope envelope;
  envelope.set_version(kVersion);
  envelope.set_session_id(id_);
  if (initial != nullptr) *envelope.mutable_initial() = *initial;
  envelope.set_ratchet_key(message->header.key);
  envelope.set_previous_chain_length(message->header.previous_chain_length);
  envelope.set_number(message->header.number);
  envelope.set_ciphertext(std::move(message->ciphertext));
  return envelope.SerializeAsString();
}

absl::StatusOr<std::string> MailSession::Open(const v1::MailEnvelope& envelope,
                                              crypto::RandomSource& random) {
  if (envelope.session_id() != id_) return absl::InvalidArgumentError("of another session");
  RatchetMessage message;
  message.header = {envelope.ratchet_key(), envelope.previous_chain_length(), envelope.number()};
  message.ciphertext = envelope.ciphertext();
  absl::StatusOr<std::string> plaintext = ratchet_.Decrypt(message, Context(envelope), random);
  if (!plaintext.ok()) return plaintext.status();
  initial_.Clear();
  const absl::StatusOr<size_t> size = crypto::UnpaddedSize(*plaintext);
  // Authentic, yet not as this version writes it. The key is used up all the same.
  if (!size.ok()) return absl::DataLossError("padding not valid");
  plaintext->resize(*size);
  return plaintext;
}

}  // namespace blindcart::protocol
