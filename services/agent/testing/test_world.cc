#include "services/agent/testing/test_world.h"

#include <stdlib.h>

#include <chrono>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "crypto/encoding.h"
#include "crypto/testing/test_identity.h"
#include "gtest/gtest.h"

namespace blindcart::agent::testing {
namespace {

constexpr int kCustomer = 1;
constexpr int kBroker = 2;
constexpr int kShop = 3;
// Long enough for a machine that does much else.
constexpr int64_t kPatientMs = 60'000;

std::string FreshFolder() {
  std::string pattern = ::testing::TempDir() + "/agent-XXXXXX";
  const char* const made = mkdtemp(pattern.data());
  EXPECT_NE(made, nullptr);
  return pattern;
}

}  // namespace

TestWorld::TestWorld(size_t broker_addresses)
    : addresses(broker_addresses),
      pinned_broker(crypto::TestIdentity(kBroker).public_identity(), clock),
      broker(crypto::TestIdentity(kBroker), crypto::TestIdentity(kCustomer).public_identity(),
             random, clock),
      shop("books", crypto::TestIdentity(kShop), random, clock) {
  broker.AddShop(shop);
  const std::string folder = FreshFolder();
  purchases_dir_ = FreshFolder();
  database_path_ = folder + "/agent.db";
  options.broker.login_timeout_ms = kPatientMs;
  options.broker.call_timeout_ms = kPatientMs;
  options.shop.open_timeout_ms = kPatientMs;
  options.shop.call_timeout_ms = kPatientMs;
  options.download.piece_timeout_ms = kPatientMs;
  StartAgent();
}

TestWorld::~TestWorld() { agent_.reset(); }

void TestWorld::StartAgent() {
  absl::StatusOr<std::unique_ptr<AgentDatabase>> database = AgentDatabase::Open(database_path_);
  if (!database.ok()) {
    ADD_FAILURE() << database.status();
    abort();
  }
  database_ = *std::move(database);
  const auto peer = std::make_shared<BrokerPeer>();
  peer->customer = &crypto::TestIdentity(kCustomer);
  peer->broker = &pinned_broker;
  peer->random = &random;
  peer->clock = &clock;
  peer->addresses = addresses;
  peer->dial = [this](size_t address, const MakeLinkHandler& make_handler) {
    dialled.push_back(address);
    return down.count(address) > 0 ? absl::UnavailableError("nobody there")
                                   : broker.Dial(make_handler);
  };
  Agent::Dependencies dependencies;
  dependencies.peer = peer;
  dependencies.database = database_.get();
  dependencies.scheduler = &scheduler;
  dependencies.executor = &executor;
  dependencies.fetch = [this](size_t /*address*/, const std::string& id) {
    return broker.Fetch(id);
  };
  dependencies.purchases_dir = purchases_dir_;
  for (size_t i = 0; i < addresses; ++i) {
    dependencies.broker_addresses.push_back(absl::StrCat("unix:/broker-", i, ".sock"));
  }
  agent_ = std::make_unique<Agent>(dependencies, options);
}

void TestWorld::RestartAgent() {
  agent_.reset();
  database_.reset();
  StartAgent();
}

absl::Status TestWorld::Login(const std::string& password) {
  return agent_->broker().Login(broker.username, crypto::SecretBytes::CopyOf(password));
}

CatalogueEntry TestWorld::Browsed(const std::string& title, int64_t price_minor,
                                  const std::string& content) {
  const std::string id = shop.AddProduct(title, price_minor, content);
  const absl::StatusOr<Catalogue::Browsed> browsed = agent_->catalogue().Browse(shop.name());
  EXPECT_TRUE(browsed.ok()) << browsed.status();
  const absl::StatusOr<CatalogueEntry> entry = agent_->catalogue().Find(crypto::HexEncode(id));
  EXPECT_TRUE(entry.ok()) << entry.status();
  return entry.ok() ? *entry : CatalogueEntry();
}

PurchaseRecord TestWorld::Ordered(const std::string& title, int64_t price_minor,
                                  const std::string& content) {
  if (!agent_->broker().state().logged_in) {
    EXPECT_TRUE(Login().ok());
  }
  const absl::StatusOr<Purchases::Ordered> ordered =
      agent_->purchases().Checkout(Browsed(title, price_minor, content));
  EXPECT_TRUE(ordered.ok()) << ordered.status();
  if (!ordered.ok() || !ordered->purchase.has_value()) {
    ADD_FAILURE() << "no order";
    return PurchaseRecord();
  }
  return *ordered->purchase;
}

PurchaseRecord TestWorld::Bought(const std::string& title, const std::string& content) {
  const PurchaseRecord order = Ordered(title, 1000, content);
  const absl::StatusOr<Purchases::Paid> paid = Pay(order);
  EXPECT_TRUE(paid.ok()) << paid.status();
  return paid.ok() ? paid->purchase : order;
}

absl::StatusOr<Purchases::Paid> TestWorld::Pay(const PurchaseRecord& order,
                                               const std::string& pin) {
  return agent_->purchases().Pay(Id(order), broker.account, crypto::SecretBytes::CopyOf(pin), 0);
}

bool TestWorld::Await(const std::function<bool()>& condition) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(kPatientMs);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::yield();
  }
  return true;
}

std::string TestWorld::Id(const PurchaseRecord& purchase) {
  return crypto::HexEncode(purchase.order_id);
}

}  // namespace blindcart::agent::testing
