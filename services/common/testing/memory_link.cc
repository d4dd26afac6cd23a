#include "services/common/testing/memory_link.h"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "services/common/link_pump.h"

namespace blindcart::testing {
namespace {

// Runs closures one after the other on a thread of its own.
class Executor {
 public:
  Executor() : thread_([this] { Run(); }) {}
  ~Executor() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_one();
    thread_.join();
  }

  void Post(std::function<void()> task) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      tasks_.push_back(std::move(task));
    }
    changed_.notify_one();
  }

 private:
  void Run() {
    std::unique_lock<std::mutex> lock(mutex_);
    while (true) {
      changed_.wait(lock, [this] { return stopping_ || !tasks_.empty(); });
      if (tasks_.empty()) return;
      std::function<void()> task = std::move(tasks_.front());
      tasks_.pop_front();
      lock.unlock();
      task();
      lock.lock();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> tasks_;
  bool stopping_ = false;
  std::thread thread_;  // Last: it uses what is above.
};

class MemoryEnd final : public Link, private LinkPump::Transport {
 public:
  MemoryEnd(Executor& executor, protocol::RefusalCounters& counters)
      : executor_(executor), pump_(*this, counters) {}

  void SetPeer(MemoryEnd* peer) { peer_ = peer; }
  void SetHandler(std::unique_ptr<LinkHandler> handler) { handler_ = std::move(handler); }

  void SendHandshake(v1::HandshakeMessage message) override {
    pump_.SendHandshake(std::move(message));
  }
  void Establish(std::unique_ptr<protocol::Channel> channel) override {
    pump_.Establish(std::move(channel));
  }
  absl::Status Send(std::string message) override { return pump_.Send(std::move(message)); }
  void Close(absl::Status status) override { pump_.Close(std::move(status)); }
  void CloseIfExpired() override { pump_.CloseIfExpired(); }

  // The rest runs on the executor only.
  void Receive(const v1::LinkMessage& message) {
    if (handler_ != nullptr) pump_.OnReceived(message, *handler_);
  }
  void Closed(const absl::Status& status) {
    if (handler_ == nullptr) return;
    pump_.OnPeerClosed();
    pump_.OnDone();
    const absl::Status own = pump_.close_status();
    handler_->OnClosed(own.ok() ? status : own);
    handler_.reset();
  }
  void Break() {
    pump_.Close(absl::UnavailableError("the stream is broken"));
    Closed(absl::UnavailableError("the stream is broken"));
  }

 private:
  void StartWrite(const v1::LinkMessage& message) override {
    executor_.Post([this, message] {
      peer_->Receive(message);
      pump_.OnWritten(true);
    });
  }
  void Finish(const absl::Status& status) override {
    executor_.Post([this, status] {
      Closed(status);
      peer_->Closed(protocol::IsRefusal(status) ? protocol::Refused() : absl::OkStatus());
    });
  }
  void Abort() override {
    executor_.Post([this] {
      Break();
      peer_->Break();
    });
  }

  Executor& executor_;
  LinkPump pump_;
  MemoryEnd* peer_ = nullptr;
  std::unique_ptr<LinkHandler> handler_;
};

}  // namespace

struct MemoryLinkPair::State {
  std::shared_ptr<MemoryEnd> accepting;
  std::shared_ptr<MemoryEnd> dialling;
  std::unique_ptr<Executor> executor = std::make_unique<Executor>();
};

MemoryLinkPair::MemoryLinkPair(const MakeHandler& accept, const MakeHandler& dial,
                               protocol::RefusalCounters& counters)
    : state_(std::make_unique<State>()) {
  state_->accepting = std::make_shared<MemoryEnd>(*state_->executor, counters);
  state_->dialling = std::make_shared<MemoryEnd>(*state_->executor, counters);
  state_->accepting->SetPeer(state_->dialling.get());
  state_->dialling->SetPeer(state_->accepting.get());
  State* state = state_.get();
  state_->executor->Post([state, accept, dial] {
    state->accepting->SetHandler(accept(state->accepting));
    state->dialling->SetHandler(dial(state->dialling));
  });
}

MemoryLinkPair::~MemoryLinkPair() {
  Break();
  state_->executor.reset();  // Runs what is left, then joins.
}

void MemoryLinkPair::Break() {
  State* state = state_.get();
  state_->executor->Post([state] {
    state->accepting->Break();
    state->dialling->Break();
  });
}

std::shared_ptr<Link> MemoryLinkPair::accepting_end() const { return state_->accepting; }
std::shared_ptr<Link> MemoryLinkPair::dialling_end() const { return state_->dialling; }

}  // namespace blindcart::testing
