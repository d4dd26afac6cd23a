#include "services/common/metrics.h"

#include <algorithm>
#include <utility>

#include <prometheus/text_serializer.h>

namespace blindcart {

void MetricPage::Add(MetricText name, MetricText help, prometheus::MetricType type,
                     prometheus::ClientMetric metric, const Labels& labels) {
  for (const MetricLabel& label : labels) {
    metric.label.push_back({std::string(label.name.text()), std::string(label.value.text())});
  }
  auto family = std::find_if(families_.begin(), families_.end(),
                             [&](const auto& known) { return known.name == name.text(); });
  if (family == families_.end()) {
    family = families_.emplace(family);
    family->name = std::string(name.text());
    family->help = std::string(help.text());
    family->type = type;
  }
  family->metric.push_back(std::move(metric));
}

void MetricPage::AddCounter(MetricText name, MetricText help, double value, const Labels& labels) {
  prometheus::ClientMetric metric;
  metric.counter.value = value;
  Add(name, help, prometheus::MetricType::Counter, std::move(metric), labels);
}

void MetricPage::AddGauge(MetricText name, MetricText help, double value, const Labels& labels) {
  prometheus::ClientMetric metric;
  metric.gauge.value = value;
  Add(name, help, prometheus::MetricType::Gauge, std::move(metric), labels);
}

void MetricPage::AddHistogram(MetricText name, MetricText help,
                              const prometheus::Histogram& histogram, const Labels& labels) {
  Add(name, help, prometheus::MetricType::Histogram, histogram.Collect(), labels);
}

std::string MetricPage::Text() const { return prometheus::TextSerializer().Serialize(families_); }

prometheus::Histogram::BucketBoundaries LatencyBuckets() {
  return {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10};
}

}  // namespace blindcart
