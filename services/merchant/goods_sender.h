// Sends goods (docs/protocol.md section 6): reads a file, seals it piece by piece and writes the
// pieces to a stream, with a look-ahead of a few pieces so that disk, cipher and network work side
// by side.
//
// Reading and sealing happen on the executor that is handed in, never on a network thread. A
// delivery's memory is look_ahead + 2 pieces whatever the content's size, and at most
// max_deliveries run at once. A receiver that takes nothing for kStallMs loses its delivery to the
// next one who asks.
//
// Thread safety: every method may be called from any thread.
#ifndef BLINDCART_SERVICES_MERCHANT_GOODS_SENDER_H_
#define BLINDCART_SERVICES_MERCHANT_GOODS_SENDER_H_

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "crypto/identity.h"
#include "crypto/random.h"
#include "protocol/clock.h"
#include "protocol/delivery.h"
#include "protocol/key_schedule.h"
#include "services/catalog/goods_store.h"
#include "services/common/worker_pool.h"
#include "services/merchant/goods_stream.h"

namespace blindcart::merchant {

class GoodsSender {
 public:
  static constexpr size_t kLookAhead = 4;
  static constexpr int64_t kStallMs = 60'000;

  struct Job {
    std::string delivery_id;
    protocol::SessionKeys keys;
    protocol::DeliverySender::Params params;
    std::shared_ptr<catalog::GoodsFile> file;
    std::shared_ptr<GoodsTransport> transport;
    // Called exactly once when the stream is over: true when everything was written and taken.
    std::function<void(bool complete)> done;
  };

  // All must outlive the sender. `readers` must hold at least max_deliveries tasks.
  GoodsSender(Executor& readers, const protocol::Clock& clock, const crypto::Identity& merchant,
              crypto::RandomSource& random, size_t max_deliveries);
  ~GoodsSender();  // Cancels what runs and waits for its end.

  // Takes a place among the deliveries that may run at once; the returned function begins to send
  // and has to be called once. ResourceExhausted when all places are taken.
  absl::StatusOr<std::function<void()>> Prepare(Job job);

  // Cancels deliveries that have not moved for kStallMs.
  void Sweep();
  size_t active() const;

 private:
  class Delivery;
  void Remove(const std::shared_ptr<Delivery>& delivery);

  Executor& readers_;
  const protocol::Clock& clock_;
  const crypto::Identity& merchant_;
  crypto::RandomSource& random_;
  const size_t max_deliveries_;

  mutable std::mutex mutex_;
  std::condition_variable all_ended_;
  absl::flat_hash_set<std::shared_ptr<Delivery>> deliveries_;
};

}  // namespace blindcart::merchant

#endif  // BLINDCART_SERVICES_MERCHANT_GOODS_SENDER_H_
