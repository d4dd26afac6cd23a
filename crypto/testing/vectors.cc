#include "crypto/testing/vectors.h"

#include <fstream>
#include <sstream>
#include <stdexcept>

#include "crypto/encoding.h"

namespace blindcart::crypto {

std::string ReadVectors(const std::string& name) {
  std::ifstream file("tests/vectors/" + name, std::ios::binary);
  if (!file) throw std::runtime_error("no vectors " + name);
  std::ostringstream content;
  content << file.rdbuf();
  return content.str();
}

nlohmann::json ReadJsonVectors(const std::string& name) {
  return nlohmann::json::parse(ReadVectors(name));
}

std::vector<std::map<std::string, std::string>> ReadTextVectors(const std::string& name) {
  std::vector<std::map<std::string, std::string>> blocks;
  std::istringstream lines(ReadVectors(name));
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string key, equals, value;
    words >> key >> equals >> value;
    if (equals != "=" || key[0] == '#') continue;
    if (key == "COUNT") blocks.emplace_back();
    blocks.back()[key] = value;
  }
  return blocks;
}

std::string FromHex(const std::string& hex) { return HexDecode(hex).value(); }

}  // namespace blindcart::crypto
