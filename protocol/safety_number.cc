#include "protocol/safety_number.h"

#include <algorithm>
#include <cstdint>

#include "absl/strings/ascii.h"
#include "absl/strings/str_format.h"
#include "crypto/encoding.h"
#include "crypto/hash.h"
#include "crypto/hkdf.h"
#include "crypto/identity.h"

namespace blindcart::protocol {
namespace {

constexpr absl::string_view kContext = "blindcart/v1 safety number";
constexpr int kRounds = 5'200;
constexpr size_t kGroups = 12;
constexpr size_t kGroupBytes = 5;
constexpr uint64_t kGroupModulus = 100'000;

std::string WithoutSpace(absl::string_view text) {
  std::string kept;
  for (char c : text) {
    if (!absl::ascii_isspace(c)) kept.push_back(c);
  }
  return kept;
}

}  // namespace

absl::StatusOr<std::string> SafetyNumber(absl::string_view one_fingerprint,
                                         absl::string_view other_fingerprint) {
  if (one_fingerprint.size() != crypto::kFingerprintBytes ||
      other_fingerprint.size() != crypto::kFingerprintBytes) {
    return absl::InvalidArgumentError("fingerprint not 32 bytes");
  }
  const std::string pair =
      crypto::LengthPrefixed({kContext, std::min(one_fingerprint, other_fingerprint),
                              std::max(one_fingerprint, other_fingerprint)});
  std::string digest = crypto::Sha256(pair);
  for (int i = 1; i < kRounds; ++i) {
    digest = crypto::Sha256(crypto::LengthPrefixed({digest, pair}));
  }
  const absl::StatusOr<crypto::SecretBytes> digits =
      crypto::HkdfExpand(digest, crypto::LengthPrefixed({"digits"}), kGroups * kGroupBytes);
  if (!digits.ok()) return digits.status();
  std::string number;
  for (size_t group = 0; group < kGroups; ++group) {
    uint64_t value = 0;
    for (size_t i = 0; i < kGroupBytes; ++i) {
      value = (value << 8) | digits->data()[group * kGroupBytes + i];
    }
    if (group > 0) number.push_back(' ');
    absl::StrAppendFormat(&number, "%05d", value % kGroupModulus);
  }
  return number;
}

bool SafetyNumbersMatch(absl::string_view number, absl::string_view typed) {
  return WithoutSpace(number) == WithoutSpace(typed);
}

}  // namespace blindcart::protocol
