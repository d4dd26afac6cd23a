// Padding of plaintexts to few sizes (protocol.md, 2): ISO/IEC 7816-4, a byte 0x80 and then zeros,
// up to the next bucket. What is padded has the size of a bucket exactly.
#ifndef BLINDCART_CRYPTO_PADDING_H_
#define BLINDCART_CRYPTO_PADDING_H_

#include <array>
#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace blindcart::crypto {

// In bytes: 1, 4, 16, 64, 256 and 1,024 KiB.
inline constexpr std::array<size_t, 6> kPaddingBuckets = {1024,      4 * 1024,   16 * 1024,
                                                          64 * 1024, 256 * 1024, 1024 * 1024};
// Padding takes at least one byte.
inline constexpr size_t kMaxUnpaddedBytes = kPaddingBuckets.back() - 1;

// The smallest bucket that holds `unpadded_bytes` and at least one byte of padding; InvalidArgument
// above kMaxUnpaddedBytes.
absl::StatusOr<size_t> BucketFor(size_t unpadded_bytes);

// Pads in place, to at least `min_bucket`, which is one of kPaddingBuckets. InvalidArgument when it
// is not, or when nothing fits; `data` is unchanged then.
absl::Status Pad(std::string& data, size_t min_bucket = kPaddingBuckets.front());

// The size before padding. InvalidArgument when `padded` has not the size of a bucket or ends in no
// padding. Its time depends on padded.size() only.
absl::StatusOr<size_t> UnpaddedSize(absl::string_view padded);

}  // namespace blindcart::crypto

#endif  // BLINDCART_CRYPTO_PADDING_H_
