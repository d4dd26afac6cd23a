// A whole marketplace of real processes in one folder: a broker, merchants with shops and
// customers' agents, each set up with the commands that a person would type. For end-to-end tests
// and the demo.
//
// Every method that starts or runs something returns what went wrong in words, output included.
// Thread safety: one thread at a time, but Cli, MerchantCommand and BrokerCommand may run in
// parallel.
#ifndef BLINDCART_TESTS_SUPPORT_MARKETPLACE_H_
#define BLINDCART_TESTS_SUPPORT_MARKETPLACE_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/optional.h"
#include "tests/support/process.h"

namespace blindcart::testing {

struct CustomerSpec {
  std::string username;
  std::string password = "correct horse";
  std::string account;
  std::string pin = "2468";
  std::string balance = "100.00";
};

struct ProductSpec {
  std::string title;
  std::string description;
  std::string price = "10.00";
  std::string content;       // The bytes themselves...
  std::string content_path;  // ...or where they are.
  std::string picture_path;
  std::string format = "pdf";
  absl::optional<int64_t> stock;
  std::string replace_id;  // Set: a new version of this product.
};

class Marketplace {
 public:
  // `folder` must be empty or missing and its path short (Unix sockets live in it).
  static absl::StatusOr<std::unique_ptr<Marketplace>> Create(
      const std::string& folder, const std::vector<std::string>& broker_init_arguments = {});
  ~Marketplace();

  // Broker. The first start lets the kernel choose the port; later ones take the same port.
  absl::Status StartBroker(size_t number = 0);
  void KillBroker(size_t number = 0);
  absl::Status StopBroker(size_t number = 0);
  // Makes and starts one more over the first one's store, which has to be PostgreSQL. From then on the
  // card names all of them; before that there are no merchants and customers.
  absl::Status JoinBroker();
  size_t brokers() const { return brokers_.size(); }
  Process* broker(size_t number = 0) { return brokers_[number].process.get(); }
  std::string broker_dir(size_t number = 0) const;
  std::string broker_address(size_t number = 0) const { return brokers_[number].address; }
  std::string broker_card() const { return broker_dir() + "/broker.card"; }
  absl::StatusOr<Output> BrokerCommand(std::vector<std::string> arguments);

  // Merchants. AddMerchant initialises and enrols; `broker_address` empty: the broker's own.
  absl::Status AddMerchant(const std::string& name, const std::string& account,
                           const std::string& broker_address = "");
  absl::Status StartMerchant(const std::string& name);
  void KillMerchant(const std::string& name);
  Process* merchant(const std::string& name) { return merchants_[name].get(); }
  std::string merchant_dir(const std::string& name) const { return folder_ + "/merchant-" + name; }
  absl::StatusOr<Output> MerchantCommand(const std::string& name,
                                         std::vector<std::string> arguments);
  // Returns the product's id in hex.
  absl::StatusOr<std::string> AddProduct(const std::string& merchant, const ProductSpec& product);
  absl::StatusOr<std::string> ShopLink(const std::string& merchant);

  // Customers, each with an agent of their own.
  absl::Status AddCustomer(const CustomerSpec& customer, const std::string& broker_address = "");
  absl::Status StartAgent(const std::string& username);
  void KillAgent(const std::string& username);
  Process* agent(const std::string& username) { return agents_[username].get(); }
  std::string agent_dir(const std::string& username) const {
    return folder_ + "/agent-" + username;
  }
  std::string agent_socket(const std::string& username) const {
    return agent_dir(username) + "/agent.sock";
  }
  // The command line, as that customer.
  Command CliCommand(const std::string& username, std::vector<std::string> arguments) const;
  absl::StatusOr<Output> Cli(const std::string& username, std::vector<std::string> arguments);
  // With --json; Internal unless it exits with `expected_exit_code`. The JSON text.
  absl::StatusOr<std::string> CliJson(const std::string& username,
                                      std::vector<std::string> arguments,
                                      int expected_exit_code = 0);
  absl::Status Login(const std::string& username);
  // Another machine of the same customer: a copy of the agent's folder, under the name `copy`. The
  // original's agent must not run meanwhile.
  absl::Status CopyAgent(const std::string& username, const std::string& copy);
  const CustomerSpec& customer(const std::string& username) const;
  // Files that hold a customer's password and PIN, for --password-file and --pin-file.
  std::string password_file(const std::string& username) const;
  std::string pin_file(const std::string& username) const;

  // Waits until `shop` is shown as online to `username`, who is logged in.
  absl::Status WaitUntilOnline(const std::string& username, const std::string& shop);

  // The pass phrase of every key here.
  static constexpr char kPassphrase[] = "only for this marketplace";
  const std::string& folder() const { return folder_; }

 private:
  struct Broker {
    std::string address;  // Empty: not started yet.
    std::unique_ptr<Process> process;
  };

  explicit Marketplace(std::string folder) : folder_(std::move(folder)), brokers_(1) {}
  // Instead of the port that the kernel was to choose, the one that it chose.
  absl::Status PutOnCard(const std::string& address);
  absl::StatusOr<Output> RunService(const std::string& program,
                                    std::vector<std::string> arguments) const;
  absl::Status WriteSecret(const std::string& name, const std::string& secret) const;
  std::string secret_path(const std::string& name) const { return folder_ + "/secrets/" + name; }

  const std::string folder_;
  std::vector<Broker> brokers_;
  std::map<std::string, std::unique_ptr<Process>> merchants_;
  std::map<std::string, std::unique_ptr<Process>> agents_;
  std::map<std::string, CustomerSpec> customers_;
};

}  // namespace blindcart::testing

#endif  // BLINDCART_TESTS_SUPPORT_MARKETPLACE_H_
