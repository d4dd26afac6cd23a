// Public identities come from files and from a broker's directory: what parses must be exactly what is
// written again.
#include <cstddef>
#include <cstdint>
#include <string>

#include "crypto/identity.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using blindcart::crypto::PublicIdentity;
  const std::string input(reinterpret_cast<const char*>(data), size);
  const auto binary = PublicIdentity::Parse(input);
  if (binary.ok() && binary->Serialize() != input) __builtin_trap();
  const auto text = PublicIdentity::ParsePem(input);
  if (text.ok() && PublicIdentity::ParsePem(text->ToPem())->Serialize() != text->Serialize()) {
    __builtin_trap();
  }
  return 0;
}
