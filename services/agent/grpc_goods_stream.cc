#include "services/agent/grpc_goods_stream.h"

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <utility>

#include "absl/status/status.h"
#include "services/common/status_conversion.h"

namespace blindcart::agent {
namespace {

constexpr size_t kLookAhead = 4;  // Messages of 256 KiB.

// What the reader and gRPC's threads share; it lives as long as either.
struct Shared {
  grpc::ClientContext context;
  v1::GoodsHeader header;

  std::mutex mutex;
  std::condition_variable changed;
  // The rest is used under the mutex.
  std::deque<v1::GoodsMessage> waiting;
  bool reading = true;     // A read is under way.
  bool abandoned = false;  // The reader is gone: take nothing more.
  bool ended = false;      // No more reads will be started.
  bool done = false;       // The call is over and its status known.
  absl::Status status;
};

// Deletes itself when the call is over. Reads are started from the reader's thread, too, so a hold
// keeps the call alive until the last one has ended.
class Reactor final : public grpc::ClientReadReactor<v1::GoodsMessage> {
 public:
  explicit Reactor(std::shared_ptr<Shared> shared) : shared_(std::move(shared)) {}

  void Begin(v1::Broker::Stub& stub) {
    stub.async()->FetchGoods(&shared_->context, &shared_->header, this);
    AddHold();
    StartRead(&message_);
    StartCall();
  }

  // The caller has just set `reading`, so that nobody else starts a read.
  void ReadNext() { StartRead(&message_); }
  // The caller has just set `ended`, with no read under way.
  void LetGo() { RemoveHold(); }

  void OnReadDone(bool ok) override {
    bool again = false;
    {
      std::lock_guard<std::mutex> lock(shared_->mutex);
      shared_->reading = false;
      if (ok && !shared_->abandoned) {
        shared_->waiting.push_back(std::move(message_));
        message_.Clear();
        again = shared_->waiting.size() < kLookAhead;
        shared_->reading = again;
      } else {
        shared_->ended = true;
      }
      shared_->changed.notify_all();
      if (!shared_->ended && !again) return;
    }
    if (again) {
      StartRead(&message_);
    } else {
      RemoveHold();
    }
  }

  void OnDone(const grpc::Status& status) override {
    {
      std::lock_guard<std::mutex> lock(shared_->mutex);
      shared_->done = true;
      shared_->status = FromGrpcStatus(status);
      shared_->changed.notify_all();
    }
    delete this;
  }

 private:
  const std::shared_ptr<Shared> shared_;
  v1::GoodsMessage message_;
};

class GrpcGoodsStream final : public GoodsStream {
 public:
  GrpcGoodsStream(v1::Broker::Stub& stub, const std::string& delivery_id)
      : shared_(std::make_shared<Shared>()), reactor_(new Reactor(shared_)) {
    shared_->header.set_delivery_id(delivery_id);
    reactor_->Begin(stub);
  }

  ~GrpcGoodsStream() override {
    bool let_go = false;
    {
      std::lock_guard<std::mutex> lock(shared_->mutex);
      shared_->abandoned = true;
      if (!shared_->ended && !shared_->reading) {
        shared_->ended = true;
        let_go = true;
      }
    }
    shared_->context.TryCancel();
    if (let_go) reactor_->LetGo();
  }

  absl::StatusOr<bool> Next(v1::Frame* frame, int64_t timeout_ms) override {
    bool read_on = false;
    {
      std::unique_lock<std::mutex> lock(shared_->mutex);
      const bool came =
          shared_->changed.wait_for(lock, std::chrono::milliseconds(timeout_ms),
                                    [this] { return !shared_->waiting.empty() || shared_->done; });
      if (!came) return absl::UnavailableError("no goods came for too long");
      if (shared_->waiting.empty()) {
        if (shared_->status.ok()) return false;
        return absl::UnavailableError("the delivery broke off");
      }
      v1::GoodsMessage message = std::move(shared_->waiting.front());
      shared_->waiting.pop_front();
      if (!shared_->ended && !shared_->reading) {
        shared_->reading = true;
        read_on = true;
      }
      // Whatever is no frame fails its check as one.
      *frame = std::move(*message.mutable_frame());
    }
    if (read_on) reactor_->ReadNext();
    return true;
  }

  void Cancel() override { shared_->context.TryCancel(); }

 private:
  const std::shared_ptr<Shared> shared_;
  Reactor* const reactor_;  // Alive while !ended: its hold is.
};

}  // namespace

std::unique_ptr<GoodsStream> FetchGrpcGoods(v1::Broker::Stub& stub,
                                            const std::string& delivery_id) {
  return std::make_unique<GrpcGoodsStream>(stub, delivery_id);
}

}  // namespace blindcart::agent
