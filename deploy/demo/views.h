// What each party saw of one purchase, side by side, read from its real files and the traffic that
// it could really open. Nothing here is assumed: a fact is shown for a party only when it is found
// there.
#ifndef BLINDCART_DEPLOY_DEMO_VIEWS_H_
#define BLINDCART_DEPLOY_DEMO_VIEWS_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "tests/support/haystack.h"
#include "tests/support/interposer.h"

namespace blindcart::demo {

// A thing that a party may or may not know.
struct Fact {
  std::string name;
  std::string value;   // As people read it.
  std::string needle;  // What to search for; the bytes themselves for ids and hashes.
};

struct Party {
  std::string name;
  const testing::Haystack* holds;
};

// The table of facts by party: "knows" with the place, or "not found".
std::string SideBySide(const std::vector<Fact>& facts, const std::vector<Party>& parties);

// The broker's traffic of a purchase, a line each: direction, kind as the broker reads it, size.
std::string BrokerTraffic(const std::vector<testing::Recorded>& recorded);

}  // namespace blindcart::demo

#endif  // BLINDCART_DEPLOY_DEMO_VIEWS_H_
