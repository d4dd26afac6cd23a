// The tours of `bazel run //:demo -- --tour NAME`: each shows one part of Blindcart beside the shops,
// with real commands against a real broker and two customers' agents.
//
// A tour is one function in a file of its own (tour_<part>.cc), named in the table of tour.cc. A step
// that does not come out as narrated ends the tour with an error. Thread safety: none.
#ifndef BLINDCART_DEPLOY_DEMO_TOUR_H_
#define BLINDCART_DEPLOY_DEMO_TOUR_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tests/support/marketplace.h"

namespace blindcart::demo {

// What every tour finds: a broker whose customers may deposit, and two customers who are logged in,
// each with an agent of their own. Nothing else runs; a tour may start more through market(), and
// leaves the broker and both agents running and logged in for the next.
class Stage {
 public:
  static constexpr char kAlice[] = "alice";  // Begins with 120.00 EUR.
  static constexpr char kBob[] = "bob";      // Begins with 5.00 EUR.

  // Sets everything up below `folder`, which must be empty or missing.
  static absl::StatusOr<std::unique_ptr<Stage>> Create(const std::string& folder);

  testing::Marketplace& market() { return *market_; }

  // A folder for what the tours write, empty at first.
  std::string scratch() const { return market_->folder() + "/scratch"; }

  // As ShowCommand (narration.h): runs the command line as that customer, narrated. Headline and Say
  // are there too.
  absl::Status Show(const std::string& username, const std::vector<std::string>& arguments,
                    int expected_exit_code = 0, const std::string& input = "");
  // The same with --json, printing nothing: the document.
  absl::StatusOr<std::string> Ask(const std::string& username,
                                  const std::vector<std::string>& arguments);
  // Runs the broker's own command line (`broker NAME ...`), narrated; it has to exit with 0.
  absl::Status ShowBroker(const std::vector<std::string>& arguments);
  // Logs in again, after a restart of an agent; waits as long as the broker says.
  absl::Status Login(const std::string& username);

 private:
  Stage() = default;
  std::unique_ptr<testing::Marketplace> market_;
};

absl::Status TourBank(Stage& stage);
absl::Status TourMessages(Stage& stage);
absl::Status TourNotary(Stage& stage);
absl::Status TourPeers(Stage& stage);

struct NamedTour {
  const char* name;
  absl::Status (*run)(Stage& stage);
};

// All tours, in the order in which `--tour all` runs them.
const std::vector<NamedTour>& Tours();

// "bank|messages|...|all": what --tour takes.
std::string TourNames();

// Sets a stage below `folder` and runs the tour of that name, or all. InvalidArgument, with the names
// that there are, for another one.
absl::Status RunTour(const std::string& name, const std::string& folder);

}  // namespace blindcart::demo

#endif  // BLINDCART_DEPLOY_DEMO_TOUR_H_
