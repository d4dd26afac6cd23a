#include "services/broker/goods_reactors.h"

#include <memory>
#include <utility>
#include <vector>

#include "absl/types/optional.h"
#include "proto/broker.pb.h"
#include "protocol/delivery.h"
#include "services/common/status_conversion.h"

namespace blindcart::broker {
namespace {

// A header is 20 bytes; anything near the size of a piece is none.
constexpr size_t kMaxHeaderBytes = 64;

struct RawPiece : GoodsPiece {
  grpc::ByteBuffer bytes;
};

absl::optional<std::string> Flatten(const grpc::ByteBuffer& buffer) {
  if (!buffer.Valid() || buffer.Length() > kMaxHeaderBytes) return absl::nullopt;
  std::vector<grpc::Slice> slices;
  if (!buffer.Dump(&slices).ok()) return absl::nullopt;
  std::string bytes;
  for (const grpc::Slice& slice : slices) {
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return bytes;
}

}  // namespace

class GoodsDoor::SourceReactor final : public grpc::ServerReadReactor<grpc::ByteBuffer>,
                                       private GoodsSource {
 public:
  SourceReactor(GoodsDoor& door, grpc::CallbackServerContext* context)
      : door_(door), context_(context), started_ms_(door.clock_.NowMonotonicMs()) {
    {
      std::lock_guard<std::mutex> lock(door_.mutex_);
      door_.nameless_.insert(this);
    }
    StartRead(&incoming_);
  }

  void OnReadDone(bool ok) override {
    const std::shared_ptr<Delivery> joined = delivery();
    if (joined == nullptr) {
      OnHeader(ok);
    } else if (ok) {
      auto piece = std::make_unique<RawPiece>();
      piece->bytes.Swap(&incoming_);
      joined->OnPiece(std::move(piece));
    } else {
      joined->OnSourceEnded(context_->IsCancelled()
                                ? absl::CancelledError("the merchant's stream broke")
                                : absl::OkStatus());
    }
  }

  void OnCancel() override {
    if (const std::shared_ptr<Delivery> joined = delivery()) {
      joined->OnSourceEnded(absl::CancelledError("the merchant's stream broke"));
    }
  }

  void OnDone() override {
    Forget();
    if (const std::shared_ptr<Delivery> joined = delivery()) joined->DetachSource();
    delete this;
  }

  // From the door's sweep, with the door's lock held.
  bool IsLate(int64_t now_ms) const {
    return now_ms - started_ms_ >= door_.options_.header_timeout_ms;
  }
  void CancelLate() { context_->TryCancel(); }

 private:
  void OnHeader(bool ok) {
    Forget();
    std::shared_ptr<Delivery> named;
    v1::GoodsMessage message;
    if (ok) {
      const absl::optional<std::string> bytes = Flatten(incoming_);
      if (bytes.has_value() && message.ParseFromString(*bytes) && message.has_header() &&
          message.header().delivery_id().size() == protocol::kDeliveryIdBytes) {
        named = door_.relay_.Find(message.header().delivery_id());
        if (named == nullptr) door_.counters_.Add(protocol::RefusalReason::kUnknownSession);
      } else {
        door_.counters_.Add(protocol::RefusalReason::kBounds);
      }
    }
    if (named == nullptr) {
      Finish(protocol::Refused());
      return;
    }
    incoming_.Clear();
    {
      // A piece may arrive before AttachSource returns; it waits for the lock. Never set to a
      // delivery that is another stream's: that one is not ours to end.
      std::lock_guard<std::mutex> lock(mutex_);
      if (named->AttachSource(this)) {
        delivery_ = std::move(named);
        return;
      }
    }
    door_.counters_.Add(protocol::RefusalReason::kUnknownSession);
    Finish(protocol::Refused());
  }

  void Forget() {
    std::lock_guard<std::mutex> lock(door_.mutex_);
    door_.nameless_.erase(this);
  }

  std::shared_ptr<Delivery> delivery() {
    std::lock_guard<std::mutex> lock(mutex_);
    return delivery_;
  }

  void ReadNext() override { StartRead(&incoming_); }
  void Finish(const absl::Status& status) override {
    grpc::ServerReadReactor<grpc::ByteBuffer>::Finish(ToWireStatus(status));
  }

  GoodsDoor& door_;
  grpc::CallbackServerContext* const context_;
  const int64_t started_ms_;
  grpc::ByteBuffer incoming_;
  std::mutex mutex_;  // Taken before the delivery's.
  std::shared_ptr<Delivery> delivery_;
};

class GoodsDoor::SinkReactor final : public grpc::ServerWriteReactor<grpc::ByteBuffer>,
                                     private GoodsSink {
 public:
  explicit SinkReactor(grpc::CallbackServerContext* context) : context_(context) {}

  // `delivery` may be null.
  void Begin(std::shared_ptr<Delivery> delivery, protocol::RefusalCounters& counters) {
    if (delivery != nullptr) {
      std::lock_guard<std::mutex> lock(attach_mutex_);
      if (delivery->AttachSink(this)) {
        delivery_ = std::move(delivery);
        return;
      }
    }
    counters.Add(protocol::RefusalReason::kUnknownSession);
    Finish(protocol::Refused());
  }

  void OnWriteDone(bool ok) override {
    {
      std::lock_guard<std::mutex> lock(write_mutex_);
      writing_.reset();
      if (finish_status_.has_value()) {
        grpc::ServerWriteReactor<grpc::ByteBuffer>::Finish(ToWireStatus(*finish_status_));
        return;
      }
    }
    const std::shared_ptr<Delivery> joined = delivery();
    if (ok) {
      joined->OnWritten();
    } else {
      joined->OnSinkEnded();
    }
  }

  void OnCancel() override {
    if (const std::shared_ptr<Delivery> joined = delivery()) joined->OnSinkEnded();
  }

  void OnDone() override {
    if (const std::shared_ptr<Delivery> joined = delivery()) joined->DetachSink();
    delete this;
  }

 private:
  std::shared_ptr<Delivery> delivery() {
    std::lock_guard<std::mutex> lock(attach_mutex_);
    return delivery_;
  }

  void Write(std::unique_ptr<GoodsPiece> piece) override {
    std::lock_guard<std::mutex> lock(write_mutex_);
    writing_ = std::move(piece);
    StartWrite(&static_cast<RawPiece&>(*writing_).bytes, grpc::WriteOptions().set_no_compression());
  }

  // A stream ends only when nothing is being written. An agent that does not take what is under way
  // is cut off, so that the write comes back.
  void Finish(const absl::Status& status) override {
    std::lock_guard<std::mutex> lock(write_mutex_);
    if (writing_ == nullptr) {
      grpc::ServerWriteReactor<grpc::ByteBuffer>::Finish(ToWireStatus(status));
      return;
    }
    finish_status_ = status;
    if (!status.ok()) context_->TryCancel();
  }

  grpc::CallbackServerContext* const context_;
  std::mutex attach_mutex_;  // Taken before the delivery's.
  std::shared_ptr<Delivery> delivery_;
  std::mutex write_mutex_;  // Taken after the delivery's.
  std::unique_ptr<GoodsPiece> writing_;
  absl::optional<absl::Status> finish_status_;
};

grpc::ServerReadReactor<grpc::ByteBuffer>* GoodsDoor::Send(grpc::CallbackServerContext* context,
                                                           grpc::ByteBuffer* response) {
  // GoodsSent has no fields: its bytes are none.
  const grpc::Slice empty;
  *response = grpc::ByteBuffer(&empty, 1);
  return new SourceReactor(*this, context);
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* GoodsDoor::Fetch(grpc::CallbackServerContext* context,
                                                             const grpc::ByteBuffer& request) {
  auto* reactor = new SinkReactor(context);
  v1::GoodsHeader header;
  const absl::optional<std::string> bytes = Flatten(request);
  const bool valid = bytes.has_value() && header.ParseFromString(*bytes) &&
                     header.delivery_id().size() == protocol::kDeliveryIdBytes;
  reactor->Begin(valid ? relay_.Find(header.delivery_id()) : nullptr, counters_);
  return reactor;
}

void GoodsDoor::Sweep() {
  const int64_t now_ms = clock_.NowMonotonicMs();
  std::lock_guard<std::mutex> lock(mutex_);
  for (SourceReactor* reactor : nameless_) {
    if (reactor->IsLate(now_ms)) reactor->CancelLate();
  }
}

}  // namespace blindcart::broker
