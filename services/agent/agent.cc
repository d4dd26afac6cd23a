#include "services/agent/agent.h"

namespace blindcart::agent {

Agent::Agent(const Dependencies& dependencies, const Options& options)
    : use_(dependencies),
      broker_(BrokerSession::Create(use_.peer, *use_.scheduler, *use_.executor, options.broker)),
      shop_store_(*use_.database),
      purchase_store_(*use_.database),
      directory_(*broker_, shop_store_),
      connector_(*broker_, *use_.peer->random, *use_.peer->clock, options.shop),
      catalogue_(directory_, connector_, shop_store_),
      purchases_({broker_.get(), use_.peer->broker, &directory_, &connector_, &purchase_store_,
                  use_.peer->random, use_.peer->clock}),
      downloader_({&directory_, &connector_, &purchases_, &purchase_store_, use_.peer->random,
                   use_.fetch, use_.purchases_dir},
                  options.download),
      bank_(*broker_, *use_.database, *use_.peer->random, *use_.peer->clock) {}

Agent::~Agent() { Shutdown(); }

const crypto::PublicIdentity& Agent::customer_identity() const {
  return use_.peer->customer->public_identity();
}

const std::string& Agent::broker_address() const {
  return use_.broker_addresses.at(broker_->state().address);
}

void Agent::Shutdown() {
  downloader_.Shutdown();
  broker_->Shutdown();
}

}  // namespace blindcart::agent
