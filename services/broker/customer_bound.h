// How much one customer may have under way at once. Thread-safe.
#ifndef BLINDCART_SERVICES_BROKER_CUSTOMER_BOUND_H_
#define BLINDCART_SERVICES_BROKER_CUSTOMER_BOUND_H_

#include <cstdint>
#include <mutex>

#include "absl/container/flat_hash_map.h"

namespace blindcart::broker {

class CustomerBound {
 public:
  explicit CustomerBound(int max) : max_(max) {}

  // False when the customer has too much under way. Each success is followed by one Leave.
  bool Enter(int64_t customer_id) {
    std::lock_guard<std::mutex> lock(mutex_);
    int& count = under_way_[customer_id];
    if (count >= max_) return false;
    ++count;
    return true;
  }
  void Leave(int64_t customer_id) {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto found = under_way_.find(customer_id);
    if (--found->second == 0) under_way_.erase(found);
  }

 private:
  const int max_;
  std::mutex mutex_;
  absl::flat_hash_map<int64_t, int> under_way_;  // Under mutex_. By customer; never 0.
};

}  // namespace blindcart::broker

#endif  // BLINDCART_SERVICES_BROKER_CUSTOMER_BOUND_H_
