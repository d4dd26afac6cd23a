// Byte encodings: the join of protocol.md and hexadecimal text.
//
// Join (the "‖" of protocol.md): every field as its length in 4 bytes, most significant first, then
// its bytes. Unlike plain concatenation, two different lists of fields never give the same bytes.
#ifndef BLINDCART_CRYPTO_ENCODING_H_
#define BLINDCART_CRYPTO_ENCODING_H_

#include <cstddef>
#include <initializer_list>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace blindcart::crypto {

// Fields are shorter than 4 GiB (all of ours are bounded far below; a longer one ends the process).
std::string LengthPrefixed(std::initializer_list<absl::string_view> fields);
std::string LengthPrefixed(absl::Span<const absl::string_view> fields);

// The reverse: exactly `field_count` fields and nothing after them, else InvalidArgument. The views
// point into `data`.
absl::StatusOr<std::vector<absl::string_view>> SplitLengthPrefixed(absl::string_view data,
                                                                   size_t field_count);

// Lower-case hexadecimal, as fingerprints are printed.
std::string HexEncode(absl::string_view bytes);
// Digits of either case, an even number of them and nothing else; InvalidArgument otherwise.
absl::StatusOr<std::string> HexDecode(absl::string_view hex);

}  // namespace blindcart::crypto

#endif  // BLINDCART_CRYPTO_ENCODING_H_
