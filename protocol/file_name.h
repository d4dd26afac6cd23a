// A file name for a purchase, made of a merchant's title: the agent's own choice, never a path from
// outside (docs/protocol.md section 6).
//
// The result is one path component that is safe on Linux, macOS and Windows and on a command line:
//  - 1 to 120 bytes of valid UTF-8, cut at a character's boundary;
//  - no separators (nor their look-alikes), no characters that Windows forbids, no control,
//    formatting or bidirectional characters, no "..";
//  - it begins with neither dot, hyphen, tilde nor space and ends with neither dot nor space;
//  - not one of Windows' device names, with or without an extension;
//  - its extension is `format`, when that is [a-z0-9]{1,8}, and nothing is appended otherwise.
// A title with nothing usable in it gives "purchase".
//
// Pure function; thread-safe.
#ifndef BLINDCART_PROTOCOL_FILE_NAME_H_
#define BLINDCART_PROTOCOL_FILE_NAME_H_

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace blindcart::protocol {

inline constexpr size_t kMaxFileNameBytes = 120;

std::string CleanFileName(absl::string_view title, absl::string_view format);

}  // namespace blindcart::protocol

#endif  // BLINDCART_PROTOCOL_FILE_NAME_H_
