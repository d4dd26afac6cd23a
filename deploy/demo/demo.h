// The walk of `bazel run //:demo`. Every step is a real command against real processes; a step that
// does not come out as narrated ends the walk with an error.
#ifndef BLINDCART_DEPLOY_DEMO_DEMO_H_
#define BLINDCART_DEPLOY_DEMO_DEMO_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tests/support/interposed_marketplace.h"

namespace blindcart::demo {

class Demo {
 public:
  // Sets up the marketplace below `folder` and starts it.
  static absl::StatusOr<std::unique_ptr<Demo>> Create(const std::string& folder);

  absl::Status Walk();
  void PrintCommandsToTry() const;

 private:
  Demo() = default;

  // Set-up, in this order.
  absl::Status StartBrokerAndRecorder();
  absl::Status OpenShops();
  absl::Status EnrolCustomers();

  // Steps of the walk.
  absl::Status WrongPassword();
  absl::Status LoginAndPinShops();
  absl::Status BrowseAndSearch();
  absl::Status DeclineAnOrder();
  absl::Status PayWithoutMoney();
  absl::Status Purchase();
  absl::Status CheckAndFetchAgain();
  absl::Status ShowViews();
  absl::Status AuditBooks();

  // Prints the command as a person would type it and its output; an exit code other than
  // `expected_exit_code` is an error.
  absl::Status Show(const std::string& username, const std::vector<std::string>& arguments,
                    int expected_exit_code = 0);
  // The same with --json, printing nothing.
  absl::StatusOr<std::string> Ask(const std::string& username,
                                  const std::vector<std::string>& arguments);
  // The first product of `shop` with this title.
  absl::StatusOr<std::string> ProductId(const std::string& username, const std::string& title);
  // Checks a product out, showing it; the order's id.
  absl::StatusOr<std::string> Checkout(const std::string& username, const std::string& title);

  testing::Marketplace& market() const { return parties_->market(); }
  testing::Recording& recording() const { return parties_->interposer().recording(); }

  std::string folder_;
  std::unique_ptr<testing::InterposedMarketplace> parties_;
  std::string bought_order_;
};

}  // namespace blindcart::demo

#endif  // BLINDCART_DEPLOY_DEMO_DEMO_H_
