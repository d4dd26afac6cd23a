#include "tests/support/interposed_marketplace.h"

#include <utility>

#include "crypto/key_file.h"
#include "services/common/files.h"

namespace blindcart::testing {
namespace {

absl::StatusOr<std::unique_ptr<crypto::Identity>> Load(const std::string& data_dir) {
  auto identity = crypto::LoadIdentity(data_dir + "/identity", Marketplace::kPassphrase);
  if (!identity.ok()) return identity.status();
  return std::make_unique<crypto::Identity>(*std::move(identity));
}

}  // namespace

absl::StatusOr<std::unique_ptr<InterposedMarketplace>> InterposedMarketplace::Create(
    const std::string& folder, const std::vector<std::string>& broker_init_arguments) {
  auto created = std::unique_ptr<InterposedMarketplace>(new InterposedMarketplace());
  auto market = Marketplace::Create(folder, broker_init_arguments);
  if (!market.ok()) return market.status();
  created->market_ = *std::move(market);
  const absl::Status started = created->market_->StartBroker();
  if (!started.ok()) return started;

  auto broker = Load(created->market_->broker_dir());
  if (!broker.ok()) return broker.status();
  created->broker_ = *std::move(broker);
  auto certificate = ReadFile(created->market_->broker_dir() + "/tls/certificate.pem");
  if (!certificate.ok()) return certificate.status();
  auto private_key = ReadFile(created->market_->broker_dir() + "/tls/private_key.pem");
  if (!private_key.ok()) return private_key.status();
  Interposer::Options options;
  options.broker = created->broker_.get();
  options.upstream_address = created->market_->broker_address();
  options.upstream_root_pem = *certificate;
  options.tls = {*certificate, *private_key};
  auto interposer = Interposer::Start(options);
  if (!interposer.ok()) return interposer.status();
  created->interposer_ = *std::move(interposer);
  return created;
}

absl::Status InterposedMarketplace::AddMerchant(const std::string& name,
                                                const std::string& account) {
  const absl::Status added = market_->AddMerchant(name, account, interposer_->address());
  if (!added.ok()) return added;
  auto identity = Load(market_->merchant_dir(name));
  if (!identity.ok()) return identity.status();
  interposer_->LendMerchant(**identity);
  merchants_[name] = *std::move(identity);
  return market_->StartMerchant(name);
}

absl::Status InterposedMarketplace::AddCustomer(const CustomerSpec& customer) {
  const absl::Status added = market_->AddCustomer(customer, interposer_->address());
  if (!added.ok()) return added;
  auto identity = Load(market_->agent_dir(customer.username));
  if (!identity.ok()) return identity.status();
  interposer_->LendCustomer(customer.username, **identity);
  customers_[customer.username] = *std::move(identity);
  return market_->StartAgent(customer.username);
}

}  // namespace blindcart::testing
