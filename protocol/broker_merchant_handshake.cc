#include "protocol/broker_merchant_handshake.h"

#include <utility>
#include <vector>

#include "absl/types/optional.h"
#include "crypto/constant_time.h"
#include "crypto/encoding.h"
#include "crypto/hash.h"
#include "proto/frame.pb.h"
#include "proto/handshake.pb.h"
#include "protocol/handshake_support.h"

namespace blindcart::protocol {
namespace {

using crypto::ConstantTimeEquals;
using crypto::SecretBytes;

constexpr absl::string_view kChallengeName = "broker-challenge";
constexpr absl::string_view kResponseName = "merchant-response";
constexpr absl::string_view kConfirmName = "broker-confirm";
constexpr absl::string_view kBrokerRole = "Broker";
constexpr absl::string_view kMerchantRole = "Merchant";

std::string IdsHash(const crypto::PublicIdentity& broker, const crypto::PublicIdentity& merchant) {
  return crypto::Sha256(crypto::LengthPrefixed({broker.fingerprint(), merchant.fingerprint()}));
}

std::string Transcript(const crypto::PublicIdentity& broker, const crypto::PublicIdentity& merchant,
                       const std::vector<std::string>& wire) {
  return TranscriptHash(kPairBrokerMerchant, broker.fingerprint(), merchant.fingerprint(), wire);
}

v1::BrokerChallenge RandomChallenge(absl::string_view ids_hash, crypto::RandomSource& random) {
  v1::BrokerChallenge challenge;
  challenge.set_role(std::string(kBrokerRole));
  challenge.set_ids_hash(std::string(ids_hash));
  challenge.set_r1b(random.Bytes(kNonceBytes));
  challenge.set_c1(random.Bytes(crypto::kX25519KeyBytes));
  challenge.set_c2(random.Bytes(crypto::kX25519KeyBytes));
  return challenge;
}

RefusalReason CheckChallenge(const v1::BrokerChallenge& challenge, absl::string_view ids_hash) {
  if (challenge.role() != kBrokerRole) return RefusalReason::kIdentity;
  if (!ConstantTimeEquals(challenge.ids_hash(), ids_hash)) return RefusalReason::kIdentity;
  if (challenge.r1b().size() != kNonceBytes || challenge.c1().size() != crypto::kX25519KeyBytes ||
      challenge.c2().size() != crypto::kX25519KeyBytes) {
    return RefusalReason::kMalformed;
  }
  return RefusalReason::kNone;
}

v1::MerchantResponse RandomResponse(absl::string_view ids_hash, absl::string_view r1b,
                                    crypto::RandomSource& random) {
  v1::MerchantResponse response;
  response.set_role(std::string(kMerchantRole));
  response.set_ids_hash(std::string(ids_hash));
  response.set_r1b(std::string(r1b));
  response.set_r_m(random.Bytes(kNonceBytes));
  response.set_b1(random.Bytes(crypto::kX25519KeyBytes));
  response.set_b2(random.Bytes(crypto::kX25519KeyBytes));
  return response;
}

RefusalReason CheckResponse(const v1::MerchantResponse& response, absl::string_view ids_hash,
                            absl::string_view r1b) {
  if (response.role() != kMerchantRole) return RefusalReason::kIdentity;
  if (!ConstantTimeEquals(response.ids_hash(), ids_hash)) return RefusalReason::kIdentity;
  if (!ConstantTimeEquals(response.r1b(), r1b)) return RefusalReason::kChallenge;
  if (response.r_m().size() != kNonceBytes || response.b1().size() != crypto::kX25519KeyBytes ||
      response.b2().size() != crypto::kX25519KeyBytes) {
    return RefusalReason::kMalformed;
  }
  return RefusalReason::kNone;
}

}  // namespace

// ---- Broker

struct BrokerSide::State {
  enum class Step { kStart, kResponse, kFinished, kDone, kTaken, kDead };

  State(const crypto::Identity& broker, crypto::RandomSource& random)
      : broker(broker), random(random) {}

  const crypto::Identity& broker;
  crypto::RandomSource& random;
  Progress<Step> progress{Step::kStart};
  absl::optional<crypto::PublicIdentity> merchant;  // Or the decoy.
  // Why the run will be refused at its end.
  RefusalReason doomed = RefusalReason::kNone;
  std::vector<std::string> wire;
  absl::optional<EphemeralKeys> own;
  SecretBytes r1b;
  std::string transcript;
  SessionKeys keys;
};

BrokerSide::BrokerSide(const crypto::Identity& broker, crypto::RandomSource& random)
    : state_(std::make_unique<State>(broker, random)) {}
BrokerSide::~BrokerSide() = default;

absl::StatusOr<std::string> BrokerSide::FingerprintOf(const v1::HandshakeMessage& hello) {
  if (!HasShape(hello, {crypto::kFingerprintBytes})) return Refused();
  return hello.body();
}

absl::StatusOr<v1::HandshakeMessage> BrokerSide::Start(const v1::HandshakeMessage& hello,
                                                       const crypto::PublicIdentity* merchant,
                                                       const crypto::PublicIdentity& decoy) {
  State& s = *state_;
  const absl::Status order = s.progress.Leave(State::Step::kStart);
  if (!order.ok()) return order;
  if (!HasShape(hello, {crypto::kFingerprintBytes})) {
    return s.progress.Refuse(RefusalReason::kBounds);
  }

  s.merchant = merchant != nullptr ? *merchant : decoy;
  if (merchant == nullptr) {
    s.doomed = RefusalReason::kUnknownPeer;
  } else if (merchant->fingerprint() != hello.body()) {
    s.doomed = RefusalReason::kIdentity;
  }
  s.own = EphemeralKeys::Generate(s.random);
  s.r1b = s.random.Secret(kNonceBytes);

  v1::BrokerChallenge challenge;
  challenge.set_role(std::string(kBrokerRole));
  challenge.set_ids_hash(IdsHash(s.broker.public_identity(), *s.merchant));
  challenge.set_r1b(std::string(s.r1b.view()));
  challenge.set_c1(s.own->encryption.public_key());
  challenge.set_c2(s.own->authentication.public_key());
  absl::StatusOr<std::string> ciphertext = EncryptMessage(*s.merchant, kChallengeName, challenge);
  crypto::Wipe(*challenge.mutable_r1b());
  if (!ciphertext.ok()) return ciphertext.status();

  v1::HandshakeMessage message;
  message.set_body(*ciphertext);
  s.wire = {hello.body(), *std::move(ciphertext)};
  s.progress.Reach(State::Step::kResponse);
  return message;
}

absl::StatusOr<v1::HandshakeMessage> BrokerSide::OnResponse(const v1::HandshakeMessage& response) {
  State& s = *state_;
  const absl::Status order = s.progress.Leave(State::Step::kResponse);
  if (!order.ok()) return order;
  if (!HasShape(response, {s.broker.public_identity().rsa().modulus_bytes()})) {
    return s.progress.Refuse(RefusalReason::kBounds);
  }

  const std::string ids_hash = IdsHash(s.broker.public_identity(), *s.merchant);
  v1::MerchantResponse stand_in = RandomResponse(ids_hash, s.r1b.view(), s.random);
  v1::MerchantResponse opened;
  RefusalReason reason =
      DecryptMessage(s.broker, kResponseName, response.body(), stand_in, &opened);
  KeepFirst(CheckResponse(opened, ids_hash, s.r1b.view()), &reason);
  if (reason != RefusalReason::kNone) opened.Swap(&stand_in);
  KeepFirst(reason, &s.doomed);
  crypto::Wipe(*opened.mutable_r1b());
  const SecretBytes r_m = SecretBytes::TakeFrom(*opened.mutable_r_m());

  v1::BrokerConfirm confirm;
  confirm.set_r_m(std::string(r_m.view()));
  absl::StatusOr<std::string> ciphertext = EncryptMessage(*s.merchant, kConfirmName, confirm);
  crypto::Wipe(*confirm.mutable_r_m());
  if (!ciphertext.ok()) return ciphertext.status();

  s.wire.push_back(response.body());
  s.wire.push_back(*ciphertext);
  s.transcript = Transcript(s.broker.public_identity(), *s.merchant, s.wire);
  s.keys = DeriveOrRandomKeys(kPairBrokerMerchant, s.transcript, *s.own, opened.b1(), opened.b2(),
                              {s.r1b.view(), r_m.view()}, s.random, &s.doomed);
  s.own.reset();
  s.r1b = SecretBytes();
  absl::StatusOr<std::string> finished =
      FinishedMac(s.keys, Direction::kInitiatorToResponder, s.transcript);
  if (!finished.ok()) return finished.status();

  v1::HandshakeMessage message;
  message.set_body(*std::move(ciphertext));
  message.set_finished(*std::move(finished));
  s.progress.Reach(State::Step::kFinished);
  return message;
}

absl::Status BrokerSide::OnFinished(const v1::HandshakeMessage& finished) {
  State& s = *state_;
  const absl::Status order = s.progress.Leave(State::Step::kFinished);
  if (!order.ok()) return order;
  if (!HasShape(finished, {/*body_bytes=*/0, /*finished=*/true})) {
    return s.progress.Refuse(RefusalReason::kBounds);
  }
  RefusalReason reason = s.doomed;
  if (!FinishedMatches(s.keys, Direction::kResponderToInitiator, s.transcript,
                       finished.finished())) {
    KeepFirst(RefusalReason::kFinished, &reason);
  }
  if (reason != RefusalReason::kNone) return s.progress.Refuse(reason);
  s.progress.Reach(State::Step::kDone);
  return absl::OkStatus();
}

bool BrokerSide::done() const { return state_->progress.done(); }
RefusalReason BrokerSide::refusal() const { return state_->progress.refusal(); }
absl::StatusOr<SessionKeys> BrokerSide::TakeKeys() { return state_->progress.Take(state_->keys); }

// ---- Merchant

struct MerchantSide::State {
  enum class Step { kStart, kChallenge, kConfirm, kDone, kTaken, kDead };

  State(const crypto::Identity& merchant, const crypto::PublicIdentity& broker,
        crypto::RandomSource& random)
      : merchant(merchant), broker(broker), random(random) {}

  const crypto::Identity& merchant;
  const crypto::PublicIdentity& broker;
  crypto::RandomSource& random;
  Progress<Step> progress{Step::kStart};
  RefusalReason doomed = RefusalReason::kNone;
  std::vector<std::string> wire;
  absl::optional<EphemeralKeys> own;
  std::string c1;
  std::string c2;
  SecretBytes r1b;
  SecretBytes r_m;
  SessionKeys keys;
};

MerchantSide::MerchantSide(const crypto::Identity& merchant, const crypto::PublicIdentity& broker,
                           crypto::RandomSource& random)
    : state_(std::make_unique<State>(merchant, broker, random)) {}
MerchantSide::~MerchantSide() = default;

absl::StatusOr<v1::HandshakeMessage> MerchantSide::Start() {
  State& s = *state_;
  const absl::Status order = s.progress.Leave(State::Step::kStart);
  if (!order.ok()) return order;
  v1::HandshakeMessage message;
  message.set_body(s.merchant.public_identity().fingerprint());
  s.wire = {message.body()};
  s.progress.Reach(State::Step::kChallenge);
  return message;
}

absl::StatusOr<v1::HandshakeMessage> MerchantSide::OnChallenge(
    const v1::HandshakeMessage& challenge) {
  State& s = *state_;
  const absl::Status order = s.progress.Leave(State::Step::kChallenge);
  if (!order.ok()) return order;
  if (!HasShape(challenge, {s.merchant.public_identity().rsa().modulus_bytes()})) {
    return s.progress.Refuse(RefusalReason::kBounds);
  }

  const std::string ids_hash = IdsHash(s.broker, s.merchant.public_identity());
  v1::BrokerChallenge stand_in = RandomChallenge(ids_hash, s.random);
  v1::BrokerChallenge opened;
  RefusalReason reason =
      DecryptMessage(s.merchant, kChallengeName, challenge.body(), stand_in, &opened);
  KeepFirst(CheckChallenge(opened, ids_hash), &reason);
  if (reason != RefusalReason::kNone) opened.Swap(&stand_in);
  KeepFirst(reason, &s.doomed);
  s.r1b = SecretBytes::TakeFrom(*opened.mutable_r1b());
  s.c1 = opened.c1();
  s.c2 = opened.c2();
  s.own = EphemeralKeys::Generate(s.random);
  s.r_m = s.random.Secret(kNonceBytes);

  v1::MerchantResponse response;
  response.set_role(std::string(kMerchantRole));
  response.set_ids_hash(ids_hash);
  response.set_r1b(std::string(s.r1b.view()));
  response.set_r_m(std::string(s.r_m.view()));
  response.set_b1(s.own->encryption.public_key());
  response.set_b2(s.own->authentication.public_key());
  absl::StatusOr<std::string> ciphertext = EncryptMessage(s.broker, kResponseName, response);
  crypto::Wipe(*response.mutable_r1b());
  crypto::Wipe(*response.mutable_r_m());
  if (!ciphertext.ok()) return ciphertext.status();

  v1::HandshakeMessage message;
  message.set_body(*ciphertext);
  s.wire.push_back(challenge.body());
  s.wire.push_back(*std::move(ciphertext));
  s.progress.Reach(State::Step::kConfirm);
  return message;
}

absl::StatusOr<v1::HandshakeMessage> MerchantSide::OnConfirm(const v1::HandshakeMessage& confirm) {
  State& s = *state_;
  const absl::Status order = s.progress.Leave(State::Step::kConfirm);
  if (!order.ok()) return order;
  if (!HasShape(confirm, {s.merchant.public_identity().rsa().modulus_bytes(), /*finished=*/true})) {
    return s.progress.Refuse(RefusalReason::kBounds);
  }

  // All the work first, then one verdict: how long it takes says nothing about what was wrong.
  RefusalReason reason = s.doomed;
  v1::BrokerConfirm stand_in;
  stand_in.set_r_m(s.random.Bytes(kNonceBytes));
  v1::BrokerConfirm opened;
  KeepFirst(DecryptMessage(s.merchant, kConfirmName, confirm.body(), stand_in, &opened), &reason);
  if (!ConstantTimeEquals(opened.r_m(), s.r_m.view())) {
    KeepFirst(RefusalReason::kChallenge, &reason);
  }
  crypto::Wipe(*opened.mutable_r_m());

  s.wire.push_back(confirm.body());
  const std::string transcript = Transcript(s.broker, s.merchant.public_identity(), s.wire);
  s.keys = DeriveOrRandomKeys(kPairBrokerMerchant, transcript, *s.own, s.c1, s.c2,
                              {s.r1b.view(), s.r_m.view()}, s.random, &reason);
  s.own.reset();
  s.r1b = SecretBytes();
  s.r_m = SecretBytes();
  if (!FinishedMatches(s.keys, Direction::kInitiatorToResponder, transcript, confirm.finished())) {
    KeepFirst(RefusalReason::kFinished, &reason);
  }
  absl::StatusOr<std::string> finished =
      FinishedMac(s.keys, Direction::kResponderToInitiator, transcript);
  if (!finished.ok()) return finished.status();
  if (reason != RefusalReason::kNone) return s.progress.Refuse(reason);

  v1::HandshakeMessage message;
  message.set_finished(*std::move(finished));
  s.progress.Reach(State::Step::kDone);
  return message;
}

bool MerchantSide::done() const { return state_->progress.done(); }
RefusalReason MerchantSide::refusal() const { return state_->progress.refusal(); }
absl::StatusOr<SessionKeys> MerchantSide::TakeKeys() { return state_->progress.Take(state_->keys); }

}  // namespace blindcart::protocol
