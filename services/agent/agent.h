// The agent's use cases in one piece: wires them from what is handed in, so that the program and the
// tests make the same agent over different transports.
//
// Thread-safe. Everything handed in must outlive the object.
#ifndef BLINDCART_SERVICES_AGENT_AGENT_H_
#define BLINDCART_SERVICES_AGENT_AGENT_H_

#include <memory>
#include <string>
#include <vector>

#include "crypto/identity.h"
#include "crypto/random.h"
#include "protocol/clock.h"
#include "services/agent/agent_database.h"
#include "services/agent/bank.h"
#include "services/agent/broker_session.h"
#include "services/agent/catalogue.h"
#include "services/agent/downloader.h"
#include "services/agent/purchases.h"
#include "services/agent/shop_directory.h"
#include "services/agent/shop_session.h"

namespace blindcart::agent {

class Agent {
 public:
  struct Dependencies {
    std::shared_ptr<const BrokerPeer> peer;
    AgentDatabase* database = nullptr;
    Scheduler* scheduler = nullptr;
    Executor* executor = nullptr;  // For reopening the session.
    FetchGoods fetch;
    std::string purchases_dir;
    std::vector<std::string> broker_addresses;  // As BrokerPeer numbers them.
  };
  struct Options {
    BrokerSession::Options broker;
    ShopSession::Options shop;
    Downloader::Options download;
  };

  Agent(const Dependencies& dependencies, const Options& options);
  ~Agent();  // Shuts down.

  BrokerSession& broker() { return *broker_; }
  ShopDirectory& directory() { return directory_; }
  Catalogue& catalogue() { return catalogue_; }
  Purchases& purchases() { return purchases_; }
  Downloader& downloader() { return downloader_; }
  Bank& bank() { return bank_; }

  const crypto::PublicIdentity& customer_identity() const;
  const PinnedBroker& pinned_broker() const { return *use_.peer->broker; }
  // Of the link that stands, or of the next one.
  const std::string& broker_address() const;
  const std::string& purchases_dir() const { return use_.purchases_dir; }

  // Breaks off what waits for others; idempotent.
  void Shutdown();

 private:
  const Dependencies use_;
  const std::shared_ptr<BrokerSession> broker_;
  ShopStore shop_store_;
  PurchaseStore purchase_store_;
  ShopDirectory directory_;
  ShopConnector connector_;
  Catalogue catalogue_;
  Purchases purchases_;
  Downloader downloader_;
  Bank bank_;
};

}  // namespace blindcart::agent

#endif  // BLINDCART_SERVICES_AGENT_AGENT_H_
