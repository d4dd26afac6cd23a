#include "deploy/demo/tour.h"

#include <iostream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "deploy/demo/narration.h"
#include "services/common/files.h"

namespace blindcart::demo {
namespace {

constexpr char kAll[] = "all";
// After a failed login the broker makes an account wait a little.
constexpr int kMaxLogins = 200;

}  // namespace

const std::vector<NamedTour>& Tours() {
  static const auto* const tours = new std::vector<NamedTour>{
      {"bank", &TourBank},
      {"messages", &TourMessages},
      {"notary", &TourNotary},
      {"peers", &TourPeers},
  };
  return *tours;
}

std::string TourNames() {
  std::string names;
  for (const NamedTour& tour : Tours()) absl::StrAppend(&names, tour.name, "|");
  return absl::StrCat(names, kAll);
}

absl::StatusOr<std::unique_ptr<Stage>> Stage::Create(const std::string& folder) {
  Headline("A broker, and two customers with an agent each");
  auto stage = std::unique_ptr<Stage>(new Stage());
  auto market = testing::Marketplace::Create(folder, {"--customers-may-deposit"});
  if (!market.ok()) return market.status();
  stage->market_ = *std::move(market);
  absl::Status status = stage->market_->StartBroker();
  if (!status.ok()) return status;
  Say(absl::StrCat("The broker runs as process ", stage->market_->broker()->pid(),
                   " and listens on ", stage->market_->broker_address(), " (TLS 1.3)."));
  for (const testing::CustomerSpec& customer :
       {testing::CustomerSpec{kAlice, "violet umbrella 7", "1001", "2468", "120.00"},
        testing::CustomerSpec{kBob, "paper lantern 3", "1002", "1357", "5.00"}}) {
    status = stage->market_->AddCustomer(customer);
    if (status.ok()) status = stage->market_->StartAgent(customer.username);
    if (status.ok()) status = stage->Login(customer.username);
    if (!status.ok()) return status;
    Say(absl::StrCat(customer.username, " is logged in; the agent runs as process ",
                     stage->market_->agent(customer.username)->pid(), "."));
  }
  status = MakePrivateDirectory(stage->scratch());
  if (!status.ok()) return status;
  return stage;
}

absl::Status Stage::Show(const std::string& username, const std::vector<std::string>& arguments,
                         int expected_exit_code, const std::string& input) {
  return ShowCommand(*market_, username, arguments, expected_exit_code, input);
}

absl::StatusOr<std::string> Stage::Ask(const std::string& username,
                                       const std::vector<std::string>& arguments) {
  return market_->CliJson(username, arguments);
}

absl::Status Stage::ShowBroker(const std::vector<std::string>& arguments) {
  const auto output = market_->BrokerCommand(arguments);
  if (!output.ok()) return output.status();
  std::cout << "\n$ broker " << absl::StrJoin(arguments, " ") << "\n"
            << output->out << output->err << std::flush;
  if (output->exit_code != 0) {
    return absl::InternalError(absl::StrCat("this exited with ", output->exit_code));
  }
  return absl::OkStatus();
}

absl::Status Stage::Login(const std::string& username) {
  absl::Status status;
  for (int attempt = 0; attempt < kMaxLogins; ++attempt) {
    status = market_->Login(username);
    if (status.ok()) break;
  }
  return status;
}

absl::Status RunTour(const std::string& name, const std::string& folder) {
  std::vector<NamedTour> chosen;
  for (const NamedTour& tour : Tours()) {
    if (name == tour.name || name == kAll) chosen.push_back(tour);
  }
  if (chosen.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("there is no tour '", name, "'. Choose one of ", TourNames()));
  }
  const absl::StatusOr<std::unique_ptr<Stage>> stage = Stage::Create(folder);
  if (!stage.ok()) return stage.status();
  for (const NamedTour& tour : chosen) {
    const absl::Status status = tour.run(**stage);
    if (!status.ok()) {
      return absl::Status(status.code(),
                          absl::StrCat("the tour '", tour.name, "': ", status.message()));
    }
  }
  return absl::OkStatus();
}

}  // namespace blindcart::demo
