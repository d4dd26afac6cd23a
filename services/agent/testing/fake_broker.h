// A broker for the agent's tests: the real login handshake and channel, an account, orders, a relay
// to fake shops and deliveries, all in memory, with handles for making it fail or lie.
//
// Thread safety: Handle and what it calls run under one mutex; a test changes handles while no call
// is under way (the closing of a shop session, which nobody waits for, touches none). Links are
// memory links, each with a thread of its own.
#ifndef BLINDCART_SERVICES_AGENT_TESTING_FAKE_BROKER_H_
#define BLINDCART_SERVICES_AGENT_TESTING_FAKE_BROKER_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "crypto/identity.h"
#include "crypto/random.h"
#include "proto/customer.pb.h"
#include "protocol/clock.h"
#include "protocol/refusal.h"
#include "services/agent/broker_link.h"
#include "services/agent/goods_stream.h"
#include "services/agent/testing/fake_shop.h"
#include "services/common/testing/memory_link.h"

namespace blindcart::agent::testing {

class FakeBroker {
 public:
  FakeBroker(const crypto::Identity& identity, const crypto::PublicIdentity& customer,
             crypto::RandomSource& random, const protocol::Clock& clock);
  ~FakeBroker();

  void AddShop(FakeShop& shop);

  // For the agent.
  absl::StatusOr<std::shared_ptr<Link>> Dial(const MakeLinkHandler& make_handler);
  std::unique_ptr<GoodsStream> Fetch(const std::string& delivery_id);

  // Sends `message` by itself on the latest link that logged in.
  void Push(const v1::BrokerToCustomer& message);
  // Breaks every link.
  void BreakLinks();

  const crypto::Identity& identity() const { return identity_; }

  struct Order {
    v1::GetOrderResult state;
    std::string customer;
  };

  // Handles.
  std::atomic<bool> reachable{true};
  std::atomic<bool> busy{false};  // It ends each link in place of an answer to the password.
  std::string username = "alice";
  std::string password = "correct horse";
  std::string account = "ACC-1";
  std::string pin = "1234";
  int64_t balance_minor = 100'000;
  int64_t retry_after_ms = 0;  // With a failed login.
  v1::ListShopsResult directory;
  std::set<v1::CustomerMessage::BodyCase> break_before;  // Once each: the call is lost.
  std::set<v1::CustomerMessage::BodyCase> break_after;   // Once each: its answer is lost.
  std::function<void(const v1::CustomerMessage& call, v1::BrokerToCustomer* answer)> alter;
  std::function<void(std::string* frame)> alter_shop_frame;  // Towards the agent.
  // Frame number `index` of a delivery; false: it breaks here.
  std::function<bool(size_t index, v1::Frame* frame)> alter_goods;

  // What came to pass.
  std::atomic<int> logins{0};
  std::atomic<int> deliveries_ended{0};  // Cleanly.
  int charges = 0;
  std::vector<v1::PayCall> pay_calls;
  std::map<std::string, Order> orders;
  int cash_moves = 0;
  std::vector<v1::StatementEntry> entries;  // What a statement shows.
  int entries_per_page = 3;
  int max_passed_over = 2;

 private:
  class Connection;
  friend class Connection;
  class Goods;
  struct Delivery {
    std::deque<v1::Frame> waiting;
    bool complete = false;  // No frame follows.
  };

  // Null when there is no answer.
  absl::optional<v1::BrokerToCustomer> Handle(Connection& connection,
                                              const v1::CustomerMessage& call);
  v1::PayResult Pay(const v1::PayCall& call);
  v1::CashResult Move(const v1::CashCall& call, bool deposit);
  v1::StatementResult Statement(const v1::StatementCall& call) const;
  void OpenShop(Connection& connection, const v1::OpenShopCall& call, v1::OpenShopResult* result);
  void RelayToShop(Connection& connection, const v1::ShopFrame& frame);

  const crypto::Identity& identity_;
  const crypto::PublicIdentity& customer_;
  crypto::RandomSource& random_;
  const protocol::Clock& clock_;
  protocol::RefusalCounters counters_;

  std::mutex mutex_;
  std::shared_ptr<Link> latest_;                 // That logged in.
  std::map<std::string, FakeShop*> shops_;       // By fingerprint.
  std::map<std::string, FakeShop*> by_session_;  // By sid.
  std::map<std::string, v1::PayResult> answers_;
  std::map<std::string, v1::CashResult> cash_answers_;

  std::mutex goods_mutex_;
  std::condition_variable goods_changed_;
  std::map<std::string, Delivery> goods_;

  std::mutex pairs_mutex_;
  std::vector<std::unique_ptr<blindcart::testing::MemoryLinkPair>> pairs_;
};

}  // namespace blindcart::agent::testing

#endif  // BLINDCART_SERVICES_AGENT_TESTING_FAKE_BROKER_H_
