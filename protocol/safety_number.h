// The safety number of two users: what they read to each other, over a way that the broker does not
// control, to learn that neither was given a false key.
//
//   digest = SHA-256("blindcart/v1 safety number" ‖ smaller fingerprint ‖ larger fingerprint),
//            ‖ is LengthPrefixed; hashed 5,200 times over in all, so that looking for a pair of keys
//            with a like number costs that much more
//   number = 12 groups of 5 digits: HKDF-Expand(digest, "digits") read as 12 numbers of 5 bytes, each
//            modulo 100,000
//
// 60 digits as in Signal's numbers. Pure functions. InvalidArgument unless both have 32 bytes.
#ifndef BLINDCART_PROTOCOL_SAFETY_NUMBER_H_
#define BLINDCART_PROTOCOL_SAFETY_NUMBER_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace blindcart::protocol {

// "12345 67890 ..." with single spaces; the same from both sides.
absl::StatusOr<std::string> SafetyNumber(absl::string_view one_fingerprint,
                                         absl::string_view other_fingerprint);

// Whether what a person typed or pasted is that number: digits are compared, white space is not.
bool SafetyNumbersMatch(absl::string_view number, absl::string_view typed);

}  // namespace blindcart::protocol

#endif  // BLINDCART_PROTOCOL_SAFETY_NUMBER_H_
