#include "services/merchant/grpc_goods.h"

#include <grpcpp/grpcpp.h>

#include <atomic>

#include "services/common/status_conversion.h"

namespace blindcart::merchant {
namespace {

class GrpcGoodsStream final : public grpc::ClientWriteReactor<v1::GoodsMessage>,
                              public GoodsStream {
 public:
  explicit GrpcGoodsStream(std::shared_ptr<Events> events) : events_(std::move(events)) {}

  void Begin(std::shared_ptr<GrpcGoodsStream> self, v1::Broker::Stub& stub) {
    self_ = std::move(self);
    stub.async()->SendGoods(&context_, &reply_, this);
    // Writes come from other threads than the reactor's: the hold keeps the call until the last
    // one.
    AddHold();
    StartCall();
  }

  void Write(const v1::GoodsMessage& message) override {
    StartWrite(&message, grpc::WriteOptions().set_no_compression());
  }
  void WritesDone() override {
    StartWritesDone();
    LetGo();
  }
  void Cancel() override {
    context_.TryCancel();
    LetGo();
  }

  void OnWriteDone(bool ok) override { events_->OnWritten(ok); }
  void OnDone(const grpc::Status& status) override {
    events_->OnDone(FromGrpcStatus(status));
    events_.reset();
    self_.reset();
  }

 private:
  void LetGo() {
    if (!let_go_.exchange(true)) RemoveHold();
  }

  grpc::ClientContext context_;
  v1::GoodsSent reply_;
  std::shared_ptr<Events> events_;
  std::shared_ptr<GrpcGoodsStream> self_;  // Until the stream is done.
  std::atomic<bool> let_go_{false};
};

}  // namespace

std::shared_ptr<GoodsStream> GrpcGoodsTransport::Open(std::shared_ptr<GoodsStream::Events> events) {
  auto stream = std::make_shared<GrpcGoodsStream>(std::move(events));
  stream->Begin(stream, *stub_);
  return stream;
}

}  // namespace blindcart::merchant
