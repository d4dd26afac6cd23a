// A broker that cheats: it holds the broker's real keys and stands between the parties and the real
// broker. Towards an agent or a merchant it is the broker; towards the real broker it plays that
// party, whose keys the test lends it. So it sees exactly what a broker sees, all that is sealed
// under S1 and S2, and may record, alter, drop, repeat, reorder and insert it; goods it sees as the
// raw messages that a broker relays.
//
// Agents and merchants are pointed at address(). The hooks run on gRPC threads, one at a time for
// each link and direction; Recording is safe from any thread.
#ifndef BLINDCART_TESTS_SUPPORT_INTERPOSER_H_
#define BLINDCART_TESTS_SUPPORT_INTERPOSER_H_

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "crypto/identity.h"
#include "proto/broker.pb.h"
#include "proto/customer.pb.h"
#include "proto/merchant.pb.h"
#include "services/common/transport.h"

namespace blindcart::testing {

// Which way a recorded message went.
enum class Leg { kFromCustomer, kToCustomer, kFromMerchant, kToMerchant, kGoods };

struct Recorded {
  Leg leg;
  // The serialised CustomerMessage, BrokerToCustomer, MerchantToBroker, BrokerToMerchant or
  // GoodsMessage, as it came in.
  std::string bytes;
};

class Recording {
 public:
  void Add(Leg leg, std::string bytes);
  std::vector<Recorded> All() const;
  void Clear();

 private:
  mutable std::mutex mutex_;
  std::vector<Recorded> recorded_;
};

struct InterposerState;

class Interposer {
 public:
  // Each hook gets a message and returns what to pass on instead: nothing drops it. Unset: as it
  // is.
  struct Hooks {
    std::function<std::vector<v1::CustomerMessage>(v1::CustomerMessage)> from_customer;
    std::function<std::vector<v1::BrokerToCustomer>(v1::BrokerToCustomer)> to_customer;
    std::function<std::vector<v1::MerchantToBroker>(v1::MerchantToBroker)> from_merchant;
    std::function<std::vector<v1::BrokerToMerchant>(v1::BrokerToMerchant)> to_merchant;
    std::function<std::vector<v1::GoodsMessage>(v1::GoodsMessage)> goods;
  };

  struct Options {
    std::string upstream_address;
    std::string upstream_root_pem;
    ServerTls tls;  // The broker's own.
    std::string listen = "127.0.0.1:0";
    const crypto::Identity* broker = nullptr;
  };

  static absl::StatusOr<std::unique_ptr<Interposer>> Start(Options options);
  ~Interposer();

  const std::string& address() const;
  // Lends the keys of a party that connects here; the identity has to outlive the interposer.
  void LendCustomer(const std::string& username, const crypto::Identity& customer);
  void LendMerchant(const crypto::Identity& merchant);
  // Replaces all hooks, for what comes from now on.
  void SetHooks(Hooks hooks);
  Recording& recording();

 private:
  explicit Interposer(std::unique_ptr<InterposerState> state);
  std::unique_ptr<InterposerState> state_;
};

}  // namespace blindcart::testing

#endif  // BLINDCART_TESTS_SUPPORT_INTERPOSER_H_
