// An agent, a fake broker and a fake shop, joined by memory links: what most of the agent's tests
// begin with.
#ifndef BLINDCART_SERVICES_AGENT_TESTING_TEST_WORLD_H_
#define BLINDCART_SERVICES_AGENT_TESTING_TEST_WORLD_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "crypto/testing/deterministic_random.h"
#include "protocol/testing/fake_clock.h"
#include "services/agent/agent.h"
#include "services/agent/testing/fake_broker.h"
#include "services/agent/testing/fake_shop.h"
#include "services/common/pinned_broker.h"
#include "services/common/testing/fake_scheduler.h"
#include "services/common/testing/inline_executor.h"

namespace blindcart::agent::testing {

class TestWorld {
 public:
  explicit TestWorld(size_t broker_addresses = 1);
  ~TestWorld();

  // Ends the agent and starts another one over the same database, as a restart does; not logged in.
  void RestartAgent();
  absl::Status Login(const std::string& password = "correct horse");
  // Adds a product, browses the shop, and returns the entry.
  CatalogueEntry Browsed(const std::string& title, int64_t price_minor, const std::string& content);
  // A checked-out, and a paid, order of a new product.
  PurchaseRecord Ordered(const std::string& title = "A Book", int64_t price_minor = 1000,
                         const std::string& content = "content");
  PurchaseRecord Bought(const std::string& title, const std::string& content);
  // Pays `order` with the right account and PIN.
  absl::StatusOr<Purchases::Paid> Pay(const PurchaseRecord& order, const std::string& pin = "1234");
  // The order's id as a person types it.
  static std::string Id(const PurchaseRecord& purchase);

  // Whether `condition` came true within a generous time.
  static bool Await(const std::function<bool()>& condition);

  // A fresh folder for purchases.
  const std::string& purchases_dir() const { return purchases_dir_; }
  const std::string& database_path() const { return database_path_; }
  Agent& agent() { return *agent_; }
  AgentDatabase& database() { return *database_; }

  const size_t addresses;       // The broker is behind each of them...
  std::set<size_t> down;        // ...but these. Before an agent's call.
  std::vector<size_t> dialled;  // In this order. After it.
  protocol::FakeClock clock;
  PinnedBroker pinned_broker;
  crypto::DeterministicRandom random{7};
  FakeBroker broker;
  FakeShop shop;
  blindcart::testing::FakeScheduler scheduler;
  blindcart::testing::InlineExecutor executor;
  Agent::Options options;

 private:
  void StartAgent();

  std::string purchases_dir_;
  std::string database_path_;
  std::unique_ptr<AgentDatabase> database_;
  std::unique_ptr<Agent> agent_;
};

}  // namespace blindcart::agent::testing

#endif  // BLINDCART_SERVICES_AGENT_TESTING_TEST_WORLD_H_
