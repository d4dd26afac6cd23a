// Shop links are pasted by people and titles come from merchants: a link that parses survives being written
// again, and a file name is always one safe component.
#include <cstddef>
#include <cstdint>
#include <string>

#include "protocol/file_name.h"
#include "protocol/shop_link.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  namespace protocol = blindcart::protocol;
  const std::string input(reinterpret_cast<const char*>(data), size);
  const auto link = protocol::ParseShopLink(input);
  if (link.ok()) {
    const auto again = protocol::ParseShopLink(*protocol::FormatShopLink(*link));
    if (!again.ok() || again->name != link->name || again->fingerprint != link->fingerprint ||
        again->broker_address != link->broker_address) {
      __builtin_trap();
    }
  }
  const std::string name = protocol::CleanFileName(input, input.substr(0, 4));
  if (name.empty() || name.size() > 255 || name.find('/') != std::string::npos ||
      name.find('\0') != std::string::npos || name.front() == '.' || name.front() == '-') {
    __builtin_trap();
  }
  return 0;
}
