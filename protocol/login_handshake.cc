#include "protocol/login_handshake.h"

#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/types/optional.h"
#include "crypto/constant_time.h"
#include "crypto/encoding.h"
#include "proto/frame.pb.h"
#include "proto/handshake.pb.h"
#include "protocol/handshake_support.h"

namespace blindcart::protocol {
namespace {

using crypto::ConstantTimeEquals;
using crypto::SecretBytes;

constexpr absl::string_view kHelloName = "login";
constexpr absl::string_view kChallengeName = "login-challenge";
// In hexadecimal twice as long: a username that nobody has.
constexpr size_t kRandomUsernameBytes = 16;

std::string Transcript(const crypto::PublicIdentity& customer, const crypto::PublicIdentity& broker,
                       const std::vector<std::string>& wire) {
  return TranscriptHash(kPairCustomerBroker, customer.fingerprint(), broker.fingerprint(), wire);
}

v1::LoginHello RandomHello(crypto::RandomSource& random) {
  v1::LoginHello hello;
  hello.set_username(crypto::HexEncode(random.Bytes(kRandomUsernameBytes)));
  hello.set_r_c(random.Bytes(kNonceBytes));
  hello.set_c1(random.Bytes(crypto::kX25519KeyBytes));
  hello.set_c2(random.Bytes(crypto::kX25519KeyBytes));
  return hello;
}

RefusalReason CheckHello(const v1::LoginHello& hello) {
  if (!IsValidUsername(hello.username()) || hello.r_c().size() != kNonceBytes ||
      hello.c1().size() != crypto::kX25519KeyBytes ||
      hello.c2().size() != crypto::kX25519KeyBytes) {
    return RefusalReason::kMalformed;
  }
  return RefusalReason::kNone;
}

v1::LoginChallenge RandomChallenge(absl::string_view r_c, crypto::RandomSource& random) {
  v1::LoginChallenge challenge;
  challenge.set_r_c(std::string(r_c));
  challenge.set_r_b(random.Bytes(kNonceBytes));
  challenge.set_b1(random.Bytes(crypto::kX25519KeyBytes));
  challenge.set_b2(random.Bytes(crypto::kX25519KeyBytes));
  return challenge;
}

RefusalReason CheckChallenge(const v1::LoginChallenge& challenge, absl::string_view r_c) {
  if (!ConstantTimeEquals(challenge.r_c(), r_c)) return RefusalReason::kChallenge;
  if (challenge.r_b().size() != kNonceBytes || challenge.b1().size() != crypto::kX25519KeyBytes ||
      challenge.b2().size() != crypto::kX25519KeyBytes) {
    return RefusalReason::kMalformed;
  }
  return RefusalReason::kNone;
}

// The login-challenge's body: a ciphertext that does not tell whose key it is under (see the
// header).
absl::StatusOr<std::string> EncryptHidingReader(const crypto::PublicIdentity& reader,
                                                const v1::LoginChallenge& challenge,
                                                crypto::RandomSource& random) {
  // A modulus has its first bit set, so at least every second ciphertext will do.
  absl::StatusOr<std::string> body;
  do {
    body = EncryptMessage(reader, kChallengeName, challenge);
    if (!body.ok()) return body.status();
  } while ((static_cast<unsigned char>(body->front()) & 0x80) != 0);
  body->append(random.Bytes(kLoginChallengeBytes - body->size()));
  return body;
}

}  // namespace

bool IsValidUsername(absl::string_view username) {
  if (username.empty() || username.size() > kMaxUsernameBytes) return false;
  const auto is_alphanumeric = [](char c) {
    return absl::ascii_islower(c) || absl::ascii_isdigit(c);
  };
  if (!is_alphanumeric(username.front())) return false;
  for (char c : username) {
    if (!is_alphanumeric(c) && c != '.' && c != '_' && c != '-') return false;
  }
  return true;
}

// ---- Customer

struct CustomerLogin::State {
  enum class Step { kStart, kChallenge, kDone, kTaken, kDead };

  State(const crypto::Identity& customer, const crypto::PublicIdentity& broker,
        crypto::RandomSource& random)
      : customer(customer), broker(broker), random(random) {}

  const crypto::Identity& customer;
  const crypto::PublicIdentity& broker;
  crypto::RandomSource& random;
  Progress<Step> progress{Step::kStart};
  std::vector<std::string> wire;
  absl::optional<EphemeralKeys> own;
  SecretBytes r_c;
  SessionKeys keys;
};

CustomerLogin::CustomerLogin(const crypto::Identity& customer, const crypto::PublicIdentity& broker,
                             crypto::RandomSource& random)
    : state_(std::make_unique<State>(customer, broker, random)) {}
CustomerLogin::~CustomerLogin() = default;

absl::StatusOr<v1::HandshakeMessage> CustomerLogin::Start(absl::string_view username) {
  State& s = *state_;
  const absl::Status order = s.progress.Leave(State::Step::kStart);
  if (!order.ok()) return order;
  if (!IsValidUsername(username)) return absl::InvalidArgumentError("not a valid username");

  s.own = EphemeralKeys::Generate(s.random);
  s.r_c = s.random.Secret(kNonceBytes);
  v1::LoginHello hello;
  hello.set_username(std::string(username));
  hello.set_r_c(std::string(s.r_c.view()));
  hello.set_c1(s.own->encryption.public_key());
  hello.set_c2(s.own->authentication.public_key());
  absl::StatusOr<std::string> ciphertext = EncryptMessage(s.broker, kHelloName, hello);
  crypto::Wipe(*hello.mutable_r_c());
  if (!ciphertext.ok()) return ciphertext.status();

  v1::HandshakeMessage message;
  message.set_body(*ciphertext);
  s.wire = {*std::move(ciphertext)};
  s.progress.Reach(State::Step::kChallenge);
  return message;
}

absl::StatusOr<v1::HandshakeMessage> CustomerLogin::OnChallenge(
    const v1::HandshakeMessage& challenge) {
  State& s = *state_;
  const absl::Status order = s.progress.Leave(State::Step::kChallenge);
  if (!order.ok()) return order;
  if (!HasShape(challenge, {kLoginChallengeBytes, /*finished=*/true})) {
    return s.progress.Refuse(RefusalReason::kBounds);
  }

  // All the work first, then one verdict: how long it takes says nothing about what was wrong.
  const absl::string_view ciphertext =
      absl::string_view(challenge.body())
          .substr(0, s.customer.public_identity().rsa().modulus_bytes());
  v1::LoginChallenge stand_in = RandomChallenge(s.r_c.view(), s.random);
  v1::LoginChallenge opened;
  RefusalReason reason = DecryptMessage(s.customer, kChallengeName, ciphertext, stand_in, &opened);
  KeepFirst(CheckChallenge(opened, s.r_c.view()), &reason);
  if (reason != RefusalReason::kNone) opened.Swap(&stand_in);
  crypto::Wipe(*opened.mutable_r_c());
  const SecretBytes r_b = SecretBytes::TakeFrom(*opened.mutable_r_b());

  s.wire.push_back(challenge.body());
  const std::string transcript = Transcript(s.customer.public_identity(), s.broker, s.wire);
  s.keys = DeriveOrRandomKeys(kPairCustomerBroker, transcript, *s.own, opened.b1(), opened.b2(),
                              {s.r_c.view(), r_b.view()}, s.random, &reason);
  s.own.reset();
  s.r_c = SecretBytes();
  if (!FinishedMatches(s.keys, Direction::kResponderToInitiator, transcript,
                       challenge.finished())) {
    KeepFirst(RefusalReason::kFinished, &reason);
  }
  absl::StatusOr<std::string> finished =
      FinishedMac(s.keys, Direction::kInitiatorToResponder, transcript);
  if (!finished.ok()) return finished.status();
  if (reason != RefusalReason::kNone) return s.progress.Refuse(reason);

  v1::HandshakeMessage message;
  message.set_finished(*std::move(finished));
  s.progress.Reach(State::Step::kDone);
  return message;
}

bool CustomerLogin::done() const { return state_->progress.done(); }
RefusalReason CustomerLogin::refusal() const { return state_->progress.refusal(); }
absl::StatusOr<SessionKeys> CustomerLogin::TakeKeys() {
  return state_->progress.Take(state_->keys);
}

// ---- Broker

struct BrokerLogin::State {
  enum class Step { kHello, kAnswer, kFinished, kDone, kTaken, kDead };

  State(const crypto::Identity& broker, crypto::RandomSource& random)
      : broker(broker), random(random) {}

  const crypto::Identity& broker;
  crypto::RandomSource& random;
  Progress<Step> progress{Step::kHello};
  // Why the run will be refused at its end.
  RefusalReason doomed = RefusalReason::kNone;
  std::vector<std::string> wire;
  std::string c1;
  std::string c2;
  SecretBytes r_c;
  std::string transcript;
  SessionKeys keys;
};

BrokerLogin::BrokerLogin(const crypto::Identity& broker, crypto::RandomSource& random)
    : state_(std::make_unique<State>(broker, random)) {}
BrokerLogin::~BrokerLogin() = default;

absl::StatusOr<std::string> BrokerLogin::OnHello(const v1::HandshakeMessage& hello) {
  State& s = *state_;
  const absl::Status order = s.progress.Leave(State::Step::kHello);
  if (!order.ok()) return order;
  if (!HasShape(hello, {s.broker.public_identity().rsa().modulus_bytes()})) {
    return s.progress.Refuse(RefusalReason::kBounds);
  }

  v1::LoginHello stand_in = RandomHello(s.random);
  v1::LoginHello opened;
  s.doomed = DecryptMessage(s.broker, kHelloName, hello.body(), stand_in, &opened);
  KeepFirst(CheckHello(opened), &s.doomed);
  if (s.doomed != RefusalReason::kNone) opened.Swap(&stand_in);
  s.r_c = SecretBytes::TakeFrom(*opened.mutable_r_c());
  s.c1 = opened.c1();
  s.c2 = opened.c2();
  s.wire = {hello.body()};
  s.progress.Reach(State::Step::kAnswer);
  return opened.username();
}

absl::StatusOr<v1::HandshakeMessage> BrokerLogin::Answer(const crypto::PublicIdentity* customer,
                                                         const crypto::PublicIdentity& decoy) {
  State& s = *state_;
  const absl::Status order = s.progress.Leave(State::Step::kAnswer);
  if (!order.ok()) return order;
  if (customer == nullptr) KeepFirst(RefusalReason::kUnknownPeer, &s.doomed);
  const bool known = customer != nullptr && s.doomed == RefusalReason::kNone;
  const crypto::PublicIdentity& reader = known ? *customer : decoy;

  const EphemeralKeys own = EphemeralKeys::Generate(s.random);
  const SecretBytes r_b = s.random.Secret(kNonceBytes);
  v1::LoginChallenge challenge;
  challenge.set_r_c(std::string(s.r_c.view()));
  challenge.set_r_b(std::string(r_b.view()));
  challenge.set_b1(own.encryption.public_key());
  challenge.set_b2(own.authentication.public_key());
  absl::StatusOr<std::string> body = EncryptHidingReader(reader, challenge, s.random);
  crypto::Wipe(*challenge.mutable_r_c());
  crypto::Wipe(*challenge.mutable_r_b());
  if (!body.ok()) return body.status();

  s.wire.push_back(*body);
  s.transcript = Transcript(reader, s.broker.public_identity(), s.wire);
  s.keys = DeriveOrRandomKeys(kPairCustomerBroker, s.transcript, own, s.c1, s.c2,
                              {s.r_c.view(), r_b.view()}, s.random, &s.doomed);
  s.r_c = SecretBytes();
  absl::StatusOr<std::string> finished =
      FinishedMac(s.keys, Direction::kResponderToInitiator, s.transcript);
  if (!finished.ok()) return finished.status();

  v1::HandshakeMessage message;
  message.set_body(*std::move(body));
  message.set_finished(*std::move(finished));
  s.progress.Reach(State::Step::kFinished);
  return message;
}

absl::Status BrokerLogin::OnFinished(const v1::HandshakeMessage& finished) {
  State& s = *state_;
  const absl::Status order = s.progress.Leave(State::Step::kFinished);
  if (!order.ok()) return order;
  if (!HasShape(finished, {/*body_bytes=*/0, /*finished=*/true, /*may_frame=*/true})) {
    return s.progress.Refuse(RefusalReason::kBounds);
  }
  RefusalReason reason = s.doomed;
  if (!FinishedMatches(s.keys, Direction::kInitiatorToResponder, s.transcript,
                       finished.finished())) {
    KeepFirst(RefusalReason::kFinished, &reason);
  }
  if (reason != RefusalReason::kNone) return s.progress.Refuse(reason);
  s.progress.Reach(State::Step::kDone);
  return absl::OkStatus();
}

bool BrokerLogin::done() const { return state_->progress.done(); }
RefusalReason BrokerLogin::refusal() const { return state_->progress.refusal(); }
absl::StatusOr<SessionKeys> BrokerLogin::TakeKeys() { return state_->progress.Take(state_->keys); }

}  // namespace blindcart::protocol
