#include "protocol/broker_merchant_handshake.h"

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "crypto/hash.h"
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
const Identity& Merchant() { return TestIdentity(1); }
const Identity& Stranger() { return TestIdentity(2); }
const PublicIdentity& Decoy() { return TestIdentity(3).public_identity(); }

constexpr size_t kModulusBytes = 384;

// The broker's directory: whom a fingerprint belongs to.
const PublicIdentity* Enrolled(const std::string& fingerprint) {
  const PublicIdentity& merchant = Merchant().public_identity();
  return fingerprint == merchant.fingerprint() ? &merchant : nullptr;
}

// What reached whom; an error ends the exchange.
struct Outcome {
  bool broker_done = false;
  bool merchant_done = false;
  RefusalReason broker_refusal = RefusalReason::kNone;
  RefusalReason merchant_refusal = RefusalReason::kNone;
  // As they were sent, before anybody altered them.
  std::vector<HandshakeMessage> sent;
  SessionKeys broker_keys;
  SessionKeys merchant_keys;
};

// Alters message `index` (0 to 4) on its way.
using Network = std::function<void(int index, HandshakeMessage* message)>;

void Untouched(int /*index*/, HandshakeMessage* /*message*/) {}

Outcome Shuttle(const Network& network, const Identity& broker_identity = Broker(),
                const Identity& merchant_identity = Merchant(),
                const PublicIdentity& pinned_broker = Broker().public_identity()) {
  BrokerSide broker(broker_identity, SystemRandom());
  MerchantSide merchant(merchant_identity, pinned_broker, SystemRandom());
  Outcome outcome;
  const auto finish = [&] {
    outcome.broker_done = broker.done();
    outcome.merchant_done = merchant.done();
    outcome.broker_refusal = broker.refusal();
    outcome.merchant_refusal = merchant.refusal();
    if (broker.done()) outcome.broker_keys = broker.TakeKeys().value();
    if (merchant.done()) outcome.merchant_keys = merchant.TakeKeys().value();
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
  if (!travel(merchant.Start(), &received)) return finish();
  const absl::StatusOr<std::string> fingerprint = BrokerSide::FingerprintOf(received);
  if (!fingerprint.ok()) {
    EXPECT_EQ(fingerprint.status(), Refused());
    return finish();
  }
  if (!travel(broker.Start(received, Enrolled(*fingerprint), Decoy()), &received)) return finish();
  if (!travel(merchant.OnChallenge(received), &received)) return finish();
  if (!travel(broker.OnResponse(received), &received)) return finish();
  if (!travel(merchant.OnConfirm(received), &received)) return finish();
  const absl::Status last = broker.OnFinished(received);
  if (!last.ok()) {
    EXPECT_EQ(last, Refused());
  }
  return finish();
}

// Nobody stands as accepted who should not: the broker never, the merchant only when what was
// altered comes after its own verdict. Until that verdict everything is answered, in the usual
// sizes.
void ExpectRefused(const Outcome& outcome, int altered) {
  EXPECT_EQ(outcome.sent.size(), altered == 4 ? 5 : 4);
  EXPECT_FALSE(outcome.broker_done);
  EXPECT_EQ(outcome.merchant_done, altered == 4);
  EXPECT_NE(altered == 4 ? outcome.broker_refusal : outcome.merchant_refusal, RefusalReason::kNone);
  for (size_t i = 0; i < outcome.sent.size(); ++i) {
    const size_t body_bytes = i == 0 ? 32 : i == 4 ? 0 : kModulusBytes;
    EXPECT_EQ(outcome.sent[i].body().size(), body_bytes);
    EXPECT_EQ(outcome.sent[i].finished().size(), i >= 3 ? 32 : 0);
  }
}

TEST(BrokerMerchantHandshakeTest, BothEndsGetTheSameKeys) {
  const Outcome outcome = Shuttle(Untouched);
  ASSERT_TRUE(outcome.broker_done);
  ASSERT_TRUE(outcome.merchant_done);
  EXPECT_EQ(outcome.broker_refusal, RefusalReason::kNone);
  EXPECT_EQ(outcome.merchant_refusal, RefusalReason::kNone);
  EXPECT_EQ(outcome.broker_keys.session_id.size(), kSessionIdBytes);
  EXPECT_EQ(outcome.broker_keys.session_id, outcome.merchant_keys.session_id);
  EXPECT_EQ(outcome.broker_keys.seal.view(), outcome.merchant_keys.seal.view());
  EXPECT_EQ(outcome.broker_keys.mac.view(), outcome.merchant_keys.mac.view());
  EXPECT_EQ(outcome.broker_keys.seal.size(), kKeyBytes);
  EXPECT_NE(outcome.broker_keys.seal.view(), outcome.broker_keys.mac.view());
}

TEST(BrokerMerchantHandshakeTest, EveryRunHasKeysOfItsOwn) {
  const Outcome one = Shuttle(Untouched);
  const Outcome two = Shuttle(Untouched);
  EXPECT_NE(one.broker_keys.session_id, two.broker_keys.session_id);
  EXPECT_NE(one.broker_keys.seal.view(), two.broker_keys.seal.view());
  EXPECT_NE(one.broker_keys.mac.view(), two.broker_keys.mac.view());
  for (int i : {1, 2, 3}) EXPECT_NE(one.sent[i].body(), two.sent[i].body());
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

TEST(BrokerMerchantHandshakeTest, EveryFlippedByteOfTheFingerprintIsRefused) {
  FlipEveryByte(0, &HandshakeMessage::mutable_body, 32);
}
TEST(BrokerMerchantHandshakeTest, EveryFlippedByteOfTheChallengeIsRefused) {
  FlipEveryByte(1, &HandshakeMessage::mutable_body, kModulusBytes);
}
TEST(BrokerMerchantHandshakeTest, EveryFlippedByteOfTheResponseIsRefused) {
  FlipEveryByte(2, &HandshakeMessage::mutable_body, kModulusBytes);
}
TEST(BrokerMerchantHandshakeTest, EveryFlippedByteOfTheConfirmationIsRefused) {
  FlipEveryByte(3, &HandshakeMessage::mutable_body, kModulusBytes);
  FlipEveryByte(3, &HandshakeMessage::mutable_finished, 32);
}
TEST(BrokerMerchantHandshakeTest, EveryFlippedByteOfTheLastMessageIsRefused) {
  FlipEveryByte(4, &HandshakeMessage::mutable_finished, 32);
}

TEST(BrokerMerchantHandshakeTest, WrongSizesAreRefusedAtOnce) {
  // Which end reads message i, and its right sizes.
  struct Shape {
    size_t body_bytes;
    size_t finished_bytes;
  };
  const std::vector<Shape> shapes = {
      {32, 0}, {kModulusBytes, 0}, {kModulusBytes, 0}, {kModulusBytes, 32}, {0, 32}};
  const auto refused = [](int index, const std::function<void(HandshakeMessage*)>& alter) {
    const Outcome outcome = Shuttle([&](int i, HandshakeMessage* message) {
      if (i == index) alter(message);
    });
    EXPECT_EQ(outcome.sent.size(), index + 1) << "message " << index << " was answered";
    EXPECT_FALSE(outcome.broker_done);
    EXPECT_EQ(outcome.merchant_done, index == 4);
    if (index == 0) return;  // Refused before there is a machine.
    EXPECT_EQ(index % 2 == 0 ? outcome.broker_refusal : outcome.merchant_refusal,
              RefusalReason::kBounds);
  };
  for (int index = 0; index < 5; ++index) {
    SCOPED_TRACE(index);
    const Shape& shape = shapes[index];
    // Every length is wrong but one; the longer ones in steps, since the reader does not decrypt.
    for (size_t size = 0; size <= 1100; size += index < 3 && size < 40 ? 1 : 53) {
      if (size == shape.body_bytes) continue;
      refused(index, [&](HandshakeMessage* m) { m->mutable_body()->resize(size); });
    }
    refused(index, [&](HandshakeMessage* m) { m->mutable_body()->push_back('\0'); });
    if (shape.body_bytes > 0) {
      refused(index, [&](HandshakeMessage* m) { m->mutable_body()->pop_back(); });
    }
    for (size_t size : {0, 1, 31, 32, 33, 64}) {
      if (size == shape.finished_bytes) continue;
      refused(index, [&](HandshakeMessage* m) { m->mutable_finished()->resize(size); });
    }
    refused(index, [](HandshakeMessage* m) { m->mutable_frame()->set_seq(1); });
    refused(index, [](HandshakeMessage* m) { m->Clear(); });
  }
}

TEST(BrokerMerchantHandshakeTest, EveryTruncationOfACiphertextIsRefused) {
  // A machine each, so that nothing but the message is wrong.
  const HandshakeMessage challenge = Shuttle(Untouched).sent[1];
  for (size_t size = 0; size < kModulusBytes; ++size) {
    MerchantSide merchant(Merchant(), Broker().public_identity(), SystemRandom());
    ASSERT_TRUE(merchant.Start().ok());
    HandshakeMessage cut = challenge;
    cut.mutable_body()->resize(size);
    EXPECT_EQ(merchant.OnChallenge(cut).status(), Refused()) << size;
    EXPECT_EQ(merchant.refusal(), RefusalReason::kBounds) << size;
  }
}

TEST(BrokerMerchantHandshakeTest, AMessageOfAnotherRunIsRefused) {
  const Outcome recorded = Shuttle(Untouched);
  for (int index = 1; index < 5; ++index) {
    SCOPED_TRACE(index);
    ExpectRefused(Shuttle([&](int i, HandshakeMessage* message) {
                    if (i == index) *message = recorded.sent[index];
                  }),
                  index);
  }
}

TEST(BrokerMerchantHandshakeTest, AWholeRecordedMerchantIsRefused) {
  const Outcome recorded = Shuttle(Untouched);
  BrokerSide broker(Broker(), SystemRandom());
  ASSERT_TRUE(broker.Start(recorded.sent[0], Enrolled(recorded.sent[0].body()), Decoy()).ok());
  ASSERT_TRUE(broker.OnResponse(recorded.sent[2]).ok());
  EXPECT_EQ(broker.OnFinished(recorded.sent[4]), Refused());
  EXPECT_EQ(broker.refusal(), RefusalReason::kChallenge);
}

TEST(BrokerMerchantHandshakeTest, AWholeRecordedBrokerIsRefused) {
  const Outcome recorded = Shuttle(Untouched);
  MerchantSide merchant(Merchant(), Broker().public_identity(), SystemRandom());
  ASSERT_TRUE(merchant.Start().ok());
  ASSERT_TRUE(merchant.OnChallenge(recorded.sent[1]).ok());
  EXPECT_EQ(merchant.OnConfirm(recorded.sent[3]).status(), Refused());
  EXPECT_EQ(merchant.refusal(), RefusalReason::kChallenge);
  EXPECT_FALSE(merchant.TakeKeys().ok());
}

TEST(BrokerMerchantHandshakeTest, MessagesReflectedAtTheirSenderAreRefused) {
  // The broker hears its own Finished, and a merchant its own response as a confirmation.
  std::string finished;
  const Outcome outcome = Shuttle([&finished](int i, HandshakeMessage* message) {
    if (i == 3) finished = message->finished();
    if (i == 4) message->set_finished(finished);
  });
  EXPECT_FALSE(outcome.broker_done);
  EXPECT_EQ(outcome.broker_refusal, RefusalReason::kFinished);

  MerchantSide merchant(Merchant(), Broker().public_identity(), SystemRandom());
  ASSERT_TRUE(merchant.Start().ok());
  HandshakeMessage response = merchant.OnChallenge(outcome.sent[1]).value();
  response.set_finished(outcome.sent[3].finished());
  EXPECT_EQ(merchant.OnConfirm(response).status(), Refused());
}

// ---- Wrong identities

TEST(BrokerMerchantHandshakeTest, ABrokerThatIsNotThePinnedOneIsRefused) {
  const Outcome outcome = Shuttle(Untouched, /*broker_identity=*/Stranger());
  EXPECT_FALSE(outcome.merchant_done);
  EXPECT_FALSE(outcome.broker_done);
  EXPECT_EQ(outcome.merchant_refusal, RefusalReason::kIdentity);
  ExpectRefused(outcome, 1);
}

TEST(BrokerMerchantHandshakeTest, AMerchantThatPinsAnotherBrokerIsRefused) {
  const Outcome outcome =
      Shuttle(Untouched, Broker(), Merchant(), /*pinned_broker=*/Stranger().public_identity());
  ExpectRefused(outcome, 1);
}

TEST(BrokerMerchantHandshakeTest, AnUnknownMerchantIsAnsweredAlikeAndRefused) {
  const Outcome outcome = Shuttle(Untouched, Broker(), /*merchant_identity=*/Stranger());
  ExpectRefused(outcome, 1);
  EXPECT_EQ(outcome.sent.size(), 4);
  // The broker hears the end of it, whatever the stranger sends.
  BrokerSide broker(Broker(), SystemRandom());
  ASSERT_TRUE(broker.Start(outcome.sent[0], nullptr, Decoy()).ok());
  ASSERT_TRUE(broker.OnResponse(outcome.sent[2]).ok());
  HandshakeMessage finished;
  finished.set_finished(std::string(32, 'f'));
  EXPECT_EQ(broker.OnFinished(finished), Refused());
  EXPECT_EQ(broker.refusal(), RefusalReason::kUnknownPeer);
}

TEST(BrokerMerchantHandshakeTest, SomebodyElseUnderAnEnrolledFingerprintIsRefused) {
  const Outcome outcome = Shuttle(
      [](int i, HandshakeMessage* message) {
        if (i == 0) message->set_body(Merchant().public_identity().fingerprint());
      },
      Broker(), /*merchant_identity=*/Stranger());
  ExpectRefused(outcome, 1);
}

TEST(BrokerMerchantHandshakeTest, AnIdentityOfAnotherFingerprintIsRefused) {
  // A directory that answers with the wrong entry.
  BrokerSide broker(Broker(), SystemRandom());
  MerchantSide merchant(Stranger(), Broker().public_identity(), SystemRandom());
  HandshakeMessage hello = merchant.Start().value();
  hello.set_body(Merchant().public_identity().fingerprint());
  const HandshakeMessage challenge =
      broker.Start(hello, &Stranger().public_identity(), Decoy()).value();
  const HandshakeMessage response = merchant.OnChallenge(challenge).value();
  const HandshakeMessage confirm = broker.OnResponse(response).value();
  // The fingerprint is in the merchant's transcript, too.
  EXPECT_EQ(merchant.OnConfirm(confirm).status(), Refused());
  HandshakeMessage finished;
  finished.set_finished(std::string(32, 'f'));
  EXPECT_EQ(broker.OnFinished(finished), Refused());
  EXPECT_EQ(broker.refusal(), RefusalReason::kIdentity);
}

// ---- A merchant played by hand, against the broker's machine

struct MerchantByHand {
  X25519KeyPair b1_pair = X25519KeyPair::Generate(SystemRandom());
  X25519KeyPair b2_pair = X25519KeyPair::Generate(SystemRandom());
  std::string label = "blindcart/v1/merchant-response";
  // Alters the response before it is encrypted.
  std::function<void(v1::MerchantResponse*)> alter = [](v1::MerchantResponse*) {};

  // Plays to the end and returns the broker's verdict.
  absl::Status Play(BrokerSide& broker, by_hand::Keys* keys = nullptr) const {
    const std::string broker_fp = Broker().public_identity().fingerprint();
    const std::string merchant_fp = Merchant().public_identity().fingerprint();
    HandshakeMessage hello;
    hello.set_body(merchant_fp);
    const HandshakeMessage challenge_message =
        broker.Start(hello, &Merchant().public_identity(), Decoy()).value();
    v1::BrokerChallenge challenge;
    EXPECT_TRUE(by_hand::Decrypt(Merchant(), "blindcart/v1/broker-challenge",
                                 challenge_message.body(), &challenge));
    EXPECT_EQ(challenge.role(), "Broker");
    EXPECT_EQ(challenge.ids_hash(), crypto::Sha256(by_hand::Join({broker_fp, merchant_fp})));

    v1::MerchantResponse response;
    response.set_role("Merchant");
    response.set_ids_hash(challenge.ids_hash());
    response.set_r1b(challenge.r1b());
    response.set_r_m(SystemRandom().Bytes(32));
    response.set_b1(b1_pair.public_key());
    response.set_b2(b2_pair.public_key());
    alter(&response);
    HandshakeMessage response_message;
    response_message.set_body(by_hand::Encrypt(Broker().public_identity(), label, response));
    const absl::StatusOr<HandshakeMessage> confirm = broker.OnResponse(response_message);
    if (!confirm.ok()) {
      ADD_FAILURE() << "refused before its time";
      return confirm.status();
    }
    EXPECT_EQ(confirm->body().size(), kModulusBytes);
    EXPECT_EQ(confirm->finished().size(), 32);

    by_hand::DerivationInput input;
    input.pair = "broker-merchant";
    input.initiator_fingerprint = broker_fp;
    input.responder_fingerprint = merchant_fp;
    input.wire = {hello.body(), challenge_message.body(), response_message.body(), confirm->body()};
    input.shared1 = by_hand::Exchange(b1_pair, challenge.c1());
    input.shared2 = by_hand::Exchange(b2_pair, challenge.c2());
    input.nonces = {challenge.r1b(), response.r_m()};
    const by_hand::Keys derived = by_hand::Derive(input);
    const std::string transcript = by_hand::Transcript(input);
    v1::BrokerConfirm opened;
    EXPECT_TRUE(
        by_hand::Decrypt(Merchant(), "blindcart/v1/broker-confirm", confirm->body(), &opened));
    if (keys != nullptr) {
      *keys = derived;
      EXPECT_EQ(opened.r_m(), response.r_m());
      EXPECT_EQ(confirm->finished(),
                by_hand::Finished(derived, "initiator->responder", transcript));
    } else {
      // Random data: nothing of what was sent comes back, and no proof under keys we know.
      EXPECT_NE(confirm->finished(),
                by_hand::Finished(derived, "initiator->responder", transcript));
    }
    HandshakeMessage finished;
    finished.set_finished(by_hand::Finished(derived, "responder->initiator", transcript));
    return broker.OnFinished(finished);
  }
};

TEST(BrokerMerchantHandshakeTest, BrokerSpeaksTheProtocolAsWritten) {
  BrokerSide broker(Broker(), SystemRandom());
  by_hand::Keys keys;
  ASSERT_TRUE(MerchantByHand().Play(broker, &keys).ok());
  ASSERT_TRUE(broker.done());
  const SessionKeys taken = broker.TakeKeys().value();
  EXPECT_EQ(taken.session_id, keys.session_id);
  EXPECT_EQ(taken.seal.view(), keys.seal);
  EXPECT_EQ(taken.mac.view(), keys.mac);
}

TEST(BrokerMerchantHandshakeTest, BrokerRefusesAWrongResponseAtItsFinished) {
  const auto expect = [](RefusalReason reason, const MerchantByHand& merchant) {
    SCOPED_TRACE(RefusalReasonName(reason));
    BrokerSide broker(Broker(), SystemRandom());
    EXPECT_EQ(merchant.Play(broker), Refused());
    EXPECT_EQ(RefusalReasonName(broker.refusal()), RefusalReasonName(reason));
    EXPECT_FALSE(broker.done());
  };
  const auto altered = [](std::function<void(v1::MerchantResponse*)> alter) {
    MerchantByHand merchant;
    merchant.alter = std::move(alter);
    return merchant;
  };
  using Response = v1::MerchantResponse;
  expect(RefusalReason::kIdentity, altered([](Response* r) { r->set_role("Broker"); }));
  expect(RefusalReason::kIdentity, altered([](Response* r) { r->clear_role(); }));
  expect(RefusalReason::kIdentity, altered([](Response* r) { (*r->mutable_ids_hash())[31] ^= 1; }));
  expect(RefusalReason::kIdentity, altered([](Response* r) { r->clear_ids_hash(); }));
  expect(RefusalReason::kChallenge, altered([](Response* r) { (*r->mutable_r1b())[0] ^= 1; }));
  expect(RefusalReason::kChallenge, altered([](Response* r) { r->clear_r1b(); }));
  expect(RefusalReason::kMalformed, altered([](Response* r) { r->set_r_m("short"); }));
  expect(RefusalReason::kMalformed, altered([](Response* r) { r->mutable_b1()->push_back('x'); }));
  expect(RefusalReason::kMalformed, altered([](Response* r) { r->clear_b2(); }));
  expect(RefusalReason::kMalformed, altered([](Response* r) {
           r->GetReflection()->MutableUnknownFields(r)->AddVarint(15, 1);
         }));
  for (const std::string& point : by_hand::LowOrderPoints()) {
    expect(RefusalReason::kKeyExchange, altered([&](Response* r) { r->set_b1(point); }));
    expect(RefusalReason::kKeyExchange, altered([&](Response* r) { r->set_b2(point); }));
  }
  MerchantByHand other_label;
  other_label.label = "blindcart/v1/login";
  expect(RefusalReason::kDecryption, other_label);
}

// ---- A broker played by hand, against the merchant's machine

struct BrokerByHand {
  X25519KeyPair c1_pair = X25519KeyPair::Generate(SystemRandom());
  X25519KeyPair c2_pair = X25519KeyPair::Generate(SystemRandom());
  std::string challenge_label = "blindcart/v1/broker-challenge";
  std::string confirm_label = "blindcart/v1/broker-confirm";
  std::function<void(v1::BrokerChallenge*)> alter_challenge = [](v1::BrokerChallenge*) {};
  std::function<void(v1::BrokerConfirm*)> alter_confirm = [](v1::BrokerConfirm*) {};

  absl::Status Play(MerchantSide& merchant, by_hand::Keys* keys = nullptr) const {
    const std::string broker_fp = Broker().public_identity().fingerprint();
    const std::string merchant_fp = Merchant().public_identity().fingerprint();
    const HandshakeMessage hello = merchant.Start().value();
    EXPECT_EQ(hello.body(), merchant_fp);
    v1::BrokerChallenge challenge;
    challenge.set_role("Broker");
    challenge.set_ids_hash(crypto::Sha256(by_hand::Join({broker_fp, merchant_fp})));
    challenge.set_r1b(SystemRandom().Bytes(32));
    challenge.set_c1(c1_pair.public_key());
    challenge.set_c2(c2_pair.public_key());
    alter_challenge(&challenge);
    HandshakeMessage challenge_message;
    challenge_message.set_body(
        by_hand::Encrypt(Merchant().public_identity(), challenge_label, challenge));
    const absl::StatusOr<HandshakeMessage> response_message =
        merchant.OnChallenge(challenge_message);
    if (!response_message.ok()) {
      ADD_FAILURE() << "refused before its time";
      return response_message.status();
    }
    v1::MerchantResponse response;
    EXPECT_TRUE(by_hand::Decrypt(Broker(), "blindcart/v1/merchant-response",
                                 response_message->body(), &response));
    EXPECT_EQ(response.role(), "Merchant");
    EXPECT_EQ(response.ids_hash(), crypto::Sha256(by_hand::Join({broker_fp, merchant_fp})));
    EXPECT_EQ(response.r1b().size(), 32);

    v1::BrokerConfirm confirm;
    confirm.set_r_m(response.r_m());
    alter_confirm(&confirm);
    HandshakeMessage confirm_message;
    confirm_message.set_body(
        by_hand::Encrypt(Merchant().public_identity(), confirm_label, confirm));
    by_hand::DerivationInput input;
    input.pair = "broker-merchant";
    input.initiator_fingerprint = broker_fp;
    input.responder_fingerprint = merchant_fp;
    input.wire = {hello.body(), challenge_message.body(), response_message->body(),
                  confirm_message.body()};
    input.shared1 = by_hand::Exchange(c1_pair, response.b1());
    input.shared2 = by_hand::Exchange(c2_pair, response.b2());
    input.nonces = {challenge.r1b(), response.r_m()};
    const by_hand::Keys derived = by_hand::Derive(input);
    const std::string transcript = by_hand::Transcript(input);
    confirm_message.set_finished(by_hand::Finished(derived, "initiator->responder", transcript));
    const absl::StatusOr<HandshakeMessage> finished = merchant.OnConfirm(confirm_message);
    if (!finished.ok()) return finished.status();
    EXPECT_EQ(response.r1b(), challenge.r1b());
    EXPECT_EQ(finished->body(), "");
    EXPECT_EQ(finished->finished(), by_hand::Finished(derived, "responder->initiator", transcript));
    if (keys != nullptr) *keys = derived;
    return absl::OkStatus();
  }
};

TEST(BrokerMerchantHandshakeTest, MerchantSpeaksTheProtocolAsWritten) {
  MerchantSide merchant(Merchant(), Broker().public_identity(), SystemRandom());
  by_hand::Keys keys;
  ASSERT_TRUE(BrokerByHand().Play(merchant, &keys).ok());
  ASSERT_TRUE(merchant.done());
  const SessionKeys taken = merchant.TakeKeys().value();
  EXPECT_EQ(taken.session_id, keys.session_id);
  EXPECT_EQ(taken.seal.view(), keys.seal);
  EXPECT_EQ(taken.mac.view(), keys.mac);
}

TEST(BrokerMerchantHandshakeTest, MerchantRefusesAWrongBrokerAtItsFinished) {
  const auto expect = [](RefusalReason reason, const BrokerByHand& broker) {
    SCOPED_TRACE(RefusalReasonName(reason));
    MerchantSide merchant(Merchant(), Broker().public_identity(), SystemRandom());
    EXPECT_EQ(broker.Play(merchant), Refused());
    EXPECT_EQ(RefusalReasonName(merchant.refusal()), RefusalReasonName(reason));
    EXPECT_FALSE(merchant.done());
  };
  const auto altered = [](std::function<void(v1::BrokerChallenge*)> alter) {
    BrokerByHand broker;
    broker.alter_challenge = std::move(alter);
    return broker;
  };
  using Challenge = v1::BrokerChallenge;
  expect(RefusalReason::kIdentity, altered([](Challenge* c) { c->set_role("Merchant"); }));
  expect(RefusalReason::kIdentity, altered([](Challenge* c) { (*c->mutable_ids_hash())[0] ^= 1; }));
  expect(RefusalReason::kMalformed, altered([](Challenge* c) { c->clear_r1b(); }));
  expect(RefusalReason::kMalformed, altered([](Challenge* c) { c->mutable_c1()->pop_back(); }));
  expect(RefusalReason::kMalformed, altered([](Challenge* c) { c->mutable_c2()->push_back('x'); }));
  for (const std::string& point : by_hand::LowOrderPoints()) {
    expect(RefusalReason::kKeyExchange, altered([&](Challenge* c) { c->set_c1(point); }));
    expect(RefusalReason::kKeyExchange, altered([&](Challenge* c) { c->set_c2(point); }));
  }
  BrokerByHand wrong_r_m;
  wrong_r_m.alter_confirm = [](v1::BrokerConfirm* c) { (*c->mutable_r_m())[5] ^= 1; };
  expect(RefusalReason::kChallenge, wrong_r_m);
  BrokerByHand no_r_m;
  no_r_m.alter_confirm = [](v1::BrokerConfirm* c) { c->clear_r_m(); };
  expect(RefusalReason::kChallenge, no_r_m);
  BrokerByHand other_label;
  other_label.challenge_label = "blindcart/v1/shop-hello";
  expect(RefusalReason::kDecryption, other_label);
  other_label = BrokerByHand();
  other_label.confirm_label = "blindcart/v1/broker-challenge";
  expect(RefusalReason::kDecryption, other_label);
}

// ---- Order of calls

// A broker and a merchant that talk for `steps` messages.
struct Pair {
  BrokerSide broker{Broker(), SystemRandom()};
  MerchantSide merchant{Merchant(), Broker().public_identity(), SystemRandom()};
  std::vector<HandshakeMessage> sent = std::vector<HandshakeMessage>(5);

  void Advance(int steps) {
    if (steps > 0) sent[0] = merchant.Start().value();
    if (steps > 1) sent[1] = broker.Start(sent[0], &Merchant().public_identity(), Decoy()).value();
    if (steps > 2) sent[2] = merchant.OnChallenge(sent[1]).value();
    if (steps > 3) sent[3] = broker.OnResponse(sent[2]).value();
    if (steps > 4) sent[4] = merchant.OnConfirm(sent[3]).value();
    if (steps > 5) {
      ASSERT_TRUE(broker.OnFinished(sent[4]).ok());
    }
  }
  std::vector<std::function<absl::Status()>> BrokerCalls() {
    return {
        [this] { return broker.Start(sent[0], &Merchant().public_identity(), Decoy()).status(); },
        [this] { return broker.OnResponse(sent[2]).status(); },
        [this] { return broker.OnFinished(sent[4]); },
        [this] { return broker.TakeKeys().status(); },
    };
  }
  std::vector<std::function<absl::Status()>> MerchantCalls() {
    return {
        [this] { return merchant.Start().status(); },
        [this] { return merchant.OnChallenge(sent[1]).status(); },
        [this] { return merchant.OnConfirm(sent[3]).status(); },
        [this] { return merchant.TakeKeys().status(); },
    };
  }
};

TEST(BrokerMerchantHandshakeTest, EveryCallOutOfOrderEndsTheBroker) {
  // After how many messages the broker waits for call 0, 1, ...; at the end, for none.
  const std::vector<int> steps = {1, 3, 5, 6, 6};
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

TEST(BrokerMerchantHandshakeTest, EveryCallOutOfOrderEndsTheMerchant) {
  const std::vector<int> steps = {0, 2, 4, 5, 5};
  for (size_t state = 0; state < steps.size(); ++state) {
    for (size_t call = 0; call < 4; ++call) {
      if (call == state) continue;
      SCOPED_TRACE(absl::StrCat("state ", state, " call ", call));
      Pair pair;
      pair.Advance(steps[state]);
      if (state == 4) {
        ASSERT_TRUE(pair.merchant.TakeKeys().ok());
      }
      EXPECT_EQ(pair.merchant.done(), state >= 3);
      EXPECT_EQ(pair.MerchantCalls()[call]().code(), absl::StatusCode::kFailedPrecondition);
      EXPECT_FALSE(pair.merchant.done());
      EXPECT_EQ(pair.merchant.refusal(), RefusalReason::kOutOfOrder);
      for (const auto& later : pair.MerchantCalls()) {
        EXPECT_EQ(later().code(), absl::StatusCode::kFailedPrecondition);
      }
    }
  }
}

TEST(BrokerMerchantHandshakeTest, NothingFollowsARefusal) {
  Pair pair;
  pair.Advance(5);
  pair.sent[4].set_finished(std::string(32, 'f'));
  EXPECT_EQ(pair.broker.OnFinished(pair.sent[4]), Refused());
  for (const auto& later : pair.BrokerCalls()) {
    EXPECT_EQ(later().code(), absl::StatusCode::kFailedPrecondition);
  }
  EXPECT_EQ(pair.broker.refusal(), RefusalReason::kFinished);
}

}  // namespace
}  // namespace blindcart::protocol
