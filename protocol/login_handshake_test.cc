#include "protocol/login_handshake.h"

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "crypto/testing/test_identity.h"
#include "gtest/gtest.h"
#include "proto/frame.pb.h"
#include "proto/handshake.pb.h"
#include "protocol/testing/by_hand.h"
#include "protocol/testing/flip_bit.h"

namespace blindcart::protocol {
namespace {

using crypto::Identity;
using crypto::PublicIdentity;
using crypto::SystemRandom;
using crypto::TestIdentity;
using crypto::X25519KeyPair;
using v1::HandshakeMessage;

const Identity& Broker() { return TestIdentity(0); }
const Identity& Alice() { return TestIdentity(1); }
const Identity& Mallory() { return TestIdentity(2); }
const Identity& DecoyIdentity() { return TestIdentity(3); }
const PublicIdentity& Decoy() { return DecoyIdentity().public_identity(); }

constexpr char kAlice[] = "alice";
constexpr size_t kModulusBytes = 384;

const PublicIdentity* Enrolled(const std::string& username) {
  return username == kAlice ? &Alice().public_identity() : nullptr;
}

struct Outcome {
  bool customer_done = false;
  bool broker_done = false;
  RefusalReason customer_refusal = RefusalReason::kNone;
  RefusalReason broker_refusal = RefusalReason::kNone;
  std::string looked_up;
  std::vector<HandshakeMessage> sent;  // As sent, before anybody altered them.
  SessionKeys customer_keys;
  SessionKeys broker_keys;
};

// Alters message `index` (0 to 2) on its way.
using Network = std::function<void(int index, HandshakeMessage* message)>;

void Untouched(int /*index*/, HandshakeMessage* /*message*/) {}

struct Parties {
  const Identity* customer = &Alice();
  std::string username = kAlice;
  const PublicIdentity* pinned_broker = &Broker().public_identity();
};

Outcome Shuttle(const Network& network, const Parties& parties = {}) {
  CustomerLogin customer(*parties.customer, *parties.pinned_broker, SystemRandom());
  BrokerLogin broker(Broker(), SystemRandom());
  Outcome outcome;
  const auto finish = [&] {
    outcome.customer_done = customer.done();
    outcome.broker_done = broker.done();
    outcome.customer_refusal = customer.refusal();
    outcome.broker_refusal = broker.refusal();
    if (customer.done()) outcome.customer_keys = customer.TakeKeys().value();
    if (broker.done()) outcome.broker_keys = broker.TakeKeys().value();
    return std::move(outcome);
  };
  const auto travel = [&](absl::StatusOr<HandshakeMessage> sent, HandshakeMessage* received) {
    if (!sent.ok()) {
      EXPECT_EQ(sent.status(), Refused());
      return false;
    }
    *received = *sent;
    network(static_cast<int>(outcome.sent.size()), received);
    outcome.sent.push_back(*std::move(sent));
    return true;
  };

  HandshakeMessage received;
  if (!travel(customer.Start(parties.username), &received)) return finish();
  const absl::StatusOr<std::string> username = broker.OnHello(received);
  if (!username.ok()) {
    EXPECT_EQ(username.status(), Refused());
    return finish();
  }
  outcome.looked_up = *username;
  if (!travel(broker.Answer(Enrolled(*username), Decoy()), &received)) return finish();
  if (!travel(customer.OnChallenge(received), &received)) return finish();
  const absl::Status last = broker.OnFinished(received);
  if (!last.ok()) {
    EXPECT_EQ(last, Refused());
  }
  return finish();
}

void ExpectRefused(const Outcome& outcome, int altered) {
  EXPECT_FALSE(outcome.broker_done);
  EXPECT_EQ(outcome.customer_done, altered == 2);
  // The broker answers whatever it reads, in one size.
  ASSERT_EQ(outcome.sent.size(), altered == 2 ? 3 : 2);
  EXPECT_EQ(outcome.sent[1].body().size(), kLoginChallengeBytes);
  EXPECT_EQ(outcome.sent[1].finished().size(), kFinishedBytes);
  EXPECT_NE(altered == 2 ? outcome.broker_refusal : outcome.customer_refusal, RefusalReason::kNone);
}

TEST(UsernameTest, HasOneToSixtyFourPlainCharacters) {
  for (const std::string& good : {std::string("a"), std::string("0"), std::string("alice"),
                                  std::string("a.b_c-9"), std::string(kMaxUsernameBytes, 'z')}) {
    EXPECT_TRUE(IsValidUsername(good)) << good;
  }
  for (const std::string& bad :
       {std::string(), std::string(".a"), std::string("_a"), std::string("-rf"),
        std::string("Alice"), std::string("al ice"), std::string("alice\n"), std::string("a/b"),
        std::string("a\0b", 3), std::string("\xc3\xa9"), std::string("a@b"),
        std::string(kMaxUsernameBytes + 1, 'z')}) {
    EXPECT_FALSE(IsValidUsername(bad)) << bad;
  }
}

TEST(LoginHandshakeTest, BothEndsGetTheSameKeys) {
  const Outcome outcome = Shuttle(Untouched);
  ASSERT_TRUE(outcome.customer_done);
  ASSERT_TRUE(outcome.broker_done);
  EXPECT_EQ(outcome.looked_up, kAlice);
  EXPECT_EQ(outcome.customer_keys.session_id.size(), kSessionIdBytes);
  EXPECT_EQ(outcome.customer_keys.session_id, outcome.broker_keys.session_id);
  EXPECT_EQ(outcome.customer_keys.seal.view(), outcome.broker_keys.seal.view());
  EXPECT_EQ(outcome.customer_keys.mac.view(), outcome.broker_keys.mac.view());
  EXPECT_NE(outcome.customer_keys.seal.view(), outcome.customer_keys.mac.view());
  EXPECT_EQ(outcome.sent[0].body().size(), kModulusBytes);
  EXPECT_EQ(outcome.sent[2].body(), "");
}

TEST(LoginHandshakeTest, EveryRunHasKeysOfItsOwn) {
  const Outcome one = Shuttle(Untouched);
  const Outcome two = Shuttle(Untouched);
  EXPECT_NE(one.broker_keys.session_id, two.broker_keys.session_id);
  EXPECT_NE(one.broker_keys.seal.view(), two.broker_keys.seal.view());
  EXPECT_NE(one.broker_keys.mac.view(), two.broker_keys.mac.view());
}

TEST(LoginHandshakeTest, TheFirstFrameMayTravelWithFinished) {
  const Outcome outcome = Shuttle([](int i, HandshakeMessage* message) {
    if (i == 2) message->mutable_frame()->set_seq(0);
  });
  EXPECT_TRUE(outcome.broker_done);
}

// ---- Alterations on the way

void FlipEveryByte(int index, std::string* (HandshakeMessage::*field)(), size_t size) {
  for (size_t at = 0; at < size; ++at) {
    SCOPED_TRACE(absl::StrCat("message ", index, " byte ", at));
    ExpectRefused(Shuttle([&](int i, HandshakeMessage* message) {
                    if (i != index) return;
                    ASSERT_EQ((message->*field)()->size(), size);
                    FlipBit(*(message->*field)(), at);
                  }),
                  index);
  }
}

TEST(LoginHandshakeTest, EveryFlippedByteOfTheHelloIsRefused) {
  FlipEveryByte(0, &HandshakeMessage::mutable_body, kModulusBytes);
}
TEST(LoginHandshakeTest, EveryFlippedByteOfTheChallengeIsRefused) {
  FlipEveryByte(1, &HandshakeMessage::mutable_body, kLoginChallengeBytes);
  FlipEveryByte(1, &HandshakeMessage::mutable_finished, 32);
}
TEST(LoginHandshakeTest, EveryFlippedByteOfTheLastMessageIsRefused) {
  FlipEveryByte(2, &HandshakeMessage::mutable_finished, 32);
}

TEST(LoginHandshakeTest, WrongSizesAreRefusedAtOnce) {
  struct Shape {
    size_t body_bytes;
    size_t finished_bytes;
  };
  const std::vector<Shape> shapes = {{kModulusBytes, 0}, {kLoginChallengeBytes, 32}, {0, 32}};
  const auto refused = [](int index, const std::function<void(HandshakeMessage*)>& alter) {
    const Outcome outcome = Shuttle([&](int i, HandshakeMessage* message) {
      if (i == index) alter(message);
    });
    EXPECT_EQ(outcome.sent.size(), index + 1) << "message " << index << " was answered";
    EXPECT_FALSE(outcome.broker_done);
    EXPECT_EQ(index == 1 ? outcome.customer_refusal : outcome.broker_refusal,
              RefusalReason::kBounds);
  };
  for (int index = 0; index < 3; ++index) {
    SCOPED_TRACE(index);
    const Shape& shape = shapes[index];
    for (size_t size = 0; size <= 1100; size += index == 0 ? 1 : 31) {
      if (size == shape.body_bytes) continue;
      refused(index, [&](HandshakeMessage* m) { m->mutable_body()->resize(size); });
    }
    refused(index, [&](HandshakeMessage* m) { m->mutable_body()->push_back('\0'); });
    for (size_t size : {0, 1, 31, 32, 33, 64}) {
      if (size == shape.finished_bytes) continue;
      refused(index, [&](HandshakeMessage* m) { m->mutable_finished()->resize(size); });
    }
    refused(index, [](HandshakeMessage* m) { m->Clear(); });
    if (index < 2) refused(index, [](HandshakeMessage* m) { m->mutable_frame()->set_seq(1); });
  }
}

TEST(LoginHandshakeTest, EveryTruncationOfTheChallengeIsRefused) {
  const HandshakeMessage challenge = Shuttle(Untouched).sent[1];
  for (size_t size = 0; size < kLoginChallengeBytes; size += 7) {
    CustomerLogin customer(Alice(), Broker().public_identity(), SystemRandom());
    ASSERT_TRUE(customer.Start(kAlice).ok());
    HandshakeMessage cut = challenge;
    cut.mutable_body()->resize(size);
    EXPECT_EQ(customer.OnChallenge(cut).status(), Refused()) << size;
    EXPECT_EQ(customer.refusal(), RefusalReason::kBounds) << size;
  }
}

TEST(LoginHandshakeTest, AMessageOfAnotherRunIsRefused) {
  const Outcome recorded = Shuttle(Untouched);
  for (int index = 0; index < 3; ++index) {
    SCOPED_TRACE(index);
    ExpectRefused(Shuttle([&](int i, HandshakeMessage* message) {
                    if (i == index) *message = recorded.sent[index];
                  }),
                  index);
  }
}

TEST(LoginHandshakeTest, AWholeRecordedCustomerIsNotLoggedIn) {
  const Outcome recorded = Shuttle(Untouched);
  BrokerLogin broker(Broker(), SystemRandom());
  ASSERT_EQ(broker.OnHello(recorded.sent[0]).value(), kAlice);
  ASSERT_TRUE(broker.Answer(&Alice().public_identity(), Decoy()).ok());
  EXPECT_FALSE(broker.done());
  EXPECT_EQ(broker.OnFinished(recorded.sent[2]), Refused());
  EXPECT_EQ(broker.refusal(), RefusalReason::kFinished);
}

TEST(LoginHandshakeTest, TheBrokersFinishedReflectedIsRefused) {
  std::string finished;
  const Outcome outcome = Shuttle([&finished](int i, HandshakeMessage* message) {
    if (i == 1) finished = message->finished();
    if (i == 2) message->set_finished(finished);
  });
  EXPECT_FALSE(outcome.broker_done);
  EXPECT_EQ(outcome.broker_refusal, RefusalReason::kFinished);
}

// ---- Wrong identities

TEST(LoginHandshakeTest, ABrokerThatIsNotThePinnedOneIsRefused) {
  Parties parties;
  parties.pinned_broker = &Mallory().public_identity();
  const Outcome outcome = Shuttle(Untouched, parties);
  ExpectRefused(outcome, 1);
  // It could not even read the name.
  EXPECT_NE(outcome.looked_up, kAlice);
  EXPECT_TRUE(IsValidUsername(outcome.looked_up));
}

TEST(LoginHandshakeTest, AWrongKeyUnderAKnownNameIsRefused) {
  Parties parties;
  parties.customer = &Mallory();
  const Outcome outcome = Shuttle(Untouched, parties);
  EXPECT_EQ(outcome.looked_up, kAlice);
  ExpectRefused(outcome, 1);
  EXPECT_EQ(outcome.customer_refusal, RefusalReason::kDecryption);
}

TEST(LoginHandshakeTest, AnUnknownNameIsAnsweredAlikeAndRefused) {
  Parties parties;
  parties.username = "nobody";
  const Outcome outcome = Shuttle(Untouched, parties);
  EXPECT_EQ(outcome.looked_up, "nobody");
  ExpectRefused(outcome, 1);

  BrokerLogin broker(Broker(), SystemRandom());
  ASSERT_EQ(broker.OnHello(outcome.sent[0]).value(), "nobody");
  ASSERT_TRUE(broker.Answer(nullptr, Decoy()).ok());
  HandshakeMessage finished;
  finished.set_finished(std::string(32, 'f'));
  EXPECT_EQ(broker.OnFinished(finished), Refused());
  EXPECT_EQ(broker.refusal(), RefusalReason::kUnknownPeer);
}

TEST(LoginHandshakeTest, HolderOfTheDecoyKeyIsNobodyEither) {
  // Even with the decoy's private key an unknown name stays refused.
  CustomerLogin customer(DecoyIdentity(), Broker().public_identity(), SystemRandom());
  BrokerLogin broker(Broker(), SystemRandom());
  ASSERT_TRUE(broker.OnHello(customer.Start("nobody").value()).ok());
  const HandshakeMessage finished =
      customer.OnChallenge(broker.Answer(nullptr, Decoy()).value()).value();
  EXPECT_EQ(broker.OnFinished(finished), Refused());
  EXPECT_EQ(broker.refusal(), RefusalReason::kUnknownPeer);
  EXPECT_FALSE(broker.TakeKeys().ok());
}

TEST(LoginHandshakeTest, GarbageIsAnsweredUnderTheDecoyAndRefused) {
  for (int i = 0; i < 20; ++i) {
    BrokerLogin broker(Broker(), SystemRandom());
    HandshakeMessage hello;
    hello.set_body(SystemRandom().Bytes(kModulusBytes));
    const std::string username = broker.OnHello(hello).value();
    EXPECT_TRUE(IsValidUsername(username)) << username;
    EXPECT_EQ(Enrolled(username), nullptr);
    // An identity that the caller finds nevertheless is not used.
    const HandshakeMessage answer = broker.Answer(&Alice().public_identity(), Decoy()).value();
    EXPECT_EQ(answer.body().size(), kLoginChallengeBytes);
    v1::LoginChallenge opened;
    const std::string ciphertext = answer.body().substr(0, kModulusBytes);
    EXPECT_FALSE(by_hand::Decrypt(Alice(), "blindcart/v1/login-challenge", ciphertext, &opened));
    EXPECT_TRUE(
        by_hand::Decrypt(DecoyIdentity(), "blindcart/v1/login-challenge", ciphertext, &opened));
    HandshakeMessage finished;
    finished.set_finished(std::string(32, 'f'));
    EXPECT_EQ(broker.OnFinished(finished), Refused());
    EXPECT_EQ(broker.refusal(), RefusalReason::kDecryption);
  }
}

TEST(LoginHandshakeTest, TheAnswerDoesNotShowWhoseKeyItIsUnder) {
  // A customer with a longer key than the decoy's gets an answer of the same size, and no answer's
  // number is above what every modulus can give.
  static const Identity* const large = new Identity(Identity::Generate(4096).value());
  for (int i = 0; i < 40; ++i) {
    CustomerLogin customer(*large, Broker().public_identity(), SystemRandom());
    BrokerLogin broker(Broker(), SystemRandom());
    ASSERT_EQ(broker.OnHello(customer.Start("large").value()).value(), "large");
    const HandshakeMessage answer = broker.Answer(&large->public_identity(), Decoy()).value();
    EXPECT_EQ(answer.body().size(), kLoginChallengeBytes);
    EXPECT_EQ(answer.body()[0] & 0x80, 0);
    const HandshakeMessage finished = customer.OnChallenge(answer).value();
    ASSERT_TRUE(broker.OnFinished(finished).ok());
    EXPECT_EQ(customer.TakeKeys()->seal.view(), broker.TakeKeys()->seal.view());

    EXPECT_EQ(Shuttle(Untouched).sent[1].body()[0] & 0x80, 0);
  }
}

// ---- A customer played by hand, against the broker's machine

struct CustomerByHand {
  X25519KeyPair c1_pair = X25519KeyPair::Generate(SystemRandom());
  X25519KeyPair c2_pair = X25519KeyPair::Generate(SystemRandom());
  std::string label = "blindcart/v1/login";
  std::function<void(v1::LoginHello*)> alter = [](v1::LoginHello*) {};

  absl::Status Play(BrokerLogin& broker, by_hand::Keys* keys = nullptr) const {
    v1::LoginHello hello;
    hello.set_username(kAlice);
    hello.set_r_c(SystemRandom().Bytes(32));
    hello.set_c1(c1_pair.public_key());
    hello.set_c2(c2_pair.public_key());
    alter(&hello);
    HandshakeMessage hello_message;
    hello_message.set_body(by_hand::Encrypt(Broker().public_identity(), label, hello));
    const absl::StatusOr<std::string> username = broker.OnHello(hello_message);
    if (!username.ok()) {
      ADD_FAILURE() << "refused before its time";
      return username.status();
    }
    const HandshakeMessage answer = broker.Answer(Enrolled(*username), Decoy()).value();
    EXPECT_EQ(answer.body().size(), kLoginChallengeBytes);
    EXPECT_EQ(answer.finished().size(), 32);
    v1::LoginChallenge challenge;
    const bool opens = by_hand::Decrypt(Alice(), "blindcart/v1/login-challenge",
                                        answer.body().substr(0, kModulusBytes), &challenge);
    HandshakeMessage finished;
    if (!opens) {
      finished.set_finished(std::string(32, 'f'));
      return broker.OnFinished(finished);
    }
    by_hand::DerivationInput input;
    input.pair = "customer-broker";
    input.initiator_fingerprint = Alice().public_identity().fingerprint();
    input.responder_fingerprint = Broker().public_identity().fingerprint();
    input.wire = {hello_message.body(), answer.body()};
    input.shared1 = by_hand::Exchange(c1_pair, challenge.b1());
    input.shared2 = by_hand::Exchange(c2_pair, challenge.b2());
    input.nonces = {hello.r_c(), challenge.r_b()};
    const by_hand::Keys derived = by_hand::Derive(input);
    const std::string transcript = by_hand::Transcript(input);
    if (keys != nullptr) {
      *keys = derived;
      EXPECT_EQ(challenge.r_c(), hello.r_c());
      EXPECT_EQ(answer.finished(), by_hand::Finished(derived, "responder->initiator", transcript));
    }
    finished.set_finished(by_hand::Finished(derived, "initiator->responder", transcript));
    return broker.OnFinished(finished);
  }
};

TEST(LoginHandshakeTest, BrokerSpeaksTheProtocolAsWritten) {
  BrokerLogin broker(Broker(), SystemRandom());
  by_hand::Keys keys;
  ASSERT_TRUE(CustomerByHand().Play(broker, &keys).ok());
  const SessionKeys taken = broker.TakeKeys().value();
  EXPECT_EQ(taken.session_id, keys.session_id);
  EXPECT_EQ(taken.seal.view(), keys.seal);
  EXPECT_EQ(taken.mac.view(), keys.mac);
}

TEST(LoginHandshakeTest, BrokerRefusesAWrongHelloAtItsFinished) {
  const auto expect = [](RefusalReason reason, const CustomerByHand& customer) {
    SCOPED_TRACE(RefusalReasonName(reason));
    BrokerLogin broker(Broker(), SystemRandom());
    EXPECT_EQ(customer.Play(broker), Refused());
    EXPECT_EQ(RefusalReasonName(broker.refusal()), RefusalReasonName(reason));
    EXPECT_FALSE(broker.done());
  };
  const auto altered = [](std::function<void(v1::LoginHello*)> alter) {
    CustomerByHand customer;
    customer.alter = std::move(alter);
    return customer;
  };
  using Hello = v1::LoginHello;
  expect(RefusalReason::kMalformed, altered([](Hello* h) { h->set_username("Alice"); }));
  expect(RefusalReason::kMalformed, altered([](Hello* h) { h->clear_username(); }));
  expect(RefusalReason::kMalformed,
         altered([](Hello* h) { h->set_username(std::string(65, 'a')); }));
  expect(RefusalReason::kMalformed, altered([](Hello* h) { h->clear_r_c(); }));
  expect(RefusalReason::kMalformed, altered([](Hello* h) { h->mutable_c1()->pop_back(); }));
  expect(RefusalReason::kMalformed, altered([](Hello* h) { h->mutable_c2()->push_back('x'); }));
  expect(RefusalReason::kMalformed,
         altered([](Hello* h) { h->GetReflection()->MutableUnknownFields(h)->AddVarint(15, 1); }));
  expect(RefusalReason::kUnknownPeer, altered([](Hello* h) { h->set_username("nobody"); }));
  for (const std::string& point : by_hand::LowOrderPoints()) {
    expect(RefusalReason::kKeyExchange, altered([&](Hello* h) { h->set_c1(point); }));
    expect(RefusalReason::kKeyExchange, altered([&](Hello* h) { h->set_c2(point); }));
  }
  CustomerByHand other_label;
  other_label.label = "blindcart/v1/merchant-response";
  expect(RefusalReason::kDecryption, other_label);
}

// ---- A broker played by hand, against the customer's machine

struct BrokerByHand {
  X25519KeyPair b1_pair = X25519KeyPair::Generate(SystemRandom());
  X25519KeyPair b2_pair = X25519KeyPair::Generate(SystemRandom());
  std::string label = "blindcart/v1/login-challenge";
  std::function<void(v1::LoginChallenge*)> alter = [](v1::LoginChallenge*) {};

  absl::Status Play(CustomerLogin& customer, by_hand::Keys* keys = nullptr) const {
    const HandshakeMessage hello_message = customer.Start(kAlice).value();
    v1::LoginHello hello;
    EXPECT_TRUE(by_hand::Decrypt(Broker(), "blindcart/v1/login", hello_message.body(), &hello));
    EXPECT_EQ(hello.username(), kAlice);
    EXPECT_EQ(hello.r_c().size(), 32);
    v1::LoginChallenge challenge;
    challenge.set_r_c(hello.r_c());
    challenge.set_r_b(SystemRandom().Bytes(32));
    challenge.set_b1(b1_pair.public_key());
    challenge.set_b2(b2_pair.public_key());
    alter(&challenge);
    HandshakeMessage answer;
    answer.set_body(by_hand::Encrypt(Alice().public_identity(), label, challenge) +
                    SystemRandom().Bytes(kLoginChallengeBytes - kModulusBytes));
    by_hand::DerivationInput input;
    input.pair = "customer-broker";
    input.initiator_fingerprint = Alice().public_identity().fingerprint();
    input.responder_fingerprint = Broker().public_identity().fingerprint();
    input.wire = {hello_message.body(), answer.body()};
    input.shared1 = by_hand::Exchange(b1_pair, hello.c1());
    input.shared2 = by_hand::Exchange(b2_pair, hello.c2());
    input.nonces = {hello.r_c(), challenge.r_b()};
    const by_hand::Keys derived = by_hand::Derive(input);
    const std::string transcript = by_hand::Transcript(input);
    answer.set_finished(by_hand::Finished(derived, "responder->initiator", transcript));
    const absl::StatusOr<HandshakeMessage> finished = customer.OnChallenge(answer);
    if (!finished.ok()) return finished.status();
    EXPECT_EQ(finished->finished(), by_hand::Finished(derived, "initiator->responder", transcript));
    if (keys != nullptr) *keys = derived;
    return absl::OkStatus();
  }
};

TEST(LoginHandshakeTest, CustomerSpeaksTheProtocolAsWritten) {
  CustomerLogin customer(Alice(), Broker().public_identity(), SystemRandom());
  by_hand::Keys keys;
  ASSERT_TRUE(BrokerByHand().Play(customer, &keys).ok());
  const SessionKeys taken = customer.TakeKeys().value();
  EXPECT_EQ(taken.session_id, keys.session_id);
  EXPECT_EQ(taken.seal.view(), keys.seal);
  EXPECT_EQ(taken.mac.view(), keys.mac);
}

TEST(LoginHandshakeTest, CustomerRefusesAWrongChallenge) {
  const auto expect = [](RefusalReason reason, const BrokerByHand& broker) {
    SCOPED_TRACE(RefusalReasonName(reason));
    CustomerLogin customer(Alice(), Broker().public_identity(), SystemRandom());
    EXPECT_EQ(broker.Play(customer), Refused());
    EXPECT_EQ(RefusalReasonName(customer.refusal()), RefusalReasonName(reason));
    EXPECT_FALSE(customer.done());
  };
  const auto altered = [](std::function<void(v1::LoginChallenge*)> alter) {
    BrokerByHand broker;
    broker.alter = std::move(alter);
    return broker;
  };
  using Challenge = v1::LoginChallenge;
  expect(RefusalReason::kChallenge, altered([](Challenge* c) { (*c->mutable_r_c())[9] ^= 1; }));
  expect(RefusalReason::kChallenge, altered([](Challenge* c) { c->clear_r_c(); }));
  expect(RefusalReason::kMalformed, altered([](Challenge* c) { c->set_r_b("short"); }));
  expect(RefusalReason::kMalformed, altered([](Challenge* c) { c->clear_b1(); }));
  expect(RefusalReason::kMalformed, altered([](Challenge* c) { c->mutable_b2()->push_back('x'); }));
  for (const std::string& point : by_hand::LowOrderPoints()) {
    expect(RefusalReason::kKeyExchange, altered([&](Challenge* c) { c->set_b1(point); }));
    expect(RefusalReason::kKeyExchange, altered([&](Challenge* c) { c->set_b2(point); }));
  }
  BrokerByHand other_label;
  other_label.label = "blindcart/v1/broker-challenge";
  expect(RefusalReason::kDecryption, other_label);
}

// ---- Order of calls

struct Pair {
  CustomerLogin customer{Alice(), Broker().public_identity(), SystemRandom()};
  BrokerLogin broker{Broker(), SystemRandom()};
  std::vector<HandshakeMessage> sent = std::vector<HandshakeMessage>(3);

  void Advance(int steps) {
    if (steps > 0) sent[0] = customer.Start(kAlice).value();
    if (steps > 1) {
      ASSERT_TRUE(broker.OnHello(sent[0]).ok());
    }
    if (steps > 2) sent[1] = broker.Answer(&Alice().public_identity(), Decoy()).value();
    if (steps > 3) sent[2] = customer.OnChallenge(sent[1]).value();
    if (steps > 4) {
      ASSERT_TRUE(broker.OnFinished(sent[2]).ok());
    }
  }
  std::vector<std::function<absl::Status()>> CustomerCalls() {
    return {
        [this] { return customer.Start(kAlice).status(); },
        [this] { return customer.OnChallenge(sent[1]).status(); },
        [this] { return customer.TakeKeys().status(); },
    };
  }
  std::vector<std::function<absl::Status()>> BrokerCalls() {
    return {
        [this] { return broker.OnHello(sent[0]).status(); },
        [this] { return broker.Answer(&Alice().public_identity(), Decoy()).status(); },
        [this] { return broker.OnFinished(sent[2]); },
        [this] { return broker.TakeKeys().status(); },
    };
  }
};

TEST(LoginHandshakeTest, EveryCallOutOfOrderEndsTheCustomer) {
  // After how many steps the customer waits for call 0, 1, ...; at the end, for none.
  const std::vector<int> steps = {0, 3, 4, 4};
  for (size_t state = 0; state < steps.size(); ++state) {
    for (size_t call = 0; call < 3; ++call) {
      if (call == state) continue;
      SCOPED_TRACE(absl::StrCat("state ", state, " call ", call));
      Pair pair;
      pair.Advance(steps[state]);
      if (state == 3) {
        ASSERT_TRUE(pair.customer.TakeKeys().ok());
      }
      EXPECT_EQ(pair.customer.done(), state >= 2);
      EXPECT_EQ(pair.CustomerCalls()[call]().code(), absl::StatusCode::kFailedPrecondition);
      EXPECT_FALSE(pair.customer.done());
      EXPECT_EQ(pair.customer.refusal(), RefusalReason::kOutOfOrder);
      for (const auto& later : pair.CustomerCalls()) {
        EXPECT_EQ(later().code(), absl::StatusCode::kFailedPrecondition);
      }
    }
  }
}

TEST(LoginHandshakeTest, EveryCallOutOfOrderEndsTheBroker) {
  const std::vector<int> steps = {1, 2, 4, 5, 5};
  for (size_t state = 0; state < steps.size(); ++state) {
    for (size_t call = 0; call < 4; ++call) {
      if (call == state) continue;
      SCOPED_TRACE(absl::StrCat("state ", state, " call ", call));
      Pair pair;
      pair.Advance(steps[state]);
      if (state == 4) {
        ASSERT_TRUE(pair.broker.TakeKeys().ok());
      }
      EXPECT_EQ(pair.broker.done(), state >= 3);
      EXPECT_EQ(pair.BrokerCalls()[call]().code(), absl::StatusCode::kFailedPrecondition);
      EXPECT_FALSE(pair.broker.done());
      EXPECT_EQ(pair.broker.refusal(), RefusalReason::kOutOfOrder);
      for (const auto& later : pair.BrokerCalls()) {
        EXPECT_EQ(later().code(), absl::StatusCode::kFailedPrecondition);
      }
    }
  }
}

TEST(LoginHandshakeTest, ABadUsernameEndsTheCustomer) {
  CustomerLogin customer(Alice(), Broker().public_identity(), SystemRandom());
  EXPECT_EQ(customer.Start("No Such Name").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(customer.Start(kAlice).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(LoginHandshakeTest, NothingFollowsARefusal) {
  Pair pair;
  pair.Advance(3);
  pair.sent[1].mutable_body()->pop_back();
  EXPECT_EQ(pair.customer.OnChallenge(pair.sent[1]).status(), Refused());
  for (const auto& later : pair.CustomerCalls()) {
    EXPECT_EQ(later().code(), absl::StatusCode::kFailedPrecondition);
  }
  EXPECT_EQ(pair.customer.refusal(), RefusalReason::kBounds);
}

}  // namespace
}  // namespace blindcart::protocol
