// What every benchmark here prints: the median of several rounds with its spread, and the ratio of two
// things measured in turn in one run (targets.md: a target is a ratio, absolute figures move with the
// machine).
//
// Thread safety: none needed; one thread.
#ifndef BLINDCART_TESTS_BENCH_REPORT_H_
#define BLINDCART_TESTS_BENCH_REPORT_H_

#include <string>
#include <vector>

namespace blindcart::bench {

// Figures of one thing, one per round. Must not be empty where it is read.
class Rounds {
 public:
  void Add(double figure) { figures_.push_back(figure); }
  double median() const;
  // (largest - smallest) / median.
  double spread() const;

 private:
  std::vector<double> figures_;
};

// "12,345.6 /s (spread 4 %)".
std::string Describe(const Rounds& rounds, const std::string& unit);

// `value` with thousands separated, and `decimals` places.
std::string Grouped(double value, int decimals);

// "2 cores, AMD EPYC ..." as the machine says it.
std::string DescribeMachine();

}  // namespace blindcart::bench

#endif  // BLINDCART_TESTS_BENCH_REPORT_H_
