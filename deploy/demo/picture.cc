#include "deploy/demo/picture.h"

#include <zlib.h>

#include <array>
#include <cstdint>

namespace blindcart::demo {
namespace {

constexpr uint32_t kWidth = 160;
constexpr uint32_t kHeight = 240;
constexpr uint32_t kFieldsAcross = 5;
constexpr uint32_t kFieldsDown = 6;

void AppendUint32(uint32_t value, std::string& out) {
  for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<char>(value >> shift));
}

void AppendChunk(const std::string& type_and_data, std::string& out) {
  AppendUint32(static_cast<uint32_t>(type_and_data.size() - 4), out);
  out += type_and_data;
  AppendUint32(static_cast<uint32_t>(crc32(0, reinterpret_cast<const Bytef*>(type_and_data.data()),
                                           static_cast<uInt>(type_and_data.size()))),
               out);
}

}  // namespace

std::string CoverPicture(absl::string_view seed) {
  const std::array<std::array<char, 3>, 3> palette = {{
      {seed[0], seed[1], seed[2]},
      {seed[3], seed[4], seed[5]},
      {seed[6], seed[7], seed[8]},
  }};
  std::string rows;
  for (uint32_t y = 0; y < kHeight; ++y) {
    rows.push_back(0);  // Filter type "none".
    for (uint32_t x = 0; x < kWidth; ++x) {
      const uint32_t field =
          (y * kFieldsDown / kHeight) * kFieldsAcross + x * kFieldsAcross / kWidth;
      const auto& colour = palette[static_cast<unsigned char>(seed[field]) % palette.size()];
      rows.append(colour.data(), colour.size());
    }
  }
  uLongf compressed_size = compressBound(rows.size());
  std::string compressed(compressed_size, '\0');
  compress(reinterpret_cast<Bytef*>(compressed.data()), &compressed_size,
           reinterpret_cast<const Bytef*>(rows.data()), rows.size());
  compressed.resize(compressed_size);

  std::string header = "IHDR";
  AppendUint32(kWidth, header);
  AppendUint32(kHeight, header);
  header += std::string("\x08\x02\x00\x00\x00", 5);  // 8 bits, RGB, no interlace.
  std::string png = "\x89PNG\r\n\x1a\n";
  AppendChunk(header, png);
  AppendChunk("IDAT" + compressed, png);
  AppendChunk("IEND", png);
  return png;
}

}  // namespace blindcart::demo
