#include "crypto/encoding.h"

#include <cstdint>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "crypto/internal/library.h"

namespace blindcart::crypto {
namespace {

constexpr size_t kLengthBytes = 4;

void AppendBigEndian32(uint32_t value, std::string& out) {
  for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<char>(value >> shift));
}

uint32_t ReadBigEndian32(absl::string_view data) {
  uint32_t value = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) value = value << 8 | static_cast<uint8_t>(data[i]);
  return value;
}

}  // namespace

std::string LengthPrefixed(std::initializer_list<absl::string_view> fields) {
  return LengthPrefixed(absl::MakeConstSpan(fields.begin(), fields.size()));
}

std::string LengthPrefixed(absl::Span<const absl::string_view> fields) {
  size_t size = 0;
  for (absl::string_view field : fields) size += kLengthBytes + field.size();
  std::string joined;
  joined.reserve(size);
  for (absl::string_view field : fields) {
    internal::CheckLibrary(field.size() <= std::numeric_limits<uint32_t>::max(),
                           "LengthPrefixed: a field of 4 GiB");
    AppendBigEndian32(static_cast<uint32_t>(field.size()), joined);
    joined.append(field.data(), field.size());
  }
  return joined;
}

absl::StatusOr<std::vector<absl::string_view>> SplitLengthPrefixed(absl::string_view data,
                                                                   size_t field_count) {
  std::vector<absl::string_view> fields;
  for (size_t i = 0; i < field_count; ++i) {
    if (data.size() < kLengthBytes) return absl::InvalidArgumentError("field length cut short");
    const uint32_t size = ReadBigEndian32(data);
    data.remove_prefix(kLengthBytes);
    if (data.size() < size) return absl::InvalidArgumentError("field cut short");
    fields.push_back(data.substr(0, size));
    data.remove_prefix(size);
  }
  if (!data.empty()) return absl::InvalidArgumentError("bytes after the last field");
  return fields;
}

std::string HexEncode(absl::string_view bytes) { return absl::BytesToHexString(bytes); }

absl::StatusOr<std::string> HexDecode(absl::string_view hex) {
  if (hex.size() % 2 != 0) return absl::InvalidArgumentError("odd number of hex digits");
  for (char c : hex) {
    if (!absl::ascii_isxdigit(static_cast<unsigned char>(c))) {
      return absl::InvalidArgumentError("not a hex digit");
    }
  }
  return absl::HexStringToBytes(hex);
}

}  // namespace blindcart::crypto
