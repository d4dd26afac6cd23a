#include "services/agent/notarizer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "services/agent/narrator.h"

namespace blindcart::agent {
namespace {

// How old a fresh time stamp may be: the clocks may differ by the 120 s that a session allows
// (docs/protocol.md section 2), and the answer may take a while.
constexpr int64_t kMaxAgeMs = 180'000;

}  // namespace

absl::StatusOr<std::string> Notarizer::Authority() const {
  if (use_.ca_certificate_pem.empty()) {
    return absl::FailedPreconditionError(
        "the broker's card that this agent was made with names no certificate authority, so no "
        "time stamp could be checked. Ask the broker's operator for its new card and put it in the "
        "place of the old one");
  }
  return use_.ca_certificate_pem;
}

absl::StatusOr<crypto::TimeStamp> Notarizer::Verify(absl::string_view response,
                                                    absl::string_view sha256) const {
  const absl::StatusOr<std::string> authority = Authority();
  if (!authority.ok()) return authority.status();
  return crypto::VerifyTimeStamp(
      response, {std::string(sha256), absl::nullopt, *authority, use_.clock->NowUnixMs()});
}

absl::StatusOr<Notarizer::Stamped> Notarizer::Stamp(absl::string_view sha256) {
  const absl::StatusOr<std::string> authority = Authority();
  if (!authority.ok()) return authority.status();
  const std::string nonce = use_.random->Bytes(crypto::kTimeStampNonceBytes);
  absl::StatusOr<std::string> request = crypto::MakeTimeStampRequest(sha256, nonce);
  if (!request.ok()) return request.status();
  v1::CustomerMessage message;
  message.mutable_notary()->set_time_stamp_request(*std::move(request));
  Narration().Say("notary", "sending the document's hash and a fresh nonce to the notary, sealed");
  // To be stamped twice does no harm.
  absl::StatusOr<v1::BrokerToCustomer> reply =
      use_.broker->Call(message, v1::BrokerToCustomer::kNotary, OnBreak::kRepeat);
  if (!reply.ok()) return reply.status();
  v1::NotaryResult& result = *reply->mutable_notary();
  Stamped stamped;
  stamped.outcome = result.outcome();
  switch (result.outcome()) {
    case v1::NOTARY_OUTCOME_STAMPED:
      break;
    case v1::NOTARY_OUTCOME_TRY_LATER:
      stamped.retry_after_ms = std::max<int64_t>(result.retry_after_ms(), 0);
      return stamped;
    case v1::NOTARY_OUTCOME_BUSY:
    case v1::NOTARY_OUTCOME_CLOCK:
    case v1::NOTARY_OUTCOME_CLOSED:
      return stamped;
    default:
      return absl::DataLossError("the broker's answer about the time stamp makes no sense");
  }
  absl::StatusOr<crypto::TimeStamp> verified =
      crypto::VerifyTimeStamp(result.time_stamp_response(),
                              {std::string(sha256), nonce, *authority, use_.clock->NowUnixMs()});
  if (!verified.ok()) {
    return absl::DataLossError(absl::StrCat("the broker's time stamp was refused: ",
                                            verified.status().message(), ". Nothing was written"));
  }
  if (use_.clock->NowUnixMs() - verified->time_ms > kMaxAgeMs) {
    return absl::DataLossError(
        "the broker's time stamp was refused: it names a time that is over. Nothing was written; "
        "check this machine's clock, and tell the broker's operator if it is right");
  }
  Narration().Say("notary",
                  "time stamp received; its hash and nonce are ours, its time is now, and it is "
                  "signed under the broker's authority for time stamping");
  stamped.response = std::move(*result.mutable_time_stamp_response());
  stamped.time_stamp = *std::move(verified);
  return stamped;
}

}  // namespace blindcart::agent
