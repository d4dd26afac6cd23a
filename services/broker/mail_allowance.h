// How much mail one customer may send: so many messages and bytes a day. Each customer has a bucket of
// both that holds a day's worth and fills up evenly; a message that finds too little in it has to
// wait. It bounds what one customer can make others, and the broker's memory of message ids, keep.
//
// In memory only: a restart fills the buckets, and each of several brokers over one store has its own.
// Bounded: buckets that are full again are forgotten (Sweep), and there are no more than customers.
//
// Thread-safe. The clock must outlive the object.
#ifndef BLINDCART_SERVICES_BROKER_MAIL_ALLOWANCE_H_
#define BLINDCART_SERVICES_BROKER_MAIL_ALLOWANCE_H_

#include <cstdint>
#include <mutex>

#include "absl/container/flat_hash_map.h"
#include "protocol/clock.h"

namespace blindcart::broker {

class MailAllowance {
 public:
  struct Options {
    int64_t messages_per_day = 0;
    int64_t bytes_per_day = 0;
  };
  MailAllowance(const Options& options, const protocol::Clock& clock)
      : options_(options), clock_(clock) {}

  // False when there is not enough left for one message of that size; nothing is taken then.
  bool Take(int64_t customer_id, int64_t bytes);
  // Forgets the buckets that are full.
  void Sweep();

 private:
  struct Bucket {
    double messages = 0;
    double bytes = 0;
    int64_t filled_at_ms = 0;  // Monotonic.
  };
  // Under mutex_: with what has flowed in until now.
  void Fill(Bucket& bucket, int64_t now_ms) const;

  const Options options_;
  const protocol::Clock& clock_;
  std::mutex mutex_;
  absl::flat_hash_map<int64_t, Bucket> buckets_;  // By customer, under mutex_. Absent: full.
};

}  // namespace blindcart::broker

#endif  // BLINDCART_SERVICES_BROKER_MAIL_ALLOWANCE_H_
