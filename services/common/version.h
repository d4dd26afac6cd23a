// The version of all programs here, as metrics show it.
#ifndef BLINDCART_SERVICES_COMMON_VERSION_H_
#define BLINDCART_SERVICES_COMMON_VERSION_H_

namespace blindcart {

inline constexpr char kVersion[] = "0.4.0";

}  // namespace blindcart

#endif  // BLINDCART_SERVICES_COMMON_VERSION_H_
