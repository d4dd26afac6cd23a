#include "services/agent/narrator.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace blindcart::agent {
namespace {

using ::testing::ElementsAre;

TEST(NarratorTest, TellsEveryListenerWhatIsSaidWhileItListens) {
  Narrator narrator;
  narrator.Say("login", "before anybody listens");
  std::vector<std::string> first;
  std::vector<std::string> second;
  const uint64_t id = narrator.Add([&](const std::string& step) { first.push_back(step); });
  narrator.Say("login", "challenge sent");
  narrator.Add([&](const std::string& step) { second.push_back(step); });
  narrator.Say("login", "challenge verified");
  narrator.Remove(id);
  narrator.Say("shop", "keys established");
  EXPECT_THAT(first, ElementsAre("login: challenge sent", "login: challenge verified"));
  EXPECT_THAT(second, ElementsAre("login: challenge verified", "shop: keys established"));
}

}  // namespace
}  // namespace blindcart::agent
