// A marketplace behind an interposer (tests/support/interposed_marketplace.h) with customers who are
// logged in and know the shop, and short words for what a test does there. A step that does not go as it
// must is a failure of the running test.
// Thread safety: one thread at a time.
#ifndef BLINDCART_TESTS_ADVERSARIES_INTERPOSED_H_
#define BLINDCART_TESTS_ADVERSARIES_INTERPOSED_H_

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/interposed_marketplace.h"

namespace blindcart::testing {

struct Reply {
  int exit_code = -1;
  nlohmann::json json;  // Standard output; null when it is none.
  std::string err;
};

class Interposed {
 public:
  static constexpr char kShop[] = "books";

  // Null, and a failure recorded, when something does not start.
  static std::unique_ptr<Interposed> Open(const std::vector<CustomerSpec>& customers);
  ~Interposed();

  Marketplace& market() { return parties_->market(); }
  InterposedMarketplace& parties() { return *parties_; }
  Interposer& interposer() { return parties_->interposer(); }
  Recording& recording() { return interposer().recording(); }

  // Adds it to the shop; the id in hex.
  std::string AddProduct(const ProductSpec& product);
  Reply Cli(const std::string& username, const std::vector<std::string>& arguments);
  // Cli, and a failure unless it exits with 0.
  nlohmann::json Do(const std::string& username, const std::vector<std::string>& arguments);
  // The order's id in hex.
  std::string Checkout(const std::string& username, const std::string& product);
  Reply Pay(const std::string& username, const std::string& order);
  // Browse, checkout, pay and download; the file's content.
  std::string Buy(const std::string& username, const std::string& product);
  int64_t BalanceMinor(const std::string& username);
  // The order's status in the merchant's own list, such as "ORDER_STATUS_PAID".
  std::string StatusAtMerchant(const std::string& order);

 private:
  explicit Interposed(std::string folder) : folder_(std::move(folder)) {}
  const std::string folder_;
  std::unique_ptr<InterposedMarketplace> parties_;
};

}  // namespace blindcart::testing

#endif  // BLINDCART_TESTS_ADVERSARIES_INTERPOSED_H_
