#include "tests/bench/report.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace blindcart::bench {

double Rounds::median() const {
  std::vector<double> sorted = figures_;
  std::sort(sorted.begin(), sorted.end());
  const size_t half = sorted.size() / 2;
  return sorted.size() % 2 == 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

double Rounds::spread() const {
  const auto ends = std::minmax_element(figures_.begin(), figures_.end());
  return (*ends.second - *ends.first) / median();
}

std::string Describe(const Rounds& rounds, const std::string& unit) {
  return absl::StrCat(Grouped(rounds.median(), rounds.median() < 100 ? 2 : 0), " ", unit,
                      absl::StrFormat(" (spread %.0f %%)", rounds.spread() * 100));
}

std::string Grouped(double value, int decimals) {
  std::string text = absl::StrFormat("%.*f", decimals, std::fabs(value));
  size_t digits = std::min(text.find('.'), text.size());
  for (; digits > 3; digits -= 3) text.insert(digits - 3, ",");
  return value < 0 ? "-" + text : text;
}

std::string DescribeMachine() {
  std::ifstream info("/proc/cpuinfo");
  std::string line;
  std::string model = "an unknown processor";
  while (std::getline(info, line)) {
    if (absl::StartsWith(line, "model name")) {
      model = line.substr(std::min(line.find(':') + 2, line.size()));
      break;
    }
  }
  return absl::StrCat(std::thread::hardware_concurrency(), " cores, ", model);
}

}  // namespace blindcart::bench
