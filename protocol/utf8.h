// UTF-8 as text from outside is judged: strict decoding (RFC 3629: no overlong forms, no
// surrogates, nothing above U+10FFFF) and the code points that have no business in a line of text.
//
// Pure functions; thread-safe.
#ifndef BLINDCART_PROTOCOL_UTF8_H_
#define BLINDCART_PROTOCOL_UTF8_H_

#include <cstddef>

#include "absl/strings/string_view.h"

namespace blindcart::protocol {

struct CodePoint {
  bool valid = false;
  char32_t value = 0;  // When valid.
  size_t bytes = 0;    // How many bytes it took; 1 for an invalid one, so that a reader can go on.
};

// The first code point of `text`, which is not empty.
CodePoint FirstCodePoint(absl::string_view text);

// C0 and C1 control characters, DEL, line and paragraph separators, and the bidirectional
// embeddings, overrides and isolates, which make text read otherwise than it is stored.
bool IsControlCharacter(char32_t value);

// Valid UTF-8 without any of those.
bool IsPlainLine(absl::string_view text);
// The same, line feeds and tabs allowed.
bool IsPlainText(absl::string_view text);

}  // namespace blindcart::protocol

#endif  // BLINDCART_PROTOCOL_UTF8_H_
