// The merchant's whole side of a link, with a broker's and a customer's side made of the same protocol
// machines that the other services use.
#include "services/merchant/broker_conversation.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "crypto/hash.h"
#include "crypto/testing/test_identity.h"
#include "gtest/gtest.h"
#include "protocol/delivery.h"
#include "protocol/order.h"
#include "protocol/shop_handshake.h"
#include "services/common/files.h"
#include "services/common/testing/memory_link.h"
#include "services/merchant/testing/test_shop.h"

namespace blindcart::merchant {
namespace {

using testing::kChargeMinor;
using testing::TestShop;

constexpr std::chrono::seconds kPatience(30);

// The broker's end of the link.
class BrokerEnd {
 public:
  BrokerEnd(const crypto::Identity& broker, const crypto::PublicIdentity& merchant,
            crypto::RandomSource& random, const protocol::Clock& clock)
      : merchant_(merchant), clock_(clock), handshake_(broker, random) {}

  std::unique_ptr<LinkHandler> MakeHandler(std::shared_ptr<Link> link) {
    link_ = std::move(link);
    return std::make_unique<Handler>(*this);
  }

  void Send(const v1::BrokerToMerchant& message) {
    EXPECT_TRUE(link_->Send(message.SerializeAsString()).ok());
  }
  void SendRaw(const std::string& bytes) { EXPECT_TRUE(link_->Send(bytes).ok()); }

  bool WaitEstablished() {
    std::unique_lock<std::mutex> lock(mutex_);
    return changed_.wait_for(lock, kPatience, [this] { return established_ || closed_; }) &&
           established_;
  }
  absl::Status WaitClosed() {
    std::unique_lock<std::mutex> lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, kPatience, [this] { return closed_; }));
    return status_;
  }
  v1::MerchantToBroker Next() {
    std::unique_lock<std::mutex> lock(mutex_);
    if (!changed_.wait_for(lock, kPatience, [this] { return !messages_.empty(); })) {
      ADD_FAILURE() << "the merchant said nothing";
      return v1::MerchantToBroker();
    }
    v1::MerchantToBroker message = std::move(messages_.front());
    messages_.pop_front();
    return message;
  }
  bool SaidNothing() {
    std::lock_guard<std::mutex> lock(mutex_);
    return messages_.empty();
  }

 private:
  class Handler : public LinkHandler {
   public:
    explicit Handler(BrokerEnd& end) : end_(end) {}
    void OnHandshake(const v1::HandshakeMessage& message) override { end_.OnHandshake(message); }
    void OnMessages(std::vector<std::string> messages) override {
      std::lock_guard<std::mutex> lock(end_.mutex_);
      for (const std::string& bytes : messages) {
        v1::MerchantToBroker message;
        EXPECT_TRUE(message.ParseFromString(bytes));
        end_.messages_.push_back(std::move(message));
      }
      end_.changed_.notify_all();
    }
    void OnClosed(const absl::Status& status) override {
      std::lock_guard<std::mutex> lock(end_.mutex_);
      end_.closed_ = true;
      end_.status_ = status;
      end_.changed_.notify_all();
    }

   private:
    BrokerEnd& end_;
  };

  void OnHandshake(const v1::HandshakeMessage& message) {
    ++step_;
    absl::Status status;
    if (step_ == 1) {
      auto challenge = handshake_.Start(message, &merchant_, merchant_);
      status = challenge.status();
      if (challenge.ok()) link_->SendHandshake(*std::move(challenge));
    } else if (step_ == 2) {
      auto confirm = handshake_.OnResponse(message);
      status = confirm.status();
      if (confirm.ok()) link_->SendHandshake(*std::move(confirm));
    } else {
      status = handshake_.OnFinished(message);
      if (status.ok()) {
        auto channel = protocol::Channel::Create(*handshake_.TakeKeys(), protocol::Role::kInitiator,
                                                 clock_, protocol::Channel::Options());
        link_->Establish(*std::move(channel));
        std::lock_guard<std::mutex> lock(mutex_);
        established_ = true;
        changed_.notify_all();
      }
    }
    if (!status.ok()) link_->Close(protocol::Refused());
  }

  const crypto::PublicIdentity& merchant_;
  const protocol::Clock& clock_;
  protocol::BrokerSide handshake_;
  std::shared_ptr<Link> link_;
  int step_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<v1::MerchantToBroker> messages_;
  bool established_ = false;
  bool closed_ = false;
  absl::Status status_;
};

// A customer's agent in one shop session; its messages go through a BrokerEnd.
class Customer {
 public:
  Customer(TestShop& shop, BrokerEnd& broker, const std::string& handle)
      : shop_(shop),
        broker_(broker),
        handle_(handle),
        handshake_(shop.merchant.public_identity(), shop.random) {}

  v1::BrokerToMerchant Hello() {
    const auto hello = handshake_.Start();
    EXPECT_TRUE(hello.ok());
    sid_ = hello->sid;
    v1::BrokerToMerchant message;
    message.mutable_session_hello()->set_handle(handle_);
    message.mutable_session_hello()->set_sid(hello->sid);
    message.mutable_session_hello()->set_hello(hello->ciphertext);
    return message;
  }
  void OnAnswer(const v1::MerchantToBroker& message) {
    ASSERT_TRUE(message.has_session_answer());
    EXPECT_EQ(message.session_answer().handle(), handle_);
    v1::ShopAnswer answer;
    ASSERT_TRUE(answer.ParseFromString(message.session_answer().answer()));
    auto finished = handshake_.OnAnswer(answer);
    ASSERT_TRUE(finished.ok()) << finished.status();
    finished_ = *std::move(finished);
    protocol::Channel::Options options;
    options.max_plaintext_bytes = protocol::kMaxRelayedPlaintextBytes;
    auto channel = protocol::Channel::Create(*handshake_.TakeKeys(), protocol::Role::kInitiator,
                                             shop_.clock, options);
    ASSERT_TRUE(channel.ok());
    channel_ = *std::move(channel);
  }
  void Open() {
    broker_.Send(Hello());
    OnAnswer(broker_.Next());
  }

  v1::BrokerToMerchant SealRaw(const std::string& request) {
    v1::ShopWire wire;
    EXPECT_TRUE(channel_->Seal({request}, wire.mutable_frame()).ok());
    wire.set_finished(std::exchange(finished_, ""));
    v1::BrokerToMerchant message;
    message.mutable_session_frame()->set_handle(handle_);
    message.mutable_session_frame()->set_frame(wire.SerializeAsString());
    return message;
  }
  v1::BrokerToMerchant Seal(v1::ShopRequest request) {
    request.set_call_id(++calls_);
    return SealRaw(request.SerializeAsString());
  }
  v1::ShopReply OpenReply(const v1::MerchantToBroker& message) {
    v1::ShopReply reply;
    EXPECT_TRUE(message.has_session_frame()) << message.ShortDebugString();
    EXPECT_EQ(message.session_frame().handle(), handle_);
    v1::ShopWire wire;
    EXPECT_TRUE(wire.ParseFromString(message.session_frame().frame()));
    EXPECT_TRUE(wire.finished().empty());
    last_wire_bytes_ = message.session_frame().frame().size();
    const auto opened = channel_->Open(wire.frame());
    EXPECT_TRUE(opened.ok());
    if (opened.ok()) {
      EXPECT_EQ(opened->size(), 1u);
      EXPECT_TRUE(reply.ParseFromString(opened->front()));
    }
    return reply;
  }
  v1::ShopReply Ask(const v1::ShopRequest& request) {
    broker_.Send(Seal(request));
    return OpenReply(broker_.Next());
  }
  v1::CataloguePage Catalogue() {
    v1::ShopRequest request;
    request.mutable_catalogue();
    return Ask(request).catalogue();
  }
  // A checkout whose offer the broker takes.
  v1::CheckoutResult CheckOut(const v1::CheckoutRequest& checkout) {
    v1::ShopRequest request;
    *request.mutable_checkout() = checkout;
    broker_.Send(Seal(request));
    const v1::MerchantToBroker offer = broker_.Next();
    EXPECT_TRUE(offer.has_offer_order());
    EXPECT_EQ(offer.offer_order().handle(), handle_);
    EXPECT_EQ(offer.offer_order().terms().sid(), sid_);
    EXPECT_TRUE(
        protocol::VerifyTerms(shop_.merchant.public_identity(), offer.offer_order().terms()).ok());
    broker_.Send(Accepted(offer));
    return OpenReply(broker_.Next()).checkout();
  }
  static v1::BrokerToMerchant Accepted(const v1::MerchantToBroker& offer) {
    v1::BrokerToMerchant answer;
    answer.set_call_id(offer.call_id());
    answer.mutable_offer_order()->set_outcome(v1::OFFER_OUTCOME_ACCEPTED);
    answer.mutable_offer_order()->set_charge_minor(kChargeMinor);
    answer.mutable_offer_order()->set_total_minor(offer.offer_order().terms().price_minor() +
                                                  kChargeMinor);
    return answer;
  }

  TestShop& shop_;
  BrokerEnd& broker_;
  const std::string handle_;
  protocol::ShopCustomer handshake_;
  std::string sid_;
  std::string finished_;
  std::unique_ptr<protocol::Channel> channel_;
  uint64_t calls_ = 0;
  size_t last_wire_bytes_ = 0;
};

// Keeps what is written to it.
class KeepingStream : public GoodsStream {
 public:
  explicit KeepingStream(std::shared_ptr<Events> events) : events_(std::move(events)) {}
  void Write(const v1::GoodsMessage& message) override {
    std::lock_guard<std::mutex> lock(mutex_);
    writing_ = true;
    messages_.push_back(message);
    changed_.notify_all();
  }
  void WritesDone() override {
    std::lock_guard<std::mutex> lock(mutex_);
    writes_done_ = true;
    changed_.notify_all();
  }
  void Cancel() override {}

  // Takes everything to the end, then says so.
  std::vector<v1::GoodsMessage> TakeAll() {
    while (true) {
      {
        std::unique_lock<std::mutex> lock(mutex_);
        EXPECT_TRUE(
            changed_.wait_for(lock, kPatience, [this] { return writing_ || writes_done_; }));
        if (!writing_) break;
        writing_ = false;
      }
      events_->OnWritten(true);
    }
    const std::shared_ptr<Events> events = std::move(events_);
    events->OnDone(absl::OkStatus());
    return messages_;
  }

 private:
  std::shared_ptr<Events> events_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool writing_ = false;
  bool writes_done_ = false;
  std::vector<v1::GoodsMessage> messages_;
};

class KeepingTransport : public GoodsTransport {
 public:
  std::shared_ptr<GoodsStream> Open(std::shared_ptr<GoodsStream::Events> events) override {
    std::lock_guard<std::mutex> lock(mutex_);
    streams_.push_back(std::make_shared<KeepingStream>(std::move(events)));
    changed_.notify_all();
    return streams_.back();
  }
  std::shared_ptr<KeepingStream> Next() {
    std::unique_lock<std::mutex> lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, kPatience, [this] { return streams_.size() > taken_; }));
    return streams_[taken_++];
  }
  size_t count() {
    std::lock_guard<std::mutex> lock(mutex_);
    return streams_.size();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::shared_ptr<KeepingStream>> streams_;
  size_t taken_ = 0;
};

constexpr size_t kMaxSessions = 3;

class BrokerConversationTest : public ::testing::Test {
 protected:
  ~BrokerConversationTest() override {
    link_.reset();           // No callbacks from the link any more,
    shop_.database.reset();  // and none from the database.
  }

  void Connect(const crypto::Identity& broker) {
    broker_ = std::make_unique<BrokerEnd>(broker, shop_.merchant.public_identity(), shop_.random,
                                          shop_.clock);
    const ShopSessions::Deps deps = {shop_.merchant, shop_.random,  shop_.clock,
                                     shop_.refusals, shop_.workers, *shop_.shop,
                                     sender_,        transport_,    kMaxSessions};
    link_ = std::make_unique<blindcart::testing::MemoryLinkPair>(
        [this](std::shared_ptr<Link> link) { return broker_->MakeHandler(std::move(link)); },
        [this, deps](std::shared_ptr<Link> link) {
          conversation_ = BrokerConversation::Start(
              std::move(link), deps,
              std::make_shared<const crypto::PublicIdentity>(shop_.broker.public_identity()),
              [this] { ++established_; });
          return conversation_->MakeHandler();
        },
        broker_refusals_);
  }
  void Connect() {
    Connect(shop_.broker);
    ASSERT_TRUE(broker_->WaitEstablished());
  }
  std::string Handle(char c) { return std::string(ShopSessions::kHandleBytes, c); }
  void ExpectClosed(const std::string& handle) {
    const v1::MerchantToBroker message = broker_->Next();
    ASSERT_TRUE(message.has_session_closed()) << message.ShortDebugString();
    EXPECT_EQ(message.session_closed().handle(), handle);
  }
  v1::BrokerToMerchant PaidNotice(const std::string& order_id, int64_t notice_id) {
    v1::BrokerToMerchant message;
    message.mutable_payment_notice()->set_notice_id(notice_id);
    message.mutable_payment_notice()->set_order_id(order_id);
    message.mutable_payment_notice()->set_status(v1::ORDER_STATUS_PAID);
    *message.mutable_payment_notice()->mutable_receipt() =
        shop_.ReceiptFor(shop_.GetOrder(order_id));
    return message;
  }

  TestShop shop_;
  protocol::RefusalCounters broker_refusals_;
  blindcart::testing::InlineExecutor readers_;
  GoodsSender sender_{readers_, shop_.clock, shop_.merchant, shop_.random, 2};
  std::shared_ptr<KeepingTransport> transport_ = std::make_shared<KeepingTransport>();
  std::unique_ptr<BrokerEnd> broker_;
  std::shared_ptr<BrokerConversation> conversation_;
  std::atomic<int> established_{0};
  std::unique_ptr<blindcart::testing::MemoryLinkPair> link_;
};

TEST_F(BrokerConversationTest, AWholePurchase) {
  const std::string content = shop_.random.Bytes(700'000);
  const std::string product_id = shop_.AddProduct(content, 1250, 1);
  Connect();
  EXPECT_EQ(established_, 1);
  Customer customer(shop_, *broker_, Handle('a'));
  customer.Open();
  const v1::CataloguePage page = customer.Catalogue();
  ASSERT_EQ(page.products_size(), 1);

  const v1::CheckoutRequest checkout = shop_.NewRequest(product_id);
  const v1::CheckoutResult result = customer.CheckOut(checkout);
  const absl::Status valid =
      protocol::CheckCheckout(shop_.merchant.public_identity(), page.products(0), customer.sid_,
                              checkout.order_key(), result);
  EXPECT_TRUE(valid.ok()) << valid;
  // Asked again in the same session, the same order comes without another offer.
  v1::ShopRequest again;
  *again.mutable_checkout() = checkout;
  EXPECT_EQ(customer.Ask(again).checkout().SerializeAsString(), result.SerializeAsString());

  const std::string& order_id = result.terms().order_id();
  for (int64_t notice_id : {7, 8}) {
    broker_->Send(PaidNotice(order_id, notice_id));
    EXPECT_EQ(broker_->Next().notice_ack().notice_id(), notice_id);
    EXPECT_EQ(shop_.GetOrder(order_id).status, v1::ORDER_STATUS_PAID);
  }

  v1::ShopRequest delivery;
  delivery.mutable_delivery()->set_order_id(order_id);
  delivery.mutable_delivery()->set_order_key(checkout.order_key());
  delivery.mutable_delivery()->set_delivery_id(std::string(16, 'd'));
  const v1::DeliveryResult coming = customer.Ask(delivery).delivery();
  ASSERT_EQ(coming.outcome(), v1::DELIVERY_OUTCOME_COMING);
  const std::vector<v1::GoodsMessage> goods = transport_->Next()->TakeAll();
  ASSERT_EQ(goods.size(), 1 + coming.piece_count() + 1);
  EXPECT_EQ(goods[0].header().delivery_id(), std::string(16, 'd'));
  protocol::DeliveryReceiver::Params params;
  params.true_size_bytes = coming.true_size_bytes();
  params.padded_size_bytes = coming.padded_size_bytes();
  params.order_id = order_id;
  params.expected_hash = result.content_hash();
  auto receiver = protocol::DeliveryReceiver::Create(
      *customer.channel_->DeliveryKeys(std::string(16, 'd')), params,
      shop_.merchant.public_identity(), crypto::Sha256Hasher());
  ASSERT_TRUE(receiver.ok());
  std::string received;
  for (size_t i = 1; i < goods.size(); ++i) {
    const auto piece = (*receiver)->Open(goods[i].frame());
    ASSERT_TRUE(piece.ok()) << piece.status();
    received.append(piece->data(), piece->size());
  }
  EXPECT_TRUE((*receiver)->Verdict().ok());
  EXPECT_EQ(received, content);
  shop_.DrainWrites();
  EXPECT_EQ(shop_.GetOrder(order_id).status, v1::ORDER_STATUS_DELIVERED);
}

TEST_F(BrokerConversationTest, ABrokerWithAnotherKeyIsNotServed) {
  Connect(crypto::TestIdentity(2));
  EXPECT_FALSE(broker_->WaitEstablished());
  EXPECT_TRUE(protocol::IsRefusal(broker_->WaitClosed()));
  EXPECT_EQ(established_, 0);
}

TEST_F(BrokerConversationTest, WhatDoesNotParseEndsTheLink) {
  Connect();
  broker_->SendRaw("\xff\xff\xff");
  EXPECT_TRUE(protocol::IsRefusal(broker_->WaitClosed()));
  EXPECT_EQ(shop_.refusals.Get(protocol::RefusalReason::kMalformed), 1u);
}

TEST_F(BrokerConversationTest, SessionsAreApartAndARefusalEndsOne) {
  shop_.AddProduct("content");
  Connect();
  Customer honest(shop_, *broker_, Handle('a'));
  Customer altered(shop_, *broker_, Handle('b'));
  honest.Open();
  altered.Open();
  EXPECT_EQ(conversation_->sessions().size(), 2u);
  v1::ShopRequest request;
  request.mutable_catalogue();
  v1::BrokerToMerchant message = altered.Seal(request);
  message.mutable_session_frame()->mutable_frame()->back() ^= 1;
  broker_->Send(message);
  ExpectClosed(Handle('b'));
  EXPECT_EQ(conversation_->sessions().size(), 1u);
  EXPECT_EQ(honest.Catalogue().products_size(), 1);
  // The ended session stays silent.
  broker_->Send(altered.Seal(request));
  EXPECT_EQ(honest.Catalogue().products_size(), 1);
  EXPECT_TRUE(broker_->SaidNothing());
}

TEST_F(BrokerConversationTest, AFrameIsNotAcceptedTwiceNorInAnotherSession) {
  Connect();
  Customer first(shop_, *broker_, Handle('a'));
  Customer second(shop_, *broker_, Handle('b'));
  first.Open();
  second.Open();
  first.Catalogue();
  second.Catalogue();
  v1::ShopRequest request;
  request.mutable_catalogue();
  v1::BrokerToMerchant message = first.Seal(request);
  v1::BrokerToMerchant spliced = message;
  spliced.mutable_session_frame()->set_handle(Handle('b'));
  broker_->Send(spliced);
  ExpectClosed(Handle('b'));
  broker_->Send(message);
  first.OpenReply(broker_->Next());
  broker_->Send(message);
  ExpectClosed(Handle('a'));
  EXPECT_EQ(shop_.refusals.Get(protocol::RefusalReason::kMac) +
                shop_.refusals.Get(protocol::RefusalReason::kBounds) +
                shop_.refusals.Get(protocol::RefusalReason::kUnknownSession) +
                shop_.refusals.Get(protocol::RefusalReason::kSequence),
            2u);
}

TEST_F(BrokerConversationTest, WhoeverCannotFinishTheHandshakeIsRefused) {
  Connect();
  Customer customer(shop_, *broker_, Handle('a'));
  customer.Open();
  customer.finished_.back() ^= 1;
  v1::ShopRequest request;
  request.mutable_catalogue();
  broker_->Send(customer.Seal(request));
  ExpectClosed(Handle('a'));
  EXPECT_EQ(shop_.refusals.Get(protocol::RefusalReason::kFinished), 1u);

  // A hello that this merchant cannot decrypt is answered like any other, and fails at its end.
  Customer garbled(shop_, *broker_, Handle('b'));
  v1::BrokerToMerchant hello = garbled.Hello();
  hello.mutable_session_hello()->mutable_hello()->back() ^= 1;
  broker_->Send(hello);
  EXPECT_TRUE(broker_->Next().has_session_answer());
  // A hello of the wrong size is not even looked at.
  hello.mutable_session_hello()->set_handle(Handle('c'));
  hello.mutable_session_hello()->mutable_hello()->pop_back();
  broker_->Send(hello);
  ExpectClosed(Handle('c'));
}

TEST_F(BrokerConversationTest, OversizeMalformedAndMisplacedRequestsEndTheSession) {
  Connect();
  const auto refused = [this](char name, const std::function<void(Customer&)>& misbehave) {
    Customer customer(shop_, *broker_, Handle(name));
    customer.Open();
    misbehave(customer);
    ExpectClosed(Handle(name));
    EXPECT_EQ(conversation_->sessions().size(), 0u);
  };
  refused('a', [this](Customer& customer) {  // Larger than the one bucket of requests.
    broker_->Send(customer.SealRaw(std::string(3000, 'x')));
  });
  refused('b', [this](Customer& customer) { broker_->Send(customer.SealRaw("\xff\xff")); });
  refused('c', [this](Customer& customer) { broker_->Send(customer.Seal(v1::ShopRequest())); });
  refused('d', [this](Customer& customer) {
    v1::ShopRequest request;
    *request.mutable_checkout() = shop_.NewRequest(std::string(16, 'p'));
    request.mutable_checkout()->mutable_order_key()->pop_back();
    broker_->Send(customer.Seal(request));
  });
  refused('e', [this](Customer& customer) {
    v1::ShopRequest request;
    request.mutable_delivery()->set_order_id("short");
    broker_->Send(customer.Seal(request));
  });
  refused('f', [this](Customer& customer) {  // Finished a second time.
    const std::string finished = customer.finished_;
    customer.Catalogue();
    customer.finished_ = finished;
    v1::ShopRequest request;
    request.mutable_catalogue();
    broker_->Send(customer.Seal(request));
  });
  refused('g', [this](Customer& customer) {  // The handle of a session that is open.
    customer.Catalogue();
    broker_->Send(Customer(shop_, *broker_, customer.handle_).Hello());
  });
}

TEST_F(BrokerConversationTest, TheNumberOfSessionsIsBounded) {
  Connect();
  std::vector<std::unique_ptr<Customer>> customers;
  for (size_t i = 0; i < kMaxSessions; ++i) {
    customers.push_back(
        std::make_unique<Customer>(shop_, *broker_, Handle(static_cast<char>('a' + i))));
    customers.back()->Open();
  }
  Customer one_too_many(shop_, *broker_, Handle('z'));
  broker_->Send(one_too_many.Hello());
  ExpectClosed(Handle('z'));
  v1::BrokerToMerchant closed;
  closed.mutable_session_closed()->set_handle(Handle('a'));
  broker_->Send(closed);
  Customer next(shop_, *broker_, Handle('y'));
  next.Open();
  EXPECT_EQ(next.Catalogue().products_size(), 0);
}

TEST_F(BrokerConversationTest, IdleSessionsAndUnfinishedHandshakesAreSweptOut) {
  Connect();
  Customer idle(shop_, *broker_, Handle('a'));
  Customer silent(shop_, *broker_, Handle('b'));
  idle.Open();
  idle.Catalogue();
  broker_->Send(silent.Hello());
  EXPECT_TRUE(broker_->Next().has_session_answer());
  shop_.clock.Advance(ShopSessions::kHandshakeLimitMs + 1);
  conversation_->Sweep();
  ExpectClosed(Handle('b'));
  EXPECT_EQ(idle.Catalogue().products_size(), 0);
  // Something else keeps the link alive, but not the session.
  for (int minute = 0; minute < 16; ++minute) {
    shop_.clock.Advance(60'000);
    v1::BrokerToMerchant notice;
    notice.mutable_payment_notice()->set_notice_id(minute);
    notice.mutable_payment_notice()->set_order_id(std::string(16, 'u'));
    broker_->Send(notice);
    EXPECT_EQ(broker_->Next().notice_ack().notice_id(), minute);
  }
  conversation_->Sweep();
  ExpectClosed(Handle('a'));
  EXPECT_EQ(conversation_->sessions().size(), 0u);
}

TEST_F(BrokerConversationTest, ADeliveryIdServesOnce) {
  const std::string product_id = shop_.AddProduct("content");
  Connect();
  Customer customer(shop_, *broker_, Handle('a'));
  customer.Open();
  const v1::CheckoutRequest checkout = shop_.NewRequest(product_id);
  const std::string order_id = customer.CheckOut(checkout).terms().order_id();
  v1::ShopRequest request;
  v1::DeliveryRequest& delivery = *request.mutable_delivery();
  delivery.set_order_id(order_id);
  delivery.set_order_key(checkout.order_key());
  delivery.set_delivery_id(std::string(16, 'd'));
  EXPECT_EQ(customer.Ask(request).delivery().outcome(), v1::DELIVERY_OUTCOME_NOT_PAID);
  *delivery.mutable_receipt() = shop_.ReceiptFor(shop_.GetOrder(order_id));
  EXPECT_EQ(customer.Ask(request).delivery().outcome(), v1::DELIVERY_OUTCOME_COMING);
  transport_->Next()->TakeAll();
  broker_->Send(customer.Seal(request));
  ExpectClosed(Handle('a'));
  EXPECT_EQ(transport_->count(), 1u);
}

TEST_F(BrokerConversationTest, ShopsSendABoundedNumberOfDeliveriesAtOnce) {
  const std::string product_id = shop_.AddProduct("content");
  Connect();
  Customer customer(shop_, *broker_, Handle('a'));
  customer.Open();
  const v1::CheckoutRequest checkout = shop_.NewRequest(product_id);
  const std::string order_id = customer.CheckOut(checkout).terms().order_id();
  shop_.Pay(order_id);
  v1::ShopRequest request;
  v1::DeliveryRequest& delivery = *request.mutable_delivery();
  delivery.set_order_id(order_id);
  delivery.set_order_key(checkout.order_key());
  for (char c : {'1', '2'}) {
    delivery.set_delivery_id(std::string(16, c));
    EXPECT_EQ(customer.Ask(request).delivery().outcome(), v1::DELIVERY_OUTCOME_COMING);
  }
  delivery.set_delivery_id(std::string(16, '3'));
  EXPECT_EQ(customer.Ask(request).delivery().outcome(), v1::DELIVERY_OUTCOME_BUSY);
  transport_->Next()->TakeAll();
  EXPECT_EQ(customer.Ask(request).delivery().outcome(), v1::DELIVERY_OUTCOME_COMING);
  transport_->Next()->TakeAll();
  transport_->Next()->TakeAll();
}

TEST_F(BrokerConversationTest, AnOfferWithoutAnAnswerIsBusyAndARetryMakesANewOrder) {
  const std::string product_id = shop_.AddProduct("content", 1250, 1);
  Connect();
  Customer customer(shop_, *broker_, Handle('a'));
  customer.Open();
  const v1::CheckoutRequest checkout = shop_.NewRequest(product_id);
  v1::ShopRequest request;
  *request.mutable_checkout() = checkout;
  broker_->Send(customer.Seal(request));
  const v1::MerchantToBroker offer = broker_->Next();
  // The same once more while the broker thinks.
  EXPECT_EQ(customer.Ask(request).checkout().outcome(), v1::CHECKOUT_OUTCOME_BUSY);
  shop_.clock.Advance(BrokerConversation::kOfferLimitMs);
  conversation_->Sweep();
  EXPECT_EQ(customer.OpenReply(broker_->Next()).checkout().outcome(), v1::CHECKOUT_OUTCOME_BUSY);
  broker_->Send(Customer::Accepted(offer));  // Too late: nobody hears it.
  const v1::CheckoutResult result = customer.CheckOut(checkout);
  EXPECT_EQ(result.outcome(), v1::CHECKOUT_OUTCOME_ORDERED);
  EXPECT_NE(result.terms().order_id(), offer.offer_order().terms().order_id());
  EXPECT_EQ(shop_.Stock(product_id), 0);
}

TEST_F(BrokerConversationTest, AForgedPaymentIsNotAcknowledged) {
  const std::string product_id = shop_.AddProduct("content");
  Connect();
  Customer customer(shop_, *broker_, Handle('a'));
  customer.Open();
  const std::string order_id = customer.CheckOut(shop_.NewRequest(product_id)).terms().order_id();
  v1::BrokerToMerchant forged = PaidNotice(order_id, 1);
  forged.mutable_payment_notice()->mutable_receipt()->mutable_signature()->front() ^= 1;
  broker_->Send(forged);
  broker_->Send(PaidNotice(order_id, 2));
  EXPECT_EQ(broker_->Next().notice_ack().notice_id(), 2);
  EXPECT_TRUE(broker_->SaidNothing());
}

// Another broker of the market has told that their identity has changed.
TEST_F(BrokerConversationTest, ALinkOfAReplacedIdentityEnds) {
  const std::string product_id = shop_.AddProduct("content");
  Connect();
  Customer customer(shop_, *broker_, Handle('a'));
  customer.Open();
  conversation_->CloseUnless(*shop_.pinned_broker.current());
  EXPECT_EQ(customer.CheckOut(shop_.NewRequest(product_id)).outcome(),
            v1::CHECKOUT_OUTCOME_ORDERED);
  ASSERT_TRUE(
      shop_.pinned_broker
          .Follow({protocol::MakeIdentityLink(
              shop_.broker, crypto::TestIdentity(3).public_identity(), 1, shop_.clock.NowUnixMs())})
          .ok());
  conversation_->CloseUnless(*shop_.pinned_broker.current());
  EXPECT_FALSE(protocol::IsRefusal(broker_->WaitClosed()));
  EXPECT_EQ(conversation_->sessions().size(), 0u);
}

TEST_F(BrokerConversationTest, ABrokenLinkEndsItsSessionsAndTheNextLinkTakesARetry) {
  const std::string product_id = shop_.AddProduct("content", 1250, 1);
  Connect();
  Customer customer(shop_, *broker_, Handle('a'));
  customer.Open();
  const v1::CheckoutRequest checkout = shop_.NewRequest(product_id);
  v1::ShopRequest request;
  *request.mutable_checkout() = checkout;
  broker_->Send(customer.Seal(request));
  EXPECT_TRUE(broker_->Next().has_offer_order());
  link_->Break();
  EXPECT_TRUE(absl::IsUnavailable(broker_->WaitClosed()));
  link_.reset();
  EXPECT_EQ(conversation_->sessions().size(), 0u);
  Connect();
  Customer again(shop_, *broker_, Handle('b'));
  again.Open();
  EXPECT_EQ(again.CheckOut(checkout).outcome(), v1::CHECKOUT_OUTCOME_ORDERED);
}

TEST_F(BrokerConversationTest, RepliesLookAlikeAndTheDatabaseKnowsNoSession) {
  const std::string product_id = shop_.AddProduct("content");
  Connect();
  Customer customer(shop_, *broker_, "handle-of-16-byt");
  customer.Open();
  std::set<size_t> sizes;
  customer.Catalogue();
  sizes.insert(customer.last_wire_bytes_);
  const v1::CheckoutRequest checkout = shop_.NewRequest(product_id);
  const std::string order_id = customer.CheckOut(checkout).terms().order_id();
  sizes.insert(customer.last_wire_bytes_);
  shop_.Pay(order_id);
  v1::ShopRequest request;
  request.mutable_delivery()->set_order_id(order_id);
  request.mutable_delivery()->set_order_key(checkout.order_key());
  request.mutable_delivery()->set_delivery_id(std::string(16, 'd'));
  EXPECT_EQ(customer.Ask(request).delivery().outcome(), v1::DELIVERY_OUTCOME_COMING);
  sizes.insert(customer.last_wire_bytes_);
  transport_->Next()->TakeAll();
  request.mutable_delivery()->set_order_id(std::string(16, 'u'));
  EXPECT_EQ(customer.Ask(request).delivery().outcome(), v1::DELIVERY_OUTCOME_NO_SUCH_ORDER);
  sizes.insert(customer.last_wire_bytes_);
  // Equal but for the frame number's varint, which the first frame leaves out.
  EXPECT_LE(*sizes.rbegin() - *sizes.begin(), 2u);

  shop_.DrainWrites();
  std::string stored;
  for (const auto& entry : std::filesystem::directory_iterator(shop_.folder)) {
    if (!entry.is_regular_file()) continue;
    const auto content = ReadFile(entry.path().string(), 64 * 1024 * 1024);
    ASSERT_TRUE(content.ok());
    stored += *content;
  }
  EXPECT_NE(stored.find(order_id), std::string::npos) << "looked in the wrong place";
  EXPECT_EQ(stored.find(customer.sid_), std::string::npos);
  EXPECT_EQ(stored.find("handle-of-16-byt"), std::string::npos);
  EXPECT_EQ(stored.find(checkout.order_key()), std::string::npos);
  EXPECT_EQ(stored.find(std::string(16, 'd')), std::string::npos);
}

}  // namespace
}  // namespace blindcart::merchant
