// Time stamps from the broker's notary (docs/notary.md): asks with a fresh nonce, and hands out only
// what it has verified: this document's hash, this nonce, the time that it is, signed under the
// broker's authority.
//
// Errors, with words for people: Unauthenticated, Unavailable; FailedPrecondition when the broker's
// card names no authority; DataLoss when the broker's answer does not verify. Business answers are
// outcomes. Thread-safe; calls block.
#ifndef BLINDCART_SERVICES_AGENT_NOTARIZER_H_
#define BLINDCART_SERVICES_AGENT_NOTARIZER_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "crypto/random.h"
#include "crypto/time_stamp.h"
#include "proto/notary.pb.h"
#include "protocol/clock.h"
#include "services/agent/broker_session.h"

namespace blindcart::agent {

class Notarizer {
 public:
  struct Dependencies {  // All must outlive the object.
    BrokerSession* broker = nullptr;
    std::string ca_certificate_pem;  // From the broker's card; empty: an old card.
    crypto::RandomSource* random = nullptr;
    const protocol::Clock* clock = nullptr;
  };
  struct Stamped {
    v1::NotaryOutcome outcome = v1::NOTARY_OUTCOME_UNSPECIFIED;
    std::string response;  // With STAMPED.
    crypto::TimeStamp time_stamp;
    int64_t retry_after_ms = 0;
  };

  explicit Notarizer(Dependencies dependencies) : use_(std::move(dependencies)) {}

  // `sha256` is 32 bytes; InvalidArgument otherwise.
  absl::StatusOr<Stamped> Stamp(absl::string_view sha256);
  // Whether `response` proves it for `sha256`, as of now.
  absl::StatusOr<crypto::TimeStamp> Verify(absl::string_view response,
                                           absl::string_view sha256) const;
  absl::StatusOr<std::string> Authority() const;

 private:
  const Dependencies use_;
};

}  // namespace blindcart::agent

#endif  // BLINDCART_SERVICES_AGENT_NOTARIZER_H_
