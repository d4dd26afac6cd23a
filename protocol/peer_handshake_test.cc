#include "protocol/peer_handshake.h"

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "crypto/encoding.h"
#include "crypto/testing/test_identity.h"
#include "gtest/gtest.h"
#include "proto/frame.pb.h"
#include "proto/peer.pb.h"
#include "protocol/channel.h"
#include "protocol/clock.h"
#include "protocol/testing/by_hand.h"
#include "protocol/testing/flip_bit.h"

namespace blindcart::protocol {
namespace {

using crypto::Identity;
using crypto::SystemRandom;
using crypto::TestIdentity;
using crypto::X25519KeyPair;
using v1::HandshakeMessage;

const Identity& Alice() { return TestIdentity(0); }
const Identity& Bob() { return TestIdentity(1); }
const Identity& Mallory() { return TestIdentity(2); }

constexpr char kAnswerContext[] = "blindcart/v1 peer-answer";
constexpr char kFinishContext[] = "blindcart/v1 peer-finish";
constexpr char kMasterLabel[] = "blindcart/v1/peer-master";

// Stand-ins for certificates: the machine treats them as bytes.
PeerCertificates CertificatesOf(const std::string& username) {
  return {"signing certificate of " + username, "encryption certificate of " + username};
}

class FakeVerifier : public PeerVerifier {
 public:
  absl::StatusOr<CertifiedPeer> Verify(const PeerCertificates& certificates) override {
    for (const auto& [username, identity] :
         {std::pair<std::string, const Identity*>{"alice", &Alice()},
          {"bob", &Bob()},
          {"mallory", &Mallory()}}) {
      const PeerCertificates expected = CertificatesOf(username);
      if (certificates.signing == expected.signing &&
          certificates.encryption == expected.encryption && username != refused) {
        return CertifiedPeer{username, identity->public_identity()};
      }
    }
    return absl::PermissionDeniedError("not a certificate of this broker");
  }
  std::string refused;
};

using Alter = std::function<void(HandshakeMessage*)>;
void AsItIs(HandshakeMessage* /*message*/) {}

// The network in the middle, which may alter whatever passes.
struct Network {
  Alter hello = AsItIs;
  Alter answer = AsItIs;
  Alter finish = AsItIs;
  Alter last = AsItIs;
};

struct Outcome {
  bool x_done = false;
  bool y_done = false;
  RefusalReason x_refusal = RefusalReason::kNone;
  RefusalReason y_refusal = RefusalReason::kNone;
  absl::Status x_verdict;
  absl::Status y_verdict;
  std::string x_saw;
  std::string y_saw;
  // As they were sent, before the network altered them.
  std::vector<HandshakeMessage> sent;
  SessionKeys x_keys;
  SessionKeys y_keys;
};

struct Ends {
  const Identity* x = &Alice();
  const Identity* y = &Bob();
  PeerCertificates x_certificates = CertificatesOf("alice");
  PeerCertificates y_certificates = CertificatesOf("bob");
  FakeVerifier x_verifier;
  FakeVerifier y_verifier;
};

Outcome Shuttle(const Network& network, Ends ends = Ends()) {
  PeerInitiator x(*ends.x, ends.x_certificates, ends.x_verifier, SystemRandom());
  PeerResponder y(*ends.y, ends.y_certificates, ends.y_verifier, SystemRandom());
  Outcome outcome;
  const auto finish = [&] {
    outcome.x_done = x.done();
    outcome.y_done = y.done();
    outcome.x_refusal = x.refusal();
    outcome.y_refusal = y.refusal();
    outcome.x_verdict = x.verdict();
    outcome.y_verdict = y.verdict();
    if (x.done()) {
      outcome.x_saw = x.peer().username;
      outcome.x_keys = x.TakeKeys().value();
    }
    if (y.done()) {
      outcome.y_saw = y.peer().username;
      outcome.y_keys = y.TakeKeys().value();
    }
    return std::move(outcome);
  };
  // What was sent, as it arrives; null when sending was refused.
  HandshakeMessage arrived;
  const auto pass = [&](const absl::StatusOr<HandshakeMessage>& message, const Alter& alter) {
    if (!message.ok()) {
      EXPECT_EQ(message.status(), Refused());
      return false;
    }
    outcome.sent.push_back(*message);
    arrived = *message;
    alter(&arrived);
    return true;
  };
  if (!pass(x.Start(), network.hello)) return finish();
  if (!pass(y.OnHello(arrived), network.answer)) return finish();
  if (!pass(x.OnAnswer(arrived), network.finish)) return finish();
  if (!pass(y.OnFinish(arrived), network.last)) return finish();
  const absl::Status last = x.OnFinished(arrived);
  if (!last.ok()) {
    EXPECT_EQ(last, Refused());
  }
  return finish();
}

std::vector<std::string> Fields(const std::string& body, size_t count) {
  const std::vector<absl::string_view> fields = crypto::SplitLengthPrefixed(body, count).value();
  return {fields.begin(), fields.end()};
}

// The initiator's half out of bare primitives, which may be played wrongly.
struct HandByHand {
  HandByHand(const Identity& claimed, const std::string& username)
      : claimed(claimed),
        c1(X25519KeyPair::Generate(SystemRandom())),
        c2(X25519KeyPair::Generate(SystemRandom())) {
    SetKeys(username, c1.public_key(), c2.public_key());
  }
  void SetKeys(const std::string& username, const std::string& key1, const std::string& key2) {
    const PeerCertificates certificates = CertificatesOf(username);
    hello.set_body(
        by_hand::Join({certificates.signing, certificates.encryption, nonce, key1, key2}));
  }
  // To Bob's answer. Null exchanges: as the keys give them.
  HandshakeMessage Finish(const HandshakeMessage& answer, const Identity& signer,
                          const crypto::PublicIdentity& reader,
                          const std::string* shared1 = nullptr,
                          const std::string* shared2 = nullptr) const {
    const auto a = Fields(answer.body(), 6);
    v1::PeerMaster master;
    master.set_master_secret(std::string(32, 'm'));
    const std::string ciphertext = by_hand::Encrypt(reader, kMasterLabel, master);
    by_hand::DerivationInput input;
    input.pair = "peer-peer";
    input.initiator_fingerprint = claimed.public_identity().fingerprint();
    input.responder_fingerprint = Bob().public_identity().fingerprint();
    input.wire = {hello.body(), answer.body(), ciphertext};
    HandshakeMessage finish;
    finish.set_body(
        by_hand::Join({signer.Sign(kFinishContext, by_hand::Transcript(input)), ciphertext}));
    input.wire = {hello.body(), answer.body(), finish.body()};
    input.shared1 = shared1 != nullptr ? *shared1 : by_hand::Exchange(c1, a[3]);
    input.shared2 = shared2 != nullptr ? *shared2 : by_hand::Exchange(c2, a[4]);
    input.nonces = {nonce, a[2], master.master_secret()};
    finish.set_finished(by_hand::Finished(by_hand::Derive(input), "initiator->responder",
                                          by_hand::Transcript(input)));
    return finish;
  }

  const Identity& claimed;
  const X25519KeyPair c1;
  const X25519KeyPair c2;
  const std::string nonce = SystemRandom().Bytes(32);
  HandshakeMessage hello;
};

TEST(PeerHandshakeTest, BothEndsGetTheSameKeysAndKnowEachOther) {
  const Outcome outcome = Shuttle({});
  ASSERT_TRUE(outcome.x_done);
  ASSERT_TRUE(outcome.y_done);
  EXPECT_EQ(outcome.x_saw, "bob");
  EXPECT_EQ(outcome.y_saw, "alice");
  EXPECT_EQ(outcome.x_keys.session_id.size(), kSessionIdBytes);
  EXPECT_EQ(outcome.x_keys.session_id, outcome.y_keys.session_id);
  EXPECT_EQ(outcome.x_keys.seal.view(), outcome.y_keys.seal.view());
  EXPECT_EQ(outcome.x_keys.mac.view(), outcome.y_keys.mac.view());
  EXPECT_NE(outcome.x_keys.seal.view(), outcome.x_keys.mac.view());
}

TEST(PeerHandshakeTest, TheKeysCarryASealedConversation) {
  Outcome outcome = Shuttle({});
  ASSERT_TRUE(outcome.x_done && outcome.y_done);
  auto x = Channel::Create(std::move(outcome.x_keys), Role::kInitiator, SystemClock(), {}).value();
  auto y = Channel::Create(std::move(outcome.y_keys), Role::kResponder, SystemClock(), {}).value();
  v1::Frame frame;
  ASSERT_TRUE(x->Seal({"hello"}, &frame).ok());
  EXPECT_EQ(y->Open(frame).value(), std::vector<std::string>{"hello"});
  ASSERT_TRUE(y->Seal({"hello yourself"}, &frame).ok());
  EXPECT_EQ(x->Open(frame).value(), std::vector<std::string>{"hello yourself"});
}

TEST(PeerHandshakeTest, NothingButTheCertificatesIsEqualInTwoRuns) {
  const Outcome one = Shuttle({});
  const Outcome two = Shuttle({});
  ASSERT_TRUE(one.x_done && two.x_done);
  EXPECT_NE(one.x_keys.seal.view(), two.x_keys.seal.view());
  EXPECT_NE(one.x_keys.mac.view(), two.x_keys.mac.view());
  EXPECT_NE(one.x_keys.session_id, two.x_keys.session_id);
  for (size_t i = 0; i < 2; ++i) {
    const auto a = Fields(one.sent[i].body(), i == 0 ? 5 : 6);
    const auto b = Fields(two.sent[i].body(), i == 0 ? 5 : 6);
    for (size_t field = 2; field < a.size(); ++field) EXPECT_NE(a[field], b[field]);
    EXPECT_NE(a[3], a[4]);
  }
  EXPECT_NE(one.sent[2].body(), two.sent[2].body());
}

// Bob's half written out from docs/protocol.md: pins every byte that is signed and derived.
TEST(PeerHandshakeTest, AnInitiatorMeetsAResponderWrittenByHand) {
  FakeVerifier verifier;
  PeerInitiator x(Alice(), CertificatesOf("alice"), verifier, SystemRandom());
  const HandshakeMessage hello = x.Start().value();
  const auto h = Fields(hello.body(), 5);
  EXPECT_EQ(h[0], "signing certificate of alice");
  EXPECT_EQ(h[1], "encryption certificate of alice");
  EXPECT_EQ(hello.body(), by_hand::Join(h));

  const X25519KeyPair b1 = X25519KeyPair::Generate(SystemRandom());
  const X25519KeyPair b2 = X25519KeyPair::Generate(SystemRandom());
  const std::string nonce = SystemRandom().Bytes(32);
  std::vector<std::string> greeting = {CertificatesOf("bob").signing,
                                       CertificatesOf("bob").encryption, nonce, b1.public_key(),
                                       b2.public_key()};
  by_hand::DerivationInput input;
  input.pair = "peer-peer";
  input.initiator_fingerprint = Alice().public_identity().fingerprint();
  input.responder_fingerprint = Bob().public_identity().fingerprint();
  input.wire = {hello.body(), by_hand::Join(greeting)};
  greeting.push_back(Bob().Sign(kAnswerContext, by_hand::Transcript(input)));
  HandshakeMessage answer;
  answer.set_body(by_hand::Join(greeting));
  const HandshakeMessage finish = x.OnAnswer(answer).value();

  const auto f = Fields(finish.body(), 2);
  input.wire = {hello.body(), answer.body(), f[1]};
  EXPECT_TRUE(Alice()
                  .public_identity()
                  .VerifySignature(kFinishContext, by_hand::Transcript(input), f[0])
                  .ok());
  v1::PeerMaster master;
  ASSERT_TRUE(by_hand::Decrypt(Bob(), kMasterLabel, f[1], &master));
  EXPECT_EQ(master.master_secret().size(), 32u);
  input.wire = {hello.body(), answer.body(), finish.body()};
  input.shared1 = by_hand::Exchange(b1, h[3]);
  input.shared2 = by_hand::Exchange(b2, h[4]);
  input.nonces = {h[2], nonce, master.master_secret()};
  const by_hand::Keys keys = by_hand::Derive(input);
  const std::string transcript = by_hand::Transcript(input);
  EXPECT_EQ(finish.finished(), by_hand::Finished(keys, "initiator->responder", transcript));

  HandshakeMessage last;
  last.set_finished(by_hand::Finished(keys, "responder->initiator", transcript));
  ASSERT_TRUE(x.OnFinished(last).ok());
  const SessionKeys derived = x.TakeKeys().value();
  EXPECT_EQ(derived.session_id, keys.session_id);
  EXPECT_EQ(derived.seal.view(), keys.seal);
  EXPECT_EQ(derived.mac.view(), keys.mac);
}

// One message of the four altered in every byte of its body and of its Finished, one by one.
TEST(PeerHandshakeTest, NoAlteredByteIsAccepted) {
  const Outcome good = Shuttle({});
  ASSERT_TRUE(good.x_done && good.y_done);
  struct Case {
    const char* name;
    Alter Network::*message;
    size_t index;
  };
  for (const Case& c : {Case{"hello", &Network::hello, 0}, Case{"answer", &Network::answer, 1},
                        Case{"finish", &Network::finish, 2}, Case{"last", &Network::last, 3}}) {
    const size_t body_bytes = good.sent[c.index].body().size();
    const size_t finished_bytes = good.sent[c.index].finished().size();
    for (size_t at = 0; at < body_bytes + finished_bytes; ++at) {
      Network network;
      network.*c.message = [&](HandshakeMessage* message) {
        if (at < body_bytes) {
          FlipBit(*message->mutable_body(), at);
        } else {
          FlipBit(*message->mutable_finished(), at - body_bytes);
        }
      };
      const Outcome outcome = Shuttle(network);
      EXPECT_FALSE(outcome.x_done) << c.name << " byte " << at;
      // Y is done with the message before the last: whoever alters that leaves it alone with a
      // session that nobody else can use.
      if (c.index < 3) {
        EXPECT_FALSE(outcome.y_done) << c.name << " byte " << at;
      }
    }
  }
}

TEST(PeerHandshakeTest, OtherShapesAreRefusedAtOnce) {
  const Alter changes[] = {
      [](HandshakeMessage* message) { message->clear_body(); },
      [](HandshakeMessage* message) { message->mutable_body()->push_back('x'); },
      [](HandshakeMessage* message) { message->set_body(std::string(64 * 1024, 'x')); },
      [](HandshakeMessage* message) { message->mutable_frame()->set_seq(1); },
      [](HandshakeMessage* message) { message->mutable_finished()->push_back('x'); },
  };
  for (Alter Network::*which :
       {&Network::hello, &Network::answer, &Network::finish, &Network::last}) {
    int number = 0;
    for (const Alter& change : changes) {
      ++number;
      if (which == &Network::last && number == 1) continue;  // It has no body.
      Network network;
      network.*which = change;
      const Outcome outcome = Shuttle(network);
      EXPECT_FALSE(outcome.x_done) << number;
      EXPECT_EQ(outcome.x_refusal == RefusalReason::kBounds ||
                    outcome.y_refusal == RefusalReason::kBounds,
                true)
          << number;
    }
  }
}

TEST(PeerHandshakeTest, CertificatesThatAreTooLongAreNotLookedAt) {
  Ends ends;
  ends.x_certificates.signing = std::string(kMaxPeerCertificateBytes + 1, 'c');
  EXPECT_EQ(Shuttle({}, ends).y_refusal, RefusalReason::kBounds);
  ends = Ends();
  ends.y_certificates.encryption = std::string(kMaxPeerCertificateBytes + 1, 'c');
  EXPECT_EQ(Shuttle({}, ends).x_refusal, RefusalReason::kBounds);
}

TEST(PeerHandshakeTest, AVerifiersNoIsARefusalAndItsWordsStayHere) {
  Ends ends;
  ends.y_verifier.refused = "alice";
  Outcome outcome = Shuttle({}, ends);
  EXPECT_EQ(outcome.y_refusal, RefusalReason::kCertificate);
  EXPECT_EQ(outcome.y_verdict.message(), "not a certificate of this broker");
  EXPECT_EQ(outcome.sent.size(), 1u) << "the responder said something of itself";
  ends = Ends();
  ends.x_verifier.refused = "bob";
  outcome = Shuttle({}, ends);
  EXPECT_EQ(outcome.x_refusal, RefusalReason::kCertificate);
  EXPECT_EQ(outcome.x_verdict.message(), "not a certificate of this broker");
  EXPECT_EQ(outcome.sent.size(), 2u);
}

TEST(PeerHandshakeTest, SomebodyElsesCertificatesDoNotServe) {
  Ends ends;
  ends.y = &Mallory();  // With Bob's certificates.
  const Outcome outcome = Shuttle({}, ends);
  EXPECT_EQ(outcome.x_refusal, RefusalReason::kSignature);
  EXPECT_FALSE(outcome.x_done || outcome.y_done);

  // The other way about by hand, since our own machine would not go on. All is right but who signs.
  for (const bool honest : {true, false}) {
    FakeVerifier verifier;
    PeerResponder y(Bob(), CertificatesOf("bob"), verifier, SystemRandom());
    const HandByHand x(Alice(), "alice");
    const HandshakeMessage answer = y.OnHello(x.hello).value();
    EXPECT_EQ(
        y.OnFinish(x.Finish(answer, honest ? Alice() : Mallory(), Bob().public_identity())).ok(),
        honest);
    EXPECT_EQ(y.refusal(), honest ? RefusalReason::kNone : RefusalReason::kSignature);
  }
}

TEST(PeerHandshakeTest, NobodyTalksToItself) {
  Ends ends;
  ends.y = &Alice();
  ends.y_certificates = CertificatesOf("alice");
  const Outcome outcome = Shuttle({}, ends);
  EXPECT_EQ(outcome.y_refusal, RefusalReason::kIdentity);
  EXPECT_FALSE(outcome.x_done || outcome.y_done);
}

TEST(PeerHandshakeTest, AHelloSentBackIsRefused) {
  FakeVerifier verifier;
  PeerInitiator x(Alice(), CertificatesOf("alice"), verifier, SystemRandom());
  const HandshakeMessage hello = x.Start().value();
  EXPECT_EQ(x.OnAnswer(hello).status(), Refused());
  EXPECT_FALSE(x.done());
}

TEST(PeerHandshakeTest, OneEndsSignatureIsNotTheOthers) {
  // Alice answers Bob; what she signs as responder cannot be turned into what an initiator signs.
  const Outcome outcome = Shuttle({});
  const auto answer = Fields(outcome.sent[1].body(), 6);
  const auto finish = Fields(outcome.sent[2].body(), 2);
  Network network;
  network.finish = [&](HandshakeMessage* message) {
    message->set_body(crypto::LengthPrefixed({answer[5], finish[1]}));
  };
  EXPECT_EQ(Shuttle(network).y_refusal, RefusalReason::kSignature);
}

TEST(PeerHandshakeTest, RecordedMessagesOpenNothing) {
  const Outcome recorded = Shuttle({});
  ASSERT_TRUE(recorded.x_done && recorded.y_done);
  FakeVerifier verifier;
  {
    PeerResponder y(Bob(), CertificatesOf("bob"), verifier, SystemRandom());
    ASSERT_TRUE(y.OnHello(recorded.sent[0]).ok());
    EXPECT_EQ(y.OnFinish(recorded.sent[2]).status(), Refused());
    EXPECT_EQ(y.refusal(), RefusalReason::kSignature);
  }
  {
    PeerInitiator x(Alice(), CertificatesOf("alice"), verifier, SystemRandom());
    ASSERT_TRUE(x.Start().ok());
    EXPECT_EQ(x.OnAnswer(recorded.sent[1]).status(), Refused());
    EXPECT_EQ(x.refusal(), RefusalReason::kSignature);
  }
  {
    PeerInitiator x(Alice(), CertificatesOf("alice"), verifier, SystemRandom());
    PeerResponder y(Bob(), CertificatesOf("bob"), verifier, SystemRandom());
    ASSERT_TRUE(x.OnAnswer(y.OnHello(x.Start().value()).value()).ok());
    EXPECT_EQ(x.OnFinished(recorded.sent[3]), Refused());
    EXPECT_EQ(x.refusal(), RefusalReason::kFinished);
  }
}

TEST(PeerHandshakeTest, AMasterSecretForSomebodyElseIsRefused) {
  FakeVerifier verifier;
  PeerResponder y(Bob(), CertificatesOf("bob"), verifier, SystemRandom());
  const HandByHand x(Mallory(), "mallory");
  const HandshakeMessage answer = y.OnHello(x.hello).value();
  EXPECT_EQ(y.OnFinish(x.Finish(answer, Mallory(), Alice().public_identity())).status(), Refused());
  EXPECT_EQ(y.refusal(), RefusalReason::kDecryption);
}

TEST(PeerHandshakeTest, PointsOfSmallOrderAreRefused) {
  FakeVerifier verifier;
  const X25519KeyPair good = X25519KeyPair::Generate(SystemRandom());
  const std::string zero(32, '\0');
  for (const std::string& low : by_hand::LowOrderPoints()) {
    for (const bool first : {true, false}) {
      // From the responder.
      PeerInitiator x(Alice(), CertificatesOf("alice"), verifier, SystemRandom());
      const HandshakeMessage hello = x.Start().value();
      std::vector<std::string> greeting = {
          CertificatesOf("bob").signing, CertificatesOf("bob").encryption, std::string(32, 'n'),
          first ? low : good.public_key(), first ? good.public_key() : low};
      by_hand::DerivationInput input;
      input.pair = "peer-peer";
      input.initiator_fingerprint = Alice().public_identity().fingerprint();
      input.responder_fingerprint = Bob().public_identity().fingerprint();
      input.wire = {hello.body(), by_hand::Join(greeting)};
      greeting.push_back(Bob().Sign(kAnswerContext, by_hand::Transcript(input)));
      HandshakeMessage answer;
      answer.set_body(by_hand::Join(greeting));
      EXPECT_EQ(x.OnAnswer(answer).status(), Refused());
      EXPECT_EQ(x.refusal(), RefusalReason::kKeyExchange);

      // From the initiator, who computes with the zeros that come of it.
      PeerResponder y(Bob(), CertificatesOf("bob"), verifier, SystemRandom());
      HandByHand by_hand_x(Alice(), "alice");
      by_hand_x.SetKeys("alice", first ? low : by_hand_x.c1.public_key(),
                        first ? by_hand_x.c2.public_key() : low);
      const HandshakeMessage y_answer = y.OnHello(by_hand_x.hello).value();
      EXPECT_EQ(y.OnFinish(by_hand_x.Finish(y_answer, Alice(), Bob().public_identity(),
                                            first ? &zero : nullptr, first ? nullptr : &zero))
                    .status(),
                Refused());
      EXPECT_EQ(y.refusal(), RefusalReason::kKeyExchange);
    }
  }
}

TEST(PeerHandshakeTest, CallsOutOfOrderEndTheRun) {
  FakeVerifier verifier;
  const Outcome good = Shuttle({});
  const auto expect_dead_initiator = [&](PeerInitiator& x) {
    EXPECT_FALSE(x.done());
    EXPECT_EQ(x.Start().status().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(x.OnAnswer(good.sent[1]).status().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(x.OnFinished(good.sent[3]).code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(x.TakeKeys().status().code(), absl::StatusCode::kFailedPrecondition);
  };
  {
    PeerInitiator x(Alice(), CertificatesOf("alice"), verifier, SystemRandom());
    EXPECT_EQ(x.OnAnswer(good.sent[1]).status().code(), absl::StatusCode::kFailedPrecondition);
    expect_dead_initiator(x);
  }
  {
    PeerInitiator x(Alice(), CertificatesOf("alice"), verifier, SystemRandom());
    ASSERT_TRUE(x.Start().ok());
    EXPECT_EQ(x.OnFinished(good.sent[3]).code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(x.refusal(), RefusalReason::kOutOfOrder);
    expect_dead_initiator(x);
  }
  {
    PeerInitiator x(Alice(), CertificatesOf("alice"), verifier, SystemRandom());
    ASSERT_TRUE(x.Start().ok());
    EXPECT_EQ(x.Start().status().code(), absl::StatusCode::kFailedPrecondition);
    expect_dead_initiator(x);
  }
  {
    PeerInitiator x(Alice(), CertificatesOf("alice"), verifier, SystemRandom());
    EXPECT_EQ(x.TakeKeys().status().code(), absl::StatusCode::kFailedPrecondition);
    expect_dead_initiator(x);
  }
  {
    PeerResponder y(Bob(), CertificatesOf("bob"), verifier, SystemRandom());
    EXPECT_EQ(y.OnFinish(good.sent[2]).status().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(y.OnHello(good.sent[0]).status().code(), absl::StatusCode::kFailedPrecondition);
  }
  {
    PeerResponder y(Bob(), CertificatesOf("bob"), verifier, SystemRandom());
    ASSERT_TRUE(y.OnHello(good.sent[0]).ok());
    EXPECT_EQ(y.OnHello(good.sent[0]).status().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(y.OnFinish(good.sent[2]).status().code(), absl::StatusCode::kFailedPrecondition);
  }
  {
    PeerResponder y(Bob(), CertificatesOf("bob"), verifier, SystemRandom());
    ASSERT_TRUE(y.OnHello(good.sent[0]).ok());
    EXPECT_EQ(y.TakeKeys().status().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(y.OnFinish(good.sent[2]).status().code(), absl::StatusCode::kFailedPrecondition);
  }
}

TEST(PeerHandshakeTest, KeysAreTakenOnce) {
  FakeVerifier verifier;
  PeerInitiator x(Alice(), CertificatesOf("alice"), verifier, SystemRandom());
  PeerResponder y(Bob(), CertificatesOf("bob"), verifier, SystemRandom());
  const HandshakeMessage last =
      y.OnFinish(x.OnAnswer(y.OnHello(x.Start().value()).value()).value()).value();
  EXPECT_FALSE(x.done());
  ASSERT_TRUE(x.OnFinished(last).ok());
  EXPECT_TRUE(x.TakeKeys().ok());
  EXPECT_EQ(x.TakeKeys().status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(y.TakeKeys().ok());
  EXPECT_EQ(y.TakeKeys().status().code(), absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace blindcart::protocol
