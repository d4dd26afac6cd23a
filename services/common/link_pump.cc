#include "services/common/link_pump.h"

#include <utility>

#include "absl/status/statusor.h"

namespace blindcart {

void LinkPump::SendHandshake(v1::HandshakeMessage message) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (closing_) return;
  handshakes_.push_back(std::move(message));
  WriteNextLocked();
}

void LinkPump::Establish(std::unique_ptr<protocol::Channel> channel) {
  std::lock_guard<std::mutex> lock(mutex_);
  channel_ = std::move(channel);
}

absl::Status LinkPump::Send(std::string message) {
  if (message.size() > protocol::kMaxBatchBytes) {
    return absl::InvalidArgumentError("message too large for a frame");
  }
  std::lock_guard<std::mutex> lock(mutex_);
  if (closing_) return absl::UnavailableError("the link is closed");
  if (channel_ == nullptr) return absl::FailedPreconditionError("the link has no session yet");
  if (queued_bytes_ + message.size() > Link::kMaxQueuedBytes) {
    CloseLocked(absl::ResourceExhaustedError("the peer does not read"));
    return absl::ResourceExhaustedError("the peer does not read");
  }
  queued_bytes_ += message.size();
  messages_.push_back(std::move(message));
  WriteNextLocked();
  return absl::OkStatus();
}

void LinkPump::Close(absl::Status status) {
  std::lock_guard<std::mutex> lock(mutex_);
  CloseLocked(std::move(status));
}

void LinkPump::CloseLocked(absl::Status status) {
  if (closing_) return;
  closing_ = true;
  closing_since_ms_ = protocol::SystemClock().NowMonotonicMs();
  close_status_ = std::move(status);
  if (protocol::IsRefusal(close_status_)) {
    // After a refusal nothing more is said under this session.
    messages_.clear();
    queued_bytes_ = 0;
  }
  WriteNextLocked();
}

void LinkPump::CloseIfExpired() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (done_) return;
  if (closing_) {
    if (protocol::SystemClock().NowMonotonicMs() - closing_since_ms_ > kFlushLimitMs) {
      transport_.Abort();
    }
    return;
  }
  if (channel_ != nullptr && channel_->ended()) CloseLocked(protocol::Refused());
}

void LinkPump::OnReceived(const v1::LinkMessage& message, LinkHandler& handler) {
  std::shared_ptr<protocol::Channel> channel;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (closing_) return;
    channel = channel_;
  }
  if (message.has_handshake() && channel == nullptr) {
    handler.OnHandshake(message.handshake());
    return;
  }
  if (!message.has_frame() || channel == nullptr) {
    counters_.Add(protocol::RefusalReason::kOutOfOrder);
    Close(protocol::Refused());
    return;
  }
  absl::StatusOr<std::vector<std::string>> messages = channel->Open(message.frame());
  if (!messages.ok()) {
    counters_.Add(channel->last_refusal());
    Close(protocol::Refused());
    return;
  }
  handler.OnMessages(*std::move(messages));
}

void LinkPump::OnWritten(bool ok) {
  std::lock_guard<std::mutex> lock(mutex_);
  write_in_flight_ = false;
  if (!ok) {
    handshakes_.clear();
    messages_.clear();
    queued_bytes_ = 0;
    CloseLocked(absl::UnavailableError("the stream is broken"));
  }
  WriteNextLocked();
}

void LinkPump::OnDone() {
  std::lock_guard<std::mutex> lock(mutex_);
  done_ = true;
}

absl::Status LinkPump::close_status() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return close_status_;
}

void LinkPump::WriteNextLocked() {
  if (write_in_flight_ || finished_) return;
  if (!handshakes_.empty()) {
    *writing_.mutable_handshake() = std::move(handshakes_.front());
    handshakes_.pop_front();
  } else if (!messages_.empty()) {
    SealBatchLocked(&writing_);
    if (!writing_.has_frame()) return;
  } else {
    if (closing_) {
      finished_ = true;
      transport_.Finish(close_status_);
    }
    return;
  }
  write_in_flight_ = true;
  transport_.StartWrite(writing_);
}

void LinkPump::SealBatchLocked(v1::LinkMessage* out) {
  out->Clear();
  std::vector<std::string> batch;
  size_t batch_bytes = 0;
  while (!messages_.empty() && batch.size() < protocol::kMaxBatch &&
         batch_bytes + messages_.front().size() <= protocol::kMaxBatchBytes) {
    batch_bytes += messages_.front().size();
    batch.push_back(std::move(messages_.front()));
    messages_.pop_front();
  }
  queued_bytes_ -= batch_bytes;
  const absl::Status sealed = channel_->Seal(batch, out->mutable_frame());
  if (sealed.ok()) return;
  // The session expired between two messages; what waits cannot be sent any more.
  out->Clear();
  counters_.Add(channel_->last_refusal());
  messages_.clear();
  queued_bytes_ = 0;
  if (!closing_) {
    CloseLocked(protocol::Refused());
  } else {
    WriteNextLocked();
  }
}

}  // namespace blindcart
