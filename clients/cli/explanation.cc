#include "clients/cli/explanation.h"

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "clients/cli/display_text.h"

namespace blindcart::cli {
namespace {

constexpr char kBullet[] = "  \xc2\xb7 ";
// A local answer; an agent that hangs must not hold up what the command has to say.
constexpr auto kMarkTimeout = std::chrono::seconds(10);

}  // namespace

absl::StatusOr<std::unique_ptr<Explanation>> Explanation::Start(
    AgentClient& agent, std::function<void(const std::string& line)> print) {
  auto explanation = std::unique_ptr<Explanation>(new Explanation());
  explanation->print_ = std::move(print);
  explanation->stub_ = agent.Stub<v1::AgentExplain>();
  explanation->stream_ = explanation->stub_->Explain(&explanation->context_);
  // Its mark says that the agent has begun to tell.
  v1::ExplainRequest request;
  request.set_mark(++explanation->asked_);
  v1::ExplainMessage message;
  if (!explanation->stream_->Write(request)) {
    return agent.InWords(explanation->stream_->Finish());
  }
  while (message.mark() != request.mark()) {
    if (!explanation->stream_->Read(&message)) {
      const absl::Status ended = agent.InWords(explanation->stream_->Finish());
      return ended.ok() ? absl::UnavailableError("the agent does not explain itself") : ended;
    }
  }
  explanation->reached_ = request.mark();
  explanation->reader_ = std::thread([e = explanation.get()] { e->Read(); });
  return explanation;
}

Explanation::~Explanation() {
  if (!reader_.joinable()) return;
  CatchUp();
  context_.TryCancel();
  reader_.join();
}

void Explanation::CatchUp() {
  v1::ExplainRequest request;
  request.set_mark(++asked_);
  if (!stream_->Write(request)) return;
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait_for(lock, kMarkTimeout, [&] { return ended_ || reached_ >= request.mark(); });
}

void Explanation::Read() {
  v1::ExplainMessage message;
  while (stream_->Read(&message)) {
    switch (message.kind_case()) {
      case v1::ExplainMessage::kStep:
        print_(absl::StrCat(kBullet, Sanitise(message.step())));
        break;
      case v1::ExplainMessage::kLeftOut:
        print_(absl::StrCat(kBullet, message.left_out(), " steps left out"));
        break;
      default: {
        std::lock_guard<std::mutex> lock(mutex_);
        reached_ = message.mark();
        changed_.notify_all();
      }
    }
  }
  stream_->Finish();
  std::lock_guard<std::mutex> lock(mutex_);
  ended_ = true;
  changed_.notify_all();
}

}  // namespace blindcart::cli
