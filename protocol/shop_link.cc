#include "protocol/shop_link.h"

#include <cstdint>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "crypto/encoding.h"
#include "crypto/identity.h"

namespace blindcart::protocol {
namespace {

constexpr absl::string_view kScheme = "blindcart:shop/";
constexpr absl::string_view kBrokerParameter = "broker=";
constexpr absl::string_view kUnixPrefix = "unix:";
constexpr absl::string_view kLiteralMarks = "._~:/[]-";
constexpr absl::string_view kForm = "blindcart:shop/NAME?broker=ADDRESS#FINGERPRINT";

absl::Status Wrong(absl::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat("not a shop link: ", what, "; a shop link reads ", kForm));
}

bool IsLiteral(char c) { return absl::ascii_isalnum(c) || absl::StrContains(kLiteralMarks, c); }

std::string PercentEncode(absl::string_view text) {
  std::string out;
  for (const char c : text) {
    if (IsLiteral(c)) {
      out.push_back(c);
    } else {
      absl::StrAppend(&out, "%", absl::AsciiStrToUpper(crypto::HexEncode({&c, 1})));
    }
  }
  return out;
}

absl::StatusOr<std::string> PercentDecode(absl::string_view text) {
  std::string out;
  while (!text.empty()) {
    if (text.front() == '%') {
      const absl::StatusOr<std::string> byte = crypto::HexDecode(text.substr(1, 2));
      if (!byte.ok() || byte->size() != 1) {
        return Wrong("a percent sign in the broker's address is not followed by two hex digits");
      }
      out.append(*byte);
      text.remove_prefix(3);
    } else if (IsLiteral(text.front())) {
      out.push_back(text.front());
      text.remove_prefix(1);
    } else {
      return Wrong("the broker's address has a character that must be written as %XX");
    }
  }
  return out;
}

// A DNS name or an IPv4 address by its characters; whether it exists is for the one who dials.
bool IsHostName(absl::string_view host) {
  if (host.empty() || host.size() > kMaxHostBytes) return false;
  if (!absl::ascii_isalnum(host.front())) return false;
  for (const char c : host) {
    if (!absl::ascii_isalnum(c) && c != '-' && c != '.' && c != '_') return false;
  }
  return !absl::StrContains(host, "..");
}

bool IsBracketedIpv6(absl::string_view host) {
  if (!absl::ConsumePrefix(&host, "[") || !absl::ConsumeSuffix(&host, "]")) return false;
  constexpr size_t kMaxIpv6Characters = 45;
  if (host.size() > kMaxIpv6Characters || !absl::StrContains(host, ':')) return false;
  for (const char c : host) {
    if (!absl::ascii_isxdigit(c) && c != ':' && c != '.') return false;
  }
  return true;
}

bool IsPort(absl::string_view port) {
  if (port.empty() || port.size() > 5) return false;
  for (const char c : port) {
    if (!absl::ascii_isdigit(c)) return false;
  }
  uint32_t number = 0;
  return absl::SimpleAtoi(port, &number) && number >= 1 && number <= 65535;
}

}  // namespace

bool IsValidShopName(absl::string_view name) {
  if (name.empty() || name.size() > kMaxShopNameBytes) return false;
  for (const char c : name) {
    if (!absl::ascii_islower(c) && !absl::ascii_isdigit(c) && c != '-') return false;
  }
  return true;
}

absl::Status ValidateBrokerAddress(absl::string_view address) {
  if (absl::ConsumePrefix(&address, kUnixPrefix)) {
    if (!absl::StartsWith(address, "/")) {
      return absl::InvalidArgumentError("a unix: address needs an absolute path");
    }
    if (address.size() > kMaxSocketPathBytes) {
      return absl::InvalidArgumentError("the path of a unix: address is longer than 107 bytes");
    }
    for (const char c : address) {
      if (absl::ascii_iscntrl(c)) {
        return absl::InvalidArgumentError("a unix: address has a control character in its path");
      }
    }
    return absl::OkStatus();
  }
  const size_t colon = address.rfind(':');
  if (colon == absl::string_view::npos) {
    return absl::InvalidArgumentError("an address is HOST:PORT, [IPV6]:PORT or unix:PATH");
  }
  const absl::string_view host = address.substr(0, colon);
  if (!IsHostName(host) && !IsBracketedIpv6(host)) {
    return absl::InvalidArgumentError("the address has no valid host before its port");
  }
  if (!IsPort(address.substr(colon + 1))) {
    return absl::InvalidArgumentError("the address's port is not a number from 1 to 65535");
  }
  return absl::OkStatus();
}

absl::StatusOr<ShopLink> ParseShopLink(absl::string_view link) {
  link = absl::StripAsciiWhitespace(link);
  if (link.size() > kMaxShopLinkBytes) return Wrong("it is longer than 1024 characters");
  if (!absl::ConsumePrefix(&link, kScheme)) return Wrong("it does not begin with blindcart:shop/");

  const size_t hash = link.find('#');
  if (hash == absl::string_view::npos) return Wrong("it has no #FINGERPRINT");
  const absl::string_view fingerprint_hex = link.substr(hash + 1);
  const absl::string_view before = link.substr(0, hash);
  const size_t question = before.find('?');
  if (question == absl::string_view::npos) return Wrong("it has no ?broker=ADDRESS");
  const absl::string_view name = before.substr(0, question);
  absl::string_view parameter = before.substr(question + 1);

  if (!IsValidShopName(name)) {
    return Wrong("the shop's name is not 1 to 64 small letters, digits and hyphens");
  }
  if (!absl::ConsumePrefix(&parameter, kBrokerParameter)) {
    return Wrong("after the name it does not say broker=ADDRESS");
  }
  absl::StatusOr<std::string> address = PercentDecode(parameter);
  if (!address.ok()) return address.status();
  if (absl::Status valid = ValidateBrokerAddress(*address); !valid.ok()) {
    return Wrong(valid.message());
  }
  absl::StatusOr<std::string> fingerprint = crypto::HexDecode(fingerprint_hex);
  if (!fingerprint.ok() || fingerprint->size() != crypto::kFingerprintBytes) {
    return Wrong("the fingerprint is not 64 hexadecimal digits");
  }
  return ShopLink{std::string(name), *std::move(address), *std::move(fingerprint)};
}

absl::StatusOr<std::string> FormatShopLink(const ShopLink& link) {
  if (!IsValidShopName(link.name)) {
    return absl::InvalidArgumentError(
        "the shop's name is not 1 to 64 small letters, digits and hyphens");
  }
  if (absl::Status valid = ValidateBrokerAddress(link.broker_address); !valid.ok()) return valid;
  if (link.fingerprint.size() != crypto::kFingerprintBytes) {
    return absl::InvalidArgumentError("the shop's fingerprint is not 32 bytes long");
  }
  return absl::StrCat(kScheme, link.name, "?", kBrokerParameter, PercentEncode(link.broker_address),
                      "#", crypto::HexEncode(link.fingerprint));
}

}  // namespace blindcart::protocol
