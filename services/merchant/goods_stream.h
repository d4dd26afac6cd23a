// The way of goods from merchant to broker, as the sender sees it: one client stream of SendGoods
// for each delivery. Knows no gRPC: grpc_goods.h carries it over the network.
//
// Thread safety: a stream's methods may be called from any thread but not concurrently, except
// Cancel. None of them calls back before it returns.
#ifndef BLINDCART_SERVICES_MERCHANT_GOODS_STREAM_H_
#define BLINDCART_SERVICES_MERCHANT_GOODS_STREAM_H_

#include <memory>

#include "absl/status/status.h"
#include "proto/broker.pb.h"

namespace blindcart::merchant {

class GoodsStream {
 public:
  // Comes one at a time; OnDone last and exactly once.
  class Events {
   public:
    virtual ~Events() = default;
    virtual void OnWritten(bool ok) = 0;
    // OK when the broker took everything to the end.
    virtual void OnDone(const absl::Status& status) = 0;
  };

  virtual ~GoodsStream() = default;
  // One write at a time; `message` stays valid until OnWritten.
  virtual void Write(const v1::GoodsMessage& message) = 0;
  // Nothing more will be written.
  virtual void WritesDone() = 0;
  // Breaks the stream. May be called more than once and at any time.
  virtual void Cancel() = 0;
};

class GoodsTransport {
 public:
  virtual ~GoodsTransport() = default;
  // `events` is held until its OnDone.
  virtual std::shared_ptr<GoodsStream> Open(std::shared_ptr<GoodsStream::Events> events) = 0;
};

}  // namespace blindcart::merchant

#endif  // BLINDCART_SERVICES_MERCHANT_GOODS_STREAM_H_
