#include "protocol/peer_handshake.h"

#include <utility>
#include <vector>

#include "absl/types/optional.h"
#include "crypto/ed25519.h"
#include "crypto/encoding.h"
#include "crypto/secret_bytes.h"
#include "proto/frame.pb.h"
#include "proto/peer.pb.h"
#include "protocol/handshake_support.h"

namespace blindcart::protocol {
namespace {

using crypto::LengthPrefixed;
using crypto::SecretBytes;

constexpr absl::string_view kMasterName = "peer-master";
constexpr absl::string_view kAnswerContext = "blindcart/v1 peer-answer";
constexpr absl::string_view kFinishContext = "blindcart/v1 peer-finish";

constexpr size_t kHelloFields = 5;
constexpr size_t kAnswerFields = 6;
constexpr size_t kFinishFields = 2;
constexpr size_t kLengthBytes = 4;
constexpr size_t kMaxBodyBytes = kAnswerFields * kLengthBytes + 2 * kMaxPeerCertificateBytes +
                                 kNonceBytes + 2 * crypto::kX25519KeyBytes +
                                 crypto::kEd25519SignatureBytes;

// What hello and answer have in common. The views point into the message's body.
struct Greeting {
  PeerCertificates certificates;
  absl::string_view nonce;
  absl::string_view encryption_key;      // C1 or B1.
  absl::string_view authentication_key;  // C2 or B2.
  absl::string_view signature;           // Of an answer only.
};

// Bounds only.
absl::optional<Greeting> ParseGreeting(const v1::HandshakeMessage& message, size_t field_count) {
  if (message.body().size() > kMaxBodyBytes || !message.finished().empty() || message.has_frame()) {
    return absl::nullopt;
  }
  const auto fields = crypto::SplitLengthPrefixed(message.body(), field_count);
  if (!fields.ok()) return absl::nullopt;
  const std::vector<absl::string_view>& f = *fields;
  if (f[0].empty() || f[0].size() > kMaxPeerCertificateBytes || f[1].empty() ||
      f[1].size() > kMaxPeerCertificateBytes || f[2].size() != kNonceBytes ||
      f[3].size() != crypto::kX25519KeyBytes || f[4].size() != crypto::kX25519KeyBytes ||
      (field_count == kAnswerFields && f[5].size() != crypto::kEd25519SignatureBytes)) {
    return absl::nullopt;
  }
  return Greeting{{std::string(f[0]), std::string(f[1])},
                  f[2],
                  f[3],
                  f[4],
                  field_count == kAnswerFields ? f[5] : absl::string_view()};
}

// Hello's body, and what Y signs of answer's.
std::string JoinGreeting(const PeerCertificates& certificates, absl::string_view nonce,
                         absl::string_view encryption_key, absl::string_view authentication_key) {
  return LengthPrefixed(
      {certificates.signing, certificates.encryption, nonce, encryption_key, authentication_key});
}

// Both ends' fingerprints, X's first, and T over what has been sent so far.
struct Ends {
  std::string initiator;
  std::string responder;
  std::string Transcript(const std::vector<std::string>& wire) const {
    return TranscriptHash(kPairPeerPeer, initiator, responder, wire);
  }
};

// What both machines keep of the other end.
struct Other {
  absl::Status verdict;
  absl::optional<CertifiedPeer> peer;

  // kNone when the certificates are good and not one's own.
  RefusalReason Judge(const PeerCertificates& certificates, const crypto::Identity& own,
                      PeerVerifier& verifier) {
    absl::StatusOr<CertifiedPeer> verified = verifier.Verify(certificates);
    verdict = verified.status();
    if (!verified.ok()) return RefusalReason::kCertificate;
    if (verified->identity.fingerprint() == own.public_identity().fingerprint()) {
      verdict = absl::InvalidArgumentError(
          "that is this agent itself: it answered under its own keys. Name another user");
      return RefusalReason::kIdentity;
    }
    peer = *std::move(verified);
    return RefusalReason::kNone;
  }
};

}  // namespace

// ---- X

struct PeerInitiator::State {
  enum class Step { kStart, kAnswer, kFinished, kDone, kTaken, kDead };

  State(const crypto::Identity& own, PeerCertificates certificates, PeerVerifier& verifier,
        crypto::RandomSource& random)
      : own(own), certificates(std::move(certificates)), verifier(verifier), random(random) {}

  const crypto::Identity& own;
  const PeerCertificates certificates;
  PeerVerifier& verifier;
  crypto::RandomSource& random;
  Progress<Step> progress{Step::kStart};
  Other other;
  std::string hello;  // Its body.
  std::string nonce;
  absl::optional<EphemeralKeys> ephemeral;
  std::string transcript;
  SessionKeys keys;
};

PeerInitiator::PeerInitiator(const crypto::Identity& own, PeerCertificates own_certificates,
                             PeerVerifier& verifier, crypto::RandomSource& random)
    : state_(std::make_unique<State>(own, std::move(own_certificates), verifier, random)) {}
PeerInitiator::~PeerInitiator() = default;

absl::StatusOr<v1::HandshakeMessage> PeerInitiator::Start() {
  State& s = *state_;
  const absl::Status order = s.progress.Leave(State::Step::kStart);
  if (!order.ok()) return order;

  s.ephemeral = EphemeralKeys::Generate(s.random);
  s.nonce = s.random.Bytes(kNonceBytes);
  s.hello = JoinGreeting(s.certificates, s.nonce, s.ephemeral->encryption.public_key(),
                         s.ephemeral->authentication.public_key());
  v1::HandshakeMessage message;
  message.set_body(s.hello);
  s.progress.Reach(State::Step::kAnswer);
  return message;
}

absl::StatusOr<v1::HandshakeMessage> PeerInitiator::OnAnswer(const v1::HandshakeMessage& answer) {
  State& s = *state_;
  const absl::Status order = s.progress.Leave(State::Step::kAnswer);
  if (!order.ok()) return order;
  const absl::optional<Greeting> y = ParseGreeting(answer, kAnswerFields);
  if (!y.has_value()) return s.progress.Refuse(RefusalReason::kBounds);
  RefusalReason reason = s.other.Judge(y->certificates, s.own, s.verifier);
  if (reason != RefusalReason::kNone) return s.progress.Refuse(reason);

  const crypto::PublicIdentity& peer = s.other.peer->identity;
  const Ends ends{s.own.public_identity().fingerprint(), peer.fingerprint()};
  const std::string signed_by_y = ends.Transcript(
      {s.hello, JoinGreeting(y->certificates, y->nonce, y->encryption_key, y->authentication_key)});
  if (!peer.VerifySignature(kAnswerContext, signed_by_y, y->signature).ok()) {
    return s.progress.Refuse(RefusalReason::kSignature);
  }

  const SecretBytes master_secret = s.random.Secret(kNonceBytes);
  v1::PeerMaster master;
  master.set_master_secret(std::string(master_secret.view()));
  const absl::StatusOr<std::string> ciphertext = EncryptMessage(peer, kMasterName, master);
  crypto::Wipe(*master.mutable_master_secret());
  if (!ciphertext.ok()) return ciphertext.status();
  const std::string signature =
      s.own.Sign(kFinishContext, ends.Transcript({s.hello, answer.body(), *ciphertext}));

  v1::HandshakeMessage message;
  message.set_body(LengthPrefixed({signature, *ciphertext}));
  s.transcript = ends.Transcript({s.hello, answer.body(), message.body()});
  s.keys = DeriveOrRandomKeys(kPairPeerPeer, s.transcript, *s.ephemeral, y->encryption_key,
                              y->authentication_key, {s.nonce, y->nonce, master_secret.view()},
                              s.random, &reason);
  s.ephemeral.reset();
  if (reason != RefusalReason::kNone) return s.progress.Refuse(reason);
  absl::StatusOr<std::string> finished =
      FinishedMac(s.keys, Direction::kInitiatorToResponder, s.transcript);
  if (!finished.ok()) return finished.status();
  message.set_finished(*std::move(finished));
  s.progress.Reach(State::Step::kFinished);
  return message;
}

absl::Status PeerInitiator::OnFinished(const v1::HandshakeMessage& finished) {
  State& s = *state_;
  const absl::Status order = s.progress.Leave(State::Step::kFinished);
  if (!order.ok()) return order;
  if (!HasShape(finished, {/*body_bytes=*/0, /*finished=*/true})) {
    return s.progress.Refuse(RefusalReason::kBounds);
  }
  if (!FinishedMatches(s.keys, Direction::kResponderToInitiator, s.transcript,
                       finished.finished())) {
    return s.progress.Refuse(RefusalReason::kFinished);
  }
  s.progress.Reach(State::Step::kDone);
  return absl::OkStatus();
}

bool PeerInitiator::done() const { return state_->progress.done(); }
RefusalReason PeerInitiator::refusal() const { return state_->progress.refusal(); }
const absl::Status& PeerInitiator::verdict() const { return state_->other.verdict; }
const CertifiedPeer& PeerInitiator::peer() const { return *state_->other.peer; }
absl::StatusOr<SessionKeys> PeerInitiator::TakeKeys() {
  return state_->progress.Take(state_->keys);
}

// ---- Y

struct PeerResponder::State {
  enum class Step { kHello, kFinish, kDone, kTaken, kDead };

  State(const crypto::Identity& own, PeerCertificates certificates, PeerVerifier& verifier,
        crypto::RandomSource& random)
      : own(own), certificates(std::move(certificates)), verifier(verifier), random(random) {}

  const crypto::Identity& own;
  const PeerCertificates certificates;
  PeerVerifier& verifier;
  crypto::RandomSource& random;
  Progress<Step> progress{Step::kHello};
  Other other;
  Ends ends;
  std::string hello;   // Its body.
  std::string answer;  // Its body.
  std::string x_nonce;
  std::string y_nonce;
  std::string c1;
  std::string c2;
  absl::optional<EphemeralKeys> ephemeral;
  SessionKeys keys;
};

PeerResponder::PeerResponder(const crypto::Identity& own, PeerCertificates own_certificates,
                             PeerVerifier& verifier, crypto::RandomSource& random)
    : state_(std::make_unique<State>(own, std::move(own_certificates), verifier, random)) {}
PeerResponder::~PeerResponder() = default;

absl::StatusOr<v1::HandshakeMessage> PeerResponder::OnHello(const v1::HandshakeMessage& hello) {
  State& s = *state_;
  const absl::Status order = s.progress.Leave(State::Step::kHello);
  if (!order.ok()) return order;
  const absl::optional<Greeting> x = ParseGreeting(hello, kHelloFields);
  if (!x.has_value()) return s.progress.Refuse(RefusalReason::kBounds);
  const RefusalReason reason = s.other.Judge(x->certificates, s.own, s.verifier);
  if (reason != RefusalReason::kNone) return s.progress.Refuse(reason);

  s.ends = Ends{s.other.peer->identity.fingerprint(), s.own.public_identity().fingerprint()};
  s.hello = hello.body();
  s.x_nonce = std::string(x->nonce);
  s.c1 = std::string(x->encryption_key);
  s.c2 = std::string(x->authentication_key);
  s.ephemeral = EphemeralKeys::Generate(s.random);
  s.y_nonce = s.random.Bytes(kNonceBytes);
  const std::string& b1 = s.ephemeral->encryption.public_key();
  const std::string& b2 = s.ephemeral->authentication.public_key();
  const std::string signature =
      s.own.Sign(kAnswerContext,
                 s.ends.Transcript({s.hello, JoinGreeting(s.certificates, s.y_nonce, b1, b2)}));
  s.answer = LengthPrefixed(
      {s.certificates.signing, s.certificates.encryption, s.y_nonce, b1, b2, signature});
  v1::HandshakeMessage message;
  message.set_body(s.answer);
  s.progress.Reach(State::Step::kFinish);
  return message;
}

absl::StatusOr<v1::HandshakeMessage> PeerResponder::OnFinish(const v1::HandshakeMessage& finish) {
  State& s = *state_;
  const absl::Status order = s.progress.Leave(State::Step::kFinish);
  if (!order.ok()) return order;
  const size_t ciphertext_bytes = s.own.public_identity().rsa().modulus_bytes();
  const size_t body_bytes =
      kFinishFields * kLengthBytes + crypto::kEd25519SignatureBytes + ciphertext_bytes;
  if (!HasShape(finish, {body_bytes, /*finished=*/true})) {
    return s.progress.Refuse(RefusalReason::kBounds);
  }
  const auto fields = crypto::SplitLengthPrefixed(finish.body(), kFinishFields);
  if (!fields.ok() || (*fields)[0].size() != crypto::kEd25519SignatureBytes) {
    return s.progress.Refuse(RefusalReason::kBounds);
  }
  const absl::string_view signature = (*fields)[0];
  const absl::string_view ciphertext = (*fields)[1];

  // Anybody can tell whether the signature is right, so that it may be answered for at once, and
  // nobody gets a private operation out of this agent who has not signed for it.
  const std::string signed_by_x = s.ends.Transcript({s.hello, s.answer, std::string(ciphertext)});
  if (!s.other.peer->identity.VerifySignature(kFinishContext, signed_by_x, signature).ok()) {
    return s.progress.Refuse(RefusalReason::kSignature);
  }

  v1::PeerMaster stand_in;
  stand_in.set_master_secret(s.random.Bytes(kNonceBytes));
  v1::PeerMaster opened;
  RefusalReason reason = DecryptMessage(s.own, kMasterName, ciphertext, stand_in, &opened);
  if (opened.master_secret().size() != kNonceBytes) KeepFirst(RefusalReason::kMalformed, &reason);
  if (reason != RefusalReason::kNone) opened.Swap(&stand_in);
  const SecretBytes master_secret = SecretBytes::TakeFrom(*opened.mutable_master_secret());

  const std::string transcript = s.ends.Transcript({s.hello, s.answer, finish.body()});
  s.keys = DeriveOrRandomKeys(kPairPeerPeer, transcript, *s.ephemeral, s.c1, s.c2,
                              {s.x_nonce, s.y_nonce, master_secret.view()}, s.random, &reason);
  s.ephemeral.reset();
  if (!FinishedMatches(s.keys, Direction::kInitiatorToResponder, transcript, finish.finished())) {
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

bool PeerResponder::done() const { return state_->progress.done(); }
RefusalReason PeerResponder::refusal() const { return state_->progress.refusal(); }
const absl::Status& PeerResponder::verdict() const { return state_->other.verdict; }
const CertifiedPeer& PeerResponder::peer() const { return *state_->other.peer; }
absl::StatusOr<SessionKeys> PeerResponder::TakeKeys() {
  return state_->progress.Take(state_->keys);
}

}  // namespace blindcart::protocol
