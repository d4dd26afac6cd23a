// A marketplace whose agents and merchants reach the broker through an interposer that holds the
// broker's keys (interposer.h). Everything else is as in marketplace.h, with real processes.
//
// Thread safety: as marketplace.h.
#ifndef BLINDCART_TESTS_SUPPORT_INTERPOSED_MARKETPLACE_H_
#define BLINDCART_TESTS_SUPPORT_INTERPOSED_MARKETPLACE_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "crypto/identity.h"
#include "tests/support/interposer.h"
#include "tests/support/marketplace.h"

namespace blindcart::testing {

class InterposedMarketplace {
 public:
  // The broker and the interposer run when this returns.
  static absl::StatusOr<std::unique_ptr<InterposedMarketplace>> Create(
      const std::string& folder, const std::vector<std::string>& broker_init_arguments = {});

  // Initialises, enrols, lends the keys to the interposer and starts.
  absl::Status AddMerchant(const std::string& name, const std::string& account);
  absl::Status AddCustomer(const CustomerSpec& customer);

  Marketplace& market() { return *market_; }
  Interposer& interposer() { return *interposer_; }

  const crypto::Identity& broker() const { return *broker_; }
  const crypto::Identity& merchant(const std::string& name) const { return *merchants_.at(name); }
  const crypto::Identity& customer(const std::string& username) const {
    return *customers_.at(username);
  }

 private:
  InterposedMarketplace() = default;

  // The identities outlive the interposer, which uses them.
  std::unique_ptr<crypto::Identity> broker_;
  std::map<std::string, std::unique_ptr<crypto::Identity>> merchants_;
  std::map<std::string, std::unique_ptr<crypto::Identity>> customers_;
  std::unique_ptr<Marketplace> market_;
  std::unique_ptr<Interposer> interposer_;
};

}  // namespace blindcart::testing

#endif  // BLINDCART_TESTS_SUPPORT_INTERPOSED_MARKETPLACE_H_
