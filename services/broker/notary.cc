#include "services/broker/notary.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "protocol/refusal.h"
#include "services/common/log.h"

namespace blindcart::broker {
namespace {

constexpr int64_t kMicrosecondsPerMs = 1'000;
constexpr int64_t kMaxTimeMs = std::numeric_limits<int64_t>::max() / kMicrosecondsPerMs - 1;

constexpr int kMaxAttempts = 8;

absl::StatusOr<int64_t> ReadTime(storage::Transaction& transaction) {
  const absl::StatusOr<std::string> text = transaction.meta().Get(kNotaryTimeMetaKey);
  if (absl::IsNotFound(text.status())) return 0;
  if (!text.ok()) return text.status();
  int64_t time_ms = 0;
  if (!absl::SimpleAtoi(*text, &time_ms) || time_ms < 0) {
    return absl::DataLossError("the notary's last time does not parse");
  }
  return time_ms;
}

v1::NotaryResult ResultOf(v1::NotaryOutcome outcome, int64_t retry_after_ms = 0) {
  v1::NotaryResult result;
  result.set_outcome(outcome);
  result.set_retry_after_ms(retry_after_ms);
  return result;
}

}  // namespace

struct Notary::Request {
  std::string time_stamp_request;
  std::function<void(v1::NotaryResult)> answer;
  int64_t time_ms = 0;
  int64_t serial = 0;
  int attempts = 0;
  // Another broker of the market has stamped with a time that is further ahead than clocks may differ.
  bool behind_others = false;
  crypto::IssuedTimeStamp issued;
};

absl::StatusOr<Notary::History> Notary::ReadHistory(storage::Store& store) {
  History history;
  const absl::Status read = store.Read([&](storage::Transaction& transaction) -> absl::Status {
    const absl::StatusOr<int64_t> time_ms = ReadTime(transaction);
    if (!time_ms.ok()) return time_ms.status();
    const absl::StatusOr<int64_t> serial = transaction.tokens().HighestSerial();
    if (!serial.ok()) return serial.status();
    history = {*time_ms, *serial};
    return absl::OkStatus();
  });
  if (!read.ok()) return read;
  return history;
}

Notary::Notary(const Options& options, const History& history,
               const crypto::TimeStampResponder* responder, storage::CommitQueue& commits,
               Executor& workers, const protocol::Clock& clock)
    : options_(options),
      responder_(responder),
      commits_(commits),
      workers_(workers),
      clock_(clock),
      latest_ms_(history.last_time_ms),
      last_serial_(history.last_serial) {}

absl::Status Notary::Stamp(int64_t customer_id, v1::NotaryCall call,
                           std::function<void(v1::NotaryResult)> answer) {
  if (!crypto::CheckTimeStampRequest(call.time_stamp_request()).ok()) return protocol::Refused();
  if (responder_ == nullptr) {
    answer(ResultOf(v1::NOTARY_OUTCOME_CLOSED));
    return absl::OkStatus();
  }
  const int64_t wait_ms = TakeAllowance(customer_id);
  if (wait_ms > 0) {
    answer(ResultOf(v1::NOTARY_OUTCOME_TRY_LATER, wait_ms));
    return absl::OkStatus();
  }
  auto request = std::make_shared<Request>();
  request->time_stamp_request = std::move(*call.mutable_time_stamp_request());
  request->answer = std::move(answer);
  const absl::Status queued = workers_.Run([this, request] { Sign(request); });
  if (!queued.ok()) request->answer(ResultOf(v1::NOTARY_OUTCOME_BUSY));
  return absl::OkStatus();
}

int64_t Notary::TakeAllowance(int64_t customer_id) {
  const int64_t now_ms = clock_.NowMonotonicMs();
  std::lock_guard<std::mutex> lock(mutex_);
  Allowance& allowance =
      allowances_.try_emplace(customer_id, Allowance{options_.burst, now_ms}).first->second;
  const int64_t gained = (now_ms - allowance.since_ms) / options_.interval_ms;
  allowance.stamps = std::min(options_.burst, allowance.stamps + gained);
  allowance.since_ms += gained * options_.interval_ms;
  if (allowance.stamps == 0) return allowance.since_ms + options_.interval_ms - now_ms;
  --allowance.stamps;
  return 0;
}

bool Notary::LookAtClockLocked(int64_t now_ms) {
  const bool behind = now_ms < latest_ms_ || now_ms > kMaxTimeMs;
  if (behind && !clock_behind_) LogWarning("notary.clock_behind", {{"by_ms", latest_ms_ - now_ms}});
  if (!behind && clock_behind_) LogInfo("notary.clock_right_again");
  clock_behind_ = behind;
  if (!behind) latest_ms_ = now_ms;
  return !behind;
}

void Notary::Sign(const std::shared_ptr<Request>& request) {
  bool clock_right = false;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    request->time_ms = clock_.NowUnixMs();
    clock_right = LookAtClockLocked(request->time_ms);
    if (clock_right) {
      last_serial_ = std::max(last_serial_ + 1, request->time_ms * kMicrosecondsPerMs);
      request->serial = last_serial_;
    }
  }
  if (!clock_right) {
    request->answer(ResultOf(v1::NOTARY_OUTCOME_CLOCK));
    return;
  }
  if (request->time_ms > responder_->not_after_ms()) {
    LogWarning("notary.certificate_ended");
    request->answer(ResultOf(v1::NOTARY_OUTCOME_CLOSED));
    return;
  }
  absl::StatusOr<crypto::IssuedTimeStamp> issued =
      responder_->Issue(request->time_stamp_request, request->serial, request->time_ms);
  if (!issued.ok()) {
    LogWarning("notary.failed", {{"code", static_cast<int>(issued.status().code())}});
    request->answer(ResultOf(v1::NOTARY_OUTCOME_BUSY));
    return;
  }
  request->issued = *std::move(issued);
  Keep(request);
}

void Notary::Keep(const std::shared_ptr<Request>& request) {
  const absl::Status queued = commits_.Submit(
      [request](storage::Transaction& transaction) -> absl::Status {
        const absl::StatusOr<int64_t> last_ms = ReadTime(transaction);
        if (!last_ms.ok()) return last_ms.status();
        request->behind_others = *last_ms - request->time_ms > kMaxClockDifferenceMs;
        if (request->behind_others) return absl::FailedPreconditionError("the clock is behind");
        // Several are signed at once, so a later one may have come here first.
        if (request->time_ms > *last_ms) {
          const absl::Status set =
              transaction.meta().Set(kNotaryTimeMetaKey, absl::StrCat(request->time_ms));
          if (!set.ok()) return set;
        }
        return transaction.tokens().Insert({request->serial, request->issued.token_sha256});
      },
      [this, request](const absl::Status& status) {
        if (request->behind_others) {
          LogWarning("notary.clock_behind_others");
          request->answer(ResultOf(v1::NOTARY_OUTCOME_CLOCK));
          return;
        }
        if (absl::IsAlreadyExists(status) && ++request->attempts < kMaxAttempts) {
          // Another broker was given the same serial in the same moment.
          const absl::Status queued = workers_.Run([this, request] { Sign(request); });
          if (!queued.ok()) request->answer(ResultOf(v1::NOTARY_OUTCOME_BUSY));
          return;
        }
        if (!status.ok()) {
          LogWarning("notary.failed", {{"code", static_cast<int>(status.code())}});
          request->answer(ResultOf(v1::NOTARY_OUTCOME_BUSY));
          return;
        }
        v1::NotaryResult result = ResultOf(v1::NOTARY_OUTCOME_STAMPED);
        result.set_time_stamp_response(request->issued.response);
        request->answer(std::move(result));
      });
  if (!queued.ok()) request->answer(ResultOf(v1::NOTARY_OUTCOME_BUSY));
}

void Notary::Sweep() {
  if (responder_ == nullptr) return;
  const int64_t full_ms = options_.burst * options_.interval_ms;
  const int64_t now_ms = clock_.NowMonotonicMs();
  std::lock_guard<std::mutex> lock(mutex_);
  LookAtClockLocked(clock_.NowUnixMs());
  for (auto it = allowances_.begin(); it != allowances_.end();) {
    if (now_ms - it->second.since_ms >= full_ms) {
      allowances_.erase(it++);
    } else {
      ++it;
    }
  }
}

}  // namespace blindcart::broker
