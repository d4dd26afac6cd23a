#include "protocol/double_ratchet.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/types/optional.h"
#include "crypto/aes_gcm.h"
#include "crypto/encoding.h"
#include "crypto/hkdf.h"
#include "crypto/hmac.h"

namespace blindcart::protocol {
namespace {

using crypto::SecretBytes;
using crypto::X25519KeyPair;

constexpr uint32_t kStateVersion = 1;
constexpr absl::string_view kRootInfo = "blindcart/v1 ratchet root";
constexpr absl::string_view kMessageInfo = "blindcart/v1 ratchet message";
constexpr size_t kSecretBytes = 32;
constexpr size_t kMaxAssociatedDataBytes = 512;

struct RootStep {
  SecretBytes root;
  SecretBytes chain;
};

// KDF_RK.
absl::StatusOr<RootStep> NextRoot(const SecretBytes& root, const X25519KeyPair& own,
                                  absl::string_view peer) {
  const absl::StatusOr<SecretBytes> shared = own.Exchange(peer);
  if (!shared.ok()) return shared.status();
  const absl::StatusOr<SecretBytes> both =
      crypto::Hkdf(root.view(), shared->view(), kRootInfo, 2 * kSecretBytes);
  if (!both.ok()) return both.status();
  return RootStep{SecretBytes::CopyOf(both->view().substr(0, kSecretBytes)),
                  SecretBytes::CopyOf(both->view().substr(kSecretBytes))};
}

// KDF_CK: moves `chain` on and returns the message key.
SecretBytes NextMessageKey(SecretBytes& chain) {
  std::string message_key = crypto::HmacSha256(chain.view(), absl::string_view("\x01", 1));
  std::string next = crypto::HmacSha256(chain.view(), absl::string_view("\x02", 1));
  chain = SecretBytes::TakeFrom(next);
  return SecretBytes::TakeFrom(message_key);
}

struct MessageCipher {
  crypto::Aes256Gcm gcm;
  std::string nonce;
};

absl::StatusOr<MessageCipher> CipherFor(const SecretBytes& message_key) {
  const absl::StatusOr<SecretBytes> keys =
      crypto::Hkdf(std::string(kSecretBytes, '\0'), message_key.view(), kMessageInfo,
                   crypto::kAesGcmKeyBytes + crypto::kAesGcmNonceBytes);
  if (!keys.ok()) return keys.status();
  absl::StatusOr<crypto::Aes256Gcm> gcm =
      crypto::Aes256Gcm::Create(keys->view().substr(0, crypto::kAesGcmKeyBytes));
  if (!gcm.ok()) return gcm.status();
  return MessageCipher{*std::move(gcm), std::string(keys->view().substr(crypto::kAesGcmKeyBytes))};
}

absl::StatusOr<std::string> OpenWith(const SecretBytes& message_key, absl::string_view ad,
                                     absl::string_view ciphertext) {
  absl::StatusOr<MessageCipher> cipher = CipherFor(message_key);
  if (!cipher.ok()) return cipher.status();
  std::string plaintext;
  const absl::Status opened = cipher->gcm.Open(cipher->nonce, ad, ciphertext, &plaintext);
  if (!opened.ok()) return opened;
  return plaintext;
}

std::string BigEndian(uint32_t value) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes.push_back(static_cast<char>(value >> shift));
  return bytes;
}

bool IsSecretOrEmpty(const std::string& bytes) {
  return bytes.empty() || bytes.size() == kSecretBytes;
}

}  // namespace

DoubleRatchet::DoubleRatchet(std::string associated_data, X25519KeyPair own_key,
                             SecretBytes root_key)
    : associated_data_(std::move(associated_data)),
      own_key_(std::move(own_key)),
      root_key_(std::move(root_key)) {}

absl::StatusOr<DoubleRatchet> DoubleRatchet::Initiate(const SecretBytes& shared_secret,
                                                      absl::string_view peer_key,
                                                      absl::string_view associated_data,
                                                      crypto::RandomSource& random) {
  if (shared_secret.size() != kSecretBytes || associated_data.size() > kMaxAssociatedDataBytes) {
    return absl::InvalidArgumentError("ratchet input of a wrong size");
  }
  X25519KeyPair own = X25519KeyPair::Generate(random);
  absl::StatusOr<RootStep> step = NextRoot(shared_secret, own, peer_key);
  if (!step.ok()) return step.status();
  DoubleRatchet ratchet(std::string(associated_data), std::move(own), std::move(step->root));
  ratchet.peer_key_ = std::string(peer_key);
  ratchet.sending_chain_ = std::move(step->chain);
  return ratchet;
}

absl::StatusOr<DoubleRatchet> DoubleRatchet::Respond(const SecretBytes& shared_secret,
                                                     const X25519KeyPair& own_key,
                                                     absl::string_view associated_data) {
  if (shared_secret.size() != kSecretBytes || associated_data.size() > kMaxAssociatedDataBytes) {
    return absl::InvalidArgumentError("ratchet input of a wrong size");
  }
  absl::StatusOr<X25519KeyPair> own = X25519KeyPair::FromPrivate(own_key.private_key().view());
  if (!own.ok()) return own.status();
  return DoubleRatchet(std::string(associated_data), *std::move(own), shared_secret.Clone());
}

absl::StatusOr<DoubleRatchet> DoubleRatchet::FromProto(const v1::RatchetState& state) {
  const bool valid =
      state.version() == kStateVersion &&
      state.associated_data().size() <= kMaxAssociatedDataBytes &&
      IsSecretOrEmpty(state.peer_key()) && state.root_key().size() == kSecretBytes &&
      IsSecretOrEmpty(state.sending_chain_key()) && IsSecretOrEmpty(state.receiving_chain_key()) &&
      static_cast<size_t>(state.skipped_size()) <= kMaxSkippedKeys &&
      std::all_of(state.skipped().begin(), state.skipped().end(), [](const v1::SkippedKey& key) {
        return key.ratchet_key().size() == crypto::kX25519KeyBytes &&
               key.message_key().size() == kSecretBytes;
      });
  if (!valid) return absl::InvalidArgumentError("not a ratchet's state");
  absl::StatusOr<X25519KeyPair> own = X25519KeyPair::FromPrivate(state.own_private_key());
  if (!own.ok()) return own.status();
  DoubleRatchet ratchet(state.associated_data(), *std::move(own),
                        SecretBytes::CopyOf(state.root_key()));
  ratchet.peer_key_ = state.peer_key();
  ratchet.sending_chain_ = SecretBytes::CopyOf(state.sending_chain_key());
  ratchet.receiving_chain_ = SecretBytes::CopyOf(state.receiving_chain_key());
  ratchet.sent_ = state.sent();
  ratchet.received_ = state.received();
  ratchet.previous_chain_length_ = state.previous_chain_length();
  for (const v1::SkippedKey& key : state.skipped()) {
    ratchet.skipped_.push_back(
        {key.ratchet_key(), key.number(), SecretBytes::CopyOf(key.message_key())});
  }
  return ratchet;
}

void DoubleRatchet::ToProto(v1::RatchetState* state) const {
  const auto set = [](const SecretBytes& secret, std::string* field) {
    field->assign(secret.view().data(), secret.size());
  };
  state->set_version(kStateVersion);
  state->set_associated_data(associated_data_);
  set(own_key_.private_key(), state->mutable_own_private_key());
  state->set_peer_key(peer_key_);
  set(root_key_, state->mutable_root_key());
  if (!sending_chain_.empty()) set(sending_chain_, state->mutable_sending_chain_key());
  if (!receiving_chain_.empty()) set(receiving_chain_, state->mutable_receiving_chain_key());
  state->set_sent(sent_);
  state->set_received(received_);
  state->set_previous_chain_length(previous_chain_length_);
  state->mutable_skipped()->Reserve(static_cast<int>(skipped_.size()));
  for (const Skipped& key : skipped_) {
    v1::SkippedKey& entry = *state->add_skipped();
    entry.set_ratchet_key(key.ratchet_key);
    entry.set_number(key.number);
    set(key.message_key, entry.mutable_message_key());
  }
}

std::string DoubleRatchet::AuthenticatedData(const RatchetHeader& header,
                                             absl::string_view context) const {
  return crypto::LengthPrefixed({associated_data_, context, header.key,
                                 BigEndian(header.previous_chain_length),
                                 BigEndian(header.number)});
}

absl::StatusOr<RatchetMessage> DoubleRatchet::Encrypt(absl::string_view plaintext,
                                                      absl::string_view context) {
  if (sending_chain_.empty()) {
    return absl::FailedPreconditionError("the initiator's first message has not come yet");
  }
  if (sent_ == std::numeric_limits<uint32_t>::max()) {
    return absl::FailedPreconditionError("too many messages in one chain");
  }
  SecretBytes chain = sending_chain_.Clone();
  absl::StatusOr<MessageCipher> cipher = CipherFor(NextMessageKey(chain));
  if (!cipher.ok()) return cipher.status();
  RatchetMessage message;
  message.header = {own_key_.public_key(), previous_chain_length_, sent_};
  const absl::Status sealed = cipher->gcm.Seal(
      cipher->nonce, AuthenticatedData(message.header, context), plaintext, &message.ciphertext);
  if (!sealed.ok()) return sealed;
  sending_chain_ = std::move(chain);
  ++sent_;
  return message;
}

absl::Status DoubleRatchet::Skip(const std::string& ratchet_key, uint32_t until, SecretBytes* chain,
                                 uint32_t* number, std::deque<Skipped>* skipped) {
  if (until > uint64_t{*number} + kMaxSkip) {
    return absl::OutOfRangeError("more messages skipped than keys are kept for");
  }
  for (; *number < until; ++*number) {
    skipped->push_back({ratchet_key, *number, NextMessageKey(*chain)});
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> DoubleRatchet::Decrypt(const RatchetMessage& message,
                                                   absl::string_view context,
                                                   crypto::RandomSource& random) {
  const RatchetHeader& header = message.header;
  if (header.key.size() != crypto::kX25519KeyBytes) {
    return absl::InvalidArgumentError("ratchet key not 32 bytes");
  }
  const std::string ad = AuthenticatedData(header, context);

  // TrySkippedMessageKeys.
  const auto kept = std::find_if(skipped_.begin(), skipped_.end(), [&](const Skipped& key) {
    return key.number == header.number && key.ratchet_key == header.key;
  });
  if (kept != skipped_.end()) {
    absl::StatusOr<std::string> plaintext = OpenWith(kept->message_key, ad, message.ciphertext);
    if (plaintext.ok()) skipped_.erase(kept);
    return plaintext;
  }

  // Everything below is made beside the state and moved into it once the message has opened.
  const bool turn = header.key != peer_key_;
  if (!turn && header.number < received_) {
    return absl::AlreadyExistsError("the key of this message is used up");
  }
  std::deque<Skipped> skipped;
  SecretBytes chain = receiving_chain_.Clone();
  uint32_t received = received_;
  absl::optional<RootStep> sending;
  absl::optional<X25519KeyPair> own;
  if (turn) {
    if (!chain.empty()) {
      const absl::Status rest =
          Skip(peer_key_, header.previous_chain_length, &chain, &received, &skipped);
      if (!rest.ok()) return rest;
    }
    // DHRatchet.
    absl::StatusOr<RootStep> receiving = NextRoot(root_key_, own_key_, header.key);
    if (!receiving.ok()) return receiving.status();
    own = X25519KeyPair::Generate(random);
    absl::StatusOr<RootStep> next = NextRoot(receiving->root, *own, header.key);
    if (!next.ok()) return next.status();
    sending = *std::move(next);
    chain = std::move(receiving->chain);
    received = 0;
  }
  if (chain.empty()) return absl::InvalidArgumentError("no chain for this message");
  if (header.number == std::numeric_limits<uint32_t>::max()) {
    return absl::OutOfRangeError("too many messages in one chain");
  }
  const absl::Status skip = Skip(header.key, header.number, &chain, &received, &skipped);
  if (!skip.ok()) return skip;
  absl::StatusOr<std::string> plaintext = OpenWith(NextMessageKey(chain), ad, message.ciphertext);
  if (!plaintext.ok()) return plaintext;

  if (turn) {
    previous_chain_length_ = sent_;
    sent_ = 0;
    peer_key_ = header.key;
    own_key_ = *std::move(own);
    root_key_ = std::move(sending->root);
    sending_chain_ = std::move(sending->chain);
  }
  receiving_chain_ = std::move(chain);
  received_ = received + 1;
  for (Skipped& key : skipped) skipped_.push_back(std::move(key));
  while (skipped_.size() > kMaxSkippedKeys) skipped_.pop_front();
  return plaintext;
}

void WipeRatchetState(v1::RatchetState& state) {
  crypto::Wipe(*state.mutable_own_private_key());
  crypto::Wipe(*state.mutable_root_key());
  crypto::Wipe(*state.mutable_sending_chain_key());
  crypto::Wipe(*state.mutable_receiving_chain_key());
  for (v1::SkippedKey& key : *state.mutable_skipped()) crypto::Wipe(*key.mutable_message_key());
}

}  // namespace blindcart::protocol
