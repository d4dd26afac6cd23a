#include "services/agent/explain_service.h"

#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

namespace blindcart::agent {
namespace {

// Lives until the call is over and no step is being told to it.
class Telling final : public grpc::ServerBidiReactor<v1::ExplainRequest, v1::ExplainMessage> {
 public:
  explicit Telling(Narrator& narrator) : narrator_(narrator) {}

  void Begin(const std::shared_ptr<Telling>& self) {
    self_ = self;
    listener_ = narrator_.Add([weak = std::weak_ptr<Telling>(self)](const std::string& step) {
      if (const auto telling = weak.lock()) telling->Tell(step);
    });
    StartRead(&request_);
  }

  void OnReadDone(bool ok) override {
    std::lock_guard<std::mutex> lock(mutex_);
    if (ok) {
      v1::ExplainMessage message;
      message.set_mark(request_.mark());
      Queue(std::move(message));
    } else {
      ending_ = true;
    }
    GoOn();
  }
  void OnWriteDone(bool ok) override {
    std::lock_guard<std::mutex> lock(mutex_);
    writing_ = false;
    // The next request is read when the last one's mark has left, so that marks stay few.
    const bool marked = current_.kind_case() == v1::ExplainMessage::kMark;
    if (!ok) {
      ending_ = true;
      queue_.clear();
      left_out_ = 0;
    }
    GoOn();
    if (ok && marked && !ending_) StartRead(&request_);
  }
  void OnCancel() override {
    std::lock_guard<std::mutex> lock(mutex_);
    ending_ = true;
    queue_.clear();
    left_out_ = 0;
    GoOn();
  }
  void OnDone() override {
    narrator_.Remove(listener_);
    self_.reset();
  }

 private:
  void Tell(const std::string& step) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (ending_) return;
    if (queue_.size() >= ExplainService::kMaxQueuedSteps) {
      ++left_out_;
      return;
    }
    v1::ExplainMessage message;
    message.set_step(step);
    Queue(std::move(message));
    GoOn();
  }

  // Under mutex_, as all that follows.
  void Queue(v1::ExplainMessage message) {
    if (left_out_ > 0) {
      queue_.emplace_back().set_left_out(left_out_);
      left_out_ = 0;
    }
    queue_.push_back(std::move(message));
  }
  void GoOn() {
    if (writing_ || finished_) return;
    if (!queue_.empty()) {
      current_ = std::move(queue_.front());
      queue_.pop_front();
      writing_ = true;
      StartWrite(&current_);
    } else if (ending_) {
      finished_ = true;
      Finish(grpc::Status::OK);
    }
  }

  Narrator& narrator_;
  uint64_t listener_ = 0;
  std::shared_ptr<Telling> self_;  // Until the call is over.
  v1::ExplainRequest request_;     // Of the read under way.

  std::mutex mutex_;
  // The rest is used under mutex_.
  std::deque<v1::ExplainMessage> queue_;
  v1::ExplainMessage current_;
  uint64_t left_out_ = 0;
  bool writing_ = false;
  bool ending_ = false;
  bool finished_ = false;
};

}  // namespace

grpc::ServerBidiReactor<v1::ExplainRequest, v1::ExplainMessage>* ExplainService::Explain(
    grpc::CallbackServerContext* /*context*/) {
  const auto telling = std::make_shared<Telling>(narrator_);
  telling->Begin(telling);
  return telling.get();
}

}  // namespace blindcart::agent
