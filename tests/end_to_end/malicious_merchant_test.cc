// Merchants who cheat, with an enrolled merchant's keys and the real protocol, against a real broker
// and a real agent that a person drives from the command line. The customer is told what is wrong,
// nothing is paid that should not be, and nothing that was paid is lost.
#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "crypto/encoding.h"
#include "crypto/hash.h"
#include "crypto/identity.h"
#include "crypto/random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/merchant.pb.h"
#include "proto/shop.pb.h"
#include "protocol/clock.h"
#include "protocol/order.h"
#include "protocol/refusal.h"
#include "protocol/shop_handshake.h"
#include "tests/end_to_end/shopping.h"
#include "tests/support/raw_broker.h"
#include "tests/support/test_merchant.h"

namespace blindcart::testing {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAreArray;
using Lies = TestMerchant::Lies;

constexpr char kHonest[] = "quiet-books";
constexpr char kCrooked[] = "crooked-books";
constexpr char kThief[] = "thief-books";
constexpr int64_t kMax64 = std::numeric_limits<int64_t>::max();
constexpr int64_t kMin64 = std::numeric_limits<int64_t>::min();

std::string Random(size_t bytes) { return crypto::SystemRandom().Bytes(bytes); }
int64_t NowMs() { return protocol::SystemClock().NowUnixMs(); }

class MaliciousMerchantTest : public ::testing::Test {
 protected:
  // Alice is a real customer, quiet-books a real shop; crooked-books is kept by the tests, and
  // thief-books has keys that they use to meddle.
  struct World {
    std::unique_ptr<Shopping> shopping;
    std::unique_ptr<RawBroker> broker;
    std::unique_ptr<crypto::Identity> crooked;
    std::unique_ptr<crypto::Identity> thief;
    std::unique_ptr<TestMerchant> shop;
    std::string honest_product;
    std::string product;  // Crooked's, for 10.00, in two pieces and padding.
    std::string content;
  };

  static void SetUpTestSuite() {
    auto world = std::make_unique<World>();
    CustomerSpec alice;
    alice.username = "alice";
    alice.account = "1001";
    world->shopping = Shopping::Open({{kHonest, "2001"}}, {alice});
    ASSERT_NE(world->shopping, nullptr);
    Marketplace& market = world->shopping->market();
    world->honest_product = world->shopping->Offer(kHonest, Goods("Honest", "1.00", "honest"));
    auto broker = RawBroker::Dial(market);
    ASSERT_TRUE(broker.ok()) << broker.status();
    world->broker = *std::move(broker);
    for (const auto& [name, account] :
         {std::pair<std::string, std::string>(kCrooked, "2002"), {kThief, "2003"}}) {
      const absl::Status added = market.AddMerchant(name, account);
      ASSERT_TRUE(added.ok()) << added;
      auto identity = BorrowIdentity(market.merchant_dir(name));
      ASSERT_TRUE(identity.ok()) << identity.status();
      (name == kCrooked ? world->crooked : world->thief) = *std::move(identity);
    }
    world_ = world.release();
    OpenShop();
    world_->content = Content(300'000, 1);
    world_->product = world_->shop->Add("A crooked book", 10'00, world_->content);
    const auto link = market.ShopLink(kCrooked);
    ASSERT_TRUE(link.ok()) << link.status();
    shopping().Ask("alice", {"add-shop", *link});
    shopping().Browse("alice", kCrooked);
  }

  // After everything that happened here the honest shop sells and the books are right.
  static void TearDownTestSuite() {
    if (world_ == nullptr) return;
    const std::string order = shopping().Checkout("alice", world_->honest_product);
    shopping().Pay("alice", order);
    shopping().ExpectDelivered("alice", order, "honest");
    shopping().ExpectBooksRight();
    delete world_;
    world_ = nullptr;
  }

  void SetUp() override {
    ASSERT_NE(world_, nullptr);
    ASSERT_NE(world_->shop, nullptr);
  }
  void TearDown() override {
    if (world_ != nullptr && world_->shop != nullptr) shop().Lie({});
  }

  static void OpenShop() {
    auto shop = TestMerchant::Start(*world_->broker, *world_->crooked);
    ASSERT_TRUE(shop.ok()) << shop.status();
    world_->shop = *std::move(shop);
  }

  static World& world() { return *world_; }
  static Shopping& shopping() { return *world_->shopping; }
  static TestMerchant& shop() { return *world_->shop; }
  static std::string agent_dir() { return shopping().market().agent_dir("alice"); }

  // That `arguments` end with `exit_code` and say `message`.
  static void ExpectRefused(const std::vector<std::string>& arguments, int exit_code,
                            const std::string& message, const std::string& what) {
    const Answer answer = shopping().Run("alice", arguments);
    EXPECT_EQ(answer.exit_code, exit_code) << what << ": " << answer.err;
    EXPECT_THAT(answer.err, HasSubstr(message)) << what;
  }

 private:
  static World* world_;
};
MaliciousMerchantTest::World* MaliciousMerchantTest::world_ = nullptr;

TEST_F(MaliciousMerchantTest, AnOrderThatIsNotWhatWasAskedForIsRefusedAndNothingIsPaid) {
  struct Case {
    const char* what;
    std::function<void(v1::CheckoutResult*)> lie;
    const char* message;
  };
  const std::vector<Case> cases = {
      {"total", [](v1::CheckoutResult* r) { r->set_total_minor(r->total_minor() + 1); },
       "total is not its price plus the broker's charge"},
      {"negative total", [](v1::CheckoutResult* r) { r->set_total_minor(-r->total_minor()); },
       "total is not its price plus the broker's charge"},
      {"charge and total",
       [](v1::CheckoutResult* r) {
         r->set_charge_minor(r->charge_minor() + 1);
         r->set_total_minor(r->total_minor() + 1);
       },
       "the broker's copy of the order has another charge"},
      {"overflowing charge",
       [](v1::CheckoutResult* r) {
         r->set_charge_minor(kMax64);
         r->set_total_minor(kMin64 + 999);
       },
       "charge is out of bounds"},
      {"price", [](v1::CheckoutResult* r) { r->mutable_terms()->set_price_minor(9'99); },
       "price is not the catalogue's"},
      {"negative price", [](v1::CheckoutResult* r) { r->mutable_terms()->set_price_minor(-10'00); },
       "price is out of bounds"},
      {"title", [](v1::CheckoutResult* r) { r->set_title("Another book"); },
       "title is not the catalogue's"},
      {"product id", [](v1::CheckoutResult* r) { r->set_product_id(Random(16)); },
       "for another product"},
      {"content hash", [](v1::CheckoutResult* r) { r->set_content_hash(Random(32)); },
       "content hashes differ"},
      {"size", [](v1::CheckoutResult* r) { r->set_size_bytes(kMax64); },
       "content size is not the catalogue's"},
      {"format", [](v1::CheckoutResult* r) { r->set_format("../../sh"); },
       "file format is not the catalogue's"},
      {"commitment",
       [](v1::CheckoutResult* r) { r->mutable_terms()->mutable_commitment()->front() ^= 1; },
       "commitment does not open"},
      {"salt", [](v1::CheckoutResult* r) { r->mutable_salt()->front() ^= 1; },
       "commitment does not open"},
      {"session", [](v1::CheckoutResult* r) { r->mutable_terms()->set_sid(Random(16)); },
       "belongs to another session"},
      {"expiry",
       [](v1::CheckoutResult* r) {
         r->mutable_terms()->set_expires_at_ms(r->terms().expires_at_ms() + 1);
       },
       "signature does not fit the order"},
      {"a signature with another key",
       [](v1::CheckoutResult* r) { protocol::SignTerms(*world().thief, r->mutable_terms()); },
       "signature does not fit the order"},
      {"an order id that the broker does not know",
       [](v1::CheckoutResult* r) {
         r->mutable_terms()->set_order_id(Random(16));
         protocol::SignTerms(*world().crooked, r->mutable_terms());
       },
       "the broker does not know the order"},
      {"other terms than the broker has",
       [](v1::CheckoutResult* r) {
         r->mutable_terms()->set_expires_at_ms(r->terms().expires_at_ms() + 1);
         protocol::SignTerms(*world().crooked, r->mutable_terms());
       },
       "the broker's copy of the order has another expiry"},
      {"an outcome that does not exist",
       [](v1::CheckoutResult* r) { r->set_outcome(static_cast<v1::CheckoutOutcome>(77)); },
       "makes no sense"}};
  const int64_t before = shopping().Balance("alice");
  const size_t purchases = shopping().Ask("alice", {"purchases"})["purchases"].size();
  for (const Case& c : cases) {
    Lies lies;
    lies.checkout = c.lie;
    shop().Lie(lies);
    ExpectRefused({"checkout", world().product}, kVerification, c.message, c.what);
  }
  // A dearer order that shop and broker agree about is still not what was asked for.
  Lies dearer;
  dearer.terms = [](v1::OrderTerms* terms) { terms->set_price_minor(20'00); };
  shop().Lie(dearer);
  ExpectRefused({"checkout", world().product}, kVerification, "price is not the catalogue's",
                "dearer");
  EXPECT_EQ(shopping().Balance("alice"), before);
  EXPECT_EQ(shopping().AccountBalance("2002"), 0);
  EXPECT_EQ(shopping().Ask("alice", {"purchases"})["purchases"].size(), purchases);

  shop().Lie({});
  shopping().Checkout("alice", world().product);
}

TEST_F(MaliciousMerchantTest, TheBrokerTakesNoOrderOutOfBounds) {
  std::vector<std::pair<std::string, v1::OfferOutcome>> outcomes;
  Lies lies;
  lies.offer = [&](MerchantLine& line, v1::OfferOrderCall* good) {
    const auto offer = [&](const char* what, const std::function<void(v1::OfferOrderCall*)>& change,
                           bool sign = true) {
      v1::OfferOrderCall call = *good;
      call.mutable_terms()->set_order_id(Random(16));
      change(&call);
      if (sign) protocol::SignTerms(*world().crooked, call.mutable_terms());
      outcomes.emplace_back(what, line.Offer(call).outcome());
    };
    for (const int64_t price :
         {int64_t{0}, int64_t{-1}, kMin64, kMax64, protocol::kMaxPriceMinor + 1}) {
      offer("price",
            [price](v1::OfferOrderCall* c) { c->mutable_terms()->set_price_minor(price); });
    }
    for (const int64_t expiry : {int64_t{0}, int64_t{-1}, kMin64, kMax64, NowMs() - 1,
                                 NowMs() + 400 * int64_t{86'400'000}, protocol::kMaxTimeMs}) {
      offer("expiry",
            [expiry](v1::OfferOrderCall* c) { c->mutable_terms()->set_expires_at_ms(expiry); });
    }
    offer("unknown handle", [](v1::OfferOrderCall* c) { c->set_handle(Random(16)); });
    offer("no handle", [](v1::OfferOrderCall* c) { c->clear_handle(); });
    offer("other sid", [](v1::OfferOrderCall* c) { c->mutable_terms()->set_sid(Random(16)); });
    offer("short order id", [](v1::OfferOrderCall* c) { c->mutable_terms()->set_order_id("x"); });
    offer("long commitment",
          [](v1::OfferOrderCall* c) { c->mutable_terms()->set_commitment(Random(33)); });
    offer("currency", [](v1::OfferOrderCall* c) { c->mutable_terms()->set_currency("euro"); });
    offer(
        "no terms", [](v1::OfferOrderCall* c) { c->clear_terms(); }, /*sign=*/false);
    offer(
        "no signature", [](v1::OfferOrderCall* c) { c->mutable_terms()->clear_signature(); },
        /*sign=*/false);
    offer(
        "signature of something else", [](v1::OfferOrderCall*) {}, /*sign=*/false);
    offer(
        "signature with another key",
        [](v1::OfferOrderCall* c) { protocol::SignTerms(*world().thief, c->mutable_terms()); },
        /*sign=*/false);
  };
  shop().Lie(lies);
  // The good order after all of those is taken: the broker keeps serving.
  const std::string order = shopping().Checkout("alice", world().product);
  shop().Lie({});
  EXPECT_EQ(outcomes.size(), 22u);
  for (const auto& [what, outcome] : outcomes) {
    EXPECT_EQ(outcome, v1::OFFER_OUTCOME_INVALID) << what;
  }

  // Money that the broker does not keep, and an order's id a second time.
  v1::OfferOutcome currency = v1::OFFER_OUTCOME_UNSPECIFIED;
  v1::OfferOutcome again = v1::OFFER_OUTCOME_UNSPECIFIED;
  lies.offer = [&](MerchantLine& line, v1::OfferOrderCall* good) {
    v1::OfferOrderCall call = *good;
    call.mutable_terms()->set_currency("XAU");
    protocol::SignTerms(*world().crooked, call.mutable_terms());
    currency = line.Offer(call).outcome();
    call = *good;
    call.mutable_terms()->set_order_id(crypto::HexDecode(order).value_or(""));
    protocol::SignTerms(*world().crooked, call.mutable_terms());
    again = line.Offer(call).outcome();
  };
  shop().Lie(lies);
  shopping().Checkout("alice", world().product);
  shop().Lie({});
  EXPECT_EQ(currency, v1::OFFER_OUTCOME_CURRENCY);
  EXPECT_EQ(again, v1::OFFER_OUTCOME_ALREADY_EXISTS);

  // When the broker took none at all, the customer is told that it did not.
  lies.offer = [](MerchantLine&, v1::OfferOrderCall* call) {
    call->mutable_terms()->mutable_signature()->front() ^= 1;
  };
  shop().Lie(lies);
  const json declined = shopping().Ask("alice", {"checkout", world().product}, kRefused);
  EXPECT_EQ(declined["outcome"], "CHECKOUT_OUTCOME_BROKER_DECLINED");
}

TEST_F(MaliciousMerchantTest, AMerchantCannotReachIntoTheSessionOfAnother) {
  auto thief = MerchantLine::Connect(*world().broker, *world().thief);
  ASSERT_TRUE(thief.ok()) << thief.status();
  MerchantLine& line = **thief;
  v1::OfferOutcome before_answer = v1::OFFER_OUTCOME_UNSPECIFIED;
  v1::OfferOutcome in_session = v1::OFFER_OUTCOME_UNSPECIFIED;
  Lies lies;
  // The victim itself tells the thief its handles, which only the broker could do otherwise.
  lies.before_answer = [&](MerchantLine&, const v1::SessionHello& hello) {
    protocol::ShopMerchant handshake(*world().thief, crypto::SystemRandom());
    v1::MerchantToBroker message;
    message.mutable_session_answer()->set_handle(hello.handle());
    message.mutable_session_answer()->set_answer(
        handshake.OnHello(hello.sid(), hello.hello())->SerializeAsString());
    line.Send(message);
    message.mutable_session_closed()->set_handle(hello.handle());
    line.Send(message);
    v1::OfferOrderCall call;
    call.set_handle(hello.handle());
    before_answer = line.Offer(call).outcome();  // What was sent before it was dealt with, too.
  };
  lies.offer = [&](MerchantLine&, v1::OfferOrderCall* good) {
    v1::MerchantToBroker message;
    message.mutable_session_frame()->set_handle(good->handle());
    message.mutable_session_frame()->set_frame("garbage for the customer");
    line.Send(message);
    message.mutable_session_closed()->set_handle(good->handle());
    line.Send(message);
    v1::OfferOrderCall call = *good;
    protocol::SignTerms(*world().thief, call.mutable_terms());
    in_session = line.Offer(call).outcome();
  };
  shop().Lie(lies);
  shopping().Checkout("alice", world().product);
  shop().Lie({});
  EXPECT_EQ(before_answer, v1::OFFER_OUTCOME_INVALID);
  EXPECT_EQ(in_session, v1::OFFER_OUTCOME_INVALID);
}

TEST_F(MaliciousMerchantTest, WhoeverCannotProveToBeTheShopIsSentNothing) {
  v1::ShopAnswer recorded;
  Lies lies;
  lies.answer = [&](v1::ShopAnswer* answer) { recorded = *answer; };
  shop().Lie(lies);
  shopping().Browse("alice", kCrooked);
  shop().Lie({});
  ASSERT_EQ(recorded.b1().size(), 32u);
  const std::vector<std::pair<const char*, std::function<void(v1::ShopAnswer*)>>> cases = {
      {"an answer of another session", [&](v1::ShopAnswer* answer) { *answer = recorded; }},
      {"another key", [&](v1::ShopAnswer* answer) { answer->set_b1(recorded.b1()); }},
      {"another signature",
       [](v1::ShopAnswer* answer) {
         answer->set_signature(world().thief->Sign("blindcart/v1 shop-hello", "something"));
       }},
      {"another Finished", [](v1::ShopAnswer* answer) { answer->set_finished(Random(32)); }},
      {"a key that gives zero",
       [](v1::ShopAnswer* answer) { answer->set_b2(std::string(32, '\0')); }},
      {"no nonce", [](v1::ShopAnswer* answer) { answer->clear_r_m(); }}};
  for (const auto& [what, lie] : cases) {
    lies.answer = lie;
    shop().Lie(lies);
    ExpectRefused({"browse", kCrooked}, kVerification,
                  "could not prove to be the shop whose key is pinned", what);
  }
}

TEST_F(MaliciousMerchantTest, AHostileCatalogueIsRefusedAndTheLocalOneStays) {
  const auto entry = [](v1::CataloguePage* page) {
    v1::Product* product = page->add_products();
    product->set_product_id(Random(16));
    product->set_version(page->version() + 1);
    product->set_title("Hostile");
    product->set_price_minor(1'00);
    product->set_currency("EUR");
    product->set_format("bin");
    product->set_size_bytes(1);
    product->set_content_hash(Random(32));
    page->set_version(product->version());
    return product;
  };
  struct Case {
    const char* what;
    std::function<void(v1::CataloguePage*)> lie;
    const char* message;
  };
  const auto with = [&](std::function<void(v1::Product*)> change) {
    return [entry, change](v1::CataloguePage* page) { change(entry(page)); };
  };
  const std::vector<Case> cases = {
      {"short id", with([](v1::Product* p) { p->set_product_id("short"); }),
       "id is not 16 bytes long"},
      {"no title", with([](v1::Product* p) { p->clear_title(); }), "has no title"},
      {"long title", with([](v1::Product* p) { p->set_title(std::string(257, 't')); }),
       "title is longer than 256 bytes"},
      {"escape sequence", with([](v1::Product* p) { p->set_title("\x1b[2J\x1b]0;gotcha\x07"); }),
       "not one line of plain UTF-8"},
      {"two lines", with([](v1::Product* p) { p->set_title("Free\nbook"); }),
       "not one line of plain UTF-8"},
      {"right to left", with([](v1::Product* p) { p->set_title("book\u202efdp.exe"); }),
       "not one line of plain UTF-8"},
      {"huge description",
       with([](v1::Product* p) { p->set_description(std::string(8 * 1024 + 1, 'd')); }),
       "description is longer than 8 KiB"},
      {"control characters", with([](v1::Product* p) { p->set_description("\x1b[31mred"); }),
       "not plain UTF-8 text"},
      {"bad UTF-8", with([](v1::Product* p) { p->set_description("\xff\xfe\xc0"); }), "check"},
      {"negative price", with([](v1::Product* p) { p->set_price_minor(-1); }),
       "price is out of bounds"},
      {"huge price", with([](v1::Product* p) { p->set_price_minor(kMax64); }),
       "price is out of bounds"},
      {"currency", with([](v1::Product* p) { p->set_currency("\xe2\x82\xac"); }),
       "not three capital letters"},
      {"a picture that is none", with([](v1::Product* p) { p->set_picture("<script>"); }),
       "neither PNG nor JPEG"},
      {"a format with a path", with([](v1::Product* p) { p->set_format("/../x"); }),
       "format is not at most 8 small letters and digits"},
      {"huge size",
       with([](v1::Product* p) { p->set_size_bytes(std::numeric_limits<uint64_t>::max()); }),
       "size is over 1 TiB"},
      {"short hash", with([](v1::Product* p) { p->set_content_hash("x"); }),
       "content hash is not 32 bytes long"},
      {"no version", with([](v1::Product* p) { p->set_version(0); }), "has no version"},
      {"a removed product with a title", with([](v1::Product* p) { p->set_removed(true); }),
       "more than its id and version"},
      {"an old version", with([](v1::Product* p) { p->set_version(1); }), "out of order"},
      {"a version beyond the page's",
       with([](v1::Product* p) { p->set_version(std::numeric_limits<uint64_t>::max()); }),
       "out of order"},
      {"a version that no catalogue has",
       [](v1::CataloguePage* page) { page->set_version(std::numeric_limits<uint64_t>::max()); },
       "version is out of bounds"},
      {"no end", [](v1::CataloguePage* page) { page->set_more(true); }, "has no end"}};
  const json honest = shopping().Browse("alice", kCrooked);
  ASSERT_TRUE(honest.is_object());
  for (const Case& c : cases) {
    Lies lies;
    lies.catalogue = c.lie;
    shop().Lie(lies);
    ExpectRefused({"browse", kCrooked}, kVerification, c.message, c.what);
  }
  shop().Lie({});
  EXPECT_EQ(shopping().Browse("alice", kCrooked), honest);
  shopping().Ask("alice", {"show", world().product});
}

TEST_F(MaliciousMerchantTest, GoodsThatAreNotWhatWasOrderedAreRefusedAndCanStillBeHad) {
  const std::string order = shopping().Checkout("alice", world().product);
  shopping().Pay("alice", order);
  const std::string purchases = agent_dir() + "/purchases";
  const std::vector<std::string> files_before = FilesIn(purchases);
  using Frames = std::vector<v1::Frame>;
  const auto frames = [](std::function<void(Frames*)> change) {
    Lies lies;
    lies.frames = std::move(change);
    return lies;
  };
  const auto result = [](std::function<void(v1::DeliveryResult*)> change) {
    Lies lies;
    lies.delivery = std::move(change);
    return lies;
  };
  Lies other_content;
  other_content.content = Content(300'000, 2);
  Lies other_hash;
  other_hash.stated_hash = crypto::Sha256("something else");
  struct Case {
    const char* what;
    Lies lies;
    int exit_code;
    const char* message;
  };
  const std::vector<Case> cases = {
      {"other content", other_content, kVerification,
       "the content that arrived does not have the hash that was ordered"},
      {"another hash in the final frame", other_hash, kVerification,
       "the hash that it states is not the order's"},
      {"a piece too many", frames([](Frames* f) { f->insert(f->begin(), f->front()); }),
       kVerification, "a piece of the delivery failed its check"},
      {"a piece too few", frames([](Frames* f) { f->erase(f->end() - 2); }), kVerification,
       "a piece of the delivery failed its check"},
      {"no final frame", frames([](Frames* f) { f->pop_back(); }), kUnreachable,
       "the download broke off"},
      {"nothing at all", frames([](Frames* f) { f->clear(); }), kUnreachable,
       "the download broke off"},
      {"the final frame alone", frames([](Frames* f) { f->erase(f->begin(), f->end() - 1); }),
       kVerification, "a piece of the delivery failed its check"},
      {"garbage in a piece",
       frames([](Frames* f) { f->front().mutable_ciphertext()->front() ^= 1; }), kVerification,
       "a piece of the delivery failed its check"},
      {"an empty frame", frames([](Frames* f) { f->front().Clear(); }), kVerification,
       "a piece of the delivery failed its check"},
      {"another size", result([](v1::DeliveryResult* r) { r->set_true_size_bytes(1); }),
       kVerification, "content of another size than was ordered"},
      {"the largest size", result([](v1::DeliveryResult* r) {
         r->set_true_size_bytes(std::numeric_limits<uint64_t>::max());
       }),
       kVerification, "content of another size than was ordered"},
      {"a padded size below the true one",
       result([](v1::DeliveryResult* r) { r->set_padded_size_bytes(64 * 1024); }), kVerification,
       "makes no sense"},
      {"a padded size that is no class",
       result([](v1::DeliveryResult* r) { r->set_padded_size_bytes(kMax64); }), kVerification,
       "makes no sense"},
      {"another number of pieces",
       result([](v1::DeliveryResult* r) { r->set_piece_count(r->piece_count() + 1); }),
       kVerification, "makes no sense"},
      {"denied",
       result([](v1::DeliveryResult* r) { r->set_outcome(v1::DELIVERY_OUTCOME_NO_SUCH_ORDER); }),
       kVerification, "the shop denies the order, which it signed"},
      {"not paid",
       result([](v1::DeliveryResult* r) { r->set_outcome(v1::DELIVERY_OUTCOME_NOT_PAID); }),
       kVerification, "the shop says that the order is not paid"},
      {"an outcome that does not exist",
       result([](v1::DeliveryResult* r) { r->set_outcome(static_cast<v1::DeliveryOutcome>(99)); }),
       kVerification, "makes no sense"}};
  for (const Case& c : cases) {
    shop().Lie(c.lies);
    ExpectRefused({"download", order}, c.exit_code, c.message, c.what);
    EXPECT_EQ(shopping().Purchase("alice", order)["status"], "ORDER_STATUS_PAID") << c.what;
  }
  // Nothing that looks like the purchase is in the folder; what is begun is hidden.
  std::vector<std::string> visible;
  for (const std::string& name : FilesIn(purchases)) {
    if (name.front() != '.') visible.push_back(name);
  }
  EXPECT_THAT(visible, UnorderedElementsAreArray(files_before));

  shop().Lie({});
  shopping().ExpectDelivered("alice", order, world().content);
}

TEST_F(MaliciousMerchantTest, ATitleNeverChoosesWhereAFileGoes) {
  const std::string purchases = agent_dir() + "/purchases";
  const std::vector<std::string> agent_files = FilesIn(agent_dir());
  const std::vector<std::string> market_files = FilesIn(shopping().market().folder());
  for (const std::string title :
       {"../../x", "/etc/passwd", "..\\..\\x", "~/.ssh/authorized_keys", "-rf", ".bashrc", "...",
        "nul", "C:\\Windows\\x", "../agent.textproto"}) {
    const std::string content = "content of " + title;
    const std::string product = shop().Add(title, 10, content);
    shopping().Browse("alice", kCrooked);
    const std::string order = shopping().Checkout("alice", product);
    shopping().Pay("alice", order);
    const json done = shopping().Download("alice", order);
    ASSERT_TRUE(done.is_object()) << title;
    const std::filesystem::path path = done["file_path"].get<std::string>();
    EXPECT_EQ(path.parent_path().string(), purchases) << title;
    const std::string name = path.filename().string();
    EXPECT_EQ(name.find_first_of("/\\:~"), std::string::npos) << name;
    EXPECT_EQ(name.find(".."), std::string::npos) << name;
    EXPECT_NE(name.front(), '.') << title;
    EXPECT_NE(name.front(), '-') << title;
    EXPECT_EQ(FileContent(path.string()), content) << title;
    EXPECT_TRUE(std::filesystem::is_regular_file(std::filesystem::symlink_status(path))) << title;
  }
  EXPECT_THAT(FilesIn(agent_dir()), UnorderedElementsAreArray(agent_files));
  EXPECT_THAT(FilesIn(shopping().market().folder()), UnorderedElementsAreArray(market_files));
}

TEST_F(MaliciousMerchantTest, NobodyAcknowledgesTheNoticesOfAnother) {
  const std::string order = shopping().Checkout("alice", world().honest_product);
  shopping().market().KillMerchant(kHonest);
  shopping().Pay("alice", order);  // The broker keeps the notice until the shop is back.
  auto thief = MerchantLine::Connect(*world().broker, *world().thief);
  ASSERT_TRUE(thief.ok()) << thief.status();
  const auto acknowledge = [&thief](int64_t notice_id) {
    v1::MerchantToBroker message;
    message.mutable_notice_ack()->set_notice_id(notice_id);
    EXPECT_TRUE((*thief)->Send(message));
  };
  for (int64_t id = 0; id < 200; ++id) acknowledge(id);
  for (const int64_t id : {int64_t{-1}, kMin64, kMax64}) acknowledge(id);
  // Answered after all of those: the link stands.
  EXPECT_EQ((*thief)->Offer({}).outcome(), v1::OFFER_OUTCOME_INVALID);

  const absl::Status started = shopping().market().StartMerchant(kHonest);
  ASSERT_TRUE(started.ok()) << started;
  shopping().WaitForStatusAtShop(kHonest, order, "ORDER_STATUS_PAID");
  const absl::Status online = shopping().market().WaitUntilOnline("alice", kHonest);
  EXPECT_TRUE(online.ok()) << online;
}

TEST_F(MaliciousMerchantTest, NonsenseEndsTheMerchantsLinkAndNoOther) {
  const auto send = [](std::function<void(v1::MerchantToBroker*)> fill) {
    return [fill](MerchantLine& line) {
      v1::MerchantToBroker message;
      fill(&message);
      line.Send(message);
    };
  };
  const std::vector<std::pair<const char*, std::function<void(MerchantLine&)>>> cases = {
      {"garbage", [](MerchantLine& line) { line.link().Send({std::string(99, '\xff')}); }},
      {"no body", send([](v1::MerchantToBroker*) {})},
      {"an offer without a call id",
       send([](v1::MerchantToBroker* m) { m->mutable_offer_order(); })},
      {"a short handle", send([](v1::MerchantToBroker* m) {
         m->mutable_session_answer()->set_handle("abc");
         m->mutable_session_answer()->set_answer("answer");
       })},
      {"an answer larger than any", send([](v1::MerchantToBroker* m) {
         m->mutable_session_answer()->set_handle(Random(16));
         m->mutable_session_answer()->set_answer(Random(5'000));
       })},
      {"a frame larger than any", send([](v1::MerchantToBroker* m) {
         m->mutable_session_frame()->set_handle(Random(16));
         m->mutable_session_frame()->set_frame(Random(500'000));
       })},
      {"a frame that is not sealed",
       [](MerchantLine& line) { line.link().WriteFrame(v1::Frame()); }},
      {"a handshake after the handshake",
       [](MerchantLine& line) { line.link().WriteHandshake(v1::HandshakeMessage()); }}};
  for (const auto& [what, attack] : cases) {
    auto thief = MerchantLine::Connect(*world().broker, *world().thief);
    ASSERT_TRUE(thief.ok()) << what << ": " << thief.status();
    attack(**thief);
    EXPECT_TRUE(protocol::IsRefusal((*thief)->link().AwaitEnd())) << what;
  }

  // Two answers to one hello: the customer is told something sensible, whether the second finds the
  // session open, which ends the shop's link (relay_test.cc), or given up because of the first.
  auto shop = TestMerchant::Start(*world().broker, *world().thief);
  ASSERT_TRUE(shop.ok()) << shop.status();
  Lies lies;
  lies.before_answer = [](MerchantLine& line, const v1::SessionHello& hello) {
    v1::MerchantToBroker message;
    message.mutable_session_answer()->set_handle(hello.handle());
    message.mutable_session_answer()->set_answer("anything");
    line.link().Send({message.SerializeAsString(), message.SerializeAsString()});
  };
  (*shop)->Lie(lies);
  ExpectRefused({"browse", kThief}, kVerification,
                "could not prove to be the shop whose key is pinned", "two answers");
  shopping().Browse("alice", kHonest);
  shopping().Browse("alice", kCrooked);
}

}  // namespace
}  // namespace blindcart::testing
