// What a scrape answers with: counters, gauges and histograms in Prometheus' text format.
//
// A name, a help text, a label or its value is written in the program's source, so that no person,
// shop, product, account or key can become one: there is no way to pass any other string.
//
// Thread safety: a page belongs to one thread.
#ifndef BLINDCART_SERVICES_COMMON_METRICS_H_
#define BLINDCART_SERVICES_COMMON_METRICS_H_

#include <cstddef>
#include <string>
#include <vector>

#include <prometheus/histogram.h>
#include <prometheus/metric_family.h>

#include "absl/strings/string_view.h"

namespace blindcart {

// A string literal by construction, or what OfProgram vouches for.
class MetricText {
 public:
  template <size_t N>
  constexpr MetricText(const char (&literal)[N])  // NOLINT(*-explicit-*)
      : text_(literal, N - 1) {}
  // For what the program's own tables hold: the name of an enumerator or of a message's field.
  static MetricText OfProgram(absl::string_view text) { return MetricText(text); }
  absl::string_view text() const { return text_; }

 private:
  explicit MetricText(absl::string_view text) : text_(text) {}
  absl::string_view text_;
};

struct MetricLabel {
  MetricText name;
  MetricText value;
};

class MetricPage {
 public:
  using Labels = std::vector<MetricLabel>;

  // One sample each. Samples of one name form a family, whose help text is the first one's.
  void AddCounter(MetricText name, MetricText help, double value, const Labels& labels = {});
  void AddGauge(MetricText name, MetricText help, double value, const Labels& labels = {});
  void AddHistogram(MetricText name, MetricText help, const prometheus::Histogram& histogram,
                    const Labels& labels = {});

  // Text format 0.0.4.
  std::string Text() const;

 private:
  void Add(MetricText name, MetricText help, prometheus::MetricType type,
           prometheus::ClientMetric metric, const Labels& labels);
  std::vector<prometheus::MetricFamily> families_;
};

// Seconds, from half a millisecond to ten seconds.
prometheus::Histogram::BucketBoundaries LatencyBuckets();

}  // namespace blindcart

#endif  // BLINDCART_SERVICES_COMMON_METRICS_H_
