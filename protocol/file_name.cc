#include "protocol/file_name.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "protocol/order.h"
#include "protocol/utf8.h"

namespace blindcart::protocol {
namespace {

constexpr absl::string_view kFallback = "purchase";
constexpr char kReplacement = '_';

bool InRange(char32_t value, char32_t first, char32_t last) {
  return value >= first && value <= last;
}

// Takes no room or shows as something else: zero-width and joining characters, marks of direction,
// tags, variation selectors, noncharacters, private use.
bool IsInvisible(char32_t value) {
  return value == 0xad || value == 0x34f || value == 0x61c || InRange(value, 0x115f, 0x1160) ||
         InRange(value, 0x17b4, 0x17b5) || InRange(value, 0x180b, 0x180f) ||
         InRange(value, 0x200b, 0x200f) || InRange(value, 0x2060, 0x206f) || value == 0x3164 ||
         InRange(value, 0xe000, 0xf8ff) || InRange(value, 0xfdd0, 0xfdef) ||
         InRange(value, 0xfe00, 0xfe0f) || value == 0xfeff || value == 0xffa0 ||
         InRange(value, 0xfff0, 0xfffd) || (value & 0xfffe) == 0xfffe ||
         InRange(value, 0xe0000, 0x10ffff);
}

bool IsSpace(char32_t value) {
  return value == '\t' || value == '\n' || value == ' ' || value == 0xa0 || value == 0x1680 ||
         InRange(value, 0x2000, 0x200a) || value == 0x2028 || value == 0x2029 || value == 0x202f ||
         value == 0x205f || value == 0x3000;
}

// Separators, what Windows forbids, and what reads as one of them or becomes one on conversion.
bool IsForbidden(char32_t value) {
  switch (value) {
    case '/':
    case '\\':
    case ':':
    case '*':
    case '?':
    case '"':
    case '<':
    case '>':
    case '|':
    case 0x2024:  // ONE DOT LEADER
    case 0x2025:  // TWO DOT LEADER
    case 0x2044:  // FRACTION SLASH
    case 0x2215:  // DIVISION SLASH
    case 0x2216:  // SET MINUS
    case 0x29f5:  // REVERSE SOLIDUS OPERATOR
    case 0x29f8:  // BIG SOLIDUS
    case 0x29f9:  // BIG REVERSE SOLIDUS
    case 0xfe52:  // SMALL FULL STOP
    case 0xfe68:  // SMALL REVERSE SOLIDUS
    case 0xff0e:  // FULLWIDTH FULL STOP
    case 0xff0f:  // FULLWIDTH SOLIDUS
    case 0xff1a:  // FULLWIDTH COLON
    case 0xff3c:  // FULLWIDTH REVERSE SOLIDUS
      return true;
    default:
      return false;
  }
}

// Runs of spaces, of dots and of replacements become one of their kind.
void AppendOnce(char c, std::string* out) {
  if (out->empty() || out->back() != c) out->push_back(c);
}

std::string UsableCharacters(absl::string_view title) {
  std::string out;
  while (!title.empty()) {
    const CodePoint next = FirstCodePoint(title);
    const absl::string_view bytes = title.substr(0, next.bytes);
    title.remove_prefix(next.bytes);
    if (!next.valid) continue;
    if (IsSpace(next.value)) {
      AppendOnce(' ', &out);
    } else if (IsControlCharacter(next.value) || IsInvisible(next.value)) {
      continue;
    } else if (IsForbidden(next.value)) {
      AppendOnce(kReplacement, &out);
    } else if (next.value == '.') {
      AppendOnce('.', &out);
    } else {
      absl::StrAppend(&out, bytes);
    }
  }
  return out;
}

void Trim(std::string* name) {
  size_t begin = 0;
  while (begin < name->size() && absl::StrContains(".-~ ", (*name)[begin])) ++begin;
  size_t end = name->size();
  while (end > begin && absl::StrContains(". ", (*name)[end - 1])) --end;
  *name = name->substr(begin, end - begin);
}

void CutAtBoundary(size_t max_bytes, std::string* name) {
  if (name->size() <= max_bytes) return;
  // Back over the continuation bytes of the character that would be cut in two.
  while ((static_cast<unsigned char>((*name)[max_bytes]) & 0xc0) == 0x80) --max_bytes;
  name->resize(max_bytes);
}

bool HasContent(absl::string_view name) {
  for (const char c : name) {
    if (!absl::StrContains("._- ", c)) return true;
  }
  return false;
}

// Windows' device names, which no extension makes safe: "CON", "aux.txt", "COM1 .pdf", "LPT².x".
bool IsDeviceName(absl::string_view name) {
  const std::string stem =
      absl::AsciiStrToUpper(absl::StripAsciiWhitespace(name.substr(0, name.find('.'))));
  for (const absl::string_view device :
       {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "CLOCK$"}) {
    if (stem == device) return true;
  }
  absl::string_view number = stem;
  if (!absl::ConsumePrefix(&number, "COM") && !absl::ConsumePrefix(&number, "LPT")) return false;
  return (number.size() == 1 && absl::ascii_isdigit(number[0])) || number == "\u00b9" ||
         number == "\u00b2" || number == "\u00b3";
}

bool IsExtension(absl::string_view format) {
  if (format.empty() || format.size() > kMaxFormatBytes) return false;
  for (const char c : format) {
    if (!absl::ascii_islower(c) && !absl::ascii_isdigit(c)) return false;
  }
  return true;
}

}  // namespace

std::string CleanFileName(absl::string_view title, absl::string_view format) {
  const std::string extension = IsExtension(format) ? absl::StrCat(".", format) : "";
  std::string name = UsableCharacters(title);
  Trim(&name);
  if (!extension.empty() && absl::EndsWithIgnoreCase(name, extension)) {
    name.resize(name.size() - extension.size());  // "Notes.pdf" stays "Notes.pdf".
    Trim(&name);
  }
  const size_t max_bytes = kMaxFileNameBytes - extension.size();
  CutAtBoundary(max_bytes, &name);
  Trim(&name);
  if (IsDeviceName(name)) {  // Only now: a cut may have uncovered one.
    name.insert(0, 1, kReplacement);
    CutAtBoundary(max_bytes, &name);
    Trim(&name);
  }
  if (!HasContent(name)) name = std::string(kFallback);
  return absl::StrCat(name, extension);
}

}  // namespace blindcart::protocol
