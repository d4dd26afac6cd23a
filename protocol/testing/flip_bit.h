// Alters one byte, for tests that alter every one of them in turn.
#ifndef BLINDCART_PROTOCOL_TESTING_FLIP_BIT_H_
#define BLINDCART_PROTOCOL_TESTING_FLIP_BIT_H_

#include <cstddef>
#include <string>

namespace blindcart::protocol {

// Flips one bit of byte `at`: another one from byte to byte.
inline void FlipBit(std::string& bytes, size_t at) {
  bytes.at(at) = static_cast<char>(bytes.at(at) ^ (1 << (at % 8)));
}

}  // namespace blindcart::protocol

#endif  // BLINDCART_PROTOCOL_TESTING_FLIP_BIT_H_
