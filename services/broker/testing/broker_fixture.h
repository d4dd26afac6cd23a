// A broker over a real store in a temporary folder, with customers and merchants who speak the real
// protocol to it over links in memory. Its clock stands still until a test moves it.
#ifndef BLINDCART_SERVICES_BROKER_TESTING_BROKER_FIXTURE_H_
#define BLINDCART_SERVICES_BROKER_TESTING_BROKER_FIXTURE_H_

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/types/optional.h"
#include "crypto/identity.h"
#include "crypto/testing/test_identity.h"
#include "gtest/gtest.h"
#include "proto/customer.pb.h"
#include "proto/merchant.pb.h"
#include "protocol/broker_merchant_handshake.h"
#include "protocol/login_handshake.h"
#include "protocol/testing/fake_clock.h"
#include "services/broker/broker_core.h"
#include "services/broker/enrolment.h"
#include "services/common/testing/memory_link.h"
#include "services/storage/store.h"

namespace blindcart::broker {

inline constexpr int64_t kTestWaitMs = 30'000;  // Only ever waited for when something is broken.

// What arrives on a link, for a test that waits for it.
template <typename Message>
class Inbox {
 public:
  void Put(Message message) {
    std::lock_guard<std::mutex> lock(mutex_);
    messages_.push_back(std::move(message));
    changed_.notify_all();
  }
  void Close(const absl::Status& status) {
    std::lock_guard<std::mutex> lock(mutex_);
    closed_ = status;
    changed_.notify_all();
  }
  // Takes the first message that `wanted` accepts; nothing when the link closes before.
  absl::optional<Message> Take(const std::function<bool(const Message&)>& wanted) {
    std::unique_lock<std::mutex> lock(mutex_);
    absl::optional<Message> taken;
    changed_.wait_for(lock, std::chrono::milliseconds(kTestWaitMs), [&] {
      for (auto it = messages_.begin(); it != messages_.end(); ++it) {
        if (!wanted(*it)) continue;
        taken = std::move(*it);
        messages_.erase(it);
        return true;
      }
      return closed_.has_value();
    });
    return taken;
  }
  size_t size() {
    std::lock_guard<std::mutex> lock(mutex_);
    return messages_.size();
  }
  absl::optional<absl::Status> WaitClosed() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait_for(lock, std::chrono::milliseconds(kTestWaitMs),
                      [&] { return closed_.has_value(); });
    return closed_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Message> messages_;
  absl::optional<absl::Status> closed_;
};

struct LoginOutcome {
  bool refused = false;  // The link was closed without a result.
  bool success = false;
  int64_t retry_after_ms = 0;
};

// An agent as far as the broker sees one.
class TestCustomer {
 public:
  struct Options {
    // Instead of the password message, if set.
    absl::optional<v1::CustomerMessage> first_message;
    // Sent right behind the password, if set.
    absl::optional<v1::CustomerMessage> early_message;
    // Sent instead of a hello of its own, if set.
    absl::optional<v1::HandshakeMessage> replayed_hello;
    // Sent when the challenge cannot be answered, if set.
    absl::optional<v1::HandshakeMessage> replayed_finished;
    // Stops after the hello.
    bool silent_after_hello = false;
  };

  TestCustomer(BrokerCore& broker, const crypto::Identity& identity,
               const crypto::PublicIdentity& broker_identity, const protocol::Clock& clock,
               std::string source = "");
  ~TestCustomer();

  LoginOutcome Login(const std::string& username, const std::string& password);
  LoginOutcome Login(const std::string& username, const std::string& password, Options options);

  void Send(v1::CustomerMessage message);
  // The reply to `message`, whose call id is chosen here; empty when the link closes.
  absl::optional<v1::BrokerToCustomer> Call(v1::CustomerMessage message);
  // The next message that the broker sends by itself.
  absl::optional<v1::BrokerToCustomer> Push();
  // What has arrived and was not taken.
  size_t waiting() { return state_->inbox.size(); }

  absl::optional<absl::Status> WaitClosed() { return state_->inbox.WaitClosed(); }
  void Disconnect() { link_.reset(); }

  // The broker's answer to the hello and the hello itself.
  const v1::HandshakeMessage& hello() const { return state_->hello; }
  const v1::HandshakeMessage& challenge() const { return state_->challenge; }
  const v1::HandshakeMessage& finished() const { return state_->finished; }

 private:
  struct State {
    Inbox<v1::BrokerToCustomer> inbox;
    v1::HandshakeMessage hello;
    v1::HandshakeMessage challenge;
    v1::HandshakeMessage finished;
    std::shared_ptr<Link> link;
  };
  class Handler;

  BrokerCore& broker_;
  const crypto::Identity& identity_;
  const crypto::PublicIdentity& broker_identity_;
  const protocol::Clock& clock_;
  const std::string source_;
  uint64_t next_call_id_ = 2;
  std::shared_ptr<State> state_ = std::make_shared<State>();
  protocol::RefusalCounters counters_;
  std::unique_ptr<testing::MemoryLinkPair> link_;
};

class TestMerchant {
 public:
  TestMerchant(BrokerCore& broker, const crypto::Identity& identity,
               const crypto::PublicIdentity& broker_identity, const protocol::Clock& clock);
  ~TestMerchant();

  // Runs the handshake; true when the broker then counts the merchant as connected.
  bool Connect();

  void Send(v1::MerchantToBroker message);
  absl::optional<v1::BrokerToMerchant> Call(v1::MerchantToBroker message);
  absl::optional<v1::BrokerToMerchant> Push();
  // The next notice; acknowledges it when asked to.
  absl::optional<v1::PaymentNotice> Notice(bool acknowledge);
  v1::OfferOrderResult Offer(const std::string& handle, const v1::OrderTerms& terms);

  absl::optional<absl::Status> WaitClosed() { return state_->inbox.WaitClosed(); }
  void Disconnect() { link_.reset(); }
  size_t waiting() { return state_->inbox.size(); }

 private:
  struct State {
    Inbox<v1::BrokerToMerchant> inbox;
    Inbox<bool> connected;
    std::shared_ptr<Link> link;
  };
  class Handler;

  BrokerCore& broker_;
  const crypto::Identity& identity_;
  const crypto::PublicIdentity& broker_identity_;
  const protocol::Clock& clock_;
  uint64_t next_call_id_ = 1;
  std::shared_ptr<State> state_ = std::make_shared<State>();
  protocol::RefusalCounters counters_;
  std::unique_ptr<testing::MemoryLinkPair> link_;
};

// Cheap, so that tests are quick; the production cost is crypto/'s own test.
inline constexpr crypto::Argon2Cost kTestCost = {64, 1};

class BrokerFixture : public ::testing::Test {
 protected:
  static constexpr char kAlice[] = "alice";
  static constexpr char kBob[] = "bob";
  static constexpr char kAliceAccount[] = "1001";
  static constexpr char kBobAccount[] = "1002";
  static constexpr char kPassword[] = "correct horse";
  static constexpr char kPin[] = "1234";
  static constexpr int64_t kOpeningBalanceMinor = 10'000;

  BrokerFixture();
  ~BrokerFixture() override;

  // Stops the broker and starts it again over the same files. Links have to be gone.
  void Restart();

  std::unique_ptr<TestCustomer> Customer(const crypto::Identity& identity, std::string source = "");
  std::unique_ptr<TestMerchant> Merchant(const crypto::Identity& identity);
  std::unique_ptr<TestCustomer> LoggedIn(const std::string& username);
  std::unique_ptr<TestMerchant> Connected(const crypto::Identity& identity);

  // Opens a shop session of `customer` at `merchant`, whose side answers; gives its handle.
  std::string OpenSession(TestCustomer& customer, TestMerchant& merchant,
                          const crypto::Identity& merchant_identity, const std::string& sid);
  // Signed terms for a session.
  v1::OrderTerms Terms(const crypto::Identity& merchant_identity, const std::string& sid,
                       int64_t price_minor = 1'000);
  v1::CustomerMessage PayMessage(const v1::OrderTerms& terms, const std::string& request_id,
                                 int64_t total_minor, const std::string& account = kAliceAccount,
                                 const std::string& pin = kPin);

  storage::Account AccountOf(const std::string& number);
  v1::OrderStatus StatusOf(const std::string& order_id);
  void ExpectBooksRight();

  const crypto::Identity& alice_ = crypto::TestIdentity(1);
  const crypto::Identity& bob_ = crypto::TestIdentity(2);
  const crypto::Identity& books_ = crypto::TestIdentity(3);
  const crypto::Identity& music_ = crypto::TestIdentity(4);
  const crypto::Identity& identity_ = crypto::TestIdentity(0);
  protocol::FakeClock clock_;
  Signers signers_;  // Taken up by Restart.
  v1::BrokerConfig config_;
  std::string database_path_;
  std::unique_ptr<storage::Store> store_;
  std::unique_ptr<BrokerCore> broker_;
};

// Ids of the right size that say which is which.
std::string Id(const std::string& name, size_t bytes = 16);

}  // namespace blindcart::broker

#endif  // BLINDCART_SERVICES_BROKER_TESTING_BROKER_FIXTURE_H_
