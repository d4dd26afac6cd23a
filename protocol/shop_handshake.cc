#include "protocol/shop_handshake.h"

#include <utility>
#include <vector>

#include "absl/types/optional.h"
#include "crypto/constant_time.h"
#include "crypto/ed25519.h"
#include "crypto/encoding.h"
#include "crypto/hash.h"
#include "proto/handshake.pb.h"
#include "proto/shop.pb.h"
#include "protocol/handshake_support.h"

namespace blindcart::protocol {
namespace {

using crypto::ConstantTimeEquals;
using crypto::LengthPrefixed;
using crypto::SecretBytes;

constexpr absl::string_view kHelloName = "shop-hello";
constexpr absl::string_view kSignatureContext = "blindcart/v1 shop-hello";

std::string MerchantHash(const crypto::PublicIdentity& merchant) {
  return crypto::Sha256(merchant.fingerprint());
}

std::string Transcript(const crypto::PublicIdentity& merchant, absl::string_view sid,
                       absl::string_view ciphertext, const v1::ShopAnswer& answer) {
  const std::vector<std::string> wire = {
      LengthPrefixed({sid, ciphertext}),
      LengthPrefixed({answer.b1(), answer.b2(), answer.r_m()}),
  };
  return TranscriptHash(kPairCustomerMerchant, /*initiator_fingerprint=*/"", merchant.fingerprint(),
                        wire);
}

v1::ShopHello RandomHello(absl::string_view merchant_hash, absl::string_view sid,
                          crypto::RandomSource& random) {
  v1::ShopHello hello;
  hello.set_merchant_hash(std::string(merchant_hash));
  hello.set_sid(std::string(sid));
  hello.set_r_c(random.Bytes(kNonceBytes));
  hello.set_c1(random.Bytes(crypto::kX25519KeyBytes));
  hello.set_c2(random.Bytes(crypto::kX25519KeyBytes));
  return hello;
}

RefusalReason CheckHello(const v1::ShopHello& hello, absl::string_view merchant_hash,
                         absl::string_view sid) {
  if (!ConstantTimeEquals(hello.merchant_hash(), merchant_hash)) return RefusalReason::kIdentity;
  if (!ConstantTimeEquals(hello.sid(), sid)) return RefusalReason::kIdentity;
  if (hello.r_c().size() != kNonceBytes || hello.c1().size() != crypto::kX25519KeyBytes ||
      hello.c2().size() != crypto::kX25519KeyBytes) {
    return RefusalReason::kMalformed;
  }
  return RefusalReason::kNone;
}

bool InBounds(const v1::ShopAnswer& answer) {
  return answer.b1().size() == crypto::kX25519KeyBytes &&
         answer.b2().size() == crypto::kX25519KeyBytes && answer.r_m().size() == kNonceBytes &&
         answer.signature().size() == crypto::kEd25519SignatureBytes &&
         answer.finished().size() == kFinishedBytes;
}

}  // namespace

// ---- Customer

struct ShopCustomer::State {
  enum class Step { kStart, kAnswer, kDone, kTaken, kDead };

  State(const crypto::PublicIdentity& merchant, crypto::RandomSource& random)
      : merchant(merchant), random(random) {}

  const crypto::PublicIdentity& merchant;
  crypto::RandomSource& random;
  Progress<Step> progress{Step::kStart};
  Hello hello;
  absl::optional<EphemeralKeys> own;
  SecretBytes r_c;
  SessionKeys keys;
};

ShopCustomer::ShopCustomer(const crypto::PublicIdentity& merchant, crypto::RandomSource& random)
    : state_(std::make_unique<State>(merchant, random)) {}
ShopCustomer::~ShopCustomer() = default;

absl::StatusOr<ShopCustomer::Hello> ShopCustomer::Start() {
  State& s = *state_;
  const absl::Status order = s.progress.Leave(State::Step::kStart);
  if (!order.ok()) return order;

  s.own = EphemeralKeys::Generate(s.random);
  s.r_c = s.random.Secret(kNonceBytes);
  s.hello.sid = s.random.Bytes(kSessionIdBytes);
  v1::ShopHello hello;
  hello.set_merchant_hash(MerchantHash(s.merchant));
  hello.set_sid(s.hello.sid);
  hello.set_r_c(std::string(s.r_c.view()));
  hello.set_c1(s.own->encryption.public_key());
  hello.set_c2(s.own->authentication.public_key());
  absl::StatusOr<std::string> ciphertext = EncryptMessage(s.merchant, kHelloName, hello);
  crypto::Wipe(*hello.mutable_r_c());
  if (!ciphertext.ok()) return ciphertext.status();
  s.hello.ciphertext = *std::move(ciphertext);
  s.progress.Reach(State::Step::kAnswer);
  return s.hello;
}

absl::StatusOr<std::string> ShopCustomer::OnAnswer(const v1::ShopAnswer& answer) {
  State& s = *state_;
  const absl::Status order = s.progress.Leave(State::Step::kAnswer);
  if (!order.ok()) return order;
  if (!InBounds(answer)) return s.progress.Refuse(RefusalReason::kBounds);

  const std::string transcript = Transcript(s.merchant, s.hello.sid, s.hello.ciphertext, answer);
  RefusalReason reason = RefusalReason::kNone;
  if (!s.merchant.VerifySignature(kSignatureContext, transcript, answer.signature()).ok()) {
    reason = RefusalReason::kSignature;
  }
  s.keys = DeriveOrRandomKeys(kPairCustomerMerchant, transcript, *s.own, answer.b1(), answer.b2(),
                              {s.r_c.view()}, s.random, &reason);
  s.keys.session_id = s.hello.sid;
  s.own.reset();
  s.r_c = SecretBytes();
  if (!FinishedMatches(s.keys, Direction::kResponderToInitiator, transcript, answer.finished())) {
    KeepFirst(RefusalReason::kFinished, &reason);
  }
  absl::StatusOr<std::string> finished =
      FinishedMac(s.keys, Direction::kInitiatorToResponder, transcript);
  if (!finished.ok()) return finished.status();
  if (reason != RefusalReason::kNone) return s.progress.Refuse(reason);
  s.progress.Reach(State::Step::kDone);
  return finished;
}

bool ShopCustomer::done() const { return state_->progress.done(); }
RefusalReason ShopCustomer::refusal() const { return state_->progress.refusal(); }
absl::StatusOr<SessionKeys> ShopCustomer::TakeKeys() { return state_->progress.Take(state_->keys); }

// ---- Merchant

struct ShopMerchant::State {
  enum class Step { kHello, kFinished, kDone, kTaken, kDead };

  State(const crypto::Identity& merchant, crypto::RandomSource& random)
      : merchant(merchant), random(random) {}

  const crypto::Identity& merchant;
  crypto::RandomSource& random;
  Progress<Step> progress{Step::kHello};
  // Why the run will be refused at its end.
  RefusalReason doomed = RefusalReason::kNone;
  std::string transcript;
  SessionKeys keys;
};

ShopMerchant::ShopMerchant(const crypto::Identity& merchant, crypto::RandomSource& random)
    : state_(std::make_unique<State>(merchant, random)) {}
ShopMerchant::~ShopMerchant() = default;

absl::StatusOr<v1::ShopAnswer> ShopMerchant::OnHello(absl::string_view sid,
                                                     absl::string_view ciphertext) {
  State& s = *state_;
  const absl::Status order = s.progress.Leave(State::Step::kHello);
  if (!order.ok()) return order;
  const crypto::PublicIdentity& merchant = s.merchant.public_identity();
  if (sid.size() != kSessionIdBytes || ciphertext.size() != merchant.rsa().modulus_bytes()) {
    return s.progress.Refuse(RefusalReason::kBounds);
  }

  const std::string merchant_hash = MerchantHash(merchant);
  v1::ShopHello stand_in = RandomHello(merchant_hash, sid, s.random);
  v1::ShopHello opened;
  s.doomed = DecryptMessage(s.merchant, kHelloName, ciphertext, stand_in, &opened);
  KeepFirst(CheckHello(opened, merchant_hash, sid), &s.doomed);
  if (s.doomed != RefusalReason::kNone) opened.Swap(&stand_in);
  const SecretBytes r_c = SecretBytes::TakeFrom(*opened.mutable_r_c());

  const EphemeralKeys own = EphemeralKeys::Generate(s.random);
  v1::ShopAnswer answer;
  answer.set_b1(own.encryption.public_key());
  answer.set_b2(own.authentication.public_key());
  answer.set_r_m(s.random.Bytes(kNonceBytes));
  s.transcript = Transcript(merchant, sid, ciphertext, answer);
  s.keys = DeriveOrRandomKeys(kPairCustomerMerchant, s.transcript, own, opened.c1(), opened.c2(),
                              {r_c.view()}, s.random, &s.doomed);
  s.keys.session_id = std::string(sid);
  absl::StatusOr<std::string> finished =
      FinishedMac(s.keys, Direction::kResponderToInitiator, s.transcript);
  if (!finished.ok()) return finished.status();
  answer.set_signature(s.merchant.Sign(kSignatureContext, s.transcript));
  answer.set_finished(*std::move(finished));
  s.progress.Reach(State::Step::kFinished);
  return answer;
}

absl::Status ShopMerchant::OnFinished(absl::string_view finished) {
  State& s = *state_;
  const absl::Status order = s.progress.Leave(State::Step::kFinished);
  if (!order.ok()) return order;
  if (finished.size() != kFinishedBytes) return s.progress.Refuse(RefusalReason::kBounds);
  RefusalReason reason = s.doomed;
  if (!FinishedMatches(s.keys, Direction::kInitiatorToResponder, s.transcript, finished)) {
    KeepFirst(RefusalReason::kFinished, &reason);
  }
  if (reason != RefusalReason::kNone) return s.progress.Refuse(reason);
  s.progress.Reach(State::Step::kDone);
  return absl::OkStatus();
}

bool ShopMerchant::done() const { return state_->progress.done(); }
RefusalReason ShopMerchant::refusal() const { return state_->progress.refusal(); }
absl::StatusOr<SessionKeys> ShopMerchant::TakeKeys() { return state_->progress.Take(state_->keys); }

}  // namespace blindcart::protocol
