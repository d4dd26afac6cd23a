// The gRPC ends of deliveries: SendGoods and FetchGoods as raw ByteBuffers, so that sealed pieces
// pass through undecoded and uncopied. Which piece goes where is goods_relay.h's.
//
// Thread-safe. A reactor deletes itself when its call is done; the door must outlive all of them (it
// does when the server is shut down first).
#ifndef BLINDCART_SERVICES_BROKER_GOODS_REACTORS_H_
#define BLINDCART_SERVICES_BROKER_GOODS_REACTORS_H_

#include <cstdint>
#include <mutex>

#include <grpcpp/grpcpp.h>

#include "absl/container/flat_hash_set.h"
#include "protocol/clock.h"
#include "protocol/refusal.h"
#include "services/broker/goods_relay.h"

namespace blindcart::broker {

class GoodsDoor {
 public:
  struct Options {
    // A merchant's stream has named its delivery by then.
    int64_t header_timeout_ms = 10'000;
  };

  // All must outlive the door.
  GoodsDoor(const Options& options, GoodsRelay& relay, protocol::RefusalCounters& counters,
            const protocol::Clock& clock)
      : options_(options), relay_(relay), counters_(counters), clock_(clock) {}

  // The reactors to return from the two methods.
  grpc::ServerReadReactor<grpc::ByteBuffer>* Send(grpc::CallbackServerContext* context,
                                                  grpc::ByteBuffer* response);
  grpc::ServerWriteReactor<grpc::ByteBuffer>* Fetch(grpc::CallbackServerContext* context,
                                                    const grpc::ByteBuffer& request);

  // Refuses streams that have not named their delivery in time.
  void Sweep();

 private:
  class SourceReactor;
  class SinkReactor;

  const Options options_;
  GoodsRelay& relay_;
  protocol::RefusalCounters& counters_;
  const protocol::Clock& clock_;
  std::mutex mutex_;
  absl::flat_hash_set<SourceReactor*> nameless_;  // Without a header yet.
};

}  // namespace blindcart::broker

#endif  // BLINDCART_SERVICES_BROKER_GOODS_REACTORS_H_
