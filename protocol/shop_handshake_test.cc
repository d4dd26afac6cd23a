#include "protocol/shop_handshake.h"

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "crypto/ed25519.h"
#include "crypto/hash.h"
#include "crypto/testing/test_identity.h"
#include "gtest/gtest.h"
#include "proto/handshake.pb.h"
#include "proto/shop.pb.h"
#include "protocol/testing/by_hand.h"
#include "protocol/testing/flip_bit.h"

namespace blindcart::protocol {
namespace {

using crypto::Identity;
using crypto::PublicIdentity;
using crypto::SystemRandom;
using crypto::TestIdentity;
using crypto::X25519KeyPair;
using v1::ShopAnswer;

const Identity& Merchant() { return TestIdentity(0); }
const Identity& Stranger() { return TestIdentity(1); }

constexpr size_t kModulusBytes = 384;

struct Outcome {
  bool customer_done = false;
  bool merchant_done = false;
  RefusalReason customer_refusal = RefusalReason::kNone;
  RefusalReason merchant_refusal = RefusalReason::kNone;
  // As they were sent, before the relay altered them.
  ShopCustomer::Hello hello;
  ShopAnswer answer;
  std::string finished;
  int sent = 0;
  SessionKeys customer_keys;
  SessionKeys merchant_keys;
};

// The broker in the middle, which may alter whatever passes.
struct Relay {
  std::function<void(ShopCustomer::Hello*)> hello = [](ShopCustomer::Hello*) {};
  std::function<void(ShopAnswer*)> answer = [](ShopAnswer*) {};
  std::function<void(std::string*)> finished = [](std::string*) {};
};

Outcome Shuttle(const Relay& relay, const Identity& merchant_identity = Merchant(),
                const PublicIdentity& pinned = Merchant().public_identity()) {
  ShopCustomer customer(pinned, SystemRandom());
  ShopMerchant merchant(merchant_identity, SystemRandom());
  Outcome outcome;
  const auto finish = [&] {
    outcome.customer_done = customer.done();
    outcome.merchant_done = merchant.done();
    outcome.customer_refusal = customer.refusal();
    outcome.merchant_refusal = merchant.refusal();
    if (customer.done()) outcome.customer_keys = customer.TakeKeys().value();
    if (merchant.done()) outcome.merchant_keys = merchant.TakeKeys().value();
    return std::move(outcome);
  };
  outcome.hello = customer.Start().value();
  outcome.sent = 1;
  ShopCustomer::Hello hello = outcome.hello;
  relay.hello(&hello);
  const absl::StatusOr<ShopAnswer> sent_answer = merchant.OnHello(hello.sid, hello.ciphertext);
  if (!sent_answer.ok()) {
    EXPECT_EQ(sent_answer.status(), Refused());
    return finish();
  }
  outcome.answer = *sent_answer;
  outcome.sent = 2;
  ShopAnswer answer = outcome.answer;
  relay.answer(&answer);
  const absl::StatusOr<std::string> sent_finished = customer.OnAnswer(answer);
  if (!sent_finished.ok()) {
    EXPECT_EQ(sent_finished.status(), Refused());
    return finish();
  }
  outcome.finished = *sent_finished;
  outcome.sent = 3;
  std::string finished = outcome.finished;
  relay.finished(&finished);
  const absl::Status last = merchant.OnFinished(finished);
  if (!last.ok()) {
    EXPECT_EQ(last, Refused());
  }
  return finish();
}

// Refused by the customer, after an answer of the usual sizes.
void ExpectCustomerRefuses(const Outcome& outcome) {
  EXPECT_FALSE(outcome.customer_done);
  EXPECT_FALSE(outcome.merchant_done);
  EXPECT_NE(outcome.customer_refusal, RefusalReason::kNone);
  ASSERT_EQ(outcome.sent, 2);
  EXPECT_EQ(outcome.answer.b1().size(), 32);
  EXPECT_EQ(outcome.answer.b2().size(), 32);
  EXPECT_EQ(outcome.answer.r_m().size(), 32);
  EXPECT_EQ(outcome.answer.signature().size(), 64);
  EXPECT_EQ(outcome.answer.finished().size(), 32);
}

TEST(ShopHandshakeTest, BothEndsGetTheSameKeys) {
  const Outcome outcome = Shuttle({});
  ASSERT_TRUE(outcome.customer_done);
  ASSERT_TRUE(outcome.merchant_done);
  EXPECT_EQ(outcome.hello.sid.size(), kSessionIdBytes);
  EXPECT_EQ(outcome.customer_keys.session_id, outcome.hello.sid);
  EXPECT_EQ(outcome.merchant_keys.session_id, outcome.hello.sid);
  EXPECT_EQ(outcome.customer_keys.seal.view(), outcome.merchant_keys.seal.view());
  EXPECT_EQ(outcome.customer_keys.mac.view(), outcome.merchant_keys.mac.view());
  EXPECT_NE(outcome.customer_keys.seal.view(), outcome.customer_keys.mac.view());
}

TEST(ShopHandshakeTest, NothingIsEqualBetweenTwoSessionsOfOneCustomer) {
  const Outcome one = Shuttle({});
  const Outcome two = Shuttle({});
  EXPECT_NE(one.hello.sid, two.hello.sid);
  EXPECT_NE(one.hello.ciphertext, two.hello.ciphertext);
  EXPECT_NE(one.finished, two.finished);
  EXPECT_NE(one.customer_keys.seal.view(), two.customer_keys.seal.view());
  EXPECT_NE(one.customer_keys.mac.view(), two.customer_keys.mac.view());
  v1::ShopHello opened_one, opened_two;
  ASSERT_TRUE(
      by_hand::Decrypt(Merchant(), "blindcart/v1/shop-hello", one.hello.ciphertext, &opened_one));
  ASSERT_TRUE(
      by_hand::Decrypt(Merchant(), "blindcart/v1/shop-hello", two.hello.ciphertext, &opened_two));
  EXPECT_NE(opened_one.r_c(), opened_two.r_c());
  EXPECT_NE(opened_one.c1(), opened_two.c1());
  EXPECT_NE(opened_one.c2(), opened_two.c2());
  EXPECT_NE(opened_one.c1(), opened_one.c2());
}

// ---- A relay that alters

void FlipEveryByteOfHello(std::string ShopCustomer::Hello::*field, size_t size) {
  for (size_t at = 0; at < size; ++at) {
    SCOPED_TRACE(at);
    Relay relay;
    relay.hello = [&](ShopCustomer::Hello* hello) {
      ASSERT_EQ((hello->*field).size(), size);
      FlipBit(hello->*field, at);
    };
    ExpectCustomerRefuses(Shuttle(relay));
  }
}

TEST(ShopHandshakeTest, EveryFlippedByteOfTheHelloIsRefused) {
  FlipEveryByteOfHello(&ShopCustomer::Hello::sid, 16);
  FlipEveryByteOfHello(&ShopCustomer::Hello::ciphertext, kModulusBytes);
}

TEST(ShopHandshakeTest, EveryFlippedByteOfTheAnswerIsRefused) {
  const std::vector<std::pair<std::string* (ShopAnswer::*)(), size_t>> fields = {
      {&ShopAnswer::mutable_b1, 32},
      {&ShopAnswer::mutable_b2, 32},
      {&ShopAnswer::mutable_r_m, 32},
      {&ShopAnswer::mutable_signature, 64},
      {&ShopAnswer::mutable_finished, 32}};
  for (size_t i = 0; i < fields.size(); ++i) {
    for (size_t at = 0; at < fields[i].second; ++at) {
      SCOPED_TRACE(absl::StrCat("field ", i, " byte ", at));
      Relay relay;
      relay.answer = [&](ShopAnswer* answer) {
        std::string* field = (answer->*fields[i].first)();
        ASSERT_EQ(field->size(), fields[i].second);
        FlipBit(*field, at);
      };
      const Outcome outcome = Shuttle(relay);
      ExpectCustomerRefuses(outcome);
      EXPECT_EQ(outcome.customer_refusal,
                i == 4 ? RefusalReason::kFinished : RefusalReason::kSignature);
    }
  }
}

TEST(ShopHandshakeTest, EveryFlippedByteOfFinishedIsRefused) {
  for (size_t at = 0; at < kFinishedBytes; ++at) {
    Relay relay;
    relay.finished = [&](std::string* finished) { (*finished)[at] ^= 1; };
    const Outcome outcome = Shuttle(relay);
    EXPECT_FALSE(outcome.merchant_done) << at;
    EXPECT_EQ(outcome.merchant_refusal, RefusalReason::kFinished) << at;
  }
}

TEST(ShopHandshakeTest, WrongSizesAreRefusedAtOnce) {
  const auto expect_merchant = [](const std::string& sid, const std::string& ciphertext) {
    ShopMerchant merchant(Merchant(), SystemRandom());
    EXPECT_EQ(merchant.OnHello(sid, ciphertext).status(), Refused());
    EXPECT_EQ(merchant.refusal(), RefusalReason::kBounds);
  };
  const Outcome good = Shuttle({});
  for (size_t size = 0; size <= 1024; ++size) {
    std::string bytes = good.hello.ciphertext;
    bytes.resize(size);
    if (size != kModulusBytes) expect_merchant(good.hello.sid, bytes);
    if (size != 16) expect_merchant(std::string(size, 's'), good.hello.ciphertext);
  }
  for (size_t size = 0; size <= 100; ++size) {
    const auto expect_customer = [&](size_t right_size, std::string* (ShopAnswer::*field)()) {
      if (size == right_size) return;
      Relay relay;
      relay.answer = [&](ShopAnswer* answer) { (answer->*field)()->resize(size); };
      const Outcome outcome = Shuttle(relay);
      ExpectCustomerRefuses(outcome);
      EXPECT_EQ(outcome.customer_refusal, RefusalReason::kBounds);
    };
    // Each a run with RSA in it: the sizes next to the right one, and some more.
    if (size % 10 != 0 && size % 32 > 1 && size % 32 < 31) continue;
    expect_customer(32, &ShopAnswer::mutable_b1);
    expect_customer(32, &ShopAnswer::mutable_b2);
    expect_customer(32, &ShopAnswer::mutable_r_m);
    expect_customer(64, &ShopAnswer::mutable_signature);
    expect_customer(32, &ShopAnswer::mutable_finished);
    if (size == 32) continue;
    Relay relay;
    relay.finished = [&](std::string* finished) { finished->resize(size); };
    EXPECT_EQ(Shuttle(relay).merchant_refusal, RefusalReason::kBounds);
  }
}

TEST(ShopHandshakeTest, AMessageOfAnotherRunIsRefused) {
  const Outcome recorded = Shuttle({});
  Relay relay;
  relay.hello = [&](ShopCustomer::Hello* hello) { *hello = recorded.hello; };
  ExpectCustomerRefuses(Shuttle(relay));
  relay = {};
  relay.answer = [&](ShopAnswer* answer) { *answer = recorded.answer; };
  ExpectCustomerRefuses(Shuttle(relay));
  relay = {};
  relay.finished = [&](std::string* finished) { *finished = recorded.finished; };
  EXPECT_FALSE(Shuttle(relay).merchant_done);
}

TEST(ShopHandshakeTest, AWholeRecordedCustomerIsRefused) {
  const Outcome recorded = Shuttle({});
  ShopMerchant merchant(Merchant(), SystemRandom());
  ASSERT_TRUE(merchant.OnHello(recorded.hello.sid, recorded.hello.ciphertext).ok());
  EXPECT_EQ(merchant.OnFinished(recorded.finished), Refused());
  EXPECT_EQ(merchant.refusal(), RefusalReason::kFinished);
}

TEST(ShopHandshakeTest, TheMerchantsFinishedReflectedIsRefused) {
  std::string reflected;
  Relay relay;
  relay.answer = [&](ShopAnswer* answer) { reflected = answer->finished(); };
  relay.finished = [&](std::string* finished) { *finished = reflected; };
  const Outcome outcome = Shuttle(relay);
  EXPECT_FALSE(outcome.merchant_done);
  EXPECT_EQ(outcome.merchant_refusal, RefusalReason::kFinished);
}

TEST(ShopHandshakeTest, AHelloUnderAnotherSessionsIdIsRefused) {
  // A broker that attaches one customer's hello to another's session.
  ShopCustomer customer(Merchant().public_identity(), SystemRandom());
  const ShopCustomer::Hello hello = customer.Start().value();
  ShopMerchant merchant(Merchant(), SystemRandom());
  const ShopAnswer answer = merchant.OnHello(SystemRandom().Bytes(16), hello.ciphertext).value();
  EXPECT_EQ(customer.OnAnswer(answer).status(), Refused());
  EXPECT_EQ(merchant.OnFinished(std::string(32, 'f')), Refused());
  EXPECT_EQ(merchant.refusal(), RefusalReason::kIdentity);
}

TEST(ShopHandshakeTest, ABrokerThatAnswersItselfIsRefused) {
  // It has no key that opens the hello, but may sign with its own.
  const Outcome outcome = Shuttle({}, /*merchant_identity=*/Stranger());
  ExpectCustomerRefuses(outcome);
  EXPECT_EQ(outcome.customer_refusal, RefusalReason::kSignature);
}

TEST(ShopHandshakeTest, ACustomerThatPinsAnotherMerchantRefuses) {
  const Outcome outcome = Shuttle({}, Merchant(), /*pinned=*/Stranger().public_identity());
  ExpectCustomerRefuses(outcome);
}

TEST(ShopHandshakeTest, GarbageIsAnsweredAlikeAndRefused) {
  for (int i = 0; i < 20; ++i) {
    ShopMerchant merchant(Merchant(), SystemRandom());
    const ShopAnswer answer =
        merchant.OnHello(SystemRandom().Bytes(16), SystemRandom().Bytes(kModulusBytes)).value();
    EXPECT_EQ(answer.signature().size(), 64);
    EXPECT_EQ(answer.finished().size(), 32);
    EXPECT_EQ(merchant.OnFinished(std::string(32, 'f')), Refused());
    EXPECT_EQ(merchant.refusal(), RefusalReason::kDecryption);
  }
}

// ---- One end played by hand

std::string MerchantFingerprint() { return Merchant().public_identity().fingerprint(); }

struct CustomerByHand {
  X25519KeyPair c1_pair = X25519KeyPair::Generate(SystemRandom());
  X25519KeyPair c2_pair = X25519KeyPair::Generate(SystemRandom());
  std::string label = "blindcart/v1/shop-hello";
  std::function<void(v1::ShopHello*)> alter = [](v1::ShopHello*) {};

  absl::Status Play(ShopMerchant& merchant, by_hand::Keys* keys = nullptr) const {
    const std::string sid = SystemRandom().Bytes(16);
    v1::ShopHello hello;
    hello.set_merchant_hash(crypto::Sha256(MerchantFingerprint()));
    hello.set_sid(sid);
    hello.set_r_c(SystemRandom().Bytes(32));
    hello.set_c1(c1_pair.public_key());
    hello.set_c2(c2_pair.public_key());
    alter(&hello);
    const std::string ciphertext = by_hand::Encrypt(Merchant().public_identity(), label, hello);
    const absl::StatusOr<ShopAnswer> answer = merchant.OnHello(sid, ciphertext);
    if (!answer.ok()) {
      ADD_FAILURE() << "refused before its time";
      return answer.status();
    }
    by_hand::DerivationInput input;
    input.pair = "customer-merchant";
    input.initiator_fingerprint = "";
    input.responder_fingerprint = MerchantFingerprint();
    input.wire = {by_hand::Join({sid, ciphertext}),
                  by_hand::Join({answer->b1(), answer->b2(), answer->r_m()})};
    input.shared1 = by_hand::Exchange(c1_pair, answer->b1());
    input.shared2 = by_hand::Exchange(c2_pair, answer->b2());
    input.nonces = {hello.r_c()};
    by_hand::Keys derived = by_hand::Derive(input);
    derived.session_id = sid;
    const std::string transcript = by_hand::Transcript(input);
    // Whatever the hello was, the answer is signed alike.
    EXPECT_TRUE(crypto::Ed25519Verify(Merchant().public_identity().ed25519(),
                                      by_hand::Join({"blindcart/v1 shop-hello", transcript}),
                                      answer->signature())
                    .ok());
    const std::string proof = by_hand::Finished(derived, "responder->initiator", transcript);
    if (keys != nullptr) {
      *keys = derived;
      EXPECT_EQ(answer->finished(), proof);
    } else {
      EXPECT_NE(answer->finished(), proof);
    }
    return merchant.OnFinished(by_hand::Finished(derived, "initiator->responder", transcript));
  }
};

TEST(ShopHandshakeTest, MerchantSpeaksTheProtocolAsWritten) {
  ShopMerchant merchant(Merchant(), SystemRandom());
  by_hand::Keys keys;
  ASSERT_TRUE(CustomerByHand().Play(merchant, &keys).ok());
  const SessionKeys taken = merchant.TakeKeys().value();
  EXPECT_EQ(taken.session_id, keys.session_id);
  EXPECT_EQ(taken.seal.view(), keys.seal);
  EXPECT_EQ(taken.mac.view(), keys.mac);
}

TEST(ShopHandshakeTest, MerchantRefusesAWrongHelloAtItsFinished) {
  const auto expect = [](RefusalReason reason, const CustomerByHand& customer) {
    SCOPED_TRACE(RefusalReasonName(reason));
    ShopMerchant merchant(Merchant(), SystemRandom());
    EXPECT_EQ(customer.Play(merchant), Refused());
    EXPECT_EQ(RefusalReasonName(merchant.refusal()), RefusalReasonName(reason));
    EXPECT_FALSE(merchant.done());
  };
  const auto altered = [](std::function<void(v1::ShopHello*)> alter) {
    CustomerByHand customer;
    customer.alter = std::move(alter);
    return customer;
  };
  using Hello = v1::ShopHello;
  expect(RefusalReason::kIdentity,
         altered([](Hello* h) { (*h->mutable_merchant_hash())[3] ^= 1; }));
  expect(RefusalReason::kIdentity, altered([](Hello* h) { h->clear_merchant_hash(); }));
  expect(RefusalReason::kIdentity, altered([](Hello* h) { (*h->mutable_sid())[0] ^= 1; }));
  expect(RefusalReason::kIdentity, altered([](Hello* h) { h->clear_sid(); }));
  expect(RefusalReason::kMalformed, altered([](Hello* h) { h->set_r_c("short"); }));
  expect(RefusalReason::kMalformed, altered([](Hello* h) { h->mutable_c1()->pop_back(); }));
  expect(RefusalReason::kMalformed, altered([](Hello* h) { h->clear_c2(); }));
  expect(RefusalReason::kMalformed,
         altered([](Hello* h) { h->GetReflection()->MutableUnknownFields(h)->AddVarint(15, 1); }));
  for (const std::string& point : by_hand::LowOrderPoints()) {
    expect(RefusalReason::kKeyExchange, altered([&](Hello* h) { h->set_c1(point); }));
    expect(RefusalReason::kKeyExchange, altered([&](Hello* h) { h->set_c2(point); }));
  }
  CustomerByHand other_label;
  other_label.label = "blindcart/v1/broker-challenge";
  expect(RefusalReason::kDecryption, other_label);
}

struct MerchantByHand {
  std::string context = "blindcart/v1 shop-hello";
  std::string b1;  // Instead of a real one, when set.
  std::string b2;

  absl::Status Play(ShopCustomer& customer, by_hand::Keys* keys = nullptr) const {
    const ShopCustomer::Hello sent = customer.Start().value();
    v1::ShopHello hello;
    EXPECT_TRUE(by_hand::Decrypt(Merchant(), "blindcart/v1/shop-hello", sent.ciphertext, &hello));
    EXPECT_EQ(hello.merchant_hash(), crypto::Sha256(MerchantFingerprint()));
    EXPECT_EQ(hello.sid(), sent.sid);
    EXPECT_EQ(hello.r_c().size(), 32);
    const X25519KeyPair b1_pair = X25519KeyPair::Generate(SystemRandom());
    const X25519KeyPair b2_pair = X25519KeyPair::Generate(SystemRandom());
    ShopAnswer answer;
    answer.set_b1(b1.empty() ? b1_pair.public_key() : b1);
    answer.set_b2(b2.empty() ? b2_pair.public_key() : b2);
    answer.set_r_m(SystemRandom().Bytes(32));
    by_hand::DerivationInput input;
    input.pair = "customer-merchant";
    input.responder_fingerprint = MerchantFingerprint();
    input.wire = {by_hand::Join({sent.sid, sent.ciphertext}),
                  by_hand::Join({answer.b1(), answer.b2(), answer.r_m()})};
    input.shared1 = by_hand::Exchange(b1_pair, hello.c1());
    input.shared2 = by_hand::Exchange(b2_pair, hello.c2());
    input.nonces = {hello.r_c()};
    by_hand::Keys derived = by_hand::Derive(input);
    derived.session_id = sent.sid;
    const std::string transcript = by_hand::Transcript(input);
    answer.set_signature(Merchant().Sign(context, transcript));
    answer.set_finished(by_hand::Finished(derived, "responder->initiator", transcript));
    const absl::StatusOr<std::string> finished = customer.OnAnswer(answer);
    if (!finished.ok()) return finished.status();
    EXPECT_EQ(*finished, by_hand::Finished(derived, "initiator->responder", transcript));
    if (keys != nullptr) *keys = derived;
    return absl::OkStatus();
  }
};

TEST(ShopHandshakeTest, CustomerSpeaksTheProtocolAsWritten) {
  ShopCustomer customer(Merchant().public_identity(), SystemRandom());
  by_hand::Keys keys;
  ASSERT_TRUE(MerchantByHand().Play(customer, &keys).ok());
  const SessionKeys taken = customer.TakeKeys().value();
  EXPECT_EQ(taken.session_id, keys.session_id);
  EXPECT_EQ(taken.seal.view(), keys.seal);
  EXPECT_EQ(taken.mac.view(), keys.mac);
}

TEST(ShopHandshakeTest, CustomerRefusesASignatureMadeForSomethingElse) {
  for (const char* context :
       {"blindcart/v1 order", "blindcart/v1 delivery", "blindcart/v1 receipt", "shop-hello", ""}) {
    MerchantByHand merchant;
    merchant.context = context;
    ShopCustomer customer(Merchant().public_identity(), SystemRandom());
    EXPECT_EQ(merchant.Play(customer), Refused());
    EXPECT_EQ(customer.refusal(), RefusalReason::kSignature) << context;
  }
}

TEST(ShopHandshakeTest, CustomerRefusesPointsOfSmallOrder) {
  for (const std::string& point : by_hand::LowOrderPoints()) {
    for (std::string MerchantByHand::*which : {&MerchantByHand::b1, &MerchantByHand::b2}) {
      MerchantByHand merchant;
      merchant.*which = point;
      ShopCustomer customer(Merchant().public_identity(), SystemRandom());
      EXPECT_EQ(merchant.Play(customer), Refused());
      EXPECT_EQ(customer.refusal(), RefusalReason::kKeyExchange);
    }
  }
}

// ---- Order of calls

struct Pair {
  ShopCustomer customer{Merchant().public_identity(), SystemRandom()};
  ShopMerchant merchant{Merchant(), SystemRandom()};
  ShopCustomer::Hello hello;
  ShopAnswer answer;
  std::string finished;

  void Advance(int steps) {
    if (steps > 0) hello = customer.Start().value();
    if (steps > 1) answer = merchant.OnHello(hello.sid, hello.ciphertext).value();
    if (steps > 2) finished = customer.OnAnswer(answer).value();
    if (steps > 3) {
      ASSERT_TRUE(merchant.OnFinished(finished).ok());
    }
  }
  std::vector<std::function<absl::Status()>> CustomerCalls() {
    return {
        [this] { return customer.Start().status(); },
        [this] { return customer.OnAnswer(answer).status(); },
        [this] { return customer.TakeKeys().status(); },
    };
  }
  std::vector<std::function<absl::Status()>> MerchantCalls() {
    return {
        [this] { return merchant.OnHello(hello.sid, hello.ciphertext).status(); },
        [this] { return merchant.OnFinished(finished); },
        [this] { return merchant.TakeKeys().status(); },
    };
  }
};

TEST(ShopHandshakeTest, EveryCallOutOfOrderEndsTheCustomer) {
  // After how many steps the customer waits for call 0, 1, ...; at the end, for none.
  const std::vector<int> steps = {0, 2, 3, 3};
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

TEST(ShopHandshakeTest, EveryCallOutOfOrderEndsTheMerchant) {
  const std::vector<int> steps = {1, 3, 4, 4};
  for (size_t state = 0; state < steps.size(); ++state) {
    for (size_t call = 0; call < 3; ++call) {
      if (call == state) continue;
      SCOPED_TRACE(absl::StrCat("state ", state, " call ", call));
      Pair pair;
      pair.Advance(steps[state]);
      if (state == 3) {
        ASSERT_TRUE(pair.merchant.TakeKeys().ok());
      }
      EXPECT_EQ(pair.merchant.done(), state >= 2);
      EXPECT_EQ(pair.MerchantCalls()[call]().code(), absl::StatusCode::kFailedPrecondition);
      EXPECT_FALSE(pair.merchant.done());
      EXPECT_EQ(pair.merchant.refusal(), RefusalReason::kOutOfOrder);
      for (const auto& later : pair.MerchantCalls()) {
        EXPECT_EQ(later().code(), absl::StatusCode::kFailedPrecondition);
      }
    }
  }
}

TEST(ShopHandshakeTest, NothingFollowsARefusal) {
  Pair pair;
  pair.Advance(2);
  pair.answer.mutable_signature()->assign(64, 's');
  EXPECT_EQ(pair.customer.OnAnswer(pair.answer).status(), Refused());
  for (const auto& later : pair.CustomerCalls()) {
    EXPECT_EQ(later().code(), absl::StatusCode::kFailedPrecondition);
  }
  EXPECT_EQ(pair.customer.refusal(), RefusalReason::kSignature);
}

}  // namespace
}  // namespace blindcart::protocol
