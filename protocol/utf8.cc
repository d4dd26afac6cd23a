#include "protocol/utf8.h"

namespace blindcart::protocol {
namespace {

bool IsPlain(absl::string_view text, bool lines) {
  while (!text.empty()) {
    const CodePoint next = FirstCodePoint(text);
    if (!next.valid) return false;
    const bool allowed_break = lines && (next.value == '\n' || next.value == '\t');
    if (IsControlCharacter(next.value) && !allowed_break) return false;
    text.remove_prefix(next.bytes);
  }
  return true;
}

}  // namespace

CodePoint FirstCodePoint(absl::string_view text) {
  const CodePoint invalid{false, 0, 1};
  const auto byte = [text](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  size_t bytes;
  char32_t value;
  char32_t smallest;  // Below it, the form is overlong.
  if (lead < 0x80) {
    return {true, lead, 1};
  } else if (lead >= 0xc2 && lead <= 0xdf) {
    bytes = 2, value = lead & 0x1f, smallest = 0x80;
  } else if (lead >= 0xe0 && lead <= 0xef) {
    bytes = 3, value = lead & 0x0f, smallest = 0x800;
  } else if (lead >= 0xf0 && lead <= 0xf4) {
    bytes = 4, value = lead & 0x07, smallest = 0x10000;
  } else {
    return invalid;
  }
  if (text.size() < bytes) return invalid;
  for (size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return invalid;
    value = (value << 6) | (byte(i) & 0x3f);
  }
  const bool surrogate = value >= 0xd800 && value <= 0xdfff;
  if (value < smallest || value > 0x10ffff || surrogate) return invalid;
  return {true, value, bytes};
}

bool IsControlCharacter(char32_t value) {
  return value < 0x20 || (value >= 0x7f && value <= 0x9f) || value == 0x2028 || value == 0x2029 ||
         (value >= 0x202a && value <= 0x202e) || (value >= 0x2066 && value <= 0x2069);
}

bool IsPlainLine(absl::string_view text) { return IsPlain(text, /*lines=*/false); }

bool IsPlainText(absl::string_view text) { return IsPlain(text, /*lines=*/true); }

}  // namespace blindcart::protocol
