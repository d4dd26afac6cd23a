// A server stream of the agent's local API that a worker fills, message by message, as fast as the
// caller reads: what does not get read in time ends the call.
//
// Thread-safe; Write and End are for the worker, which they hold up.
#ifndef BLINDCART_SERVICES_AGENT_PAGE_WRITER_H_
#define BLINDCART_SERVICES_AGENT_PAGE_WRITER_H_

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <utility>

#include <grpcpp/grpcpp.h>

#include "absl/status/status.h"
#include "services/common/status_conversion.h"

namespace blindcart::agent {

template <typename Message>
class PageWriter final : public grpc::ServerWriteReactor<Message> {
 public:
  static constexpr std::chrono::seconds kReadTimeout{60};

  // Lives until the call is over and the worker has let go of it.
  static std::shared_ptr<PageWriter> Make(grpc::CallbackServerContext* context) {
    std::shared_ptr<PageWriter> writer(new PageWriter(context));
    writer->self_ = writer;
    return writer;
  }

  // False once the caller is gone or does not read.
  bool Write(Message message) {
    std::unique_lock<std::mutex> lock(mutex_);
    if (!idle_.wait_for(lock, kReadTimeout, [&] { return !writing_; })) {
      cancelled_ = true;
      context_->TryCancel();
    }
    if (cancelled_) return false;
    current_ = std::move(message);
    writing_ = true;
    this->StartWrite(&current_);
    return true;
  }

  // Once, last.
  void End(const absl::Status& status) {
    std::unique_lock<std::mutex> lock(mutex_);
    if (!idle_.wait_for(lock, kReadTimeout, [&] { return !writing_; })) {
      context_->TryCancel();
      idle_.wait(lock, [&] { return !writing_; });
    }
    this->Finish(ToGrpcStatus(status));
  }

  void OnWriteDone(bool ok) override {
    std::lock_guard<std::mutex> lock(mutex_);
    writing_ = false;
    if (!ok) cancelled_ = true;
    idle_.notify_all();
  }
  void OnCancel() override {
    std::lock_guard<std::mutex> lock(mutex_);
    cancelled_ = true;
  }
  void OnDone() override { self_.reset(); }

 private:
  explicit PageWriter(grpc::CallbackServerContext* context) : context_(context) {}

  grpc::CallbackServerContext* const context_;
  std::shared_ptr<PageWriter> self_;  // Until the call is over.
  std::mutex mutex_;
  std::condition_variable idle_;
  // The rest is used under mutex_.
  Message current_;
  bool writing_ = false;
  bool cancelled_ = false;
};

}  // namespace blindcart::agent

#endif  // BLINDCART_SERVICES_AGENT_PAGE_WRITER_H_
