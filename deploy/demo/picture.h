// Covers for the example shops: a small PNG of coloured fields, chosen by a seed.
#ifndef BLINDCART_DEPLOY_DEMO_PICTURE_H_
#define BLINDCART_DEPLOY_DEMO_PICTURE_H_

#include <string>

#include "absl/strings/string_view.h"

namespace blindcart::demo {

// `seed` has at least 32 bytes. The PNG file's bytes (W3C PNG specification, third edition).
std::string CoverPicture(absl::string_view seed);

}  // namespace blindcart::demo

#endif  // BLINDCART_DEPLOY_DEMO_PICTURE_H_
