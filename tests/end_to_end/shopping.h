// A marketplace of real processes whose customers are logged in and know every shop, and the steps
// of a purchase as a test writes them: each is a real command, checked, with its JSON answer parsed.
//
// A step that does not go as it should is recorded as a failure of the running test, with the
// command's output; the step then returns something empty. Amounts are minor units.
// Thread safety: one thread at a time.
#ifndef BLINDCART_TESTS_END_TO_END_SHOPPING_H_
#define BLINDCART_TESTS_END_TO_END_SHOPPING_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/marketplace.h"

namespace blindcart::testing {

// Exit codes of the command line.
inline constexpr int kOk = 0;
inline constexpr int kFailure = 1;
inline constexpr int kUsage = 2;
inline constexpr int kLogin = 3;
inline constexpr int kRefused = 4;
inline constexpr int kUnreachable = 5;
inline constexpr int kVerification = 6;

struct ShopSpec {
  std::string name;
  std::string account;
  int64_t order_lifetime_ms = 0;    // 0: as `merchant init` writes it.
  std::string metrics_listen = "";  // Empty: no such port.
};

// A command that ended, and the last line of its standard output as JSON (null if it is none).
struct Answer {
  int exit_code = -1;
  nlohmann::json json;
  std::string out;
  std::string err;
};

class Shopping {
 public:
  // Null, and a failure recorded, when something does not start. The folder is removed at the end.
  static std::unique_ptr<Shopping> Open(const std::vector<ShopSpec>& shops,
                                        const std::vector<CustomerSpec>& customers,
                                        const std::vector<std::string>& broker_init_arguments = {},
                                        size_t brokers = 1);
  ~Shopping();

  Marketplace& market() { return *market_; }

  // Tries again for as long as the broker asks for patience after a break or a failed login.
  void LogIn(const std::string& username);
  // Until `username` is connected and sees the shop online.
  void WaitUntilOnline(const std::string& username, const std::string& shop);
  // SIGKILL, and started again at the same address.
  void RestartBroker();
  // Its agent anew, logged in.
  void RestartAgent(const std::string& username);

  std::string AddProduct(const std::string& shop, const ProductSpec& product);
  // Brings the catalogue up to date.
  nlohmann::json Browse(const std::string& username, const std::string& shop);
  // AddProduct and Browse by every customer; the product's id.
  std::string Offer(const std::string& shop, const ProductSpec& product);

  Answer Run(const std::string& username, const std::vector<std::string>& arguments);
  // Run, and a failure unless it exits so.
  nlohmann::json Ask(const std::string& username, const std::vector<std::string>& arguments,
                     int expected_exit_code = kOk);
  // Run, again for as long as something cannot be reached.
  Answer RunUntilReachable(const std::string& username, const std::vector<std::string>& arguments);

  // The order's id in hex.
  std::string Checkout(const std::string& username, const std::string& product);
  // The command with which a customer pays from the own account.
  std::vector<std::string> PayArguments(const std::string& username,
                                        const std::string& order) const;
  Command PayCommand(const std::string& username, const std::string& order) const;
  nlohmann::json Pay(const std::string& username, const std::string& order,
                     int expected_exit_code = kOk);
  // The last line of progress, which names the file.
  nlohmann::json Download(const std::string& username, const std::string& order,
                          const std::vector<std::string>& more_arguments = {});
  // Download, and a failure unless the file holds `content`.
  void ExpectDelivered(const std::string& username, const std::string& order,
                       const std::string& content);
  // A download that has brought at least `bytes` and goes on; null when it ended before.
  std::unique_ptr<Process> StartDownload(const std::string& username, const std::string& order,
                                         int64_t bytes);
  int64_t Balance(const std::string& username);
  // The purchase as the agent knows it; null when there is none.
  nlohmann::json Purchase(const std::string& username, const std::string& order);

  // The status that the shop's own list shows for an order; empty when it has none.
  std::string StatusAtShop(const std::string& shop, const std::string& order);
  void WaitForStatusAtShop(const std::string& shop, const std::string& order,
                           const std::string& status);
  // From the broker's books.
  int64_t AccountBalance(const std::string& account);
  void ExpectBooksRight();

 private:
  explicit Shopping(std::string folder) : folder_(std::move(folder)) {}
  absl::Status Start(const std::vector<ShopSpec>& shops, const std::vector<CustomerSpec>& customers,
                     const std::vector<std::string>& broker_init_arguments, size_t brokers);

  const std::string folder_;
  std::unique_ptr<Marketplace> market_;
  std::vector<CustomerSpec> customers_;
};

ProductSpec Goods(const std::string& title, const std::string& price, const std::string& content);
// An integer of a JSON answer, where 64 bits are written as a string.
int64_t Int(const nlohmann::json& value);
// Asks until the answer is yes; a failure that names `what` when it stays no for a minute.
void WaitUntil(const std::string& what, const std::function<bool()>& question);
// Bytes that differ everywhere and for every seed.
std::string Content(size_t bytes, uint32_t seed);
std::string FileContent(const std::string& path);
// In a file of a process that does not run at the moment; a failure when `from` is not there.
void ReplaceInFile(const std::string& path, const std::string& from, const std::string& to);
std::vector<std::string> FilesIn(const std::string& folder);

}  // namespace blindcart::testing

#endif  // BLINDCART_TESTS_END_TO_END_SHOPPING_H_
