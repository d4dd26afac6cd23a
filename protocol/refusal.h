// The one refusal (docs/protocol.md, "The one refusal"). Outward every failed check is
// Unauthenticated("refused"); inward a counter per reason.
//
// Thread safety: RefusalCounters is safe from any thread.
#ifndef BLINDCART_PROTOCOL_REFUSAL_H_
#define BLINDCART_PROTOCOL_REFUSAL_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace blindcart::protocol {

enum class RefusalReason {
  kNone,
  kBounds,       // A field is missing, too long or too short.
  kMalformed,    // Bytes that authenticated but do not parse.
  kOutOfOrder,   // A message that this state does not expect.
  kDecryption,   // RSA-OAEP failed.
  kIdentity,     // Fingerprints, roles or H(ids) differ.
  kChallenge,    // A random challenge came back wrong.
  kKeyExchange,  // An X25519 result is all zero.
  kSignature,
  kFinished,
  kUnknownPeer,  // Not enrolled.
  kUnknownSession,
  kExpired,  // Idle, too old or used up.
  kMac,
  kSequence,
  kSeal,  // AEAD failed.
  kPadding,
  kStale,  // sent_at_ms out of the window.
  kPassword,
  kRateLimited,
  kCertificate,  // Expired, revoked, another authority's, or not to be judged.
  kCount,        // Number of reasons; not one itself.
};

absl::string_view RefusalReasonName(RefusalReason reason);

// The status that leaves the process.
absl::Status Refused();
bool IsRefusal(const absl::Status& status);

class RefusalCounters {
 public:
  void Add(RefusalReason reason);
  uint64_t Get(RefusalReason reason) const;
  // Name and value of every reason that was counted at least once.
  std::vector<std::pair<std::string, uint64_t>> Snapshot() const;

 private:
  std::array<std::atomic<uint64_t>, static_cast<size_t>(RefusalReason::kCount)> counts_{};
};

}  // namespace blindcart::protocol

#endif  // BLINDCART_PROTOCOL_REFUSAL_H_
