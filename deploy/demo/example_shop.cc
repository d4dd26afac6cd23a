#include "deploy/demo/example_shop.h"

#include <algorithm>
#include <fstream>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "crypto/hash.h"
#include "crypto/random.h"
#include "deploy/demo/picture.h"

namespace blindcart::demo {

const std::vector<ExampleShop>& ExampleShops() {
  static const auto* shops = new std::vector<ExampleShop>{
      {"quiet-books",
       "2001",
       {
           {"Living with HIV: a practical guide",
            "Medication, work, travel and love, written by those who live it.", "14.90", "epub",
            2'400'000, true, 0},
           {"Leaving a faith, keeping a family",
            "Letters from people who stopped believing and stayed at the table.", "12.00", "epub",
            900'000, true, 0},
           {"Know your rights when arrested",
            "What to say, what to sign and whom to call. One page to print.", "2.50", "pdf", 1'024,
            false, 0},
           {"The divorce workbook", "Forms, deadlines and a calm order to do things in.", "19.90",
            "pdf", 5'000'000, true, 0},
           {"Bankruptcy without shame", "How it works, what you keep, and life afterwards.", "9.90",
            "epub", 640'000, false, 0},
           {"Conversations about dying", "An audio book in twelve talks.", "24.00", "zip",
            52'428'800, true, 0},
           {"Quitting for good: alcohol", "Ninety short chapters, one a day.", "8.00", "epub",
            310'000, false, 0},
       }},
      {"night-records",
       "2002",
       {
           {"Nocturnes for a small room", "Eight pieces for piano, FLAC.", "7.00", "flac",
            18'000'000, true, 0},
           {"Protest songs, volume 3", "Field recordings from four squares.", "6.00", "flac",
            12'500'000, true, 0},
           {"Ringtone: distant bell", "Four seconds.", "0.99", "ogg", 40'000, false, 0},
           {"Sampler licence (single seat)", "A licence file for the Moth sampler.", "49.00", "lic",
            2'048, false, 25},
           {"Psalms, sung in Aramaic", "A choir of six in a stone chapel.", "11.00", "flac",
            33'000'000, true, 0},
           {"Score: string quartet no. 2", "Parts and full score.", "15.00", "pdf", 1'700'000,
            false, 0},
           {"The whole archive, 1979-2024", "Limited: one copy, with a letter.", "900.00", "txt",
            64'000, false, 1},
       }},
  };
  return *shops;
}

absl::StatusOr<testing::ProductSpec> MakeGoods(const std::string& folder,
                                               const ExampleProduct& product) {
  testing::ProductSpec spec;
  spec.title = product.title;
  spec.description = product.description;
  spec.price = product.price;
  spec.format = product.format;
  if (product.stock > 0) spec.stock = product.stock;
  const std::string stem =
      absl::StrCat(folder, "/", absl::StrCat(absl::Hex(std::hash<std::string>()(product.title))));
  spec.content_path = absl::StrCat(stem, ".", product.format);
  std::ofstream goods(spec.content_path, std::ios::binary);
  const std::string heading = absl::StrCat(product.title, "\n\n", product.description, "\n\n")
                                  .substr(0, product.size_bytes);
  goods << heading;
  crypto::PaddingStream stream(crypto::SystemRandom());
  std::string block(1024 * 1024, '\0');
  for (uint64_t left = product.size_bytes - heading.size(); left > 0;) {
    const size_t size = std::min<uint64_t>(left, block.size());
    stream.Fill({reinterpret_cast<uint8_t*>(block.data()), size});
    goods.write(block.data(), static_cast<std::streamsize>(size));
    left -= size;
  }
  goods.close();
  if (!goods) return absl::UnavailableError(absl::StrCat("cannot write ", spec.content_path));
  if (product.has_picture) {
    spec.picture_path = stem + ".png";
    std::ofstream picture(spec.picture_path, std::ios::binary);
    picture << CoverPicture(crypto::Sha256(product.title));
    picture.close();
    if (!picture) return absl::UnavailableError(absl::StrCat("cannot write ", spec.picture_path));
  }
  return spec;
}

}  // namespace blindcart::demo
