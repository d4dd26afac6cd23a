// The calls of one kind of conversation by method: how many came, how many are under way, how long
// they took. A method is the field of a message's oneof that carries the call.
//
// Measures time by a clock of its own: nothing is decided by it.
// Thread-safe.
#ifndef BLINDCART_SERVICES_COMMON_CALL_STATS_H_
#define BLINDCART_SERVICES_COMMON_CALL_STATS_H_

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>

#include <google/protobuf/descriptor.h>
#include <prometheus/histogram.h>

#include "services/common/metrics.h"

namespace blindcart {

class CallStats {
 private:
  struct Method;

 public:
  // One call that is under way; it ends when the last reference to it goes, which is what its
  // answer's callback holds.
  class Call {
   public:
    Call(CallStats& stats, Method* method, std::shared_ptr<std::atomic<int64_t>> also);
    ~Call();
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;

   private:
    CallStats& stats_;
    Method* const method_;  // Null for a method that is not known.
    const std::shared_ptr<std::atomic<int64_t>> also_;
    const std::chrono::steady_clock::time_point began_;
  };
  using CallPtr = std::shared_ptr<Call>;

  explicit CallStats(const google::protobuf::OneofDescriptor& methods);
  CallStats(const CallStats&) = delete;
  CallStats& operator=(const CallStats&) = delete;

  // `method` is the oneof's case. While the call is under way, `also` (if any) is one higher.
  CallPtr Begin(int method, std::shared_ptr<std::atomic<int64_t>> also = nullptr);
  int64_t under_way() const { return under_way_; }

  // `link` tells this kind of conversation from others of the same service.
  void AddTo(MetricPage& page, MetricText link) const;

 private:
  struct Method {
    explicit Method(MetricText name) : name(name), seconds(LatencyBuckets()) {}
    const MetricText name;
    std::atomic<uint64_t> begun{0};
    prometheus::Histogram seconds;
  };

  std::map<int, Method> methods_;  // By field number; does not change.
  std::atomic<int64_t> under_way_{0};
};

}  // namespace blindcart

#endif  // BLINDCART_SERVICES_COMMON_CALL_STATS_H_
