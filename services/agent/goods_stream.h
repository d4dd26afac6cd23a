// Where the frames of a delivery come from. Knows no gRPC: grpc_goods_stream.h fetches them from the
// broker.
#ifndef BLINDCART_SERVICES_AGENT_GOODS_STREAM_H_
#define BLINDCART_SERVICES_AGENT_GOODS_STREAM_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "proto/frame.pb.h"

namespace blindcart::agent {

// One fetch. Next is for one thread at a time, Cancel for any.
class GoodsStream {
 public:
  virtual ~GoodsStream() = default;  // Cancels.
  // Waits for the next frame. False at the stream's clean end; Unavailable when it breaks, is
  // cancelled, or nothing comes for `timeout_ms`.
  virtual absl::StatusOr<bool> Next(v1::Frame* frame, int64_t timeout_ms) = 0;
  virtual void Cancel() = 0;
};

// Begins to fetch the delivery of that id from the broker at that address (BrokerLink::address), the
// one that the delivery was opened at. Does not block.
using FetchGoods =
    std::function<std::unique_ptr<GoodsStream>(size_t address, const std::string& delivery_id)>;

}  // namespace blindcart::agent

#endif  // BLINDCART_SERVICES_AGENT_GOODS_STREAM_H_
