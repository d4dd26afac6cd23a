#include "absl/status/status.h"
#include "deploy/demo/narration.h"
#include "deploy/demo/tour.h"

namespace blindcart::demo {

absl::Status TourBank(Stage& stage) {
  Headline("The bank");
  return stage.Show(Stage::kAlice, {"balance"});
}

}  // namespace blindcart::demo
