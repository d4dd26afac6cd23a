// Text from outside on its way to a terminal. Titles and descriptions are a merchant's choice, and
// a terminal obeys some characters instead of showing them: nothing is written that has not been
// through Sanitise or SanitiseLines.
//
// Pure functions; thread-safe.
#ifndef BLINDCART_CLIENTS_CLI_DISPLAY_TEXT_H_
#define BLINDCART_CLIENTS_CLI_DISPLAY_TEXT_H_

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace blindcart::cli {

// One line: invalid UTF-8, control characters (line ends and tabs too) and bidirectional overrides
// become U+FFFD, characters that cannot be seen at all (tags, byte order marks) vanish.
std::string Sanitise(absl::string_view text);

// The same, line feeds kept and tabs made spaces.
std::string SanitiseLines(absl::string_view text);

// Each line of sanitised text behind `prefix`, and those wider than a terminal of `max_width` columns
// (0: none) cut into several, each behind the prefix as well: so that nobody can write what looks like
// a line of somebody else's. `text` may have line feeds, and is sanitised here.
std::string PrefixLines(absl::string_view prefix, absl::string_view text, size_t max_width);

// Columns that sanitised text takes on a terminal: 2 for wide characters, 0 for combining ones.
size_t DisplayWidth(absl::string_view text);

// At most `max_width` columns of sanitised text; what was cut off is replaced by an ellipsis.
std::string Shorten(absl::string_view text, size_t max_width);

}  // namespace blindcart::cli

#endif  // BLINDCART_CLIENTS_CLI_DISPLAY_TEXT_H_
