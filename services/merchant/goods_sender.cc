#include "services/merchant/goods_sender.h"

#include <deque>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "services/common/log.h"

namespace blindcart::merchant {

// One delivery. A producer task on the executor seals pieces while fewer than kLookAhead wait; the
// stream takes them one by one and, with each one taken, wakes a producer that had stopped. There
// is at most one producer at a time, and the cipher and the file are its alone.
class GoodsSender::Delivery : public GoodsStream::Events,
                              public std::enable_shared_from_this<Delivery> {
 public:
  Delivery(GoodsSender& owner, Job job, std::unique_ptr<protocol::DeliverySender> cipher)
      : owner_(owner), job_(std::move(job)), cipher_(std::move(cipher)) {}

  void Begin() {
    auto header = std::make_unique<v1::GoodsMessage>();
    header->mutable_header()->set_delivery_id(job_.delivery_id);
    std::shared_ptr<GoodsStream> stream = job_.transport->Open(shared_from_this());
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stream_ = std::move(stream);
      last_moved_ms_ = owner_.clock_.NowMonotonicMs();
      ready_.push_back(std::move(header));
      WriteNextLocked();
      producing_ = true;
      if (cancelled_) stream_->Cancel();
    }
    StartProducer();
  }

  void Cancel() {
    std::lock_guard<std::mutex> lock(mutex_);
    CancelLocked();
  }

  void CancelIfStalled(int64_t now_ms) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (stream_ != nullptr && now_ms - last_moved_ms_ > kStallMs) CancelLocked();
  }

  void OnWritten(bool ok) override {
    bool wake = false;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      spare_.push_back(std::move(writing_));
      if (!ok) {
        CancelLocked();
        return;
      }
      last_moved_ms_ = owner_.clock_.NowMonotonicMs();
      WriteNextLocked();
      wake = !producing_ && !produced_all_ && !cancelled_;
      if (wake) producing_ = true;
    }
    if (wake) StartProducer();
  }

  void OnDone(const absl::Status& status) override {
    bool complete = false;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      complete = status.ok() && writes_done_ && !cancelled_;
      cancelled_ = true;  // A producer that still runs stops.
    }
    job_.done(complete);
    owner_.Remove(shared_from_this());
  }

 private:
  void StartProducer() {
    std::shared_ptr<Delivery> self = shared_from_this();
    if (!owner_.readers_.Run([self] { self->Produce(); }).ok()) Cancel();
  }

  void Produce() {
    while (true) {
      std::unique_ptr<v1::GoodsMessage> message;
      {
        std::lock_guard<std::mutex> lock(mutex_);
        if (cancelled_ || produced_all_ || ready_.size() >= kLookAhead) {
          producing_ = false;
          return;
        }
        if (!spare_.empty()) {
          message = std::move(spare_.back());
          spare_.pop_back();
        }
      }
      if (message == nullptr) message = std::make_unique<v1::GoodsMessage>();
      const bool last = cipher_->pieces_done();
      const absl::Status sealed =
          last ? cipher_->SealFinal(message->mutable_frame()) : SealPiece(message->mutable_frame());
      std::lock_guard<std::mutex> lock(mutex_);
      if (!sealed.ok()) {
        LogError("delivery.failed", {{"code", static_cast<int>(sealed.code())}});
        producing_ = false;
        CancelLocked();
        return;
      }
      produced_all_ = last;
      ready_.push_back(std::move(message));
      WriteNextLocked();
    }
  }

  absl::Status SealPiece(v1::Frame* frame) {
    const size_t content_bytes = cipher_->NextContentBytes();
    content_.resize(content_bytes);
    const absl::Status read =
        job_.file->ReadAt(cipher_->NextContentOffset(), content_bytes, content_.data());
    if (!read.ok()) return read;
    return cipher_->SealPiece(absl::string_view(content_.data(), content_bytes), frame);
  }

  void WriteNextLocked() {
    if (writing_ != nullptr || writes_done_ || cancelled_) return;
    if (!ready_.empty()) {
      writing_ = std::move(ready_.front());
      ready_.pop_front();
      stream_->Write(*writing_);
    } else if (produced_all_) {
      writes_done_ = true;
      stream_->WritesDone();
    }
  }

  void CancelLocked() {
    cancelled_ = true;
    if (stream_ != nullptr) stream_->Cancel();
  }

  GoodsSender& owner_;
  Job job_;
  // The producer's.
  const std::unique_ptr<protocol::DeliverySender> cipher_;
  std::vector<char> content_;

  std::mutex mutex_;
  std::shared_ptr<GoodsStream> stream_;
  std::deque<std::unique_ptr<v1::GoodsMessage>> ready_;
  std::unique_ptr<v1::GoodsMessage> writing_;
  // Written messages, whose buffers serve again.
  std::vector<std::unique_ptr<v1::GoodsMessage>> spare_;
  int64_t last_moved_ms_ = 0;
  bool producing_ = false;
  bool produced_all_ = false;
  bool writes_done_ = false;
  bool cancelled_ = false;
};

GoodsSender::GoodsSender(Executor& readers, const protocol::Clock& clock,
                         const crypto::Identity& merchant, crypto::RandomSource& random,
                         size_t max_deliveries)
    : readers_(readers),
      clock_(clock),
      merchant_(merchant),
      random_(random),
      max_deliveries_(max_deliveries) {}

GoodsSender::~GoodsSender() {
  std::unique_lock<std::mutex> lock(mutex_);
  const std::vector<std::shared_ptr<Delivery>> running(deliveries_.begin(), deliveries_.end());
  lock.unlock();
  for (const std::shared_ptr<Delivery>& delivery : running) delivery->Cancel();
  lock.lock();
  all_ended_.wait(lock, [this] { return deliveries_.empty(); });
}

absl::StatusOr<std::function<void()>> GoodsSender::Prepare(Job job) {
  absl::StatusOr<std::unique_ptr<protocol::DeliverySender>> cipher =
      protocol::DeliverySender::Create(std::move(job.keys), job.params, merchant_, random_);
  if (!cipher.ok()) return cipher.status();
  auto delivery = std::make_shared<Delivery>(*this, std::move(job), *std::move(cipher));
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (deliveries_.size() >= max_deliveries_) {
      return absl::ResourceExhaustedError("too many deliveries run");
    }
    deliveries_.insert(delivery);
  }
  return std::function<void()>([delivery] { delivery->Begin(); });
}

void GoodsSender::Sweep() {
  std::vector<std::shared_ptr<Delivery>> running;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    running.assign(deliveries_.begin(), deliveries_.end());
  }
  const int64_t now_ms = clock_.NowMonotonicMs();
  for (const std::shared_ptr<Delivery>& delivery : running) delivery->CancelIfStalled(now_ms);
}

size_t GoodsSender::active() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return deliveries_.size();
}

void GoodsSender::Remove(const std::shared_ptr<Delivery>& delivery) {
  // Under the lock, so that the destructor cannot end before this has.
  std::lock_guard<std::mutex> lock(mutex_);
  deliveries_.erase(delivery);
  all_ended_.notify_all();
}

}  // namespace blindcart::merchant
