#include "services/broker/testing/broker_fixture.h"

#include <unistd.h>

#include <atomic>

#include "absl/strings/str_cat.h"
#include "crypto/hash.h"
#include "crypto/password_record.h"
#include "protocol/order.h"
#include "services/broker/config.h"
#include "services/ledger/audit.h"
#include "services/storage/sqlite_store.h"

namespace blindcart::broker {

std::string Id(const std::string& name, size_t bytes) {
  std::string id = crypto::Sha256(name);
  while (id.size() < bytes) id += crypto::Sha256(id);
  return id.substr(0, bytes);
}

// ---- Customer

class TestCustomer::Handler final : public LinkHandler {
 public:
  Handler(TestCustomer& customer, std::shared_ptr<State> state, std::string username,
          std::string password, Options options)
      : state_(std::move(state)),
        clock_(customer.clock_),
        login_(customer.identity_, customer.broker_identity_, crypto::SystemRandom()),
        username_(std::move(username)),
        password_(std::move(password)),
        options_(std::move(options)) {}

  void Start() {
    state_->hello = *login_.Start(username_);
    state_->link->SendHandshake(options_.replayed_hello.value_or(state_->hello));
  }

  void OnHandshake(const v1::HandshakeMessage& message) override {
    state_->challenge = message;
    if (options_.silent_after_hello) {
      v1::BrokerToCustomer marker;  // For Login to return.
      marker.set_call_id(1);
      marker.mutable_login();
      state_->inbox.Put(marker);
      return;
    }
    absl::StatusOr<v1::HandshakeMessage> reply = login_.OnChallenge(message);
    if (!reply.ok()) {
      // As an attacker would: goes on with what it has.
      v1::HandshakeMessage guess;
      guess.set_finished(Id("finished", 32));
      *guess.mutable_frame() = v1::Frame();
      state_->link->SendHandshake(options_.replayed_finished.value_or(guess));
      return;
    }
    auto channel = *protocol::Channel::Create(*login_.TakeKeys(), protocol::Role::kInitiator,
                                              clock_, protocol::Channel::Options());
    v1::CustomerMessage first;
    first.set_call_id(1);
    first.mutable_login()->set_password_hash(
        std::string(crypto::PasswordHash(username_, password_).view()));
    if (options_.first_message.has_value()) first = *options_.first_message;
    EXPECT_TRUE(channel->Seal({first.SerializeAsString()}, reply->mutable_frame()).ok());
    state_->finished = *reply;
    state_->link->SendHandshake(*reply);
    state_->link->Establish(std::move(channel));
    if (options_.early_message.has_value()) {
      EXPECT_TRUE(state_->link->Send(options_.early_message->SerializeAsString()).ok());
    }
  }
  void OnMessages(std::vector<std::string> messages) override {
    for (const std::string& bytes : messages) {
      v1::BrokerToCustomer message;
      EXPECT_TRUE(message.ParseFromString(bytes));
      state_->inbox.Put(message);
    }
  }
  void OnClosed(const absl::Status& status) override { state_->inbox.Close(status); }

 private:
  const std::shared_ptr<State> state_;
  const protocol::Clock& clock_;
  protocol::CustomerLogin login_;
  const std::string username_;
  const std::string password_;
  const Options options_;
};

TestCustomer::TestCustomer(BrokerCore& broker, const crypto::Identity& identity,
                           const crypto::PublicIdentity& broker_identity,
                           const protocol::Clock& clock, std::string source)
    : broker_(broker),
      identity_(identity),
      broker_identity_(broker_identity),
      clock_(clock),
      source_(std::move(source)) {}

TestCustomer::~TestCustomer() { link_.reset(); }

LoginOutcome TestCustomer::Login(const std::string& username, const std::string& password) {
  return Login(username, password, Options());
}

LoginOutcome TestCustomer::Login(const std::string& username, const std::string& password,
                                 Options options) {
  link_.reset();
  state_ = std::make_shared<State>();
  link_ = std::make_unique<testing::MemoryLinkPair>(
      [this](std::shared_ptr<Link> link) {
        return broker_.AcceptCustomer(std::move(link), source_);
      },
      [this, username, password, options](std::shared_ptr<Link> link) {
        state_->link = std::move(link);
        auto handler = std::make_unique<Handler>(*this, state_, username, password, options);
        handler->Start();
        return handler;
      },
      counters_);
  const absl::optional<v1::BrokerToCustomer> reply =
      state_->inbox.Take([](const v1::BrokerToCustomer& message) { return message.has_login(); });
  LoginOutcome outcome;
  outcome.refused = !reply.has_value();
  if (reply.has_value()) {
    EXPECT_EQ(reply->call_id(), 1u);
    outcome.success = reply->login().success();
    outcome.retry_after_ms = reply->login().retry_after_ms();
  }
  return outcome;
}

void TestCustomer::Send(v1::CustomerMessage message) {
  state_->link->Send(message.SerializeAsString()).IgnoreError();
}

absl::optional<v1::BrokerToCustomer> TestCustomer::Call(v1::CustomerMessage message) {
  const uint64_t call_id = next_call_id_++;
  message.set_call_id(call_id);
  Send(std::move(message));
  return state_->inbox.Take(
      [call_id](const v1::BrokerToCustomer& reply) { return reply.call_id() == call_id; });
}

absl::optional<v1::BrokerToCustomer> TestCustomer::Push() {
  return state_->inbox.Take(
      [](const v1::BrokerToCustomer& message) { return message.call_id() == 0; });
}

// ---- Merchant

class TestMerchant::Handler final : public LinkHandler {
 public:
  Handler(TestMerchant& merchant, std::shared_ptr<State> state)
      : state_(std::move(state)),
        clock_(merchant.clock_),
        side_(merchant.identity_, merchant.broker_identity_, crypto::SystemRandom()) {}

  void Start() { state_->link->SendHandshake(*side_.Start()); }

  void OnHandshake(const v1::HandshakeMessage& message) override {
    const bool challenge = rounds_++ == 0;
    absl::StatusOr<v1::HandshakeMessage> reply =
        challenge ? side_.OnChallenge(message) : side_.OnConfirm(message);
    if (!reply.ok()) {
      state_->link->Close(protocol::Refused());
      return;
    }
    state_->link->SendHandshake(*reply);
    if (challenge) return;
    state_->link->Establish(*protocol::Channel::Create(
        *side_.TakeKeys(), protocol::Role::kResponder, clock_, protocol::Channel::Options()));
    state_->connected.Put(true);
  }
  void OnMessages(std::vector<std::string> messages) override {
    for (const std::string& bytes : messages) {
      v1::BrokerToMerchant message;
      EXPECT_TRUE(message.ParseFromString(bytes));
      state_->inbox.Put(message);
    }
  }
  void OnClosed(const absl::Status& status) override {
    state_->connected.Close(status);
    state_->inbox.Close(status);
  }

 private:
  const std::shared_ptr<State> state_;
  const protocol::Clock& clock_;
  protocol::MerchantSide side_;
  int rounds_ = 0;
};

TestMerchant::TestMerchant(BrokerCore& broker, const crypto::Identity& identity,
                           const crypto::PublicIdentity& broker_identity,
                           const protocol::Clock& clock)
    : broker_(broker), identity_(identity), broker_identity_(broker_identity), clock_(clock) {}

TestMerchant::~TestMerchant() { link_.reset(); }

bool TestMerchant::Connect() {
  link_.reset();
  state_ = std::make_shared<State>();
  link_ = std::make_unique<testing::MemoryLinkPair>(
      [this](std::shared_ptr<Link> link) { return broker_.AcceptMerchant(std::move(link), ""); },
      [this](std::shared_ptr<Link> link) {
        state_->link = std::move(link);
        auto handler = std::make_unique<Handler>(*this, state_);
        handler->Start();
        return handler;
      },
      counters_);
  if (!state_->connected.Take([](bool) { return true; }).has_value()) return false;
  // The broker answers calls once it has checked our Finished.
  v1::MerchantToBroker probe;
  probe.mutable_offer_order();
  return Call(probe).has_value();
}

void TestMerchant::Send(v1::MerchantToBroker message) {
  state_->link->Send(message.SerializeAsString()).IgnoreError();
}

absl::optional<v1::BrokerToMerchant> TestMerchant::Call(v1::MerchantToBroker message) {
  const uint64_t call_id = next_call_id_++;
  message.set_call_id(call_id);
  Send(std::move(message));
  return state_->inbox.Take(
      [call_id](const v1::BrokerToMerchant& reply) { return reply.call_id() == call_id; });
}

absl::optional<v1::BrokerToMerchant> TestMerchant::Push() {
  return state_->inbox.Take([](const v1::BrokerToMerchant& message) {
    return message.call_id() == 0 && !message.has_payment_notice();
  });
}

absl::optional<v1::PaymentNotice> TestMerchant::Notice(bool acknowledge) {
  absl::optional<v1::BrokerToMerchant> message = state_->inbox.Take(
      [](const v1::BrokerToMerchant& message) { return message.has_payment_notice(); });
  if (!message.has_value()) return absl::nullopt;
  if (acknowledge) {
    v1::MerchantToBroker ack;
    ack.mutable_notice_ack()->set_notice_id(message->payment_notice().notice_id());
    Send(std::move(ack));
  }
  return message->payment_notice();
}

v1::OfferOrderResult TestMerchant::Offer(const std::string& handle, const v1::OrderTerms& terms) {
  v1::MerchantToBroker message;
  message.mutable_offer_order()->set_handle(handle);
  *message.mutable_offer_order()->mutable_terms() = terms;
  const absl::optional<v1::BrokerToMerchant> reply = Call(std::move(message));
  return reply.has_value() ? reply->offer_order() : v1::OfferOrderResult();
}

// ---- Fixture

BrokerFixture::BrokerFixture() {
  static std::atomic<int> next{0};
  database_path_ = absl::StrCat(::testing::TempDir(), "/broker-", getpid(), "-", next++, ".db");
  config_ = DefaultConfig();
  config_.set_charge_basis_points(100);
  config_.set_charge_fixed_minor(5);
  EXPECT_TRUE(CompleteConfig(&config_).ok());
  store_ = *storage::OpenSqliteStore(database_path_);
  const Enroller enroller = {*store_, config_.currency(), clock_.NowUnixMs(),
                             crypto::SystemRandom(), kTestCost};
  EXPECT_TRUE(PrepareStore(enroller, config_.broker_account_number(),
                           crypto::TestIdentity(5).public_identity())
                  .ok());
  for (const auto& [name, account, identity] :
       {std::tuple(kAlice, kAliceAccount, &alice_), std::tuple(kBob, kBobAccount, &bob_)}) {
    NewCustomer customer;
    customer.username = name;
    customer.identity_pem = identity->public_identity().ToPem();
    customer.account_number = account;
    customer.password = crypto::SecretBytes::CopyOf(kPassword);
    customer.pin = crypto::SecretBytes::CopyOf(kPin);
    customer.opening_balance_minor = kOpeningBalanceMinor;
    EXPECT_TRUE(EnrolCustomer(enroller, customer).ok());
  }
  EXPECT_TRUE(EnrolMerchant(enroller, {"books", books_.public_identity().ToPem(), "2001"}).ok());
  EXPECT_TRUE(EnrolMerchant(enroller, {"music", music_.public_identity().ToPem(), "2002"}).ok());
  broker_ = *BrokerCore::Create(config_, identity_, *store_, clock_, crypto::SystemRandom(),
                                kTestCost, signers_);
}

BrokerFixture::~BrokerFixture() {
  broker_.reset();
  store_.reset();
  for (const char* suffix : {"", "-wal", "-shm"}) {
    unlink(absl::StrCat(database_path_, suffix).c_str());
  }
}

void BrokerFixture::Restart() {
  broker_.reset();
  store_.reset();
  store_ = *storage::OpenSqliteStore(database_path_);
  broker_ = *BrokerCore::Create(config_, identity_, *store_, clock_, crypto::SystemRandom(),
                                kTestCost, signers_);
}

std::unique_ptr<TestCustomer> BrokerFixture::Customer(const crypto::Identity& identity,
                                                      std::string source) {
  return std::make_unique<TestCustomer>(*broker_, identity, identity_.public_identity(), clock_,
                                        std::move(source));
}

std::unique_ptr<TestMerchant> BrokerFixture::Merchant(const crypto::Identity& identity) {
  return std::make_unique<TestMerchant>(*broker_, identity, identity_.public_identity(), clock_);
}

std::unique_ptr<TestCustomer> BrokerFixture::LoggedIn(const std::string& username) {
  auto customer = Customer(username == kAlice ? alice_ : bob_);
  EXPECT_TRUE(customer->Login(username, kPassword).success);
  return customer;
}

std::unique_ptr<TestMerchant> BrokerFixture::Connected(const crypto::Identity& identity) {
  auto merchant = Merchant(identity);
  EXPECT_TRUE(merchant->Connect());
  return merchant;
}

std::string BrokerFixture::OpenSession(TestCustomer& customer, TestMerchant& merchant,
                                       const crypto::Identity& merchant_identity,
                                       const std::string& sid) {
  v1::CustomerMessage open;
  open.set_call_id(1'000'000);
  open.mutable_open_shop()->set_merchant_fingerprint(
      merchant_identity.public_identity().fingerprint());
  open.mutable_open_shop()->set_sid(sid);
  open.mutable_open_shop()->set_hello("hello");
  customer.Send(open);
  const absl::optional<v1::BrokerToMerchant> hello = merchant.Push();
  EXPECT_TRUE(hello.has_value() && hello->has_session_hello());
  if (!hello.has_value()) return "";
  v1::MerchantToBroker answer;
  answer.mutable_session_answer()->set_handle(hello->session_hello().handle());
  answer.mutable_session_answer()->set_answer("answer");
  merchant.Send(answer);
  // A call behind it: once it is answered, so is the session, since a link keeps its order.
  v1::MerchantToBroker probe;
  probe.mutable_offer_order();
  EXPECT_TRUE(merchant.Call(probe).has_value());
  return hello->session_hello().handle();
}

v1::OrderTerms BrokerFixture::Terms(const crypto::Identity& merchant_identity,
                                    const std::string& sid, int64_t price_minor) {
  v1::OrderTerms terms;
  terms.set_order_id(crypto::SystemRandom().Bytes(protocol::kOrderIdBytes));
  terms.set_sid(sid);
  terms.set_price_minor(price_minor);
  terms.set_currency("EUR");
  terms.set_expires_at_ms(clock_.NowUnixMs() + 600'000);
  terms.set_commitment(Id("commitment", 32));
  protocol::SignTerms(merchant_identity, &terms);
  return terms;
}

v1::CustomerMessage BrokerFixture::PayMessage(const v1::OrderTerms& terms,
                                              const std::string& request_id, int64_t total_minor,
                                              const std::string& account, const std::string& pin) {
  v1::CustomerMessage message;
  v1::PayCall* pay = message.mutable_pay();
  pay->set_request_id(request_id);
  pay->set_order_id(terms.order_id());
  pay->set_account_number(account);
  pay->set_pin_hash(std::string(crypto::PinHash(account, pin).view()));
  pay->set_agreed_total_minor(total_minor);
  return message;
}

storage::Account BrokerFixture::AccountOf(const std::string& number) {
  storage::Account account;
  EXPECT_TRUE(store_
                  ->Read([&](storage::Transaction& transaction) {
                    const absl::StatusOr<storage::Account> found =
                        transaction.accounts().FindByNumber(number);
                    if (found.ok()) account = *found;
                    return found.status();
                  })
                  .ok());
  return account;
}

v1::OrderStatus BrokerFixture::StatusOf(const std::string& order_id) {
  v1::OrderStatus status = v1::ORDER_STATUS_UNSPECIFIED;
  EXPECT_TRUE(store_
                  ->Read([&](storage::Transaction& transaction) {
                    const absl::StatusOr<storage::Order> order = transaction.orders().Get(order_id);
                    if (order.ok()) status = EffectiveStatus(*order, 0);
                    return order.status();
                  })
                  .ok());
  return status;
}

void BrokerFixture::ExpectBooksRight() {
  const absl::StatusOr<ledger::AuditReport> report = ledger::AuditBooks(*store_);
  ASSERT_TRUE(report.ok());
  for (const ledger::AuditProblem& problem : report->problems) {
    ADD_FAILURE() << problem.table << " " << problem.row << ": " << problem.what;
  }
}

}  // namespace blindcart::broker
