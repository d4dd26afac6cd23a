#include "services/agent/testing/fake_broker.h"

#include <chrono>
#include <utility>

#include "crypto/password_record.h"
#include "crypto/testing/test_identity.h"
#include "gtest/gtest.h"
#include "protocol/channel.h"
#include "protocol/login_handshake.h"
#include "protocol/order.h"

namespace blindcart::agent::testing {
namespace {

// Anybody's but the customer's: one that is there already, since making one takes long.
constexpr int kDecoyIdentity = 3;

}  // namespace

class FakeBroker::Connection : public LinkHandler {
 public:
  Connection(FakeBroker& broker, std::shared_ptr<Link> link)
      : broker_(broker), link_(std::move(link)), login_(broker.identity_, broker.random_) {}

  void OnHandshake(const v1::HandshakeMessage& message) override {
    const absl::Status status = hello_seen_ ? OnFinished(message) : OnHello(message);
    if (!status.ok()) link_->Close(protocol::Refused());
  }

  void OnMessages(std::vector<std::string> messages) override {
    for (const std::string& bytes : messages) {
      v1::CustomerMessage call;
      ASSERT_TRUE(call.ParseFromString(bytes));
      if (call.has_close_shop()) {
        // Comes when the agent's use of the session is over, so a test may be changing handles.
        std::lock_guard<std::mutex> lock(broker_.mutex_);
        broker_.by_session_.erase(call.close_shop().sid());
        continue;
      }
      if (broker_.break_before.erase(call.body_case()) > 0) {
        link_->Close(absl::UnavailableError("broken"));
        return;
      }
      absl::optional<v1::BrokerToCustomer> answer;
      {
        std::lock_guard<std::mutex> lock(broker_.mutex_);
        answer = broker_.Handle(*this, call);
      }
      if (broker_.break_after.erase(call.body_case()) > 0) {
        link_->Close(absl::UnavailableError("broken"));
        return;
      }
      if (!answer.has_value()) continue;
      answer->set_call_id(call.call_id());
      if (broker_.alter) broker_.alter(call, &*answer);
      Push(*answer);
    }
  }

  void OnClosed(const absl::Status& /*status*/) override {}

  void Push(const v1::BrokerToCustomer& message) {
    link_->Send(message.SerializeAsString()).IgnoreError();
  }

 private:
  absl::Status OnHello(const v1::HandshakeMessage& message) {
    hello_seen_ = true;
    const absl::StatusOr<std::string> username = login_.OnHello(message);
    if (!username.ok()) return username.status();
    username_ = *username;
    const bool known = username_ == broker_.username;
    absl::StatusOr<v1::HandshakeMessage> answer =
        login_.Answer(known ? &broker_.customer_ : nullptr,
                      crypto::TestIdentity(kDecoyIdentity).public_identity());
    if (!answer.ok()) return answer.status();
    link_->SendHandshake(*std::move(answer));
    return absl::OkStatus();
  }

  absl::Status OnFinished(const v1::HandshakeMessage& message) {
    const absl::Status finished = login_.OnFinished(message);
    if (!finished.ok()) return finished;
    absl::StatusOr<protocol::SessionKeys> keys = login_.TakeKeys();
    if (!keys.ok()) return keys.status();
    absl::StatusOr<std::unique_ptr<protocol::Channel>> channel =
        protocol::Channel::Create(*std::move(keys), protocol::Role::kResponder, broker_.clock_, {});
    if (!channel.ok()) return channel.status();
    const absl::StatusOr<std::vector<std::string>> first = (*channel)->Open(message.frame());
    if (!first.ok()) return first.status();
    v1::CustomerMessage call;
    EXPECT_TRUE(call.ParseFromString(first->front()));
    if (broker_.busy) {
      link_->Close(absl::UnavailableError("busy"));
      return absl::OkStatus();
    }
    const crypto::SecretBytes expected = crypto::PasswordHash(username_, broker_.password);
    v1::BrokerToCustomer answer;
    answer.set_call_id(call.call_id());
    const bool success = call.login().password_hash() == expected.view();
    answer.mutable_login()->set_success(success);
    if (!success) answer.mutable_login()->set_retry_after_ms(broker_.retry_after_ms);
    if (success) ++broker_.logins;
    link_->Establish(*std::move(channel));
    if (success) {
      std::lock_guard<std::mutex> lock(broker_.mutex_);
      broker_.latest_ = link_;
    }
    Push(answer);
    if (!success) link_->Close(absl::OkStatus());
    return absl::OkStatus();
  }

  FakeBroker& broker_;
  const std::shared_ptr<Link> link_;
  protocol::BrokerLogin login_;
  bool hello_seen_ = false;
  std::string username_;
};

class FakeBroker::Goods : public GoodsStream {
 public:
  Goods(FakeBroker& broker, std::string delivery_id)
      : broker_(broker), delivery_id_(std::move(delivery_id)) {}
  ~Goods() override { Cancel(); }

  absl::StatusOr<bool> Next(v1::Frame* frame, int64_t timeout_ms) override {
    std::unique_lock<std::mutex> lock(broker_.goods_mutex_);
    Delivery& delivery = broker_.goods_[delivery_id_];
    broker_.goods_changed_.wait_for(lock, std::chrono::milliseconds(timeout_ms), [&] {
      return cancelled_ || !delivery.waiting.empty() || delivery.complete;
    });
    if (!cancelled_ && delivery.waiting.empty() && delivery.complete) {
      ++broker_.deliveries_ended;
      return false;
    }
    if (cancelled_ || delivery.waiting.empty()) return absl::UnavailableError("broken");
    *frame = std::move(delivery.waiting.front());
    delivery.waiting.pop_front();
    if (broker_.alter_goods && !broker_.alter_goods(index_++, frame)) {
      return absl::UnavailableError("broken");
    }
    return true;
  }

  void Cancel() override {
    std::lock_guard<std::mutex> lock(broker_.goods_mutex_);
    cancelled_ = true;
    broker_.goods_changed_.notify_all();
  }

 private:
  FakeBroker& broker_;
  const std::string delivery_id_;
  size_t index_ = 0;
  bool cancelled_ = false;
};

FakeBroker::FakeBroker(const crypto::Identity& identity, const crypto::PublicIdentity& customer,
                       crypto::RandomSource& random, const protocol::Clock& clock)
    : identity_(identity), customer_(customer), random_(random), clock_(clock) {}

FakeBroker::~FakeBroker() { pairs_.clear(); }

void FakeBroker::Push(const v1::BrokerToCustomer& message) {
  std::lock_guard<std::mutex> lock(mutex_);
  latest_->Send(message.SerializeAsString()).IgnoreError();
}

void FakeBroker::AddShop(FakeShop& shop) {
  const crypto::PublicIdentity& identity = shop.identity().public_identity();
  const std::string fingerprint = identity.fingerprint();
  shops_[fingerprint] = &shop;
  v1::ShopEntry* entry = directory.add_shops();
  entry->set_name(shop.name());
  entry->set_identity(identity.Serialize());
  entry->set_online(true);
  shop.Connect(
      [this, fingerprint](const v1::OrderTerms& terms, int64_t* charge_minor) {
        *charge_minor = terms.price_minor() / 10;
        v1::GetOrderResult& state = orders[terms.order_id()].state;
        state.set_found(true);
        *state.mutable_terms() = terms;
        state.set_merchant_fingerprint(fingerprint);
        state.set_charge_minor(*charge_minor);
        state.set_total_minor(terms.price_minor() + *charge_minor);
        state.set_status(v1::ORDER_STATUS_CREATED);
        return true;
      },
      [this](const std::string& delivery_id, v1::Frame frame, bool last) {
        std::lock_guard<std::mutex> lock(goods_mutex_);
        const auto found = goods_.find(delivery_id);
        ASSERT_NE(found, goods_.end()) << "a delivery that nobody opened";
        found->second.waiting.push_back(std::move(frame));
        found->second.complete = last;
        goods_changed_.notify_all();
      });
}

absl::StatusOr<std::shared_ptr<Link>> FakeBroker::Dial(const MakeLinkHandler& make_handler) {
  if (!reachable) return absl::UnavailableError("unreachable");
  auto pair = std::make_unique<blindcart::testing::MemoryLinkPair>(
      [this](std::shared_ptr<Link> link) {
        return std::make_unique<Connection>(*this, std::move(link));
      },
      make_handler, counters_);
  const std::shared_ptr<Link> link = pair->dialling_end();
  std::lock_guard<std::mutex> lock(pairs_mutex_);
  pairs_.push_back(std::move(pair));
  return link;
}

std::unique_ptr<GoodsStream> FakeBroker::Fetch(const std::string& delivery_id) {
  return std::make_unique<Goods>(*this, delivery_id);
}

void FakeBroker::BreakLinks() {
  std::lock_guard<std::mutex> lock(pairs_mutex_);
  for (const auto& pair : pairs_) pair->Break();
}

absl::optional<v1::BrokerToCustomer> FakeBroker::Handle(Connection& connection,
                                                        const v1::CustomerMessage& call) {
  v1::BrokerToCustomer answer;
  switch (call.body_case()) {
    case v1::CustomerMessage::kListShops:
      *answer.mutable_list_shops() = directory;
      break;
    case v1::CustomerMessage::kGetShop:
      answer.mutable_get_shop();
      for (const v1::ShopEntry& entry : directory.shops()) {
        const absl::StatusOr<crypto::PublicIdentity> identity =
            crypto::PublicIdentity::Parse(entry.identity());
        const bool wanted =
            call.get_shop().has_name()
                ? entry.name() == call.get_shop().name()
                : identity.ok() && identity->fingerprint() == call.get_shop().fingerprint();
        if (wanted) *answer.mutable_get_shop()->mutable_shop() = entry;
      }
      break;
    case v1::CustomerMessage::kOpenShop:
      OpenShop(connection, call.open_shop(), answer.mutable_open_shop());
      break;
    case v1::CustomerMessage::kShopFrame:
      RelayToShop(connection, call.shop_frame());
      return absl::nullopt;
    case v1::CustomerMessage::kGetOrder: {
      const auto found = orders.find(call.get_order().order_id());
      answer.mutable_get_order();
      if (found != orders.end()) *answer.mutable_get_order() = found->second.state;
      break;
    }
    case v1::CustomerMessage::kPay:
      *answer.mutable_pay() = Pay(call.pay());
      break;
    case v1::CustomerMessage::kDecline: {
      answer.mutable_decline();
      const auto found = orders.find(call.decline().order_id());
      if (found == orders.end()) break;
      if (found->second.state.status() == v1::ORDER_STATUS_CREATED) {
        found->second.state.set_status(v1::ORDER_STATUS_DECLINED);
      }
      answer.mutable_decline()->set_status(found->second.state.status());
      break;
    }
    case v1::CustomerMessage::kOpenDelivery: {
      const bool known = by_session_.count(call.open_delivery().sid()) > 0;
      answer.mutable_open_delivery()->set_ok(known);
      std::lock_guard<std::mutex> lock(goods_mutex_);
      if (known) goods_[call.open_delivery().delivery_id()];
      break;
    }
    case v1::CustomerMessage::kBalance:
      answer.mutable_balance()->set_account_number(account);
      answer.mutable_balance()->set_balance_minor(balance_minor);
      answer.mutable_balance()->set_currency("EUR");
      break;
    case v1::CustomerMessage::kBank:
      if (call.bank().has_statement()) {
        *answer.mutable_bank()->mutable_statement() = Statement(call.bank().statement());
      } else if (call.bank().has_deposit()) {
        *answer.mutable_bank()->mutable_cash() = Move(call.bank().deposit(), /*deposit=*/true);
      } else {
        *answer.mutable_bank()->mutable_cash() = Move(call.bank().withdraw(), /*deposit=*/false);
      }
      break;
    case v1::CustomerMessage::kNotary:
      answer.mutable_notary();  // For `alter` to fill in.
      break;
    default:
      ADD_FAILURE() << "an unexpected call";
  }
  return answer;
}

v1::CashResult FakeBroker::Move(const v1::CashCall& call, bool deposit) {
  EXPECT_EQ(call.request_id().size(), protocol::kRequestIdBytes);
  EXPECT_GT(call.amount_minor(), 0);
  const auto known = cash_answers_.find(call.request_id());
  if (known != cash_answers_.end()) return known->second;
  v1::CashResult& result = cash_answers_[call.request_id()];
  if (!deposit && call.amount_minor() > balance_minor) {
    result.set_outcome(v1::CASH_OUTCOME_INSUFFICIENT_BALANCE);
  } else {
    balance_minor += deposit ? call.amount_minor() : -call.amount_minor();
    ++cash_moves;
    result.set_outcome(v1::CASH_OUTCOME_DONE);
  }
  result.set_balance_minor(balance_minor);
  result.set_currency("EUR");
  return result;
}

v1::StatementResult FakeBroker::Statement(const v1::StatementCall& call) const {
  v1::StatementResult result;
  result.set_account_number(account);
  result.set_currency("EUR");
  size_t at = 0;
  if (!call.after_transfer_id().empty()) {
    while (at < entries.size() && entries[at++].transfer_id() != call.after_transfer_id()) {
    }
  }
  int64_t passed_over = 0;
  int passed = 0;
  while (at < entries.size() && entries[at].created_at_ms() < call.since_ms()) {
    if (passed++ == max_passed_over) {
      result.set_passed_over_minor(passed_over);
      result.set_passed_transfer_id(entries[at - 1].transfer_id());
      result.set_more(true);
      return result;
    }
    passed_over += entries[at++].amount_minor();
  }
  result.set_passed_over_minor(passed_over);
  while (at < entries.size() && result.entries_size() < entries_per_page) {
    *result.add_entries() = entries[at++];
  }
  result.set_more(at < entries.size());
  return result;
}

v1::PayResult FakeBroker::Pay(const v1::PayCall& call) {
  pay_calls.push_back(call);
  const auto known = answers_.find(call.request_id());
  if (known != answers_.end()) return known->second;
  v1::PayResult& result = answers_[call.request_id()];
  const auto order = orders.find(call.order_id());
  if (order == orders.end()) {
    result.set_outcome(v1::PAY_OUTCOME_ORDER_UNKNOWN);
    return result;
  }
  v1::GetOrderResult& state = order->second.state;
  if (call.account_number() != account || call.pin_hash() != crypto::PinHash(account, pin).view()) {
    result.set_outcome(v1::PAY_OUTCOME_ACCOUNT_OR_PIN);
  } else if (state.status() == v1::ORDER_STATUS_DECLINED) {
    result.set_outcome(v1::PAY_OUTCOME_ORDER_DECLINED);
  } else if (state.status() == v1::ORDER_STATUS_PAID) {
    result.set_outcome(v1::PAY_OUTCOME_ORDER_UNKNOWN);
  } else if (state.terms().expires_at_ms() <= clock_.NowUnixMs()) {
    result.set_outcome(v1::PAY_OUTCOME_ORDER_EXPIRED);
  } else if (call.agreed_total_minor() != state.total_minor()) {
    result.set_outcome(v1::PAY_OUTCOME_TOTAL_DIFFERS);
  } else if (balance_minor < state.total_minor()) {
    result.set_outcome(v1::PAY_OUTCOME_INSUFFICIENT_BALANCE);
  } else {
    balance_minor -= state.total_minor();
    ++charges;
    v1::Receipt& receipt = *result.mutable_receipt();
    receipt.set_order_id(call.order_id());
    receipt.set_commitment(state.terms().commitment());
    receipt.set_merchant_fingerprint(state.merchant_fingerprint());
    receipt.set_price_minor(state.terms().price_minor());
    receipt.set_charge_minor(state.charge_minor());
    receipt.set_total_minor(state.total_minor());
    receipt.set_currency(state.terms().currency());
    receipt.set_paid_at_ms(clock_.NowUnixMs());
    protocol::SignReceipt(identity_, &receipt);
    result.set_outcome(v1::PAY_OUTCOME_SUCCESSFUL);
    state.set_status(v1::ORDER_STATUS_PAID);
    *state.mutable_receipt() = receipt;
  }
  return result;
}

void FakeBroker::OpenShop(Connection& /*connection*/, const v1::OpenShopCall& call,
                          v1::OpenShopResult* result) {
  const auto found = shops_.find(call.merchant_fingerprint());
  if (found == shops_.end()) {
    result->set_state(v1::SHOP_STATE_UNKNOWN);
    return;
  }
  if (!found->second->online) {
    result->set_state(v1::SHOP_STATE_OFFLINE);
    return;
  }
  by_session_[call.sid()] = found->second;
  result->set_state(v1::SHOP_STATE_OPEN);
  result->set_answer(found->second->OnHello(call.sid(), call.hello()).SerializeAsString());
}

void FakeBroker::RelayToShop(Connection& connection, const v1::ShopFrame& frame) {
  const auto found = by_session_.find(frame.sid());
  if (found == by_session_.end()) return;
  std::string answer = found->second->OnFrame(frame.sid(), frame.frame());
  if (answer.empty()) return;
  if (alter_shop_frame) alter_shop_frame(&answer);
  v1::BrokerToCustomer push;
  push.mutable_shop_frame()->set_sid(frame.sid());
  push.mutable_shop_frame()->set_frame(answer);
  connection.Push(push);
}

}  // namespace blindcart::agent::testing
