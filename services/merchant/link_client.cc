#include "services/merchant/link_client.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

#include "services/common/log.h"

namespace blindcart::merchant {

// Passes a link's callbacks on to its handler, and its end to the client.
class LinkClient::Watch : public LinkHandler {
 public:
  Watch(std::shared_ptr<LinkClient> client, std::unique_ptr<LinkHandler> handler)
      : client_(std::move(client)), handler_(std::move(handler)) {}
  void OnHandshake(const v1::HandshakeMessage& message) override { handler_->OnHandshake(message); }
  void OnMessages(std::vector<std::string> messages) override {
    handler_->OnMessages(std::move(messages));
  }
  void OnClosed(const absl::Status& status) override {
    handler_->OnClosed(status);
    handler_.reset();
    client_->OnClosed(status);
  }

 private:
  const std::shared_ptr<LinkClient> client_;
  std::unique_ptr<LinkHandler> handler_;
};

std::shared_ptr<LinkClient> LinkClient::Create(Dial dial, MakeHandler make_handler,
                                               Scheduler& scheduler, const protocol::Clock& clock,
                                               crypto::RandomSource& random) {
  return std::shared_ptr<LinkClient>(
      new LinkClient(std::move(dial), std::move(make_handler), scheduler, clock, random));
}

LinkClient::LinkClient(Dial dial, MakeHandler make_handler, Scheduler& scheduler,
                       const protocol::Clock& clock, crypto::RandomSource& random)
    : dial_(std::move(dial)),
      make_handler_(std::move(make_handler)),
      scheduler_(scheduler),
      clock_(clock),
      random_(random) {}

void LinkClient::Start() { Connect(); }

void LinkClient::Connect() {
  uint64_t number = 0;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (stopping_) return;
    in_use_ = true;
    established_ = false;
    number = ++dials_;
  }
  const std::shared_ptr<LinkClient> self = shared_from_this();
  std::shared_ptr<Link> link = dial_([self](std::shared_ptr<Link> made) {
    return std::make_unique<Watch>(
        self, self->make_handler_(std::move(made), [self] { self->OnEstablished(); }));
  });
  bool stopping = false;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (in_use_ && dials_ == number) link_ = link;  // Else it has ended already.
    stopping = stopping_;
  }
  if (stopping) link->Close(absl::OkStatus());
  const std::weak_ptr<Link> watched = link;
  scheduler_.RunAfter(kHandshakeLimitMs, [self, watched, number] {
    {
      std::lock_guard<std::mutex> lock(self->mutex_);
      if (self->established_ || self->dials_ != number) return;
    }
    if (const std::shared_ptr<Link> stuck = watched.lock()) {
      stuck->Close(absl::DeadlineExceededError("the broker did not finish the handshake"));
      stuck->CloseIfExpired();
    }
  });
}

void LinkClient::OnEstablished() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    established_ = true;
    established_at_ms_ = clock_.NowMonotonicMs();
  }
  LogInfo("link.established");
}

void LinkClient::OnClosed(const absl::Status& status) {
  int64_t delay_ms = 0;
  bool again = false;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (established_ && clock_.NowMonotonicMs() - established_at_ms_ >= kStableMs) failures_ = 0;
    established_ = false;
    in_use_ = false;
    link_.reset();
    again = !stopping_;
    if (again) delay_ms = NextDelayMsLocked();
    closed_.notify_all();
  }
  if (!again) return;
  LogInfo("link.closed", {{"code", static_cast<int>(status.code())}, {"next_try_in_ms", delay_ms}});
  const std::weak_ptr<LinkClient> self = weak_from_this();
  scheduler_.RunAfter(delay_ms, [self] {
    if (const std::shared_ptr<LinkClient> client = self.lock()) client->Connect();
  });
}

int64_t LinkClient::NextDelayMsLocked() {
  const int64_t limit_ms =
      failures_ < 8 ? std::min(kMaxBackoffMs, kMinBackoffMs << failures_) : kMaxBackoffMs;
  ++failures_;
  // Between half of the limit and all of it.
  uint32_t random = 0;
  const std::string bytes = random_.Bytes(sizeof(random));
  std::memcpy(&random, bytes.data(), sizeof(random));
  const int64_t half_ms = limit_ms / 2;
  return half_ms + static_cast<int64_t>(random) % (limit_ms - half_ms + 1);
}

bool LinkClient::connected() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return established_;
}

void LinkClient::Stop() {
  std::unique_lock<std::mutex> lock(mutex_);
  stopping_ = true;
  while (in_use_) {
    const std::shared_ptr<Link> link = link_;
    lock.unlock();
    if (link != nullptr) {
      link->Close(absl::OkStatus());
      link->CloseIfExpired();  // Cuts it off when the broker does not take what was queued.
    }
    lock.lock();
    closed_.wait_for(lock, std::chrono::milliseconds(200), [this] { return !in_use_; });
  }
}

}  // namespace blindcart::merchant
