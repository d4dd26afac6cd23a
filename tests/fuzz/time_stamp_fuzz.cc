// Time stamps come from anybody, requests from any customer: what is taken must be exactly the one
// encoding of what it says, and nothing verifies that our authority did not sign.
#include <cstddef>
#include <cstdint>
#include <string>

#include "crypto/hash.h"
#include "crypto/time_stamp.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace blindcart::crypto;  // NOLINT(google-build-using-namespace)
  const std::string input(reinterpret_cast<const char*>(data), size);
  if (CheckTimeStampRequest(input).ok() && CheckTimeStampRequest(input + '\0').ok()) {
    __builtin_trap();
  }
  const auto stamp = ReadTimeStamp(input);
  if (stamp.ok() && (stamp->sha256.size() != kSha256Bytes || stamp->serial_hex.empty() ||
                     ReadTimeStamp(input + '\0').ok())) {
    __builtin_trap();
  }
  const std::string hash = stamp.ok() ? stamp->sha256 : Sha256("");
  if (VerifyTimeStamp(input, {hash, absl::nullopt, input, 1'800'000'000'000}).ok()) {
    __builtin_trap();
  }
  return 0;
}
