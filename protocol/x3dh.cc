#include "protocol/x3dh.h"

#include <utility>

#include "crypto/encoding.h"
#include "crypto/hkdf.h"

namespace blindcart::protocol {
namespace {

using crypto::SecretBytes;
using crypto::X25519KeyPair;

constexpr absl::string_view kInfo = "blindcart/v1 x3dh";
constexpr absl::string_view kIdentityKeyContext = "blindcart/v1 identity key";
constexpr absl::string_view kPreKeyContext = "blindcart/v1 signed pre-key";
constexpr size_t kSharedSecretBytes = 32;

std::string PreKeyMessage(uint32_t id, absl::string_view key) {
  std::string message;
  for (int shift = 24; shift >= 0; shift -= 8) message.push_back(static_cast<char>(id >> shift));
  message.append(key.data(), key.size());
  return message;
}

absl::Status CheckKey(absl::string_view key) {
  if (key.size() == crypto::kX25519KeyBytes) return absl::OkStatus();
  return absl::InvalidArgumentError("X25519 key not 32 bytes");
}

// KDF(KM) of section 2.2, over one exchange after the other.
class KeyMaterial {
 public:
  KeyMaterial() : joined_(SecretBytes(kMostExchanges * kSharedSecretBytes)) {
    for (size_t i = 0; i < kSharedSecretBytes; ++i) joined_.data()[i] = 0xff;
  }

  absl::Status Add(const X25519KeyPair& own, absl::string_view peer) {
    const absl::StatusOr<SecretBytes> shared = own.Exchange(peer);
    if (!shared.ok()) return shared.status();
    shared->view().copy(reinterpret_cast<char*>(joined_.data()) + size_, kSharedSecretBytes);
    size_ += kSharedSecretBytes;
    return absl::OkStatus();
  }

  absl::StatusOr<SecretBytes> Derive() const {
    return crypto::Hkdf(std::string(kSharedSecretBytes, '\0'), joined_.view().substr(0, size_),
                        kInfo, kSharedSecretBytes);
  }

 private:
  static constexpr size_t kMostExchanges = 5;  // F and four.
  SecretBytes joined_;
  size_t size_ = kSharedSecretBytes;
};

absl::StatusOr<X3dhResult> Finish(const KeyMaterial& material, const X3dhParty& initiator,
                                  const X3dhParty& responder) {
  absl::StatusOr<SecretBytes> secret = material.Derive();
  if (!secret.ok()) return secret.status();
  return X3dhResult{
      *std::move(secret),
      crypto::LengthPrefixed({initiator.identity_key, responder.identity_key, initiator.fingerprint,
                              responder.fingerprint, initiator.username, responder.username})};
}

}  // namespace

std::string SignIdentityKey(const crypto::Identity& owner, absl::string_view identity_key) {
  return owner.Sign(kIdentityKeyContext, identity_key);
}

absl::Status VerifyIdentityKey(const crypto::PublicIdentity& owner, absl::string_view identity_key,
                               absl::string_view signature) {
  const absl::Status size = CheckKey(identity_key);
  if (!size.ok()) return size;
  return owner.VerifySignature(kIdentityKeyContext, identity_key, signature);
}

v1::SignedPreKey SignPreKey(const crypto::Identity& owner, uint32_t id, absl::string_view key) {
  v1::SignedPreKey pre_key;
  pre_key.set_id(id);
  pre_key.set_key(std::string(key));
  pre_key.set_signature(owner.Sign(kPreKeyContext, PreKeyMessage(id, key)));
  return pre_key;
}

absl::Status VerifyPreKey(const crypto::PublicIdentity& owner, const v1::SignedPreKey& pre_key) {
  const absl::Status size = CheckKey(pre_key.key());
  if (!size.ok()) return size;
  if (pre_key.id() == 0) return absl::InvalidArgumentError("pre-key without an id");
  return owner.VerifySignature(kPreKeyContext, PreKeyMessage(pre_key.id(), pre_key.key()),
                               pre_key.signature());
}

absl::StatusOr<PreKeyBundle> CheckBundle(const v1::FetchKeysResult& keys) {
  if (!keys.found()) return absl::InvalidArgumentError("no keys found");
  absl::StatusOr<crypto::PublicIdentity> identity =
      crypto::PublicIdentity::Parse(keys.public_identity());
  if (!identity.ok()) return identity.status();
  absl::Status checked =
      VerifyIdentityKey(*identity, keys.identity_key(), keys.identity_key_signature());
  if (checked.ok()) checked = VerifyPreKey(*identity, keys.signed_pre_key());
  if (checked.ok() && keys.has_one_time_pre_key()) {
    checked = CheckKey(keys.one_time_pre_key().key());
    if (checked.ok() && keys.one_time_pre_key().id() == 0) {
      checked = absl::InvalidArgumentError("pre-key without an id");
    }
  }
  if (!checked.ok()) return checked;
  return PreKeyBundle{*std::move(identity),         keys.identity_key(),
                      keys.signed_pre_key().id(),   keys.signed_pre_key().key(),
                      keys.one_time_pre_key().id(), keys.one_time_pre_key().key()};
}

absl::StatusOr<X3dhInitiated> InitiateX3dh(const X3dhParty& own,
                                           const X25519KeyPair& own_identity_key,
                                           absl::string_view peer_username,
                                           const PreKeyBundle& peer, crypto::RandomSource& random) {
  const X25519KeyPair ephemeral = X25519KeyPair::Generate(random);
  KeyMaterial material;
  absl::Status added = material.Add(own_identity_key, peer.signed_pre_key);
  if (added.ok()) added = material.Add(ephemeral, peer.identity_key);
  if (added.ok()) added = material.Add(ephemeral, peer.signed_pre_key);
  if (added.ok() && peer.one_time_pre_key_id != 0) {
    added = material.Add(ephemeral, peer.one_time_pre_key);
  }
  if (!added.ok()) return added;
  absl::StatusOr<X3dhResult> result = Finish(
      material, own, {std::string(peer_username), peer.identity.fingerprint(), peer.identity_key});
  if (!result.ok()) return result.status();
  return X3dhInitiated{*std::move(result), ephemeral.public_key()};
}

absl::StatusOr<X3dhResult> RespondX3dh(const X3dhParty& own, const X25519KeyPair& own_identity_key,
                                       const X25519KeyPair& signed_pre_key,
                                       const X25519KeyPair* one_time_pre_key, const X3dhParty& peer,
                                       absl::string_view ephemeral_key) {
  KeyMaterial material;
  absl::Status added = material.Add(signed_pre_key, peer.identity_key);
  if (added.ok()) added = material.Add(own_identity_key, ephemeral_key);
  if (added.ok()) added = material.Add(signed_pre_key, ephemeral_key);
  if (added.ok() && one_time_pre_key != nullptr) {
    added = material.Add(*one_time_pre_key, ephemeral_key);
  }
  if (!added.ok()) return added;
  return Finish(material, peer, own);
}

}  // namespace blindcart::protocol
