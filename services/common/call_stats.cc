#include "services/common/call_stats.h"

#include <utility>

namespace blindcart {

CallStats::CallStats(const google::protobuf::OneofDescriptor& methods) {
  for (int i = 0; i < methods.field_count(); ++i) {
    const google::protobuf::FieldDescriptor& field = *methods.field(i);
    methods_.try_emplace(field.number(), MetricText::OfProgram(field.name()));
  }
}

CallStats::CallPtr CallStats::Begin(int method, std::shared_ptr<std::atomic<int64_t>> also) {
  const auto found = methods_.find(method);
  return std::make_shared<Call>(*this, found == methods_.end() ? nullptr : &found->second,
                                std::move(also));
}

CallStats::Call::Call(CallStats& stats, Method* method, std::shared_ptr<std::atomic<int64_t>> also)
    : stats_(stats),
      method_(method),
      also_(std::move(also)),
      began_(std::chrono::steady_clock::now()) {
  ++stats_.under_way_;
  if (also_ != nullptr) ++*also_;
  if (method_ != nullptr) ++method_->begun;
}

CallStats::Call::~Call() {
  if (method_ != nullptr) {
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began_;
    method_->seconds.Observe(took.count());
  }
  if (also_ != nullptr) --*also_;
  --stats_.under_way_;
}

void CallStats::AddTo(MetricPage& page, MetricText link) const {
  for (const auto& [number, method] : methods_) {
    page.AddCounter("blindcart_calls_total", "Calls that came, by what carries them.",
                    static_cast<double>(method.begun.load()),
                    {{"link", link}, {"method", method.name}});
    page.AddHistogram("blindcart_call_seconds", "From a call's arrival until it was answered.",
                      method.seconds, {{"link", link}, {"method", method.name}});
  }
  page.AddGauge("blindcart_calls_under_way", "Calls that are not answered yet.",
                static_cast<double>(under_way_.load()), {{"link", link}});
}

}  // namespace blindcart
