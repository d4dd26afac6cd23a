// Shop links: how a merchant hands its fingerprint to customers past the broker (docs/protocol.md,
// "Keys and trust").
//
//   blindcart:shop/NAME?broker=ADDRESS#FINGERPRINT
//   NAME         1 to 64 of [a-z0-9-]
//   ADDRESS      HOST:PORT, [IPV6]:PORT or unix:PATH with an absolute path; bytes other than
//                [A-Za-z0-9._~:/[]-] stand as %XX
//   FINGERPRINT  64 hexadecimal digits
// The address is a hint: whoever follows the link trusts the fingerprint alone.
//
// Pure functions; thread-safe. Errors: InvalidArgument with words for the person who typed it.
#ifndef BLINDCART_PROTOCOL_SHOP_LINK_H_
#define BLINDCART_PROTOCOL_SHOP_LINK_H_

#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace blindcart::protocol {

inline constexpr size_t kMaxShopNameBytes = 64;
inline constexpr size_t kMaxHostBytes = 253;        // RFC 1035.
inline constexpr size_t kMaxSocketPathBytes = 107;  // sockaddr_un's path without its last zero.
inline constexpr size_t kMaxShopLinkBytes = 1024;

struct ShopLink {
  std::string name;
  std::string broker_address;  // Without percent signs.
  std::string fingerprint;     // 32 raw bytes.
};

bool IsValidShopName(absl::string_view name);

// OK for HOST:PORT, [IPV6]:PORT (port 1 to 65535) and unix:/PATH.
absl::Status ValidateBrokerAddress(absl::string_view address);

// White space around the link is ignored, since links are pasted.
absl::StatusOr<ShopLink> ParseShopLink(absl::string_view link);
absl::StatusOr<std::string> FormatShopLink(const ShopLink& link);

}  // namespace blindcart::protocol

#endif  // BLINDCART_PROTOCOL_SHOP_LINK_H_
