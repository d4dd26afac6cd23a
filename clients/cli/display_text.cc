#include "clients/cli/display_text.h"

#include <locale.h>
#include <wchar.h>

#include <limits>

#include "absl/strings/str_cat.h"
#include "protocol/utf8.h"

namespace blindcart::cli {
namespace {

constexpr char kReplacement[] = "\xEF\xBF\xBD";  // U+FFFD
constexpr char kEllipsis[] = "\xE2\x80\xA6";     // U+2026

// What has no appearance and joins nothing: it could only hide something.
bool IsInvisible(char32_t value) {
  return value == 0x200B || value == 0x2060 || value == 0xFEFF || value == 0x00AD ||
         value == 0x200E || value == 0x200F || value == 0x061C ||
         (value >= 0xFFF9 && value <= 0xFFFB) || (value >= 0xE0000 && value <= 0xE0FFF);
}

std::string Clean(absl::string_view text, bool keep_lines) {
  std::string clean;
  clean.reserve(text.size());
  while (!text.empty()) {
    const protocol::CodePoint point = protocol::FirstCodePoint(text);
    if (keep_lines && point.valid && point.value == '\n') {
      clean.push_back('\n');
    } else if (keep_lines && point.valid && point.value == '\t') {
      clean.push_back(' ');
    } else if (!point.valid || protocol::IsControlCharacter(point.value)) {
      clean.append(kReplacement);
    } else if (!IsInvisible(point.value)) {
      clean.append(text.data(), point.bytes);
    }
    text.remove_prefix(point.bytes);
  }
  return clean;
}

// The C library's own width table, whatever locale the person has set.
size_t WidthOf(char32_t value) {
  static const locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr);
  if (utf8 == nullptr) return 1;
  const locale_t before = uselocale(utf8);
  const int width = wcwidth(static_cast<wchar_t>(value));
  uselocale(before);
  return width < 0 ? 1 : static_cast<size_t>(width);
}

}  // namespace

std::string Sanitise(absl::string_view text) { return Clean(text, /*keep_lines=*/false); }

std::string SanitiseLines(absl::string_view text) { return Clean(text, /*keep_lines=*/true); }

size_t DisplayWidth(absl::string_view text) {
  size_t width = 0;
  while (!text.empty()) {
    const protocol::CodePoint point = protocol::FirstCodePoint(text);
    width += point.valid ? WidthOf(point.value) : 1;
    text.remove_prefix(point.bytes);
  }
  return width;
}

std::string PrefixLines(absl::string_view prefix, absl::string_view text, size_t max_width) {
  const size_t prefix_width = DisplayWidth(prefix);
  const size_t room = max_width == 0             ? std::numeric_limits<size_t>::max()
                      : max_width > prefix_width ? max_width - prefix_width
                                                 : 1;
  const std::string clean = SanitiseLines(text);
  std::string lines(prefix);
  size_t width = 0;
  for (absl::string_view rest = clean; !rest.empty();) {
    const protocol::CodePoint point = protocol::FirstCodePoint(rest);
    if (point.value == '\n') {
      absl::StrAppend(&lines, "\n", prefix);
      width = 0;
    } else {
      const size_t next = WidthOf(point.value);
      if (width > 0 && width + next > room) {
        absl::StrAppend(&lines, "\n", prefix);
        width = 0;
      }
      lines.append(rest.data(), point.bytes);
      width += next;
    }
    rest.remove_prefix(point.bytes);
  }
  return lines;
}

std::string Shorten(absl::string_view text, size_t max_width) {
  if (DisplayWidth(text) <= max_width) return std::string(text);
  if (max_width == 0) return "";
  size_t width = 0;
  size_t bytes = 0;
  while (true) {
    const protocol::CodePoint point = protocol::FirstCodePoint(text.substr(bytes));
    const size_t next = width + (point.valid ? WidthOf(point.value) : 1);
    if (next > max_width - 1) break;
    width = next;
    bytes += point.bytes;
  }
  return absl::StrCat(text.substr(0, bytes), kEllipsis);
}

}  // namespace blindcart::cli
