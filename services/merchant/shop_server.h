// A running shop: database, goods, use cases, a link to every address of the configured brokers and the
// local API on its Unix socket, wired together in the order in which they depend on each other.
//
// Thread safety: Start, Stop and the destructor from one thread.
#ifndef BLINDCART_SERVICES_MERCHANT_SHOP_SERVER_H_
#define BLINDCART_SERVICES_MERCHANT_SHOP_SERVER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "crypto/identity.h"
#include "proto/config.pb.h"
#include "services/common/broker_card.h"

namespace blindcart::merchant {

class ShopServer {
 public:
  // `config` is complete with resolved paths (config.h); `cards` are those of its brokers, in order.
  static absl::StatusOr<std::unique_ptr<ShopServer>> Start(const v1::MerchantConfig& config,
                                                           crypto::Identity identity,
                                                           std::vector<LoadedBrokerCard> cards);
  ~ShopServer();  // Stops.

  // Takes no new sessions and requests, finishes what is under way, deliveries too, and closes the links,
  // all within the configured time. Stop is to follow.
  void Drain();
  // Closes the links, ends deliveries, finishes what was accepted. Idempotent.
  void Stop();
  const std::string& socket_path() const;
  // Of the port with metrics and health; empty when there is none.
  std::string metrics_address() const;

 private:
  struct State;
  explicit ShopServer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace blindcart::merchant

#endif  // BLINDCART_SERVICES_MERCHANT_SHOP_SERVER_H_
