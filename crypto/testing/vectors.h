// Reads the published vectors of tests/vectors/. What cannot be read fails the test and throws.
#ifndef BLINDCART_CRYPTO_TESTING_VECTORS_H_
#define BLINDCART_CRYPTO_TESTING_VECTORS_H_

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace blindcart::crypto {

// `name` is below tests/vectors, such as "rfc/rfc7748_x25519.txt".
std::string ReadVectors(const std::string& name);
nlohmann::json ReadJsonVectors(const std::string& name);

// The NIST text form: blocks that begin with COUNT, lines of "NAME = value", # for comments. Values
// stay text.
std::vector<std::map<std::string, std::string>> ReadTextVectors(const std::string& name);

// The bytes that `hex` stands for.
std::string FromHex(const std::string& hex);

}  // namespace blindcart::crypto

#endif  // BLINDCART_CRYPTO_TESTING_VECTORS_H_
