// Customers who cheat, with an enrolled customer's keys and the real protocol, against a real broker
// and a real shop. Each gets a clear result or the one refusal; nobody beside them notices, and
// nothing is charged that nobody agreed to.
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/optional.h"
#include "crypto/encoding.h"
#include "crypto/identity.h"
#include "crypto/padding.h"
#include "crypto/random.h"
#include "gtest/gtest.h"
#include "proto/customer.pb.h"
#include "proto/frame.pb.h"
#include "proto/shop.pb.h"
#include "protocol/clock.h"
#include "protocol/order.h"
#include "protocol/refusal.h"
#include "tests/end_to_end/shopping.h"
#include "tests/support/raw_broker.h"
#include "tests/support/test_customer.h"

namespace blindcart::testing {
namespace {

constexpr char kShop[] = "quiet-books";
constexpr char kContent[] = "what everybody buys";
// As `broker init` writes them.
constexpr int kMaxShopSessions = 32;
constexpr int kMaxDeliveries = 8;

std::string Random(size_t bytes) { return crypto::SystemRandom().Bytes(bytes); }

CustomerSpec Spec(const std::string& name, const std::string& account) {
  CustomerSpec spec;
  spec.username = name;
  spec.account = account;
  return spec;
}

class MaliciousCustomerTest : public ::testing::Test {
 protected:
  // Alice shops with her agent. The others are played by the tests: victor honestly, mallory and
  // greedy not; greedy is the one who exhausts what is counted for each customer.
  struct World {
    std::unique_ptr<Shopping> shopping;
    std::map<std::string, CustomerSpec> specs;
    std::map<std::string, std::unique_ptr<crypto::Identity>> identities;
    std::unique_ptr<RawBroker> broker;
    std::unique_ptr<TestCustomer> victor;
    absl::optional<crypto::PublicIdentity> shop;
    ShopTalk victors_talk;
    std::string product_hex;
    std::string other_product_hex;
  };

  static void SetUpTestSuite() {
    auto world = std::make_unique<World>();
    world->shopping = Shopping::Open({{kShop, "2001"}}, {Spec("alice", "1001")});
    ASSERT_NE(world->shopping, nullptr);
    Marketplace& market = world->shopping->market();
    for (const CustomerSpec& spec :
         {Spec("mallory", "1002"), Spec("victor", "1003"), Spec("greedy", "1004")}) {
      const absl::Status added = market.AddCustomer(spec);
      ASSERT_TRUE(added.ok()) << added;
      auto identity = BorrowIdentity(market.agent_dir(spec.username));
      ASSERT_TRUE(identity.ok()) << identity.status();
      world->specs[spec.username] = spec;
      world->identities[spec.username] = *std::move(identity);
    }
    world->product_hex = world->shopping->Offer(kShop, Goods("A book", "2.00", kContent));
    world->other_product_hex = world->shopping->Offer(kShop, Goods("Another", "3.00", "else"));
    auto broker = RawBroker::Dial(market);
    ASSERT_TRUE(broker.ok()) << broker.status();
    world->broker = *std::move(broker);
    auto victor =
        TestCustomer::LogIn(*world->broker, *world->identities["victor"], world->specs["victor"]);
    ASSERT_TRUE(victor.ok()) << victor.status();
    world->victor = *std::move(victor);
    world->shop = world->victor->FindShop(kShop);
    ASSERT_TRUE(world->shop.has_value());
    ASSERT_EQ(world->victor->OpenShop(*world->shop, &world->victors_talk), v1::SHOP_STATE_OPEN);
    world_ = world.release();
  }

  // After everything that happened here, an honest purchase goes through and the books are right.
  static void TearDownTestSuite() {
    if (world_ == nullptr) return;
    const int64_t before = shopping().Balance("alice");
    const std::string order = shopping().Checkout("alice", world_->product_hex);
    shopping().Pay("alice", order);
    shopping().ExpectDelivered("alice", order, kContent);
    EXPECT_EQ(shopping().Balance("alice"), before - Total(2'00));
    for (const char* account : {"1003", "1004"}) {
      EXPECT_EQ(shopping().AccountBalance(account), 100'00) << "who bought nothing";
    }
    shopping().ExpectBooksRight();
    delete world_;
    world_ = nullptr;
  }

  void SetUp() override { ASSERT_NE(world_, nullptr); }

  // Victor, logged in all the while, is served on his link and in his session with the shop.
  void TearDown() override {
    if (world_ == nullptr) return;
    v1::CustomerMessage message;
    message.mutable_balance();
    const auto balance = victor().Call(message);
    ASSERT_TRUE(balance.has_value()) << "the honest customer's link has ended";
    EXPECT_EQ(balance->balance().balance_minor(), 100'00);
    v1::ShopRequest request;
    request.mutable_catalogue();
    const auto page = victor().Ask(world_->victors_talk, request);
    ASSERT_TRUE(page.has_value()) << "the honest customer's session with the shop has ended";
    EXPECT_EQ(page->catalogue().products_size(), 2);
  }

  static Shopping& shopping() { return *world_->shopping; }
  static RawBroker& broker() { return *world_->broker; }
  static TestCustomer& victor() { return *world_->victor; }
  static const crypto::PublicIdentity& shop() { return *world_->shop; }
  static std::string product() { return crypto::HexDecode(world_->product_hex).value_or(""); }
  // Price and the charge of one per cent, as `broker init` writes it.
  static int64_t Total(int64_t price_minor) { return price_minor + price_minor / 100; }

  // Null, and a failure recorded, when the login does not go through.
  static std::unique_ptr<TestCustomer> LogIn(const std::string& name) {
    auto customer = TestCustomer::LogIn(broker(), *world_->identities[name], world_->specs[name]);
    EXPECT_TRUE(customer.ok()) << customer.status();
    return customer.ok() ? *std::move(customer) : nullptr;
  }
  static std::unique_ptr<TestCustomer> Mallory() { return LogIn("mallory"); }
  static const crypto::Identity& MallorysKeys() { return *world_->identities["mallory"]; }

  static v1::ShopRequest CheckoutOf(const std::string& product_id) {
    v1::ShopRequest request;
    request.mutable_checkout()->set_request_id(Random(protocol::kRequestIdBytes));
    request.mutable_checkout()->set_product_id(product_id);
    request.mutable_checkout()->set_order_key(Random(protocol::kOrderKeyBytes));
    return request;
  }
  static v1::CheckoutResult CheckOut(TestCustomer& customer, ShopTalk& talk,
                                     const v1::ShopRequest& request) {
    const auto reply = customer.Ask(talk, request);
    return reply.has_value() ? reply->checkout() : v1::CheckoutResult();
  }
  static v1::DeliveryOutcome AskForGoods(TestCustomer& customer, ShopTalk& talk,
                                         const v1::DeliveryRequest& delivery) {
    v1::ShopRequest request;
    *request.mutable_delivery() = delivery;
    const auto reply = customer.Ask(talk, request);
    return reply.has_value() ? reply->delivery().outcome() : v1::DELIVERY_OUTCOME_UNSPECIFIED;
  }
  static v1::OrderStatus StatusOf(TestCustomer& customer, const std::string& order_id) {
    v1::CustomerMessage message;
    message.mutable_get_order()->set_order_id(order_id);
    const auto answer = customer.Call(message);
    return answer.has_value() ? answer->get_order().status() : v1::ORDER_STATUS_UNSPECIFIED;
  }
  static bool OpenDelivery(TestCustomer& customer, const std::string& sid, const std::string& id) {
    v1::CustomerMessage message;
    message.mutable_open_delivery()->set_sid(sid);
    message.mutable_open_delivery()->set_delivery_id(id);
    const auto answer = customer.Call(message);
    return answer.has_value() && answer->open_delivery().ok();
  }
  static void ExpectServed(TestCustomer& customer) {
    v1::CustomerMessage message;
    message.mutable_balance();
    EXPECT_TRUE(customer.Call(message).has_value()) << "the link has ended";
  }

 private:
  static World* world_;
};
MaliciousCustomerTest::World* MaliciousCustomerTest::world_ = nullptr;

TEST_F(MaliciousCustomerTest, CannotSeePayOrDeclineTheOrderOfAnother) {
  const std::string order_hex = shopping().Checkout("alice", crypto::HexEncode(product()));
  const std::string order = crypto::HexDecode(order_hex).value_or("");
  const int64_t before = shopping().AccountBalance("1002");
  const auto mallory = Mallory();
  ASSERT_NE(mallory, nullptr);
  EXPECT_EQ(StatusOf(*mallory, order), v1::ORDER_STATUS_UNSPECIFIED);
  v1::CustomerMessage decline;
  decline.mutable_decline()->set_order_id(order);
  const auto declined = mallory->Call(decline);
  ASSERT_TRUE(declined.has_value());
  EXPECT_EQ(declined->decline().status(), v1::ORDER_STATUS_UNSPECIFIED);
  const auto paid = mallory->Pay(mallory->NewPayment(order, Total(2'00)));
  ASSERT_TRUE(paid.has_value());
  EXPECT_EQ(paid->outcome(), v1::PAY_OUTCOME_ORDER_UNKNOWN);
  EXPECT_FALSE(paid->has_receipt());
  // An order that nobody has is answered alike.
  const auto nobodys = mallory->Pay(mallory->NewPayment(Random(16), Total(2'00)));
  ASSERT_TRUE(nobodys.has_value());
  EXPECT_EQ(nobodys->SerializeAsString(), paid->SerializeAsString());
  EXPECT_EQ(shopping().AccountBalance("1002"), before);
  EXPECT_EQ(shopping().Purchase("alice", order_hex)["status"], "ORDER_STATUS_CREATED");
  shopping().Pay("alice", order_hex);  // It is still hers to pay.
}

TEST_F(MaliciousCustomerTest, PaysNoTotalButTheOneAgreedAndOnlyFromTheirOwnAccount) {
  const auto mallory = Mallory();
  ASSERT_NE(mallory, nullptr);
  ShopTalk talk;
  ASSERT_EQ(mallory->OpenShop(shop(), &talk), v1::SHOP_STATE_OPEN);
  const v1::CheckoutResult order = CheckOut(*mallory, talk, CheckoutOf(product()));
  ASSERT_EQ(order.outcome(), v1::CHECKOUT_OUTCOME_ORDERED);
  const std::string& id = order.terms().order_id();
  ASSERT_EQ(order.total_minor(), Total(2'00));
  const int64_t before = shopping().AccountBalance("1002");
  const int64_t alices = shopping().AccountBalance("1001");
  for (const int64_t total :
       {std::numeric_limits<int64_t>::min(), int64_t{-1}, int64_t{0}, -order.total_minor(),
        order.total_minor() - 1, order.total_minor() + 1, std::numeric_limits<int64_t>::max()}) {
    const auto paid = mallory->Pay(mallory->NewPayment(id, total));
    ASSERT_TRUE(paid.has_value()) << total;
    EXPECT_EQ(paid->outcome(), v1::PAY_OUTCOME_TOTAL_DIFFERS) << total;
    EXPECT_FALSE(paid->has_receipt()) << total;
  }
  v1::PayCall from_alice = mallory->NewPayment(id, order.total_minor());
  from_alice.set_account_number("1001");
  const auto stolen = mallory->Pay(from_alice);
  ASSERT_TRUE(stolen.has_value());
  EXPECT_EQ(stolen->outcome(), v1::PAY_OUTCOME_ACCOUNT_OR_PIN);
  EXPECT_EQ(shopping().AccountBalance("1001"), alices);
  EXPECT_EQ(shopping().AccountBalance("1002"), before);
  EXPECT_EQ(StatusOf(*mallory, id), v1::ORDER_STATUS_CREATED);

  // The same payment twice, and once more under another request id, is charged once.
  const v1::PayCall payment = mallory->NewPayment(id, order.total_minor());
  for (const v1::PayCall& call : {payment, payment, mallory->NewPayment(id, order.total_minor())}) {
    const auto paid = mallory->Pay(call);
    ASSERT_TRUE(paid.has_value());
    EXPECT_EQ(paid->outcome(), v1::PAY_OUTCOME_SUCCESSFUL);
  }
  EXPECT_EQ(shopping().AccountBalance("1002"), before - order.total_minor());
}

TEST_F(MaliciousCustomerTest, AnOrderKeyServesOneRequestOnly) {
  const auto mallory = Mallory();
  ASSERT_NE(mallory, nullptr);
  ShopTalk talk;
  ASSERT_EQ(mallory->OpenShop(shop(), &talk), v1::SHOP_STATE_OPEN);
  const v1::ShopRequest first = CheckoutOf(product());
  ASSERT_EQ(CheckOut(*mallory, talk, first).outcome(), v1::CHECKOUT_OUTCOME_ORDERED);
  v1::ShopRequest same_key = CheckoutOf(product());
  same_key.mutable_checkout()->set_order_key(first.checkout().order_key());
  v1::ShopRequest other_key = first;
  other_key.mutable_checkout()->set_order_key(Random(protocol::kOrderKeyBytes));

  // In another session, where the shop cannot tell who asks.
  ShopTalk other_talk;
  ASSERT_EQ(mallory->OpenShop(shop(), &other_talk), v1::SHOP_STATE_OPEN);
  for (ShopTalk* session : {&talk, &other_talk}) {
    EXPECT_EQ(CheckOut(*mallory, *session, same_key).outcome(),
              v1::CHECKOUT_OUTCOME_ORDER_KEY_USED);
  }
  EXPECT_EQ(CheckOut(*mallory, other_talk, other_key).outcome(),
            v1::CHECKOUT_OUTCOME_ORDER_KEY_USED);
  EXPECT_EQ(CheckOut(*mallory, talk, CheckoutOf(Random(protocol::kProductIdBytes))).outcome(),
            v1::CHECKOUT_OUTCOME_NO_SUCH_PRODUCT);
  EXPECT_EQ(CheckOut(*mallory, talk, CheckoutOf(product())).outcome(),
            v1::CHECKOUT_OUTCOME_ORDERED);
}

TEST_F(MaliciousCustomerTest, GetsNoGoodsWithoutTheKeyAndAReceiptForThatOrder) {
  const auto mallory = Mallory();
  ASSERT_NE(mallory, nullptr);
  ShopTalk talk;
  ASSERT_EQ(mallory->OpenShop(shop(), &talk), v1::SHOP_STATE_OPEN);
  const v1::ShopRequest paid_request = CheckoutOf(product());
  const v1::CheckoutResult paid_order = CheckOut(*mallory, talk, paid_request);
  ASSERT_EQ(paid_order.outcome(), v1::CHECKOUT_OUTCOME_ORDERED);
  const auto paid =
      mallory->Pay(mallory->NewPayment(paid_order.terms().order_id(), paid_order.total_minor()));
  ASSERT_TRUE(paid.has_value());
  ASSERT_EQ(paid->outcome(), v1::PAY_OUTCOME_SUCCESSFUL);

  v1::DeliveryRequest delivery;
  delivery.set_order_id(paid_order.terms().order_id());
  delivery.set_order_key(Random(protocol::kOrderKeyBytes));
  delivery.set_delivery_id(Random(16));
  *delivery.mutable_receipt() = paid->receipt();
  EXPECT_EQ(AskForGoods(*mallory, talk, delivery), v1::DELIVERY_OUTCOME_NO_SUCH_ORDER)
      << "a wrong key";
  delivery.set_order_id(Random(16));
  delivery.set_order_key(paid_request.checkout().order_key());
  EXPECT_EQ(AskForGoods(*mallory, talk, delivery), v1::DELIVERY_OUTCOME_NO_SUCH_ORDER)
      << "an order that is none";

  const v1::ShopRequest request = CheckoutOf(product());
  const v1::CheckoutResult order = CheckOut(*mallory, talk, request);
  ASSERT_EQ(order.outcome(), v1::CHECKOUT_OUTCOME_ORDERED);
  delivery.set_order_id(order.terms().order_id());
  delivery.set_order_key(request.checkout().order_key());
  EXPECT_EQ(AskForGoods(*mallory, talk, delivery), v1::DELIVERY_OUTCOME_NOT_PAID)
      << "another order's receipt";
  v1::Receipt& receipt = *delivery.mutable_receipt();
  receipt.set_order_id(order.terms().order_id());
  receipt.set_commitment(order.terms().commitment());
  EXPECT_EQ(AskForGoods(*mallory, talk, delivery), v1::DELIVERY_OUTCOME_NOT_PAID)
      << "another order's receipt, rewritten";
  protocol::SignReceipt(MallorysKeys(), &receipt);
  EXPECT_EQ(AskForGoods(*mallory, talk, delivery), v1::DELIVERY_OUTCOME_NOT_PAID)
      << "signed by the customer";
  delivery.clear_receipt();
  EXPECT_EQ(AskForGoods(*mallory, talk, delivery), v1::DELIVERY_OUTCOME_NOT_PAID)
      << "no receipt at all";

  // An offset beyond the end, of the order that is paid.
  delivery.set_order_id(paid_order.terms().order_id());
  delivery.set_order_key(paid_request.checkout().order_key());
  delivery.set_first_piece(std::numeric_limits<uint64_t>::max());
  EXPECT_EQ(AskForGoods(*mallory, talk, delivery), v1::DELIVERY_OUTCOME_BAD_OFFSET);
}

TEST_F(MaliciousCustomerTest, WhatTheShopCannotOpenEndsThatSessionAlone) {
  const auto mallory = Mallory();
  ASSERT_NE(mallory, nullptr);
  const auto good = [](ShopTalk& talk) {
    return TestCustomer::Seal(talk, CheckoutOf(product()).SerializeAsString());
  };
  struct Case {
    const char* what;
    std::function<v1::ShopWire(ShopTalk&)> wire;
  };
  const std::vector<Case> cases = {
      {"garbage in a sealed frame",
       [](ShopTalk& talk) { return TestCustomer::Seal(talk, std::string(100, '\xff')); }},
      {"no body", [](ShopTalk& talk) { return TestCustomer::Seal(talk, ""); }},
      {"an order key that is too short",
       [](ShopTalk& talk) {
         v1::ShopRequest request = CheckoutOf(product());
         request.mutable_checkout()->set_order_key("short");
         return TestCustomer::Seal(talk, request.SerializeAsString());
       }},
      {"a wrong Finished",
       [&](ShopTalk& talk) {
         v1::ShopWire wire = good(talk);
         wire.set_finished(Random(32));
         return wire;
       }},
      {"no Finished",
       [&](ShopTalk& talk) {
         v1::ShopWire wire = good(talk);
         wire.clear_finished();
         return wire;
       }},
      {"a later frame first",
       [&](ShopTalk& talk) {
         v1::ShopWire wire = good(talk);
         *wire.mutable_frame() = good(talk).frame();
         return wire;
       }},
      {"a changed frame",
       [&](ShopTalk& talk) {
         v1::ShopWire wire = good(talk);
         wire.mutable_frame()->mutable_ciphertext()->front() ^= 1;
         return wire;
       }},
      {"no frame", [](ShopTalk& talk) {
         v1::ShopWire wire;
         wire.set_finished(talk.finished);
         return wire;
       }}};
  for (const Case& c : cases) {
    ShopTalk talk;
    ASSERT_EQ(mallory->OpenShop(shop(), &talk), v1::SHOP_STATE_OPEN) << c.what;
    EXPECT_FALSE(mallory->SendWire(talk, c.wire(talk)).has_value()) << c.what;
    ExpectServed(*mallory);
  }

  // A frame once more.
  ShopTalk talk;
  ASSERT_EQ(mallory->OpenShop(shop(), &talk), v1::SHOP_STATE_OPEN);
  v1::ShopWire wire = good(talk);
  ASSERT_TRUE(mallory->SendWire(talk, wire).has_value());
  wire.clear_finished();
  EXPECT_FALSE(mallory->SendWire(talk, wire).has_value()) << "a replayed frame was answered";
  ExpectServed(*mallory);
}

TEST_F(MaliciousCustomerTest, CannotReachIntoTheSessionOfAnother) {
  const auto mallory = Mallory();
  ASSERT_NE(mallory, nullptr);
  ShopTalk victors;
  ASSERT_EQ(victor().OpenShop(shop(), &victors), v1::SHOP_STATE_OPEN);
  v1::CustomerMessage frame;
  frame.mutable_shop_frame()->set_sid(victors.sid);
  frame.mutable_shop_frame()->set_frame("garbage for another's session");
  ASSERT_TRUE(mallory->Send(frame));
  v1::CustomerMessage close;
  close.mutable_close_shop()->set_sid(victors.sid);
  EXPECT_TRUE(mallory->Call(close).has_value()) << "closing what is not there is no crime";
  EXPECT_FALSE(OpenDelivery(*mallory, victors.sid, Random(16)));

  // Victor's hello, seen by somebody and sent again: the shop answers, but nobody can go on.
  v1::CustomerMessage replayed;
  replayed.mutable_open_shop()->set_merchant_fingerprint(shop().fingerprint());
  replayed.mutable_open_shop()->set_sid(victors.sid);
  replayed.mutable_open_shop()->set_hello(victors.hello);
  const auto opened = mallory->Call(replayed);
  ASSERT_TRUE(opened.has_value());
  EXPECT_EQ(opened->open_shop().state(), v1::SHOP_STATE_OPEN);
  ShopTalk forged;
  forged.sid = victors.sid;
  v1::ShopWire wire;
  wire.set_finished(Random(32));
  wire.mutable_frame()->set_session_id(victors.sid);
  wire.mutable_frame()->set_ciphertext(Random(1024 + 16));
  wire.mutable_frame()->set_mac(Random(32));
  EXPECT_FALSE(mallory->SendWire(forged, wire).has_value());

  EXPECT_EQ(CheckOut(victor(), victors, CheckoutOf(product())).outcome(),
            v1::CHECKOUT_OUTCOME_ORDERED);
}

TEST_F(MaliciousCustomerTest, CannotUseTheDeliveriesOfAnotherAndOpensFew) {
  const auto greedy = LogIn("greedy");
  ASSERT_NE(greedy, nullptr);
  ShopTalk talk;
  ASSERT_EQ(greedy->OpenShop(shop(), &talk), v1::SHOP_STATE_OPEN);
  ShopTalk victors;
  ASSERT_EQ(victor().OpenShop(shop(), &victors), v1::SHOP_STATE_OPEN);
  const std::string victors_id = Random(16);
  ASSERT_TRUE(OpenDelivery(victor(), victors.sid, victors_id));
  EXPECT_FALSE(OpenDelivery(*greedy, talk.sid, victors_id)) << "an id that is in use";
  EXPECT_FALSE(OpenDelivery(*greedy, Random(16), Random(16))) << "no such session";

  for (int i = 0; i < kMaxDeliveries; ++i) {
    EXPECT_TRUE(OpenDelivery(*greedy, talk.sid, Random(16))) << i;
  }
  for (int i = 0; i < 100; ++i) {
    EXPECT_FALSE(OpenDelivery(*greedy, talk.sid, Random(16))) << "one more than is allowed";
  }
  EXPECT_TRUE(OpenDelivery(victor(), victors.sid, Random(16))) << "others have their own";

  std::vector<v1::GoodsMessage> goods;
  for (const std::string& id : {Random(16), std::string(), std::string("short"), Random(4096)}) {
    EXPECT_TRUE(protocol::IsRefusal(broker().FetchGoods(id, &goods))) << id.size();
  }
  EXPECT_TRUE(goods.empty());
}

TEST_F(MaliciousCustomerTest, OpensOnlySoManySessionsWithShops) {
  const auto greedy = LogIn("greedy");
  ASSERT_NE(greedy, nullptr);
  std::vector<ShopTalk> talks(kMaxShopSessions);
  for (ShopTalk& talk : talks) ASSERT_EQ(greedy->OpenShop(shop(), &talk), v1::SHOP_STATE_OPEN);
  ShopTalk surplus;
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(greedy->OpenShop(shop(), &surplus), v1::SHOP_STATE_TOO_MANY);
  }
  // Not with a second link either.
  const auto second = LogIn("greedy");
  ASSERT_NE(second, nullptr);
  EXPECT_EQ(second->OpenShop(shop(), &surplus), v1::SHOP_STATE_TOO_MANY);
  ShopTalk victors;
  EXPECT_EQ(victor().OpenShop(shop(), &victors), v1::SHOP_STATE_OPEN) << "others have their own";
  v1::CustomerMessage close;
  close.mutable_close_shop()->set_sid(talks.front().sid);
  ASSERT_TRUE(greedy->Call(close).has_value());
  EXPECT_EQ(greedy->OpenShop(shop(), &surplus), v1::SHOP_STATE_OPEN);
}

TEST_F(MaliciousCustomerTest, ARecordedLoginOpensNothing) {
  for (const bool with_finished : {true, false}) {
    const auto link = broker().OpenLink(Door::kCustomer);
    link->WriteHandshake(victor().login_messages()[0]);
    ASSERT_TRUE(link->ReadHandshake().has_value()) << "anybody is challenged";
    if (with_finished) {
      link->WriteHandshake(victor().login_messages()[1]);
    } else {
      link->WriteFrame(victor().login_messages()[1].frame());
    }
    EXPECT_TRUE(protocol::IsRefusal(link->AwaitEnd()));
  }
}

TEST_F(MaliciousCustomerTest, NothingIsSaidBeforeALogin) {
  struct Case {
    const char* what;
    v1::LinkMessage message;
    bool challenged = false;  // As a hello for a name that nobody has; then refused.
  };
  std::vector<Case> cases(7);
  cases[0].what = "an empty message";
  cases[1].what = "an empty handshake message";
  cases[1].message.mutable_handshake();
  cases[2].what = "a body of one byte";
  cases[2].message.mutable_handshake()->set_body("x");
  cases[3].what = "a body far too large";
  cases[3].message.mutable_handshake()->set_body(Random(1'000'000));
  cases[4].what = "a frame";
  *cases[4].message.mutable_frame() = victor().login_messages()[1].frame();
  cases[5].what = "a Finished";
  *cases[5].message.mutable_handshake() = victor().login_messages()[1];
  cases[6].what = "a hello of random bytes";
  cases[6].message.mutable_handshake()->set_body(
      Random(victor().login_messages()[0].body().size()));
  cases[6].challenged = true;
  for (const Case& c : cases) {
    const auto link = broker().OpenLink(Door::kCustomer);
    link->Write(c.message);
    if (c.challenged) {
      EXPECT_TRUE(link->ReadHandshake().has_value()) << c.what;
      link->WriteHandshake(victor().login_messages()[1]);
    }
    EXPECT_TRUE(protocol::IsRefusal(link->AwaitEnd())) << c.what;
  }
}

TEST_F(MaliciousCustomerTest, AnythingWrongOnALinkEndsItWithTheOneRefusal) {
  const auto envelope = [](int messages, int64_t sent_at_ms) {
    v1::Envelope sealed;
    sealed.set_sent_at_ms(sent_at_ms);
    v1::CustomerMessage message;
    message.set_call_id(1);
    message.mutable_balance();
    for (int i = 0; i < messages; ++i) sealed.add_messages(message.SerializeAsString());
    std::string plaintext = sealed.SerializeAsString();
    EXPECT_TRUE(crypto::Pad(plaintext).ok());
    return plaintext;
  };
  const int64_t now_ms = protocol::SystemClock().NowUnixMs();
  const auto send = [](void (*fill)(v1::CustomerMessage*)) {
    return [fill](TestCustomer& mallory) {
      v1::CustomerMessage message;
      message.set_call_id(7);
      fill(&message);
      mallory.Send(message);
    };
  };
  // A frame that would do, changed before it leaves.
  const auto alter = [](void (*change)(v1::Frame*)) {
    return [change](TestCustomer& mallory) {
      v1::CustomerMessage message;
      message.set_call_id(7);
      message.mutable_balance();
      v1::Frame frame;
      ASSERT_TRUE(mallory.link().channel()->Seal({message.SerializeAsString()}, &frame).ok());
      change(&frame);
      mallory.link().WriteFrame(frame);
    };
  };
  struct Case {
    const char* what;
    std::function<void(TestCustomer&)> attack;
  };
  // The password was frame 0, so the next is frame 1.
  const std::vector<Case> cases = {
      {"garbage in a sealed frame",
       [](TestCustomer& mallory) { mallory.link().Send({std::string(500, '\xfe')}); }},
      {"a sealed message without a body", send([](v1::CustomerMessage*) {})},
      {"a body of a kind that does not exist",
       [](TestCustomer& mallory) { mallory.link().Send({"\x08\x07\xfa\x07\x01x"}); }},
      {"no call id", send([](v1::CustomerMessage* m) {
         m->clear_call_id();
         m->mutable_balance();
       })},
      {"a second login", send([](v1::CustomerMessage* m) {
         m->mutable_login()->set_password_hash(std::string(32, 'p'));
       })},
      {"an order id of three bytes",
       send([](v1::CustomerMessage* m) { m->mutable_get_order()->set_order_id("abc"); })},
      {"a PIN that is no hash", send([](v1::CustomerMessage* m) {
         m->mutable_pay()->set_request_id(std::string(16, 'r'));
         m->mutable_pay()->set_order_id(std::string(16, 'o'));
         m->mutable_pay()->set_pin_hash("2468");
       })},
      {"a shop frame larger than any request", send([](v1::CustomerMessage* m) {
         m->mutable_shop_frame()->set_sid(std::string(16, 's'));
         m->mutable_shop_frame()->set_frame(std::string(100'000, 'f'));
       })},
      {"a hello larger than any", send([](v1::CustomerMessage* m) {
         m->mutable_open_shop()->set_merchant_fingerprint(shop().fingerprint());
         m->mutable_open_shop()->set_sid(std::string(16, 's'));
         m->mutable_open_shop()->set_hello(std::string(100'000, 'h'));
       })},
      {"a handshake after the handshake",
       [](TestCustomer& mallory) { mallory.link().WriteHandshake(mallory.login_messages()[0]); }},
      {"an empty link message",
       [](TestCustomer& mallory) { mallory.link().Write(v1::LinkMessage()); }},
      {"a frame again",
       [](TestCustomer& mallory) {
         mallory.link().WriteFrame(mallory.login_messages()[1].frame());
       }},
      {"a frame left out",
       [&](TestCustomer& mallory) {
         mallory.link().WriteFrame(mallory.link().SealByHand(envelope(1, now_ms), 2));
       }},
      {"a changed ciphertext",
       alter([](v1::Frame* frame) { frame->mutable_ciphertext()->back() ^= 1; })},
      {"a changed MAC", alter([](v1::Frame* frame) { frame->mutable_mac()->front() ^= 1; })},
      {"a MAC cut short", alter([](v1::Frame* frame) { frame->mutable_mac()->resize(31); })},
      {"another session's id",
       alter([](v1::Frame* frame) { frame->set_session_id(std::string(16, 'x')); })},
      {"a ciphertext over 1 MiB",
       alter([](v1::Frame* frame) { frame->mutable_ciphertext()->resize(1024 * 1024 + 17); })},
      {"no ciphertext", alter([](v1::Frame* frame) { frame->clear_ciphertext(); })},
      {"65 messages",
       [&](TestCustomer& mallory) {
         mallory.link().WriteFrame(mallory.link().SealByHand(envelope(65, now_ms), 1));
       }},
      {"no message",
       [&](TestCustomer& mallory) {
         mallory.link().WriteFrame(mallory.link().SealByHand(envelope(0, now_ms), 1));
       }},
      {"a frame of three minutes ago",
       [&](TestCustomer& mallory) {
         mallory.link().WriteFrame(mallory.link().SealByHand(envelope(1, now_ms - 180'000), 1));
       }},
      {"a frame from the future",
       [&](TestCustomer& mallory) {
         mallory.link().WriteFrame(mallory.link().SealByHand(envelope(1, now_ms + 600'000), 1));
       }},
      {"zeros for padding", [](TestCustomer& mallory) {
         mallory.link().WriteFrame(mallory.link().SealByHand(std::string(1024, '\0'), 1));
       }}};
  for (const Case& c : cases) {
    const auto mallory = Mallory();
    ASSERT_NE(mallory, nullptr) << c.what;
    c.attack(*mallory);
    EXPECT_TRUE(protocol::IsRefusal(mallory->link().AwaitEnd())) << c.what;
  }
}

TEST_F(MaliciousCustomerTest, ExtremesThatAreAllowedAreServed) {
  const auto mallory = Mallory();
  ASSERT_NE(mallory, nullptr);
  // Sealed by hand as the attacks are: so these were refused for what they hold.
  v1::Envelope envelope;
  envelope.set_sent_at_ms(protocol::SystemClock().NowUnixMs());
  for (int i = 0; i < 64; ++i) {
    v1::CustomerMessage message;
    message.set_call_id(std::numeric_limits<uint64_t>::max() - 63 + i);
    message.mutable_balance();
    envelope.add_messages(message.SerializeAsString());
  }
  std::string plaintext = envelope.SerializeAsString();
  ASSERT_TRUE(crypto::Pad(plaintext).ok());
  ASSERT_TRUE(mallory->link().WriteFrame(mallory->link().SealByHand(plaintext, 1)));
  for (int i = 0; i < 64; ++i) {
    const auto bytes = mallory->link().Receive();
    ASSERT_TRUE(bytes.has_value()) << i;
    v1::BrokerToCustomer answer;
    ASSERT_TRUE(answer.ParseFromString(*bytes));
    EXPECT_EQ(answer.call_id(), std::numeric_limits<uint64_t>::max() - 63 + i);
    EXPECT_EQ(answer.balance().account_number(), "1002");
  }
}

TEST_F(MaliciousCustomerTest, NoiseHalfOpenStreamsAndGoodsOutOfNowhereStopNobody) {
  // Streams that never say anything stay open meanwhile.
  std::vector<std::unique_ptr<RawLink>> silent;
  for (int i = 0; i < 10; ++i) {
    silent.push_back(broker().OpenLink(Door::kCustomer));
    silent.push_back(broker().OpenLink(Door::kMerchant));
  }
  std::vector<std::string> noise = {"",
                                    "\x0a",
                                    std::string(3, '\xff'),
                                    Random(20),
                                    Random(5'000),
                                    Random(1'000'000),
                                    std::string(1'000, '\0')};
  for (const std::string method : {"CustomerLink", "MerchantLink", "SendGoods", "FetchGoods"}) {
    for (const std::string& bytes : noise) {
      broker().CallWithBytes(method, {bytes}).IgnoreError();
      broker().CallWithBytes(method, {bytes, bytes, bytes}).IgnoreError();
    }
    EXPECT_FALSE(broker().CallWithBytes(method, {std::string(3'000'000, 'x')}).ok()) << method;
  }
  EXPECT_TRUE(absl::IsUnimplemented(broker().CallWithBytes("OpenSesame", {"please"})));

  v1::GoodsMessage header;
  header.mutable_header()->set_delivery_id(Random(16));
  v1::GoodsMessage frame;
  frame.mutable_frame()->set_ciphertext(Random(1'000));
  for (const v1::GoodsMessage& first : {header, frame, v1::GoodsMessage()}) {
    const auto goods = broker().SendGoods();
    goods->Write(first);
    EXPECT_TRUE(protocol::IsRefusal(goods->Finish()));
  }

  // A link that is cut within the handshake, and one more that is not.
  const auto cut = broker().OpenLink(Door::kCustomer);
  cut->WriteHandshake(victor().login_messages()[0]);
  cut->Cancel();
  const auto mallory = Mallory();
  ASSERT_NE(mallory, nullptr);
  ExpectServed(*mallory);
}

}  // namespace
}  // namespace blindcart::testing
